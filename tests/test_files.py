"""Places are tried before the work, and files get the permissions that the umask leaves."""

import contextlib
import os
import stat

import pytest

from mmpsy_jax.errors import InputError
from mmpsy_jax.files import try_file, try_folder, write_atomically, write_json


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask_and_private_ones_are_the_users_alone(tmp_path, mask, mode):
    with umask(mask):
        write_atomically(tmp_path / "a", "x")
        write_json(tmp_path / "b", 1)
        write_json(tmp_path / "c", 1, private=True)
        write_atomically(tmp_path / "d", b"x", private=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"a": mode, "b": mode, "c": 0o600, "d": 0o600}


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    try_file(tmp_path / "there.csv")
    try_file(tmp_path / "new/deep/out.csv")
    try_folder(tmp_path / "new/deep")
    try_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("trial", "place", "message"),
    [
        (try_file, "folder", r"folder is a folder: give a file as --output$"),
        (try_folder, "file", r"file is a file: give a folder as --output$"),
        (try_file, "file/out.csv", r"file/out.csv: cannot be written \(Not a directory\): make room or permit access"),
        (try_folder, "file/out", r"file/out: cannot be written \(Not a directory\)"),
        (try_file, "x" * 300, r"cannot be written \(File name too long\)"),
        (try_folder, "/proc/no/such", r"/proc/no/such: cannot be written"),
        (try_file, "/proc/no.csv", r"/proc/no.csv: cannot be written .* or give another --output$"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path, trial, place, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=message) as caught:
        trial(tmp_path / place)
    assert "\n" not in str(caught.value) and "trial" not in str(caught.value)


def test_a_full_place_is_found_out_before_the_work(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"out.csv: cannot be written \(No space left on device\)"):
        try_file(tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())
