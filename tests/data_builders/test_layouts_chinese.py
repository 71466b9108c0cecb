"""EATD-Corpus and MODMA: each published oddity on a synthetic tree, and what is wrong with a folder is one error."""

import shutil

import openpyxl
import pytest

from data_builders.common import cli
from data_builders.interviews import layouts
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def eatd_tree(tmp_path_factory):
    return layouts.synthesize("eatd", tmp_path_factory.mktemp("eatd") / "eatd", participants=6)


@pytest.fixture(scope="module")
def modma_tree(tmp_path_factory):
    return layouts.synthesize("modma", tmp_path_factory.mktemp("modma") / "modma", participants=4)


@pytest.fixture
def eatd(eatd_tree, tmp_path):
    return shutil.copytree(eatd_tree, tmp_path / "eatd")


@pytest.fixture
def modma(modma_tree, tmp_path):
    return shutil.copytree(modma_tree, tmp_path / "modma")


def entries(found):
    return {entry.participant: entry for entry in found.entries}


def edit(modma, change):
    """Changes the sheet of subjects."""
    table = modma / "subjects_information_audio_lanzhou_2015.xlsx"
    book = openpyxl.load_workbook(table)
    change(book.active)
    book.save(table)
    return table


def test_eatd_has_one_id_in_both_spellings_and_three_answers(eatd):
    found = layouts.read("eatd", eatd)
    people = entries(found)
    assert list(people) == ["t_1", "t_2", "t_4", "t_5", "v_3", "v_6"] and "train/1/" in str(people["t_1"].parts)
    assert [part.recording.name for part in people["t_2"].parts] == ["positive.wav", "neutral.wav", "negative.wav"]
    assert [part.transcript.name for part in people["t_2"].parts] == ["positive.txt", "neutral.txt", "negative.txt"]
    assert {one: entry.split for one, entry in people.items() if one[0] == "v"} == {"v_3": "test", "v_6": "test"}
    assert sorted(entry.split for one, entry in people.items() if one[0] == "t") == ["train"] * 3 + ["validation"]
    assert found.ranges == {"sds": (25, 100)} and any(entry.labels["sds"] % 1 for entry in people.values())
    shutil.copytree(eatd / "train" / "1", eatd / "t_1")
    with pytest.raises(InputError, match=r"train/1: the same person lies at .*t_1: keep one"):
        layouts.read("eatd", eatd)


def test_labels_of_eatd_with_blanks_alone_missing_and_contradicting(eatd):
    place = eatd / "train" / "1"
    raw = float((place / "label.txt").read_text())
    assert (place / "new_label.txt").read_text() == f" {raw * 1.25} \n"
    (place / "new_label.txt").write_text("  \n")
    found = layouts.read("eatd", eatd)
    assert entries(found)["t_1"].labels["sds"] == raw * 1.25 and "computed" in dict(found.notes_of)["t_1"]
    (place / "label.txt").unlink()
    found = layouts.read("eatd", eatd)
    assert entries(found)["t_1"].labels["sds"] is None and dict(found.notes_of)["t_1"] == "has no score"
    (place / "label.txt").write_text("25")
    (place / "new_label.txt").write_text("53.75")
    found = layouts.read("eatd", eatd)
    assert entries(found)["t_1"].labels["sds"] == 53.75 and "is not 1.25 times" in dict(found.notes_of)["t_1"]
    for wrong in ("24.9", "101", "high", "nan"):
        (place / "new_label.txt").write_text(wrong)
        with pytest.raises(InputError, match=r"train/1/new_label\.txt: the SDS is no number from 25 to 100"):
            layouts.read("eatd", eatd)


def test_denoised_recordings_of_eatd_are_read_where_there_is_no_other_and_not_where_they_are_empty(eatd):
    for place, name in ((eatd / "train" / "1", "positive"), (eatd / "t_2", "neutral")):
        (place / f"{name}.wav").unlink()
    found = layouts.read("eatd", eatd)
    assert entries(found)["t_2"].parts[1].recording.name == "neutral_out.wav"
    assert dict(found.notes_of)["t_2"] == "neutral_out.wav is read, since there is no neutral.wav"
    assert found.lacking == {"t_1": "lacks positive.wav (its _out.wav is empty)"}
    (eatd / "v_6" / "negative.txt").unlink()
    problems = cli.check(eatd, "interviews/eatd")["problems"]
    assert [problem[:12] for problem in problems] == ["t_1: lacks p", "v_6: lacks n"]


