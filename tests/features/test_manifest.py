"""Manifests: what they say, in both formats, and what is refused with its line."""

import json
import os

import pytest

from mmpsy_jax.features import manifest
from mmpsy_jax.io import InputError

CSV = """participant,recording,text,label:phq9,label:hamd,group:sex,split
p10,a.wav,,3,,f,train
p2,,"one
two",27,50.0,,test
"""


def test_csv_and_jsonl_say_the_same(tmp_path):
    (tmp_path / "m.csv").write_text(CSV)
    (tmp_path / "a.wav").touch()
    rows = [
        {"participant": "p10", "recording": "a.wav", "label:phq9": 3, "group:sex": "f", "split": "train"},
        {"participant": "p2", "text": "one\ntwo", "label:phq9": 27, "label:hamd": 50, "split": "test"},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    made, other = (manifest.read(tmp_path / name) for name in ("m.csv", "m.jsonl"))
    assert made.labels == ("phq9", "hamd") and made.subgroups == ("sex",)
    assert [entry.participant for entry in made.entries] == ["p2", "p10"]
    two, ten = made.entries
    assert ten.recordings() == [tmp_path / "a.wav"] and ten.labels == {"phq9": 3, "hamd": None}
    assert two.words().answers == ("one", "two") and two.labels == {"phq9": 27, "hamd": 50}
    assert ten.subgroups == {"sex": "f"} and two.subgroups == {"sex": ""} and two.split == "test"
    assert made.entries == other.entries and set(other.labels) == set(made.labels)
    assert manifest.is_manifest(tmp_path / "m.csv") and manifest.is_manifest(tmp_path / "m.jsonl")
    (tmp_path / "other.csv").write_text("participant_id,text\n")
    assert not manifest.is_manifest(tmp_path / "other.csv") and not manifest.is_manifest(tmp_path / "absent.csv")


def test_a_manifest_as_people_have_it(tmp_path):
    text = (
        "sep=;\nParticipant;TEXT;Label:PHQ9;Cluster;Split;other:age\n p1 ;a, b;3.0;anna;Train;9\n;;;;;\np2;c;;;test;9\n"
    )
    (tmp_path / "m.csv").write_text("\ufeff" + text)
    made = manifest.read(tmp_path / "m.csv")
    one, two = made.entries
    assert one.labels == {"phq9": 3} and two.labels == {"phq9": None} and one.split == "train" and one.text == "a, b"
    assert made.clustered and (one.cluster, two.cluster) == ("anna", "p2") and manifest.is_manifest(tmp_path / "m.csv")
    assert [note.split(": ", 1)[1] for note in made.notes] == [
        "cells are read as separated by semicolons",
        "columns are read under their documented names: Participant as participant, TEXT as text, Label:PHQ9 as "
        "label:phq9, Cluster as cluster, Split as split",
        "columns that are not read: other:age",
    ]
    assert manifest.read(tmp_path / "m.csv", scored=False).entries[0].split == ""


def test_whose_rows_of_a_transcript_are_read_stands_in_the_manifest(tmp_path):
    (tmp_path / "t.csv").write_text("text,speaker\nhow are you,S0\nwell,S1\n")
    (tmp_path / "m.csv").write_text("participant,transcript,speaker\np,t.csv,s1\nq,t.csv,\n")
    p, q = manifest.read(tmp_path / "m.csv").entries
    assert p.words().answers == ("well",)
    with pytest.raises(InputError, match="none of its 2 speakers is called"):
        q.words()


def test_what_lies_beside_transcripts_and_is_not_read_is_counted(tmp_path):
    for name in ("wav_2.docx", ".hidden", "sub"):
        (tmp_path / name).touch() if name != "sub" else (tmp_path / name).mkdir()
    (tmp_path / "wav_1.TXT").write_text("yes")
    note = "files or folders beside the .txt files that are not read: 2"
    assert manifest.Entry("p", transcript=tmp_path).words().notes == (note,)
    # of a folder that holds recordings too, the rest is known where recordings are read
    assert not manifest.Entry("p", transcript=tmp_path, recording=tmp_path).words().notes


def test_what_lies_in_a_folder_of_recordings_and_is_not_read_is_known(tmp_path):
    for name in ("wav_1.wav", "wav_2.docx", "wav_1.TXT", ".hidden", "sub"):
        (tmp_path / name).touch() if name != "sub" else (tmp_path / name).mkdir()
    entry = manifest.Entry("p", recording=tmp_path)
    assert [path.name for path in entry.unread()] == ["sub", "wav_1.TXT", "wav_2.docx"]
    entry = manifest.Entry("p", recording=tmp_path, transcript=tmp_path)
    assert [path.name for path in entry.unread()] == ["sub", "wav_2.docx"]
    entry = manifest.Entry("p", recording=tmp_path, transcript=tmp_path / "wav_1.TXT")
    assert [path.name for path in entry.unread()] == ["sub", "wav_2.docx"]
    os.mkfifo(tmp_path / "wav_3.wav")
    with pytest.raises(InputError, match=r"wav_3.wav: is a named pipe, and only regular files are read"):
        entry.recordings()


def test_recordings_of_a_folder_in_natural_order(tmp_path):
    for name in ("wav_10.WAV", "wav_9.wav", "notes.txt", "._x.wav"):
        (tmp_path / name).write_bytes(b"")
    entry = manifest.Entry("p", recording=tmp_path)
    assert [path.name for path in entry.recordings()] == ["wav_9.wav", "wav_10.WAV"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no recording: give .wav"):
        manifest.Entry("p", recording=tmp_path / "empty").recordings()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no column participant, recording or transcript or text or parts: .* none that we know"),
        ("participant,label:phq9\np,1\n", "no column recording or transcript or text"),
        ("recording,label:phq9\nx.wav,1\n", "no column participant: needed"),
        ("id,text,file\np,x,y\n", "no column participant: .* the header has text, and unknown 'id', 'file': rename"),
        (
            "participant,text,phq9\np,x,1\n",
            "unknown column 'phq9': .* choose from: .*, label:phq9, subgroup:phq9",
        ),
        ("participant,text\n", "names nobody"),
        ("participant,text,lable:phq9\np,x,1\n", "unknown column 'lable:phq9': leave them out, .* or choose from"),
        ("participant,text,text\np,x,y\n", "the header repeats text"),
        ("participant,text,label:PHQ-9\np,x,1\n", "names of labels and subgroups are"),
        ("participant,text,label:audio\np,x,1\n", "records have a feature of this name"),
        ("participant,text\np\n", "line 2 has 1 cells, the header 2"),
        ('participant,text\np,"x\n', "not CSV"),
        ("participant,text\n../p,x\n", "line 2: participant cannot be an id: use"),
        ("participant,text\np,x\nP,y\n", "line 2 and line 3 have the same id .* the same cluster"),
        ("participant,text,cluster\np,x,a/b\n", "line 2: cluster cannot be an id: use"),
        ("participant,text,transcript\np,x,y.txt\n", "line 2: has both transcript and text"),
        ("participant,text,split\np,x,dev\n", "line 2: split must be train, validation, test, or empty"),
        ("participant,text,split\np,x,train\nq,y,\n", "some participants have a split and some have none"),
    ],
)
def test_bad_tables(tmp_path, content, reason):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError, match=reason):
        manifest.read(tmp_path / "m.csv")


