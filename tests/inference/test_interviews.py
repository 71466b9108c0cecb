"""Reading what to predict on: layouts of folders and files, and files of which nothing is right."""

import json

import numpy as np
import openpyxl
import pytest

from mmpsy_jax.inference import interviews
from mmpsy_jax.io import InputError


def test_layouts(tmp_path):
    (tmp_path / "p2.txt").write_text("eins\n\nzwei\r\n", encoding="utf-8-sig")
    (tmp_path / "p10.wav").write_bytes(b"")
    (tmp_path / "t.json").write_text(json.dumps([{"user_id": "p3", "audios": {"wav_10.wav": "b", "wav_9.wav": "a"}}]))
    (tmp_path / "t.csv").write_text(
        'participant_id,audio,text,question\np4,x/y.mp3,"a,\u2028b",7\np4,z.mp3,,\n', "utf-8"
    )
    (tmp_path / "p5").mkdir()
    for number in (10, 2):
        (tmp_path / "p5" / f"{number}.FLAC").write_bytes(b"")
    found, failures = interviews.find(tmp_path)
    assert not failures
    assert [one.participant for one in found] == ["p2", "p3", "p4", "p5", "p10"]
    two, three, four, five, ten = found
    assert (two.transcript.questions, two.transcript.answers, two.recordings) == ((1, 2), ("eins", "zwei"), [])
    assert (three.transcript.questions, three.transcript.answers) == ((9, 10), ("a", "b"))
    assert (four.transcript.questions, four.transcript.answers) == ((7,), ("a,\u2028b",))
    assert four.recordings == [tmp_path / "x/y.mp3", tmp_path / "z.mp3"]
    assert [path.name for path in five.recordings] == ["2.FLAC", "10.FLAC"]
    assert ten.recordings == [tmp_path / "p10.wav"]
    (alone,), _ = interviews.find(tmp_path / "p2.txt")
    assert alone == two


def test_two_transcripts_of_one_participant_are_not_joined(tmp_path):
    (tmp_path / "a.csv").write_text("participant_id,text\nb,first\n")
    (tmp_path / "b.txt").write_text("second")
    (one,), (failure,) = interviews.find(tmp_path)
    assert (
        one.transcript.answers == ("first",) and "read already" in failure.reason and failure.what.endswith("b.txt: b")
    )


def test_scores_of_a_manifest_are_not_read(tmp_path, capsys):
    (tmp_path / "m.csv").write_text("Participant;text;label:phq9;split\np1;hello;NA;dev\np2;bye;1_2;\n")
    found, failures = interviews.find(tmp_path / "m.csv")
    assert not failures and [one.transcript.answers for one in found] == [("hello",), ("bye",)]
    printed = capsys.readouterr().err
    assert "separated by semicolons" in printed and "Participant as participant" in printed and "hello" not in printed
    (tmp_path / "m.csv").write_text("participant,text,mood\np1,hello,low\n")
    with pytest.raises(InputError, match="unknown column 'mood': leave them out"):
        interviews.find(tmp_path / "m.csv")
    (one,), _ = interviews.find(tmp_path / "m.csv", ignore=("mood",))
    assert one.transcript.answers == ("hello",)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="--ignore is about the columns of a manifest"):
        interviews.find(tmp_path / "a.txt", ignore=("mood",))


