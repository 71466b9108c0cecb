"""Reading a table: what is accepted, in which order it comes back, and what each mistake is called."""

import json
from pathlib import Path

import pytest

from mmpsy_jax.features import table
from mmpsy_jax.io import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "mmpsy"


def entry(name="user_1", phq=7, gad=6, audios=None):
    return {
        "user_id": name,
        "phq-label": {"score": phq, "level": "Mild"},
        "gad-label": {"score": gad, "level": "Mild"},
        "audios": {"wav_1.wav": "甲", "wav_2.wav": "乙"} if audios is None else audios,
    }


def write(folder, content):
    path = folder / "wav_select.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_answers_and_participants_come_in_natural_order(tmp_path):
    audios = {f"wav_{number}.wav": f"第{number}" for number in (10, 2, 1, 9)}
    path = write(tmp_path, [entry("user_10", audios=audios), entry("user_9"), entry("user_2")])
    interviews = table.read_table(path)
    assert [interview.participant for interview in interviews] == ["user_2", "user_9", "user_10"]
    assert interviews[2].questions == (1, 2, 9, 10)
    assert interviews[2].answers == ("第1", "第2", "第9", "第10")
    assert interviews[0].scores == {"phq9": 7, "gad7": 6}
    assert interviews[0].levels == {"phq9": "Mild", "gad7": "Mild"}


def test_file_folder_and_parent_are_the_same_table(tmp_path):
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data", [entry()])
    assert table.transcripts(path) == table.transcripts(tmp_path) == table.transcripts(tmp_path / "data")
    assert table.transcripts(path) == {"user_1": "甲\n乙"}


def test_unknown_scores_and_whole_floats(tmp_path):
    first, second = table.read_table(write(tmp_path, [entry("a", phq=None, gad=3.0), entry("b", phq=27, gad=0)]))
    assert first.scores == {"phq9": None, "gad7": 3}
    assert second.scores == {"phq9": 27, "gad7": 0}


def without(key):
    made = entry()
    del made[key]
    return made


BAD = {
    "a dictionary, as the README shows it": ({"user_1": entry()}, "JSON object.*list"),
    "empty": ([], "empty"),
    "no list of objects": ([3], "must be an object"),
    "id twice": ([entry(), entry()], "entry 1 and entry 2 have the same id"),
    "ids equal but for case": ([entry("User_1"), entry("user_1")], "entry 1 and entry 2 have the same id"),
    "no id": ([without("user_id")], "'user_id' is missing"),
    "no label": ([without("gad-label")], "'gad-label' is missing"),
    "no answers": ([without("audios")], "'audios' is missing"),
    "id leaves the folder": ([entry("../user_1")], "cannot be an id"),
    "id is a formula": ([entry("=1+1")], "cannot be an id"),
    "id is a number": ([entry(5)], "must be a string"),
    "phq too high": ([entry(phq=28)], "outside 0 to 27"),
    "gad too high": ([entry(gad=22)], "outside 0 to 21"),
    "negative": ([entry(phq=-1)], "outside 0 to 27"),
    "fraction": ([entry(phq=1.5)], "whole number"),
    "true": ([entry(phq=True)], "whole number"),
    "string": ([entry(phq="7")], "whole number"),
    "no score": ([{**entry(), "phq-label": {"level": "Mild"}}], "has no 'score'"),
    "unknown answer name": ([entry(audios={"question.wav": "甲"})], "wav_<number>.wav"),
    "answer twice": ([entry(audios={"wav_1.wav": "甲", "wav_01.wav": "乙"})], "question 1 twice"),
    "answer is a list": ([entry(audios={"wav_1.wav": ["甲"]})], "must be a string"),
    "cut short": ('[{"user_id": "user_1"', "not JSON.*line 1"),
    "NaN": ('[{"user_id": "u", "audios": {}, "gad-label": {"score": 1}, "phq-label": {"score": NaN}}]', "whole number"),
    "equal keys": ('[{"user_id": "a", "user_id": "b"}]', "has the key user_id twice"),
    "nested": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(tmp_path, name):
    content, message = BAD[name]
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        table.read_table(path)
    assert str(path) in str(caught.value)


def test_no_table_and_wrong_encoding(tmp_path):
    with pytest.raises(InputError, match="no table here"):
        table.read_table(tmp_path)
    path = tmp_path / "wav_select.json"
    path.write_bytes(json.dumps([entry()], ensure_ascii=False).encode("gb18030"))
    with pytest.raises(InputError, match="not UTF-8"):
        table.read_table(path)
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([entry()]).encode())
    assert len(table.read_table(path)) == 1


def test_messages_show_neither_text_nor_score(tmp_path):
    path = write(tmp_path, [entry(phq=28, audios={"wav_1.wav": "秘密的话"})])
    with pytest.raises(InputError) as caught:
        table.read_table(path)
    assert "秘密" not in str(caught.value)
    assert "28" not in str(caught.value).replace(str(tmp_path), "")


def test_natural_key():
    names = ["user_10", "user_2", "a", "user_1b", "user_1"]
    assert sorted(names, key=table.natural_key) == ["a", "user_1", "user_1b", "user_2", "user_10"]


@pytest.mark.skipif(not (REAL / "wav_select.json").is_file(), reason="the real table is not on this machine")
def test_real_table():
    interviews = table.read_table(REAL)
    assert len(interviews) == 1020
    assert sum(len(interview.answers) for interview in interviews) == 7524
    assert sum(interview.scores["phq9"] >= 10 for interview in interviews) == 206
    assert sum(interview.scores["gad7"] >= 10 for interview in interviews) == 109