def test_a_score_above_the_highest_of_its_questionnaire_is_refused_unless_a_scale_is_stated(tmp_path):
    (tmp_path / "m.csv").write_text("participant,text,label:phq9,label:stress\np,x,27,99\nq,y,28,99\n")
    with pytest.raises(InputError, match=r"line 3: label:phq9 is above 27, .*--ranges=phq9:LOW:HIGH"):
        manifest.read(tmp_path / "m.csv")
    assert manifest.read(tmp_path / "m.csv", ranges={"phq9": (0.0, 28.0)}).entries[1].labels["phq9"] == 28


@pytest.mark.parametrize("score", ["7.5", "-1", "seven", "nan", "inf", "1e300", "1_2", "NA"])
def test_scores_that_are_none_are_refused_but_never_shown(tmp_path, score):
    (tmp_path / "m.csv").write_text(f"participant,text,label:phq9\np,x,{score}\n")
    with pytest.raises(InputError, match="line 2: label:phq9 is no whole number of 0 or more: mend") as raised:
        manifest.read(tmp_path / "m.csv")
    assert score not in str(raised.value).split("line 2")[1]
    assert not manifest.read(tmp_path / "m.csv", scored=False).entries[0].labels  # nobody needs it to predict


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: must be a JSON object"),
        ('{"participant": "p", "text": ["a"]}', "'text' must be a string, a number or null"),
        ('{"participant": "p", "text": true}', "'text' must be a string"),
        ('{"text": "a"}', "no column participant: needed"),
        ("", "no column participant, "),
        ("\n{}\n", "no column participant, "),
        ('{"participant": "p", "text": "a", "text": "b"}', "line 1: an object has the key text twice"),
    ],
)
def test_bad_lines_of_json(tmp_path, line, reason):
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(InputError, match=reason):
        manifest.read(tmp_path / "m.jsonl")
