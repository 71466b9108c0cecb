"""DAIC-WOZ and E-DAIC: each published oddity on a synthetic tree, and what is wrong with a folder is one error."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from data_builders.common import cli
from data_builders.interviews import layouts
from data_builders.interviews.layouts import daic_woz
from mmpsy_jax.data import pooled
from mmpsy_jax.features import session
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def woz(tmp_path_factory):
    return layouts.synthesize("daic_woz", tmp_path_factory.mktemp("woz") / "woz", participants=6)


@pytest.fixture(scope="module")
def edaic(tmp_path_factory):
    return layouts.synthesize("edaic", tmp_path_factory.mktemp("edaic") / "edaic", participants=6)


@pytest.fixture
def copy(woz, tmp_path):
    return shutil.copytree(woz, tmp_path / "copy")


def entries(found):
    return {entry.participant: entry for entry in found.entries}


def test_daic_woz_says_scores_items_splits_and_gender(woz):
    found = layouts.read("daic_woz", woz)
    people = entries(found)
    assert list(people) == ["300", "301", "302", "318", "409", "451"]
    assert found.labels[:2] == ("phq8", "phq8_nointerest") and len(found.labels) == 9 and "phq9" not in found.labels
    assert found.ranges["phq8"] == (0, 24) and found.ranges["phq8_sleep"] == (0, 3)
    assert {entry.split for entry in people.values()} == {"train", "validation", "test"} and found.split_rule
    # The test list names participant_ID, and every other row of full_test_split.csv is empty.
    assert (people["451"].split, people["451"].labels["phq8_sleep"]) == ("test", None)
    assert people["451"].labels["phq8"] is not None and people["451"].subgroups["sex"] in ("female", "male")
    one = people["300"]
    assert sum(one.labels[name] for name in found.labels[1:]) == one.labels["phq8"]
    assert one.speaker == "Participant" and found.same_people_as == ("interviews/edaic",)


def test_known_errors_of_daic_woz_are_mended_and_noted(woz, copy):
    (copy / "302_P").rename(copy / "373_P")
    for file in (copy / "373_P").iterdir():
        file.rename(file.with_name(file.name.replace("302", "373")))
    for table in copy.glob("*.csv"):
        table.write_text(table.read_text().replace("302,", "373,"))
    found = layouts.read("daic_woz", copy)
    people, notes = entries(found), dict(found.notes_of)
    assert people["318"].parts[0].shift_s == pytest.approx(34.32, abs=0.01) and "318_P/318_P" in str(
        people["318"].parts
    )
    assert people["373"].parts[0].omit == ((395.0, 428.0),) and "interrupted" in notes["373"]
    assert "lacks the interviewer" in notes["451"] and "34.3" in notes["318"]
    # 409: the score of 10 contradicts the binary label, and is used; no note tells a score.
    assert people["409"].labels["phq8"] == 10 and "contradicts the score" in notes["409"] and "300" not in notes
    assert "342" not in people and any("exclude" in note and "342" in note for note in found.notes)


def test_what_is_heard_of_a_session_is_the_participant_at_the_mended_times(tmp_path):
    tree = layouts.synthesize("daic_woz", tmp_path / "woz", participants=7)
    people = entries(layouts.read("daic_woz", tree))
    shifted = session.read(people["318"]).participant
    assert shifted.transcript.times[0] > 34.319917 + 2 and "question" not in shifted.transcript.text
    samples, rate = soundfile.read(people["318"].parts[0].recording)
    (clip,) = shifted.recordings
    assert len(clip.stretches) == 4
    for start, end in clip.stretches:  # silence before and after, a voice between
        inside, before = samples[int(start * rate) + 1 : int(end * rate)], samples[int((start - 0.15) * rate) :][:1600]
        assert np.std(inside) > 5 * np.std(before)
    interrupted = session.read(people["444"])
    words = interrupted.participant.transcript.text
    assert "after it" in words and "interrupted" not in words and interrupted.omitted_characters == len("interrupted")
    assert not any(start < 387 and end > 286 for start, end in interrupted.participant.recordings[0].stretches)
    assert session.words(people["444"]) == words
    assert session.read(people["451"]).interviewer.transcript.text == ""
    assert "question 1" in session.read(people["300"]).interviewer.transcript.text


def test_synthetic_people_have_ids_of_their_own_however_many_there_are():
    ids = daic_woz._ids(250)
    assert len(set(ids)) == 250 and not {*ids} & {"342", "394", "321"} and {"409", "318", "451", "444"} < {*ids}


def test_missing_scores_of_the_test_split_and_of_items(copy):
    train = copy / "train_split_Depression_AVEC2017.csv"
    (copy / "full_test_split.csv").unlink()
    lines = train.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([f"{cells[0]}.0", *cells[1:5], "-1", "", *cells[7:]])
    train.write_text("\n".join(lines))
    found = layouts.read("daic_woz", copy)
    first = entries(found)[cells[0]]
    assert first.labels["phq8_depressed"] is None and first.labels["phq8_sleep"] is None
    assert any("test split without a score: 1" in note for note in found.notes)
    assert entries(found)["451"].labels["phq8"] is None


@pytest.mark.parametrize(
    ("name", "layout"), [("train_split_Depression_AVEC2017.csv", "daic_woz"), ("train_split.csv", "edaic")]
)
def test_a_table_of_another_release_is_named_with_columns_found_and_expected(woz, edaic, tmp_path, name, layout):
    shutil.copytree(woz if layout == "daic_woz" else edaic, tmp_path / "copy")
    table = next((tmp_path / "copy").rglob(name))
    table.write_text(table.read_text().replace("_Score", "_Total"))
    with pytest.raises(InputError) as error:
        layouts.read(layout, tmp_path / "copy")
    said = str(error.value)
    assert said.startswith(str(table)) and "_Score: needed are Participant_ID" in said and "_Total" in said
    other = "edaic" if layout == "daic_woz" else "daic_woz"
    with pytest.raises(InputError, match=r"no table of scores \(there are .*_split.*\): put "):
        layouts.read(other, tmp_path / "copy")


def test_a_person_of_two_splits_or_with_an_impossible_score_is_refused(copy):
    dev = copy / "dev_split_Depression_AVEC2017.csv"
    text = dev.read_text()
    dev.write_text(text + (copy / "train_split_Depression_AVEC2017.csv").read_text().splitlines()[1])
    with pytest.raises(InputError, match="409 are in another split"):
        layouts.read("daic_woz", copy)
    dev.write_text(f"{text.splitlines()[0]}\n300,1,27,0{',0' * 8}\n")
    with pytest.raises(InputError, match=r"line 2: PHQ8_Score is no whole number from 0 to 24"):
        layouts.read("daic_woz", copy)


def test_missing_sessions_are_left_out_where_that_is_asked_for(copy, tmp_path):
    shutil.rmtree(copy / "301_P")
    (copy / "300_P" / "300_AUDIO.wav").unlink()
    (copy / "300_P.zip").touch()
    report = cli.check(copy, "interviews/daic_woz")
    problems = "\n".join(report["problems"])
    assert "300: has a transcript without its recording" in problems and "301: its folder is missing" in problems
    assert len(report["problems"]) == 2
    (copy / "300_P" / "300_TRANSCRIPT.csv").unlink()
    assert layouts.read("daic_woz", copy).lacking["300"] == "300_P.zip is not unpacked"
    # The published splits go where one of them has nobody left.
    found = layouts.read("daic_woz", copy)
    assert {entry.split for entry in found.entries} == {""} and any("nobody of validation" in n for n in found.notes)


def test_two_copies_of_a_session_and_a_session_without_a_row(copy):
    shutil.copytree(copy / "300_P", copy / "499_P")
    for file in (copy / "499_P").iterdir():
        file.rename(file.with_name(file.name.replace("300", "499")))
    found = layouts.read("daic_woz", copy)
    assert "499" not in entries(found) and any("no table of splits lists" in n and "499" in n for n in found.notes)
    shutil.copytree(copy / "300_P", copy / "old" / "300_P")
    with pytest.raises(InputError, match=r"300_AUDIO\.wav, too: keep one"):
        layouts.read("daic_woz", copy)


def test_one_session_is_read_without_any_table(woz, edaic):
    (one,) = layouts.read("daic_woz", woz / "300_P", scored=False).entries
    assert (one.participant, one.labels, one.split) == ("300", {}, "") and one.has_recording and one.has_words
    found = layouts.read("edaic", edaic / "601_P.tar", scored=False)
    assert [entry.participant for entry in found.entries] == ["601"]
    with pytest.raises(InputError, match="no table of scores"):
        layouts.read("daic_woz", woz / "300_P")


def test_edaic_has_the_ids_of_daic_woz_items_and_trauma(edaic):
    found = layouts.read("edaic", edaic)
    people = entries(found)
    assert list(people) == ["300", "302", "304", "601", "603", "605"] and found.same_people_as == (
        "interviews/daic_woz",
    )
    assert (
        found.labels[-1] == "pclc"
        and found.ranges["pclc"] == (17, 85)
        and any("name no speaker" in n for n in found.notes)
    )
    tested = next(entry for entry in people.values() if entry.split == "test")
    assert tested.labels["phq8_tired"] is None and tested.labels["phq8"] is not None
    words = people["300"].words()
    assert words.text.startswith("question 1")  # both speak
    assert "601_P.tar/601_P" in str(people["601"].parts)


def test_both_corpora_in_one_experiment_are_refused_with_the_ids_that_overlap(woz, edaic, tmp_path):
    settings = {"n_fft": 512, "hop": 320, "bands": 8, "window_seconds": 20, "overlap_seconds": 0}
    (tmp_path / "settings.json").write_text(json.dumps({"audio": settings}))
    trees = {"daic_woz": woz, "edaic": edaic}
    options = {"settings": tmp_path / "settings.json", "workers": 0}
    built = [cli.build(f"interviews/{name}", tmp_path, source=tree, **options) for name, tree in trees.items()]
    with pytest.raises(InputError, match=r"daic_woz and .*edaic hold the same 2 people \(30[02], 30[02]\)"):
        pooled.open_corpora(",".join(map(str, built)))