def test_subtitles_and_tables_keep_their_times_and_notes(tmp_path, capsys):
    (tmp_path / "p1.TXT").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n00:03 --> 00:04\n\n")
    (tmp_path / "p2.vtt").write_text("WEBVTT\n\n00:02.000 --> 00:04.000\nbye\n")
    (tmp_path / "p3.tsv").write_text("participant_id\ttext\np3\tx\np3\t\n")
    (one, two, three), failures = interviews.find(tmp_path)
    assert (
        not failures
        and one.transcript.answers == ("hello", "")
        and [p.transcript.times[0] for p in (one, two)] == [1, 2]
    )
    assert one.transcript.notes == ("rows with times and without words: 1",) and three.transcript.answers == ("x",)
    assert "p3.tsv: rows without words or audio: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("participant_id,words\np,x\n", "no column text or audio: needed are participant_id, "),
        ("", "no column participant_id, text or audio: "),
        ("participant_id,text\n,x\n", "line 2: participant_id is empty"),
        ("participant_id,text,question\np,x,1.5\n", "line 2: question is no whole number from 0 to 99999"),
        (
            f"participant_id,text,question\np,x,{'9' * 5000}\n",
            "line 2: question is no whole number from 0 to 99999",
        ),
        ('participant_id,text\np,"x\n', "not CSV"),
    ],
)
def test_bad_tables(tmp_path, content, reason):
    (tmp_path / "bad.csv").write_text(content)
    found, (failure,) = interviews.find(tmp_path)
    assert not found and reason in failure.reason


def test_nothing_to_read(tmp_path):
    with pytest.raises(InputError, match="holds no file that can be read"):
        interviews.find(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        interviews.find(tmp_path / "absent")


def test_random_content_never_raises(tmp_path):
    rng = np.random.default_rng(0)
    pieces = [
        b"participant_id,text\n",
        b"p,",
        b'"',
        b"\n",
        b"\x00",
        b"\xff",
        b"[{",
        b'"user_id": "a"',
        b"}]",
        "答".encode(),
    ]
    for number in range(200):
        kind = (".txt", ".json", ".csv")[number % 3]
        content = b"".join(pieces[i] for i in rng.integers(0, len(pieces), rng.integers(1, 12)))
        (tmp_path / f"{number}{kind}").write_bytes(content)
    found, failures = interviews.find(tmp_path)
    assert found and len(failures) > 100


def test_a_manifest(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "words.csv").write_text("word,start,end\nhello,0,1\nthere,1,2\n")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    lines = [
        "participant,recording,transcript,label:phq9",
        "p10,a.wav,words.csv,",
        "p2,,bad.txt,3",
        "p3,,,4",
        "p4,absent.wav,,5",
        "p5,a.wav,,",
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    found, failures = interviews.find(tmp_path / "m.csv")
    assert [one.participant for one in found] == ["p5", "p10"]
    words = found[1].transcript
    assert found[1].transcript.answers == ("hello there",) and len(words.times) == len(words.text)
    assert found[0].recordings == [tmp_path / "a.wav"] and found[0].transcript.answers == ()
    reasons = {failure.what: failure.reason for failure in failures}
    assert "not UTF-8" in reasons["p2"] and "neither a recording nor a transcript" in reasons["p3"]
    assert "no such file" in reasons["p4"] and len(reasons) == 3
    _, failures = interviews.find(tmp_path)
    assert any("give it by itself" in failure.reason for failure in failures)


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path):
    for name in ("a.WAV", "b.m4a", "c.xyz", "d.xyz", "b.wav", "README"):
        (tmp_path / name).touch()
    found, failures = interviews.find(tmp_path)
    assert [(one.participant, [file.name for file in one.recordings]) for one in found] == [
        ("a", ["a.WAV"]),
        ("b", ["b.m4a"]),
    ]
    assert [(one.what, one.reason) for one in failures] == [
        (str(tmp_path / "README"), "not read: no kind of file that is known"),
        (f"{tmp_path / 'c.xyz'} and 1 more", "not read: no kind of file that is known"),
        (str(tmp_path / "b.wav"), "another recording of this name was read already: keep one"),
    ]


def test_a_workbook_is_a_manifest_too(tmp_path):
    book = openpyxl.Workbook()
    for row in (["Participant", "text", "label:phq9"], ["p1", "a word", 3], ["p2", "another", None]):
        book.active.append(row)
    book.save(tmp_path / "m.xlsx")
    found, failures = interviews.find(tmp_path / "m.xlsx")
    assert [(one.participant, one.transcript.text) for one in found] == [("p1", "a word"), ("p2", "another")]
    assert failures == []
