"""The table of docs/architecture.md, held against the import statements of every file."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = {f"mmpsy_jax{leaf}" for leaf in ("", ".io", ".kinds", ".modality", ".registry", ".rules", ".tasks")}
# Room -> rooms of ours that it may import besides leaves and itself.
ROOMS = {
    "features": set(),
    "data": set(),
    "encoders": set(),
    "models": {"encoders"},
    "objectives": set(),
    "training": {"models", "objectives", "data", "features", "evaluation"},
    "evaluation": set(),
    "exploration": {"data", "features", "evaluation"},
    "inference": {"models", "objectives", "data", "features", "encoders", "training", "evaluation"},
    "commands": {"data", "exploration", "training", "evaluation", "inference"},
    "projects": {
        *("models", "objectives", "data", "features", "encoders", "training", "evaluation", "inference", "commands"),
    },
}
NEVER = {
    "features": {"jax", "flax", "tensorflow"},
    **{room: {"jax", "flax"} for room in ("evaluation", "exploration", "data_builders")},
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MAIN = "mmpsy_jax.__main__"
NOT_NOUNS = {"made", "said", "given", "own", "found", "held", "wanted"}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def ours(names: set[str]) -> set[str]:
    """Rooms of mmpsy_jax among imported names."""
    return {n.split(".")[1] for n in names if n.startswith("mmpsy_jax.") and n.split(".")[1] not in leaf_names()}


def leaf_names() -> set[str]:
    return {leaf.split(".")[1] for leaf in LEAVES if "." in leaf} | {"DISCLAIMER", "__version__"}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_the_table_allows(room):
    found = files(f"mmpsy_jax/{room}")
    assert found
    for path in found:
        names = imports(path)
        assert ours(names) <= ROOMS[room] | {room}, path
        assert not {n.split(".")[0] for n in names} & NEVER.get(room, set()), path
        outside = ("launch",) if room == "commands" else ("data_builders", "configs", "launch")
        assert not any(n.startswith(outside) for n in names), path


def test_papers_know_nothing_of_each_other():
    for paper in (p.name for p in (ROOT / "mmpsy_jax/projects").iterdir() if p.is_dir() and any(p.glob("*.py"))):
        for path in files(f"mmpsy_jax/projects/{paper}"):
            of_papers = {n.split(".")[2] for n in imports(path) if n.startswith("mmpsy_jax.projects.")}
            assert of_papers <= {paper}, path
        for path in files(f"mmpsy_jax/projects/{paper}/models"):
            assert ours(imports(path)) <= {"models", "encoders", "projects"}, path


def test_every_room_is_in_the_table():
    rooms = {p.name for p in (ROOT / "mmpsy_jax").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms == set(ROOMS) | {"io", "kinds"}


def test_loader_workers_import_features_without_jax():
    code = "import sys, mmpsy_jax.features.interview, mmpsy_jax.features.manifest; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_kinds_of_task_bring_jax_only_where_a_loss_is_computed():
    for path in [*files("mmpsy_jax/kinds"), ROOT / "mmpsy_jax/tasks.py"]:
        assert not ours(imports(path)), path
        top = {
            a.name.split(".")[0] for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import) for a in n.names
        }
        assert not top & {"jax", "optax"}, path


def test_builders_know_features_only():
    for path in files("data_builders"):
        names = imports(path)
        assert ours(names) <= {"features"}, path
        assert not {n.split(".")[0] for n in names} & NEVER["data_builders"], path


def test_what_builders_share_knows_no_corpus():
    for path in files("data_builders/common"):
        corpora = {".".join(n.split(".")[:2]) for n in imports(path) if n.startswith("data_builders.")}
        assert corpora <= {"data_builders.common"}, path


def test_the_command_line_and_the_interface_alone_use_inference():
    for path in [*files("mmpsy_jax"), *files("data_builders"), *files("configs")]:
        rooms = {"inference", "commands", "projects"} & set(path.relative_to(ROOT).parts)
        assert rooms or path.name == "api.py" or "inference" not in ours(imports(path)), path


def test_orbax_and_grain_have_one_room_each():
    for path in [*files("mmpsy_jax"), *files("configs"), ROOT / "launch.py"]:
        tops = {n.split(".")[0] for n in imports(path)}
        assert "orbax" not in tops or path.name == "checkpoint.py", path
        assert "grain" not in tops or path.parent.name == "data", path


def test_names_of_other_projects_parameters_have_one_file():
    theirs = re.compile(r"q_proj|self_attn|weight_g|lm_head|feature_projection")
    for path in files("mmpsy_jax"):
        assert bool(theirs.search(path.read_text())) == (path.name == "convert.py"), path


def test_launch_is_light_at_its_top():
    """Loader workers import it again."""
    assert {name.rpartition(".")[0] or name for name in imports(ROOT / "launch.py")} == {"mmpsy_jax", MAIN}
    top = ast.parse((ROOT / "mmpsy_jax/__main__.py").read_text()).body
    assert {a.name for node in top if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names} == {"sys"}


def test_variables_are_not_participles():
    """Names are nouns and verbs; a participle does not tell what it is that was made, said or found."""
    for path in [*files("mmpsy_jax"), *files("data_builders"), *files("configs"), *files("benchmarks")]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)}
        assert not names & NOT_NOUNS, path


def test_files_stay_readable():
    for path in [*files("mmpsy_jax"), *files("data_builders"), ROOT / "launch.py"]:
        assert len(path.read_text().splitlines()) <= 450, path
