"""What a builder needs of any source: a record per participant, and what the card counts. Free of tfds and jax."""

import functools
import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int32, Shaped

MODALITIES = ("audio", "text")  # whose windows are compared
# Shorter transcripts are alike by chance ("no", "nothing").
_TRIVIAL_CHARACTERS = 20

Record = dict[str, Any]


def content_digests(record: Record, transcript: str) -> dict[str, list[str]]:
    """Short digests by which equal content of two participants is found: {"windows": [...], "transcripts": [...]}.

    Windows of features only: ids of a short text are alike by chance. The same holds for short transcripts.
    """

    def digest(data: bytes | Shaped[np.ndarray, "..."]) -> str:
        return hashlib.blake2b(data, digest_size=12).hexdigest()

    windows: list[str] = []
    for modality in MODALITIES:
        content: Float[np.ndarray, "w a b"] | Int32[np.ndarray, "w a b"] | None = record.get(modality)
        if content is None or content.dtype.kind != "f":
            continue
        present = np.flatnonzero(record[f"{modality}_length"])
        windows += [digest(np.ascontiguousarray(content[window])) for window in present]
    squeezed = "".join(transcript.split())
    return {
        "windows": windows,
        "transcripts": [digest(squeezed.encode())] if len(squeezed) >= _TRIVIAL_CHARACTERS else [],
    }


class OpenedSource(Protocol):
    """What the builder needs of any source beside its attributes."""

    def examine(self, participant: str) -> tuple[Record, dict[str, list[str]]]:
        """Record of one participant; and by kind ("windows", "transcripts", "notes") what the build's card counts."""
        ...


class Spec(Protocol):
    """What workers get of a source: picklable and hashable."""

    path: str

    @property
    def root(self) -> Path:
        """The folder that paths in messages are shown relative to."""
        ...

    def open(self) -> OpenedSource:
        """Opens the source."""
        ...


@functools.lru_cache(maxsize=2)
def _opened(spec: Spec) -> OpenedSource:
    return spec.open()


def read_participant(spec: Spec, participant: str) -> tuple[Record, dict[str, list[str]]]:
    """What `examine` says of one participant; a process opens each source once."""
    return _opened(spec).examine(participant)
