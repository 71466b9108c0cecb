"""Transcripts as text, files and folders, with and without times; files of which nothing is right."""

import numpy as np
import pytest

from mmpsy_jax.features import transcript
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.io import InputError


def read(path, speaker=""):
    return Entry("p", transcript=path, speaker=speaker).words()


def test_lines_are_answers(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\n\n two \r\n", "utf-8")
    made = read(tmp_path / "a.txt")
    assert made == transcript.from_text("one\n\n two ") and made.answers == ("one", " two ")
    assert made.questions == (1, 2) and made.times is None and made.text == "one\n two "


def test_a_folder_holds_an_answer_a_file_in_natural_order(tmp_path):
    for name, text in (("wav_10.txt", "ten"), ("wav_9.txt", "nine\nnine"), (".hidden.txt", "no"), ("x.csv", "no")):
        (tmp_path / name).write_text(text)
    made = read(tmp_path)
    assert made.answers == ("nine nine", "ten") and made.questions == (1, 2)


def test_answers_with_times(tmp_path):
    (tmp_path / "a.csv").write_text("text,start,end,question\nabcd,1,3,7\nxy,10,11,9\n")
    made = read(tmp_path / "a.csv")
    assert made.answers == ("abcd", "xy") and made.questions == (7, 9)
    assert made.times == (1, 1.5, 2, 2.5, 3, 10, 10.5)  # the newline is spoken at the end of its answer


def test_words_with_times(tmp_path):
    (tmp_path / "a.csv").write_text("word,start,end,question\nab,0,1,1\ncd,2,3,1\n睡,4,5,2\n得,5,6,2\n", "utf-8")
    made = read(tmp_path / "a.csv")
    assert made.answers == ("ab cd", "睡得") and made.questions == (1, 2)
    assert made.times == (0, 0.5, 2, 2, 2.5, 2.5, 4, 5) and len(made.times) == len(made.text)
    (tmp_path / "b.csv").write_text("word\nab\ncd\n")
    assert read(tmp_path / "b.csv") == transcript.Transcript(("ab cd",), (1,))


def test_answers_spoken_in_recordings_of_their_own():
    made = transcript.Transcript(("ab", "", "wxyz"), (1, 2, 3)).spoken_in([4.0, 1.0, 2.0])
    assert made.times == (0, 2, 4, 5, 5, 5.5, 6, 6.5)
    np.testing.assert_allclose(transcript.evenly(4, 2.0), [0.25, 0.75, 1.25, 1.75])


def test_suffixes_in_any_case(tmp_path):
    for name in ("wav_1.txt", "wav_2.TXT", "wav_3.Txt"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path).answers == ("wav_1.txt", "wav_2.TXT", "wav_3.Txt")
    assert read(tmp_path / "wav_2.TXT").answers == ("wav_2.TXT",)
    (tmp_path / "T.CSV").write_text("text\nhello\n")
    assert read(tmp_path / "T.CSV").answers == ("hello",)


def test_only_the_rows_of_the_participant_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,start,end,speaker\nhow are you,0,1,interviewer\nwell,2,3,Participant\nyes,4,5,\n")
    made = read(path)
    assert made.answers == ("well",) and made.times == (2, 2.25, 2.5, 2.75)
    assert made.notes == ("rows that name no speaker and are left out: 1",)
    assert read(path, "INTERVIEWER").answers == ("how are you",)
    words = "word,start,end,speaker\nhow,0,1,S1\nfi,1,2,S2\nne,2,3,S2\nand,3,4,S1\nno,4,5,S2\n"
    path.write_text(words)
    made = read(path, "s2")  # a turn is an answer
    assert made.answers == ("fi ne", "no") and made.questions == (1, 2) and len(made.times) == len(made.text)


def test_the_layout_of_daic_woz(tmp_path):
    rows = [
        "start_time\tstop_time\tspeaker\tvalue",
        "1.5\t2\tEllie\tso, how are you",
        "3\t4\tParticipant\tgood, so far",
    ]
    (tmp_path / "300_TRANSCRIPT.csv").write_text("\n".join(rows) + "\n")
    made = read(tmp_path / "300_TRANSCRIPT.csv")
    assert made.answers == ("good, so far",) and made.times[0] == 3 and made.times[-1] < 4
    assert made.notes == ()
    (tmp_path / "300.csv").write_text("Start_Time,End_Time,Text,Confidence\n3,4,good,0.9\n")
    assert read(tmp_path / "300.csv").times == (3, 3.25, 3.5, 3.75) and read(tmp_path / "300.csv").notes == ()
    (tmp_path / "301_TRANSCRIPT.csv").write_text("\n".join(row.replace("value", "text") for row in rows))
    assert read(tmp_path / "301_TRANSCRIPT.csv").notes[0] == "cells are read as separated by tabs"


def test_words_without_times_lie_between_their_neighbours(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("word,start,end\nah,,\nbb,1,2\ncc,,\ndd,,\nee,4,5\nff,,\n")
    made = read(path)
    assert made.text == "ah bb cc dd ee ff"
    starts = [made.times[made.text.index(word)] for word in ("ah", "bb", "cc", "dd", "ee", "ff")]
    assert starts == [1, 1, 2, 3, 4, 5]  # before the first and after the last time there is none to share
    assert made.notes == ("rows without times, placed between their neighbours: 4",)
    path.write_text("text,start,end\nab,0,1\ncd,,\nef,3,\n")
    assert read(path).times == (0, 0.5, 1, 1, 2, 3, 3, 3)
    path.write_text("word,start,end\nab,,\ncd,,\n")
    assert read(path).times is None and read(path).text == "ab cd"


@pytest.mark.parametrize("unit", ["text", "word"])
def test_times_without_words_are_counted_and_do_no_harm(tmp_path, unit):
    (tmp_path / "a.csv").write_text(f"{unit},question,start,end\n,1,0,1\nab,2,2,3\n,2,3,4\n,3,,\n")
    made = read(tmp_path / "a.csv")
    assert len(made.times) == len(made.text) and made.times[made.text.index("a")] == 2
    assert "rows with times and without words: 2" in made.notes and "rows without words: 1" in made.notes


SRT = """1
00:00:01,000 --> 00:00:02,000
[SPEAKER_00]: How are you?

2
00:00:02,500 --> 00:00:03,500
[SPEAKER_01]: <i>Fine</i>,
all &amp; all

"""
VTT = """WEBVTT - a title
Kind: captions

NOTE of nobody
said by nobody

intro
00:01.000 --> 00:02.000 align:start
<v Ellie>How are you?</v>

00:02.500 --> 00:03.500
<v SPEAKER_01>Fine, <c>all</c> <00:03.000>&amp; all

"""


@pytest.mark.parametrize(("name", "content"), [("a.txt", SRT), ("a.srt", SRT), ("a.VTT", VTT), ("a.txt", VTT)])
def test_subtitles_whatever_they_are_called(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    made = read(tmp_path / name, "SPEAKER_01")
    assert made.answers == ("Fine, all & all",) and made.times[0] == 2.5 and made.times[-1] < 3.5
    (tmp_path / name).write_text(
        content.replace("[SPEAKER_00]: ", "").replace("[SPEAKER_01]: ", "").replace("<v", "<c")
    )
    made = read(tmp_path / name)
    assert made.answers == ("How are you?", "Fine, all & all") and made.questions == (1, 2)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"words\nx\n", "no column text or word"),
        ("a.csv", b"", "no column text or word"),
        ("a.csv", b"text,start\nx,1\n", "start with end"),
        ("a.csv", b"text,start,end\nsecret,1,later\n", "line 2: end is no number of 0 or more: mend"),
        ("a.csv", b"text,start,end\nsecret,2,1\n", "line 2: end is before start"),
        ("a.csv", b"text,start,end\nsecret,nan,1\n", "line 2: start is no number of 0 or more"),
        ("a.csv", b"text,start,end\nsecret,0,inf\n", "line 2: end is no number of 0 or more"),
        ("a.csv", b"text,start,end\nsecret\n", "has 1 cells, the header 3"),
        (
            "a.csv",
            b"text,question\nsecret,one\n",
            "question is no whole number from 0 to 99999: mend the cell, or",
        ),
        ("a.csv", b'text\n"secret\n', "not CSV"),
        ("a.txt", b"secret\xff", "not UTF-8 at byte 6"),
        ("a.docx", b"secret", "transcripts are .txt, .srt, .vtt, .csv, .tsv, .json, "),
        (
            "a.csv",
            b"text,speaker\nsecret,A\nsecret,B\n",
            r"none of its 2 speakers is called 'participant': name .* turns of each: A \(1\), B \(1\)$",
        ),
        ("a.csv", b"text,mood\nsecret,secret\n", "unknown column 'mood'"),
        ("a.csv", b"text,start,end\nsecret,1_0,20\n", "line 2: start is no number of 0 or more"),
        ("a.txt", b"1\n00:01 --> 00:02\nsecret\n\n00:02 --> secret\n", "line 5: no times of a subtitle"),
        ("a.srt", b"00:02 --> 00:01\nsecret\n", "line 1: the subtitle ends before it starts"),
        ("a.txt", b"secret\nsecret\n\n1\n00:01 --> 00:02\nsecret\n", "words before the first times"),
        ("a.srt", b"secret\n", "words before the first times"),
        ("folder", None, "holds no .txt file"),
        ("absent.txt", None, "cannot be read"),
    ],
)
def test_bad_files_get_a_reason_without_their_words(tmp_path, name, content, reason):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as raised:
        read(path)
    assert str(path) in str(raised.value) and "secret" not in str(raised.value)


def test_a_transcript_without_words_is_noted(tmp_path):
    for name, content in (("a.txt", " \n"), ("b.csv", "text\n"), ("c.srt", "")):
        (tmp_path / name).write_text(content)
        assert read(tmp_path / name).notes == ("holds no words",)
    folder = tmp_path / "answers"
    folder.mkdir()
    for number, content in enumerate(("", "yes", " ")):
        (folder / f"wav_{number}.txt").write_text(content)
    assert read(folder).notes == ("files without words: 2",)
