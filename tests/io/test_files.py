"""Places are tried before the work, and files get the permissions that the umask leaves."""

import contextlib
import json
import os
import stat

import numpy as np
import pytest

from mmpsy_jax.io import (
    InputError,
    open_npz,
    public,
    read_json,
    try_file,
    try_folder,
    with_places,
    write_atomically,
    write_json,
    write_npz,
    write_places,
)


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


CARD = {
    "source": "/home/somebody/study/manifest.csv",
    "config": "lab",
    "modalities": {"text": {"shape": [3, 4], "extractor": {"folder": "/home/somebody/embedded/"}}},
    "options": {"settings": json.dumps({"text": {"folder": "/home/somebody/embedded"}}), "skip_bad": True},
    "skipped": [{"participant": "/p1", "reason": "r/p1.wav: empty"}],
}


def test_arrays_are_read_one_by_one_and_nothing_is_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, numbers=np.arange(3), objects=np.array([{}, []], object))
    with open_npz(path) as arrays:
        assert arrays["numbers"].tolist() == [0, 1, 2] and set(arrays) == {"numbers", "objects"}
    for name in ("objects", "absent"):
        with (
            pytest.raises(InputError, match=r"a.npz: is damaged \((Value|Key)Error\): delete it"),
            open_npz(path) as arrays,
        ):
            arrays[name]
    for content in (b"", path.read_bytes()[:-9], b"no zip"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a.npz: is damaged \(BadZipFile\): delete it"), open_npz(path):
            pass


def test_json_of_another_kind_or_cut_short_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "a.json"
    for content, message in (
        ("[1]", "holds no JSON object: copy it again"),
        ('{"a": 1', "not JSON .* is it cut short\\? copy it again"),
        ('{"a": 1, "a": 2}', ".* has the key a twice"),
        (b"\xff", "not UTF-8 at byte 0: copy it again"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match=f"a.json: {message}"):
            read_json(path, "copy it again")
    with pytest.raises(InputError, match=r"b.json: cannot be read \(No such file or directory\): copy it again"):
        read_json(tmp_path / "b.json", "copy it again")
    path.write_text("[1]")
    assert read_json(path, kind=list) == [1]


def test_a_card_that_is_passed_on_names_no_folder(tmp_path):
    shown = public(CARD)
    assert "somebody" not in json.dumps(shown) and shown["source"] == "manifest.csv" and shown["config"] == "lab"
    assert shown["modalities"] == {"text": {"shape": [3, 4], "extractor": {"folder": "embedded"}}}
    assert json.loads(shown["options"]["settings"]) == {"text": {"folder": "embedded"}}
    assert shown["skipped"] == CARD["skipped"] and public(shown) == shown


def test_paths_of_a_card_stay_beside_its_folder_and_are_forgotten_with_another_card(tmp_path):
    folder = tmp_path / "lab/1.0.0"
    folder.mkdir(parents=True)
    write_places(tmp_path / "lab/incomplete.7_1.0.0", "1.0.0", CARD)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".places_1.0.0.json", "1.0.0"]
    assert stat.S_IMODE((tmp_path / "lab/.places_1.0.0.json").stat().st_mode) == 0o600
    whole = with_places(folder, public(CARD))
    assert whole["source"] == CARD["source"] and whole["modalities"] == CARD["modalities"]
    assert with_places(folder, {**public(CARD), "source": "other.csv"})["source"] == "other.csv"
    (tmp_path / "lab/.places_1.0.0.json").write_text("{")
    assert with_places(folder, public(CARD)) == public(CARD)