def test_one_new_folder_of_answers_is_read_without_labels_and_under_any_name(eatd):
    new = shutil.copytree(eatd / "t_2", eatd.parent / "anna")
    for label in new.glob("*label.txt"):
        label.unlink()
    (one,) = layouts.read("eatd", new, scored=False).entries
    assert (one.participant, one.labels, one.split, len(one.parts)) == ("anna", {}, "", 3)
    with pytest.raises(InputError, match=r"anna: folders of people are train/1, validation/1, t_1 or v_1"):
        layouts.read("eatd", new)


def test_modma_pads_ids_and_reads_the_sheet(modma):
    found = layouts.read("modma", modma)
    people = entries(found)
    assert all(len(one) == 8 and one[:3] == "020" for one in people) and found.labels == ("phq9", "gad7", "diagnosis")
    assert found.classes == {"diagnosis": ("control", "mdd")} and found.ranges["gad7"] == (0, 21)
    for one, entry in people.items():
        assert entry.labels["diagnosis"] == (one[:4] == "0201") == (entry.labels["phq9"] >= 10)
        assert entry.subgroups["sex"] in ("female", "male") and entry.subgroups["age"]
        assert [part.recording.stem for part in entry.parts][:3] == ["01", "02", "03"]
    assert sorted(len(entry.parts) for entry in people.values()) == [28, 29, 29, 29]
    assert [note for _, note in found.notes_of] == ["28 of 29 recordings are here"]
    assert {"02030003"} < people.keys()


def test_oddities_of_the_sheet_of_modma(modma):
    def change(sheet):
        sheet["A1"], sheet["B1"] = "Subject ID", "TYPE"
        first = next(row for row in sheet.iter_rows(min_row=2) if row[0].value)
        first[0].value, first[1].value, first[5].value = f"{first[0].value}.0", "NC", None
        sheet.append([2019999, "MDD", 30, "F", 12, 12, 0, 0, 0, 5, 5])

    edit(modma, change)
    (modma / "audio_lanzhou_2015" / "02029999").mkdir()
    shutil.copy(next(modma.rglob("01.wav")), modma / "audio_lanzhou_2015" / "02029999")
    found = layouts.read("modma", modma)
    first = entries(found)["02020001"]
    assert first.labels["diagnosis"] == 0 and first.labels["phq9"] is None
    assert found.lacking == {"02019999": "its folder is missing, or holds nothing to read"}
    assert any("02029999" in note and "does not list" in note for note in found.notes)
    edit(modma, lambda sheet: sheet.__setitem__("B4", "HC"))
    assert any("type contradicts its id" in note for _, note in layouts.read("modma", modma).notes_of)
    edit(modma, lambda sheet: sheet.__setitem__("B4", "depressed"))
    with pytest.raises(InputError, match="type in line 4"):
        layouts.read("modma", modma)
    table = edit(modma, lambda sheet: sheet.__setitem__("F1", "BDI"))
    with pytest.raises(InputError) as error:
        layouts.read("modma", modma)
    assert str(error.value).startswith(f"{table}: no column PHQ-9") and "BDI" in str(error.value)


def test_the_copy_of_16_khz_is_read_where_the_original_is_not_there(modma):
    copies = modma / "audio_lanzhou_16khz"
    shutil.copytree(modma / "audio_lanzhou_2015", copies)
    found = layouts.read("modma", modma)
    assert not any("16khz" in str(entry.parts) for entry in found.entries) and not any("copy" in n for n in found.notes)
    shutil.rmtree(modma / "audio_lanzhou_2015" / "02020001")
    found = layouts.read("modma", modma)
    assert "16khz" in str(entries(found)["02020001"].parts) and any(
        "copy is here, which is read: 1" in n for n in found.notes
    )
    shutil.copytree(copies / "02020001", modma / "again" / "02020001")
    shutil.copytree(copies / "02020001", modma / "audio_lanzhou_2015" / "02020001")
    with pytest.raises(InputError, match="the same person lies at"):
        layouts.read("modma", modma)


def test_one_folder_of_modma_is_read_without_the_sheet_and_with_transcripts_beside_recordings(modma):
    place = modma / "audio_lanzhou_2015" / "02030003"
    (place / "02.txt").write_text("好")
    (one,) = layouts.read("modma", place, scored=False).entries
    assert one.participant == "02030003" and one.labels == {} and one.words().answers == ("好",)
