"""The package that `pip install .` builds: everything in it, and usable from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.runs import ROOT

PACKED = ("mmpsy_jax", "data_builders", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools writes beside what it reads."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = f"from setuptools import build_meta; build_meta.build_wheel({os.fspath(out)!r})"
    built = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


def test_a_wheel_holds_all_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "mmpsy = mmpsy_jax.__main__:run" in entry_points
    for folder in PACKED:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                assert (f"mmpsy_jax/{name}" if folder == "configs" else name) in names, name
    assert not any(name.startswith(("tests", "benchmarks", "configs")) for name in names)


def test_an_installed_package_is_used_from_any_folder(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    known = {"cwd": elsewhere, "env": os.environ | {"PYTHONPATH": str(site)}, "capture_output": True, "text": True}
    for config in ("phq", "configs/phq.py"):
        program = [sys.executable, "-m", "mmpsy_jax", f"--config={config}:nowhere"]
        refused = subprocess.run(program, **known)
        assert refused.returncode == 2 and "choose one of: demo, released, transcripts" in refused.stderr
    shown = subprocess.run([sys.executable, "-m", "mmpsy_jax"], **known)
    assert shown.returncode == 2 and "python -m mmpsy_jax VERB --help" in shown.stdout
    assert not any(elsewhere.iterdir())
