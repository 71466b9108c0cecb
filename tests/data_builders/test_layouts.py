"""Layouts of published corpora: what is found in them, on synthetic trees."""

import pytest

from data_builders.common import cli
from data_builders.interviews import layouts
from mmpsy_jax.io import InputError


def test_all_layouts_are_named_after_a_corpus_and_checked_without_a_problem(tmp_path):
    for name in layouts.names():
        folder = layouts.synthesize(name, tmp_path / name, participants=5)
        report = cli.check(folder, f"interviews/{name}")
        assert report["problems"] == [], name
        assert layouts.read(name, folder).synthetic and layouts.title(name) and layouts.load(name).NEEDS


def test_a_folder_that_is_not_of_the_layout_is_named(tmp_path):
    with pytest.raises(InputError, match="nobody is found in the layout of emodb: give the folder of EmoDB"):
        layouts.read("emodb", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        layouts.read("emodb", tmp_path / "none")


def test_nothing_is_written_where_something_lies(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        layouts.synthesize("emodb", tmp_path)
    with pytest.raises(InputError, match="too few"):
        layouts.synthesize("emodb", tmp_path / "new", participants=2)


def test_emodb_says_speaker_and_emotion(tmp_path):
    folder = layouts.synthesize("emodb", tmp_path / "emodb", participants=4)
    found = layouts.read("emodb", folder)
    one = next(entry for entry in found.entries if entry.participant == "03a01Wa")
    assert (one.cluster, found.classes["emotion"][int(one.labels["emotion"])]) == ("03", "anger")
    assert len({entry.cluster for entry in found.entries}) == 4
    for unknown in ("notes 2.wav", "03a01Xa.wav"):
        (folder / "wav" / unknown).write_bytes(b"")
    (folder / "wav" / "readme.txt").write_text("x")
    problems = cli.check(folder, "interviews/emodb")["problems"]
    assert [p.split(":")[0] for p in problems] == ["03a01Xa.wav", "notes 2.wav"]
    assert all("clips are named like 03a01Fa.wav" in problem for problem in problems)
