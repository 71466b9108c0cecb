"""Builds that are killed, raced, starved of disk space or started in a bad place: never half a dataset."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from small_source import write_source
from tensorflow_datasets.core.dataset_info import DatasetInfoFileError

from data_builders.common import cli, place
from mmpsy_jax.io import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"), participants=60)


def start(code: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def build_code(source: Path, data_dir: Path, workers: int) -> str:
    arguments = ["--dataset=mmpsy/released", f"--source={source}", f"--data_dir={data_dir}", f"--workers={workers}"]
    return f"from data_builders.common import cli\ncli.main_build({arguments!r})"


def assert_whole(folder: Path, participants: int = 60) -> None:
    builder = tfds.builder_from_directory(folder)
    records = [record for split in builder.info.splits for record in builder.as_data_source(split)]
    assert len({record["participant"] for record in records}) == participants == len(records)
    assert sum(json.loads((folder / "corpus.json").read_text())["participants"].values()) == participants


def group_is_gone(group: int, within: float) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("when", ["incomplete.*", "incomplete.*/mmpsy-*", "incomplete.*/.report-*"])
def test_sigkill_leaves_no_dataset_and_the_rerun_is_clean(source, tmp_path, when):
    config = tmp_path / "mmpsy" / "released"
    process = start(build_code(source, tmp_path, workers=2), start_new_session=True)
    until = time.monotonic() + 60
    while not list(config.glob(when)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
    process.kill()  # the parent alone, as the kernel's out-of-memory killer would
    process.communicate()
    if (config / "1.0.0").exists():  # the last file was seen so late that the build was over
        assert_whole(config / "1.0.0")
    else:
        assert list(config.glob("incomplete.*"))
        with pytest.raises(DatasetInfoFileError):
            tfds.builder_from_directory(config / "1.0.0")
    assert group_is_gone(process.pid, within=20), "worker processes outlived the build"
    folder = cli.build("mmpsy/released", tmp_path, source=source, workers=0)
    assert_whole(folder)
    assert {path.name for path in config.iterdir()} == {"1.0.0", ".build.lock", ".places_1.0.0.json"}


def test_builds_of_different_processes_are_the_same_bytes(source, tmp_path):
    """Protobuf orders the features of a record by chance, once per process, unless told otherwise."""
    processes = [start(build_code(source, tmp_path / name, workers=0)) for name in "ab"]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    first, second = (tmp_path / name / "mmpsy" / "released" / "1.0.0" for name in "ab")
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes(), path.name


def test_two_builds_at_once(source, tmp_path):
    processes = [start(build_code(source, tmp_path, workers=0)) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    folder = tmp_path / "mmpsy" / "released" / "1.0.0"
    assert [out.strip() for out, _ in outputs] == [str(folder)] * 2
    # One of them waited (or came when all was done) and found the dataset: it built nothing.
    assert sum("0/60" in error for _, error in outputs) == 1, outputs
    assert_whole(folder)


def test_full_disk(source, tmp_path):
    # The child limits itself: a preexec_fn would fork this process, which holds JAX's threads.
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    )
    process = start(limit + build_code(source, tmp_path, workers=0))
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert (
        "InputError" in error.splitlines()[-1]
        and "free some space or give another --data_dir" in error.splitlines()[-1]
    )
    assert {path.name for path in (tmp_path / "mmpsy" / "released").iterdir()} == {".build.lock"}


def test_too_little_space_is_said_before_anything_is_written(source, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("data_builders.common.plan.shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs about 0\.00 GB, 0\.00 GB are free"):
        cli.build("mmpsy/released", tmp_path, source=source, workers=0)
    assert {path.name for path in (tmp_path / "mmpsy" / "released").iterdir()} == {".build.lock"}


def test_a_data_dir_that_is_a_file(source, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*--data_dir"):
        cli.build("mmpsy/released", tmp_path / "data", source=source, workers=0)


def test_neither_builder_nor_workers_import_jax_or_tensorflow(source, tmp_path):
    code = build_code(source, tmp_path, workers=1) + (
        "\nimport sys"
        "\nfrom data_builders.common import shards"
        "\nfrom data_builders.mmpsy import source"
        f"\nopened = source.ReleasedSource({str(source)!r})"
        "\nwith shards.make_pool(1) as pool:"
        "\n    pool.submit(shards.read_participant, opened, 'user_1').result()"
        "\n    worker = pool.submit(eval, \"list(__import__('sys').modules)\").result()"
        "\nprint([m for m in ('jax', 'tensorflow') if m in sys.modules], len(worker) > 50,"
        "\n      [m for m in ('jax', 'tensorflow', 'tensorflow_datasets') if m in worker])"
    )
    process = start(code)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert out.splitlines()[-1] == "[] True []"


def test_leftovers_are_removed_and_a_dataset_set_aside_comes_back(tmp_path):
    version = tmp_path / "1.0.0"
    (tmp_path / "incomplete.ABCDEF_1.0.0").mkdir()
    (tmp_path / "incomplete.ABCDEF_2.0.0").mkdir()
    (tmp_path / "incomplete.REPLACED_1.0.0").mkdir()
    (tmp_path / "incomplete.REPLACED_1.0.0" / "old").touch()
    assert place.clean(version) == ["incomplete.ABCDEF_1.0.0"]
    assert (version / "old").exists()
    # Killed between the rename of the successor and the removal of what it replaced.
    (tmp_path / "incomplete.REPLACED_1.0.0").mkdir()
    assert place.clean(version) == ["incomplete.REPLACED_1.0.0"]
    assert {path.name for path in tmp_path.iterdir()} == {"1.0.0", "incomplete.ABCDEF_2.0.0"}


def test_the_lock_may_be_taken_again_by_its_holder_only(tmp_path):
    code = f"from data_builders.common import place\nwith place.exclusive({str(tmp_path / '1.0.0')!r}): print('mine')"
    with place.exclusive(tmp_path / "1.0.0"):
        aside = tmp_path / "incomplete.REPLACED_1.0.0"
        aside.mkdir()
        with place.exclusive(tmp_path / "1.0.0"):
            assert aside.exists(), "the inner holder must not touch what the outer one set aside"
        other = start(code)
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=3)
    out, error = other.communicate(timeout=30)
    assert out == "mine\n" and "waiting" in error
