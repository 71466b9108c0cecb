"""Text without any pretrained weights: hashed character n-grams.

Every character of a transcript becomes one position with four integer ids

    [unigram, bigram, trigram that start here, question being answered]

each a stable hash into 1..65535; 0 means nothing (the last character starts no bigram). A model looks the ids up in
one embedding table of 65,536 rows and adds them. The hash is CRC-32 of a namespace and the UTF-8 text, never Python's
`hash`, which changes with every process. Characters suit Chinese: no segmenter, no vocabulary, nothing to download.

No time is known for a transcript. Positions get a pseudo-time of 0.25 s per character, which is about the pace of
Mandarin speech; that constant is our choice and carries no information beyond the order.
"""

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

VOCABULARY = 65536
IDS_PER_POSITION = 4
POSITIONS_PER_WINDOW = 175  # as many as the release has tokens per window
SECONDS_PER_CHARACTER = 0.25
SECONDS_PER_WINDOW = POSITIONS_PER_WINDOW * SECONDS_PER_CHARACTER


def modality_card() -> dict[str, Any]:
    """What `corpus.json` says about text that was encoded here."""
    return {"kind": "ids", "shape": [POSITIONS_PER_WINDOW, IDS_PER_POSITION], "time_axis": 0, "vocabulary": VOCABULARY}


@functools.lru_cache(maxsize=1 << 18)
def hash_id(namespace: str, text: str) -> int:
    """Stable id in 1..65535 of `text`; equal text in two namespaces gets unrelated ids."""
    return 1 + zlib.crc32(f"{namespace}\x00{text}".encode("utf-8", "surrogatepass")) % (VOCABULARY - 1)


def encode(answers: Sequence[str], questions: Sequence[int]) -> Int32[np.ndarray, "characters 4"]:
    """Ids of every character of a transcript; nothing is cut off.

    Args:
      answers: what was said, in order.
      questions: number of the question that each answer belongs to.

    Returns:
      one row per character of the answers joined by newlines; n-grams run across the joins, and a newline belongs to
      the answer before it.
    """
    text = "\n".join(answers)
    ids = np.zeros((len(text), IDS_PER_POSITION), np.int32)
    for size in (1, 2, 3):
        grams = [hash_id(f"{size}-gram", text[start : start + size]) for start in range(len(text) - size + 1)]
        ids[: len(grams), size - 1] = grams
    start = 0
    for answer, question in zip(answers, questions, strict=True):
        stop = min(start + len(answer) + 1, len(text))
        ids[start:stop, 3] = hash_id("question", str(question))
        start = stop
    return ids


def windows(
    ids: Int32[np.ndarray, "characters 4"],
) -> tuple[Int32[np.ndarray, "w 175 4"], Int32[np.ndarray, " w"]]:
    """Cuts ids into zero-padded windows without overlap, at least one.

    Returns:
      the windows, and the number of valid positions of each.
    """
    count = max(1, -(-len(ids) // POSITIONS_PER_WINDOW))
    padded = np.zeros((count * POSITIONS_PER_WINDOW, IDS_PER_POSITION), np.int32)
    padded[: len(ids)] = ids
    lengths = np.clip(len(ids) - np.arange(count) * POSITIONS_PER_WINDOW, 0, POSITIONS_PER_WINDOW)
    return padded.reshape(count, POSITIONS_PER_WINDOW, IDS_PER_POSITION), lengths.astype(np.int32)


def record(answers: Sequence[str], questions: Sequence[int]) -> dict[str, Any]:
    """What a record says about a transcript: the features of the record contract that follow from the text alone.

    Args:
      answers, questions: as in `encode`.
    """
    ids, lengths = windows(encode(answers, questions))
    return {
        "duration_s": np.float32(0),
        "n_windows": np.int32(len(ids)),
        "window_start_s": np.arange(len(ids), dtype=np.float32) * np.float32(SECONDS_PER_WINDOW),
        "has_text": bool(lengths.any()),
        "text": ids,
        "text_length": lengths,
    }
