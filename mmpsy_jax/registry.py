"""Models, objectives, kinds of task, verbs and parts of reports by name: a file of their room or of a paper's folder.

The config fields that one declares are read from its source without importing it, so that a mistyped field is known
before jax is loaded: of a model the rates of dropout in `RATES` of its class `Model` and the attributes of it that have
a default, of an objective the keyword-only arguments of its function `build`.
"""

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from mmpsy_jax.io import one_of

ROOT = Path(__file__).parent
# Files of a room that hold blocks rather than something with a name.
BLOCKS = {
    "models": {"base", "hash_keys", "linear_path", "perceiver", "position", "projection"},
    "objectives": {"base", "weighting"},
    "kinds": set(),
    "commands": {"builders"},
    "reports": set(),
}
WHERE = {
    "models": "config.model.name",
    "objectives": "config.objective.name",
    "kinds": "kind of task",
    "commands": "verb",
    "reports": "report",
}


def names(room: str) -> list[str]:
    """Names of a room: `models`, `objectives`, `kinds`, `commands` or `reports`."""
    return sorted(_paths(room))


def load(room: str, name: str) -> ModuleType:
    """The module of a name.

    Raises:
      InputError: there is none.
    """
    return importlib.import_module(".".join(("mmpsy_jax", *_path(room, name).relative_to(ROOT).with_suffix("").parts)))


def declared_fields(room: str, name: str) -> dict[str, Any]:
    """Config fields of a name with their defaults, in the order of the file.

    Raises:
      InputError: there is no such name.
    """
    path = _path(room, name)
    if room == "models":
        attributes = _attributes(path, "Model")
        return attributes.pop("RATES", {}) | attributes
    build = next(n for n in _parse(path).body if isinstance(n, ast.FunctionDef) and n.name == "build")
    pairs = zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True)
    return {argument.arg: ast.literal_eval(default) for argument, default in pairs if default is not None}


def _paths(room: str) -> dict[str, Path]:
    files = [*ROOT.glob(f"{room}/[a-z]*.py"), *ROOT.glob(f"projects/*/{room}/[a-z]*.py")]
    return {path.stem: path for path in files if path.stem not in BLOCKS[room]}


def _path(room: str, name: str) -> Path:
    paths = _paths(room)
    if name not in paths:
        raise one_of(WHERE[room], name, paths)
    return paths[name]


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _attributes(path: Path, name: str) -> dict[str, Any]:
    """Attributes with a default of a class of ours, those of its bases first, as a dataclass collects them."""
    tree = _parse(path)
    cls = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    local = {n.name for n in tree.body if isinstance(n, ast.ClassDef)}
    fields: dict[str, Any] = {}
    for base in reversed(cls.bases):
        chain = ast.unparse(base).split(".")
        if chain[0] in local:
            fields |= _attributes(path, chain[0])
        elif imported.get(chain[0], ("",))[0].startswith("mmpsy_jax."):
            module = ".".join([*imported[chain[0]], *chain[1:]])
            *parts, base_name = module.removeprefix("mmpsy_jax.").split(".")
            fields |= _attributes(ROOT.joinpath(*parts).with_suffix(".py"), base_name)
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and node.value:
            field, shared = node.target.id, "ClassVar" in ast.unparse(node.annotation)
            if not shared or field == "RATES":
                fields[field] = ast.literal_eval(node.value)
    return fields
