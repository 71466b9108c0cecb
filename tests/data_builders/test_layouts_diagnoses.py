"""CMDC, ANDROIDS and PDCH: each published oddity on a synthetic tree, and what is wrong with a folder is one line."""

import csv
import shutil

import openpyxl
import pytest

from data_builders.common import cli
from data_builders.interviews import layouts
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("trees")
    return {name: layouts.synthesize(name, root / name, participants=6) for name in ("cmdc", "androids", "pdch")}


@pytest.fixture
def cmdc(trees, tmp_path):
    return shutil.copytree(trees["cmdc"], tmp_path / "cmdc")


@pytest.fixture
def androids(trees, tmp_path):
    return shutil.copytree(trees["androids"], tmp_path / "androids")


@pytest.fixture
def pdch(trees, tmp_path):
    return shutil.copytree(trees["pdch"], tmp_path / "pdch")


def entries(found):
    return {entry.participant: entry for entry in found.entries}


def problems(folder, name):
    return cli.check(folder, f"interviews/{name}")["problems"]


def test_cmdc_nested_and_flat_has_answers_in_order_and_the_diagnosis_of_the_name(cmdc):
    found = layouts.read("cmdc", cmdc)
    people = entries(found)
    assert list(people) == ["HC01", "HC02", "HC03", "MDD01", "MDD02", "MDD03"] and (cmdc / "HC02" / "Q9.txt").exists()
    for one, entry in people.items():
        assert entry.labels["depressed"] == entry.labels["diagnosis"] == one.startswith("MDD")
    assert found.classes == {"diagnosis": ("control", "mdd")} and found.ranges["phq9"] == (0, 27)
    first = people["MDD01"].parts
    assert [part.recording.name for part in first][:3] == ["Q1-.wav", "Q2.wav", "Q3.wav"] and len(first) == 12
    assert first[9].recording.name == "Q10.wav" and first[9].transcript.name == "Q10.txt"
    assert dict(found.notes_of) == {"HC01": "11 of 12 answers are here", "MDD02": "has no PHQ-9"}


def test_scores_of_cmdc_with_items_without_and_from_another_table(cmdc):
    table = cmdc / "SubjectInfo.csv"
    one = entries(layouts.read("cmdc", cmdc))["HC01"].labels
    assert one["phq9"] == sum(one[f"phq9_{n}"] for n in range(1, 10)) and one["phq9_1"] is not None
    rows = list(csv.reader(table.read_text().splitlines()))
    rows[1][-1] = str(int(rows[1][-1]) + 1)
    table.write_text("\n".join(map(",".join, rows)))
    assert "is not the sum of its items" in dict(layouts.read("cmdc", cmdc).notes_of)[rows[1][0]]
    table.write_text("no,name,PHQ-9\n1,HC01,4\n2,mdd1,20\n3,HC40,0\n")
    found = layouts.read("cmdc", cmdc)
    assert entries(found)["MDD01"].labels["phq9"] == 20 and entries(found)["HC02"].labels["phq9"] is None
    assert any("without a folder: HC40" in note for note in found.notes)
    table.write_text("name,PHQ-9\nHC01,28\n")
    with pytest.raises(InputError, match=r"SubjectInfo\.csv: line 2: PHQ-9 is no whole number from 0 to 27"):
        layouts.read("cmdc", cmdc)
    table.write_text("a,b\n1,2\n")
    found = layouts.read("cmdc", cmdc)
    assert found.labels == ("depressed", "diagnosis") and any("is not read: no column of ids" in n for n in found.notes)


def test_folds_of_cmdc_are_kept_where_they_list_everybody(cmdc):
    assert {entry.fold for entry in layouts.read("cmdc", cmdc).entries} == {"1", "2", "3"}
    table = cmdc / "SubjectInfo.csv"
    table.write_text(table.read_text().replace("HC01,1", "HC01,"))
    found = layouts.read("cmdc", cmdc)
    assert {entry.fold for entry in found.entries} == {""} and "they do not list HC01" in " ".join(found.notes)


def test_what_is_wrong_with_folders_of_cmdc_is_named(cmdc):
    (cmdc / "HC" / "HC01" / "Q3.wav").unlink()
    (cmdc / "HC02" / "Q4.txt").unlink()
    shutil.copytree(cmdc / "HC" / "HC03", cmdc / "HC" / "pilot")
    assert problems(cmdc, "cmdc") == [
        "HC01: lacks Q3.wav",
        "HC02: lacks Q4.txt",
        "pilot: its folder is not called like MDD01 or HC01: rename it, or move it elsewhere",
    ]
    (one,) = layouts.read("cmdc", cmdc / "HC" / "pilot", scored=False).entries
    assert (one.participant, one.labels, len(one.parts)) == ("pilot", {}, 12)
    shutil.copy(cmdc / "HC" / "HC03" / "Q1.wav", cmdc / "HC" / "HC03" / "Q1-.wav")
    with pytest.raises(InputError, match=r"the same answer is Q1-?\.wav: keep one"):
        layouts.read("cmdc", cmdc)
    shutil.copytree(cmdc / "HC02", cmdc / "HC" / "HC2")
    with pytest.raises(InputError, match=r"the same person lies at .*HC02: keep one"):
        layouts.read("cmdc", cmdc)


def root(androids):
    return androids / "Androids-Corpus" / "Androids-Corpus"  # untarred twice


