"""Transcripts as text, files and folders, with and without times; files of which nothing is right."""

import numpy as np
import pytest

from mmpsy_jax.errors import InputError
from mmpsy_jax.features import transcript


def test_lines_are_answers(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\n\n two \r\n", "utf-8")
    made = transcript.read(tmp_path / "a.txt")
    assert made == transcript.from_text("one\n\n two ") and made.answers == ("one", " two ")
    assert made.questions == (1, 2) and made.times is None and made.text == "one\n two "


def test_a_folder_holds_an_answer_a_file_in_natural_order(tmp_path):
    for name, text in (("wav_10.txt", "ten"), ("wav_9.txt", "nine\nnine"), (".hidden.txt", "no"), ("x.csv", "no")):
        (tmp_path / name).write_text(text)
    made = transcript.read(tmp_path)
    assert made.answers == ("nine nine", "ten") and made.questions == (1, 2)


def test_answers_with_times(tmp_path):
    (tmp_path / "a.csv").write_text("text,start,end,question\nabcd,1,3,7\nxy,10,11,9\n")
    made = transcript.read(tmp_path / "a.csv")
    assert made.answers == ("abcd", "xy") and made.questions == (7, 9)
    assert made.times == (1, 1.5, 2, 2.5, 3, 10, 10.5)  # the newline is spoken at the end of its answer


def test_words_with_times(tmp_path):
    (tmp_path / "a.csv").write_text("word,start,end,question\nab,0,1,1\ncd,2,3,1\n睡,4,5,2\n得,5,6,2\n", "utf-8")
    made = transcript.read(tmp_path / "a.csv")
    assert made.answers == ("ab cd", "睡得") and made.questions == (1, 2)
    assert made.times == (0, 0.5, 2, 2, 2.5, 2.5, 4, 5) and len(made.times) == len(made.text)
    (tmp_path / "b.csv").write_text("word\nab\ncd\n")
    assert transcript.read(tmp_path / "b.csv") == transcript.Transcript(("ab cd",), (1,))


def test_answers_spoken_in_recordings_of_their_own():
    made = transcript.Transcript(("ab", "", "wxyz"), (1, 2, 3)).spoken_in([4.0, 1.0, 2.0])
    assert made.times == (0, 2, 4, 5, 5, 5.5, 6, 6.5)
    np.testing.assert_allclose(transcript.evenly(4, 2.0), [0.25, 0.75, 1.25, 1.75])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"words\nx\n", "no column text or word"),
        ("a.csv", b"", "no column text or word"),
        ("a.csv", b"text,start\nx,1\n", "start with end"),
        ("a.csv", b"text,start,end\nsecret,1,later\n", "line 2: start and end must be numbers"),
        ("a.csv", b"text,start,end\nsecret,2,1\n", "0 <= start <= end"),
        ("a.csv", b"text,start,end\nsecret,nan,1\n", "0 <= start <= end"),
        ("a.csv", b"text,start,end\nsecret,0,inf\n", "0 <= start <= end"),
        ("a.csv", b"text,start,end\nsecret\n", "has 1 cells, the header 3"),
        ("a.csv", b"text,question\nsecret,one\n", "question must be a whole number"),
        ("a.csv", b'text\n"secret\n', "not CSV"),
        ("a.txt", b"secret\xff", "not UTF-8 at byte 6"),
        ("a.docx", b"secret", "transcripts are .txt or .csv"),
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
        transcript.read(path)
    assert str(path) in str(raised.value) and "secret" not in str(raised.value)
