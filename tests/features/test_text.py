"""The built-in text encoder: stable, complete, and readable back from its own definition."""

import subprocess
import sys
import zlib

import numpy as np

from mmpsy_jax.features import text, windows


def by_definition(answers, questions):
    """The encoder in the words of its documentation, one character at a time."""
    joined = "\n".join(answers)
    owner = [q for answer, q in zip(answers, questions, strict=True) for _ in range(len(answer) + 1)]
    rows = []
    for start in range(len(joined)):
        row = []
        for size in (1, 2, 3):
            gram = joined[start : start + size]
            row.append(1 + zlib.crc32(f"{size}-gram\0{gram}".encode()) % 65535 if len(gram) == size else 0)
        row.append(1 + zlib.crc32(f"question\0{owner[start]}".encode()) % 65535)
        rows.append(row)
    return np.array(rows, np.int32).reshape(-1, 4)


def test_encode_follows_its_definition():
    answers, questions = ["睡得不好", "", "嗯。", "a😀b"], [1, 2, 4, 10]
    ids = text.encode(answers, questions)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, by_definition(answers, questions))
    assert ids.min() >= 0 and ids.max() < text.VOCABULARY


def test_ids_never_change():
    # FinishedRun models hold these numbers: another hash would silently make them guess.
    assert text.hash_id("1-gram", "我") == 52369
    assert text.encode(["我好"], [1]).tolist() == [[52369, 2894, 0, 45451], [21586, 0, 0, 45451]]


def test_ids_are_the_same_in_every_process():
    code = "from mmpsy_jax.features import text; print(text.encode(['睡得不好'], [3]).tolist())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{text.encode(['睡得不好'], [3]).tolist()}\n"}


def test_windows_hold_every_character_once():
    for length in (1, 174, 175, 176, 1000):
        ids = text.encode(["字" * length], [1])
        cut, lengths = windows.cut(ids, text.POSITIONS_PER_WINDOW)
        assert cut.shape == (-(-length // 175), 175, 4) and cut.dtype == np.int32 and lengths.dtype == np.int32
        assert lengths.sum() == length
        np.testing.assert_array_equal(np.concatenate([w[:n] for w, n in zip(cut, lengths, strict=True)]), ids)
        assert all((w[n:] == 0).all() for w, n in zip(cut, lengths, strict=True))


def test_nothing_said_is_one_empty_window():
    for answers in ([], [""]):
        ids = text.encode(answers, [1] * len(answers))
        cut, lengths = windows.cut(ids, text.POSITIONS_PER_WINDOW)
        assert ids.shape == (0, 4) and cut.shape == (1, 175, 4) and lengths.tolist() == [0] and not cut.any()


def test_card_agrees_with_the_windows():
    card = text.NGrams().card()
    cut, _ = windows.cut(text.encode(["好"], [1]), text.POSITIONS_PER_WINDOW)
    assert list(cut.shape[1:]) == card["shape"] and card["kind"] == "ids" and card["vocabulary"] == 65536
    assert card["shape"][0] * text.SECONDS_PER_CHARACTER == text.SECONDS_PER_WINDOW