def test_androids_reads_names_turns_and_folds(androids):
    found = layouts.read("androids", androids)
    people = entries(found)
    assert len(people) == 11 and "01_C_reading" not in people  # who was interviewed only
    one, same = people["01_P_interview"], people["01_P_reading"]
    assert one.cluster == same.cluster == "01_P" and one.labels == {"depressed": 1, "diagnosis": 1} and found.clustered
    assert (one.subgroups["sex"], one.subgroups["education"]) == ("female", "lower secondary")
    assert [part.recording.name[-6:] for part in people["01_C_interview"].parts] == ["_1.wav", "_2.wav", "_3.wav"]
    (whole,) = one.parts  # has no clips: what is outside of its turns is left out
    assert whole.omit[0][0] == 0 and len(whole.omit) == 4 and whole.omit[-1][1] > 1e5 and not same.parts[0].omit
    assert {entry.fold for entry in people.values()} == {"1", "2", "3"}


def test_one_task_of_androids_and_folds_that_part_people(androids):
    lists = root(androids) / "fold-lists.csv"
    rows = list(csv.reader(lists.read_text().splitlines()))
    assert rows[0][7] == "Interview" and rows[2][0][0] == "'"
    rows[2][0], rows[2][1] = rows[2][1], rows[2][0]
    lists.write_text("\n".join(map(",".join, rows)))
    found = layouts.read("androids", androids)
    assert {entry.fold for entry in found.entries} == {""} and "give one of their tasks as source" in found.notes[0]
    found = layouts.read("androids", root(androids) / "Interview-Task")
    assert {entry.subgroups["task"] for entry in found.entries} == {"interview"} and not found.notes
    assert {entry.fold for entry in found.entries} == {"1", "2", "3"}
    lists.write_text("a,b\n1,2\n")
    assert "no columns of folds below Read and Interview" in layouts.read("androids", androids).notes[0]


def test_what_is_wrong_with_files_of_androids_is_named(androids):
    place = root(androids) / "Interview-Task" / "audio" / "HC"
    (times := root(androids) / "interview_timedata.csv").write_text("")
    shutil.copy(next(place.glob("*.wav")), place / "room.wav")
    shutil.copy(next(place.glob("03_C*.wav")), place / "09_XF30_X.wav")
    shutil.copy(next(place.glob("02_C*.wav")), place.parent / "PT" / "08_CF40_2.wav")
    assert [line.split(":")[0] for line in problems(androids, "androids")] == [
        "01_P_interview",
        "08_C_interview",
        "09_X_interview",
        "room.wav",
    ]
    assert "neither clips in audio_clip/ nor times" in problems(androids, "androids")[0]
    times.write_text("08_CF40_2,0.5,1\n09_XF30_X,0,1,1.5,2\n")
    found = layouts.read("androids", androids)
    notes = dict(found.notes_of)
    assert "lies in the folder of the other group" in notes["08_C_interview"]
    assert "neither patient nor control" in notes["09_X_interview"]
    assert entries(found)["09_X_interview"].labels == {"depressed": None, "diagnosis": None}
    times.write_text("08_CF40_2,0.5,1,2\n")
    with pytest.raises(InputError, match=r"interview_timedata\.csv: line 1 has 3 times: a turn has a start and an end"):
        layouts.read("androids", androids)
    times.write_text("")
    shutil.copytree(root(androids), androids / "Androids-Corpus" / "copy")
    with pytest.raises(InputError, match="too: keep one of the two"):
        layouts.read("androids", androids)


def test_pdch_has_occasions_of_a_person_and_a_transcript_for_each_recording(pdch):
    found = layouts.read("pdch", pdch)
    people = entries(found)
    assert list(people) == ["001A", "001B", "002A", "003A", "004A", "004B", "005A", "006A"] and found.clustered
    assert people["001A"].cluster == people["001B"].cluster == "001" and people["001B"].subgroups == {"occasion": "B"}
    assert [part.recording.name for part in people["002A"].parts] == ["0.wav", "1.wav"]
    assert people["002A"].parts[1].transcript.name == "1_correction_timestamp_emotion.txt"
    assert people["002A"].speaker == "患者" and found.ranges["hamd17"] == (0, 52)
    assert [one for one, entry in people.items() if entry.labels["hamd17"] is None] == ["001B", "002A", "004B"]
    assert found.notes == ("occasions without a total of the HAMD-17: 3",)
    assert people["003A"].labels["hamd17_14"] is None and people["002A"].labels["hamd17_14"] is not None  # 9


def test_what_is_wrong_with_folders_and_the_sheet_of_pdch_is_named(pdch):
    data, table = pdch / "wav_data", pdch / "HAMD_annotation_en.xlsx"
    (data / "002A" / "1_correction_timestamp_emotion.txt").unlink()
    (data / "001A" / "0_correction_timestamp_emotion.txt").unlink()
    shutil.rmtree(data / "003A")
    shutil.copytree(data / "005A", data / "7B")
    shutil.copytree(data / "005A", data / "test")
    found = layouts.read("pdch", pdch)
    notes = dict(found.notes_of)
    assert "1.wav" in notes["002A"] and [part.recording.name for part in entries(found)["002A"].parts] == ["0.wav"]
    assert "has no score" in notes["007B"] and entries(found)["007B"].cluster == "007"
    assert [line.split(":")[0] for line in problems(pdch, "pdch")] == ["001A", "003A", "test"]
    (one,) = layouts.read("pdch", data / "test", scored=False).entries
    assert (one.participant, one.speaker, one.labels) == ("test", "患者", {})
    book = openpyxl.load_workbook(table)
    book.active["S2"] = 53
    book.save(table)
    with pytest.raises(InputError, match=r"HAMD_annotation_en\.xlsx: line 2: total is no whole number from 0 to 52"):
        layouts.read("pdch", pdch)
    book.active["S1"] = "sum"
    book.save(table)
    with pytest.raises(InputError, match="no column total"):
        layouts.read("pdch", pdch)
    table.unlink()
    with pytest.raises(InputError, match=r"no table of scores: put HAMD_annotation_en\.xlsx there"):
        layouts.read("pdch", pdch)
