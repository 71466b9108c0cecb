"""Text without any pretrained weights: hashed character n-grams.

Every character of a transcript becomes one position with four integer ids

    [unigram, bigram, trigram that start here, question being answered]

each a stable hash into 1..65535; 0 means nothing (the last character starts no bigram). A model looks the ids up in
one embedding table of 65,536 rows and adds them. The hash is CRC-32 of a namespace and the UTF-8 text, never Python's
`hash`, which changes with every process. Characters suit Chinese: no segmenter, no vocabulary, nothing to download.

A transcript without a recording has no time. Positions get a pseudo-time of 0.25 s per character, about the pace of
Mandarin speech, which carries no information beyond the order.

Beside a recording there are two ways of cutting a transcript into windows:
- `spoken` (the default): a window of text holds the characters that are spoken in its window of sound, by
  their times where these are known, or as if the pace were the same throughout. What does not fit goes into further
  windows without sound, so that nothing is lost.
- `corpus`: as the release places its tokens: the first 512 positions, a window for each window of sound, every
  (positions - 175) // (windows - 1). (Facts of its feature script; what it does with a text shorter than a window is
  not known: here each window then holds all of it.)

Departures from the release: n-grams instead of BERT, the pseudo-time, and `spoken`.
"""

import abc
import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Shaped

from mmpsy_jax.features.transcript import Transcript, evenly, require_inside
from mmpsy_jax.features.windows import Extractor, Windows, cut, pad, require
from mmpsy_jax.io import one_of
from mmpsy_jax.rules import whole

VOCABULARY = 65536
IDS_PER_POSITION = 4
POSITIONS_PER_WINDOW = 175  # as many as the release has tokens per window
SECONDS_PER_CHARACTER = 0.25
SECONDS_PER_WINDOW = POSITIONS_PER_WINDOW * SECONDS_PER_CHARACTER
POSITIONS_OF_RELEASE = 512  # what BERT reads of a transcript

Placement = Literal["spoken", "corpus"]
PLACEMENTS: tuple[Placement, ...] = ("spoken", "corpus")


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """How transcripts become windows.

    Attributes:
      positions: characters (or tokens) per window; 60 s of speech are about 250 in Mandarin, 900 in English.
      placement: beside recordings, see above.

    Raises:
      InputError: a value that cannot be.
    """

    positions: int = POSITIONS_PER_WINDOW
    placement: Placement = "spoken"

    def __post_init__(self):
        require("text settings: positions", self.positions, whole(1))
        if self.placement not in PLACEMENTS:
            raise one_of("placement of the text settings", self.placement, PLACEMENTS)


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


class TextExtractor(Extractor):
    """Cuts the positions of a transcript into windows; what a position holds is said by who inherits."""

    settings: TextSettings

    @abc.abstractmethod
    def positions(self, transcript: Transcript) -> tuple[Shaped[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """What every position of a transcript holds, and the character of its text at which each begins."""

    def extract(self, transcript: Transcript) -> Windows:
        """Windows of a transcript without a recording, in pseudo-time."""
        values, lengths = cut(self.positions(transcript)[0], self.settings.positions)
        seconds = np.float32(self.settings.positions * SECONDS_PER_CHARACTER)
        return Windows(values, lengths, np.arange(len(values), dtype=np.float32) * seconds)

    def extract_beside(
        self, transcript: Transcript, sound: Windows, window_seconds: float
    ) -> tuple[Windows, Int32[np.ndarray, " w"]]:
        """Windows of a transcript beside those of its recording.

        Args:
          transcript: of the participant.
          sound: windows of the recording.
          window_seconds: length of a window of sound.

        Returns:
          the windows, and for each the window of sound that it belongs to, -1 where it has none; every window of sound
          is there once, in order.

        Raises:
          InputError: words that are dated after the end of the recording.
        """
        values, characters = self.positions(transcript)
        count, size = len(sound.start_s), self.settings.positions
        if self.settings.placement == "corpus":
            values = values[:POSITIONS_OF_RELEASE]
            hop = max(0, len(values) - size) // max(1, count - 1)
            padded, lengths = pad([values[k * hop : k * hop + size] for k in range(count)], size)
            return Windows(padded, lengths, sound.start_s), np.arange(count, dtype=np.int32)
        if transcript.times is None:
            times = evenly(len(transcript.text), sound.duration_s)
        else:
            times = np.array(transcript.times, np.float64)
            require_inside(times.max(initial=0.0), sound.duration_s)
        return _spoken(values, times[characters], sound, window_seconds, size)


class NGrams(TextExtractor):
    """The extractor of transcripts that needs no pretrained network: ids of character n-grams."""

    name, kind = "character_ngrams", "ids"

    def __init__(self, settings: TextSettings = TextSettings()):
        self.settings = settings

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: positions, ids of each."""
        return self.settings.positions, IDS_PER_POSITION

    def about(self) -> dict[str, Any]:
        """The number of ids."""
        return {"vocabulary": VOCABULARY}

    def positions(self, transcript: Transcript) -> tuple[Int32[np.ndarray, "n 4"], Int[np.ndarray, " n"]]:
        """Ids of every character."""
        ids = encode(transcript.answers, transcript.questions)
        return ids, np.arange(len(ids))


def _spoken(
    values: Shaped[np.ndarray, "n d"],
    times: Float[np.ndarray, " n"],
    sound: Windows,
    window_seconds: float,
    size: int,
) -> tuple[Windows, Int32[np.ndarray, " w"]]:
    """Placement "spoken": positions by the windows of sound in which they are spoken."""
    parts: list[tuple[np.ndarray, float, int]] = []
    last = len(sound.start_s) - 1
    for k, start in enumerate(sound.start_s.tolist()):
        # Nothing is after the last window, whatever rounding says.
        inside = np.flatnonzero((times >= start) & ((times < start + window_seconds) | (k == last)))
        parts.append((values[inside[:size]], start, k))
        for begin in range(size, len(inside), size):
            chunk = inside[begin : begin + size]
            parts.append((values[chunk], float(times[chunk[0]]), -1))
    parts.sort(key=lambda part: part[1])
    padded, lengths = pad([part for part, _, _ in parts], size)
    start_s: Float32[np.ndarray, " w"] = np.array([start for _, start, _ in parts], np.float32)
    return Windows(padded, lengths, start_s), np.array([k for _, _, k in parts], np.int32)
