"""Text and sound as embeddings of a pretrained network, computed beforehand: a file per transcript or recording.

    FOLDER/embeddings.json    what was embedded ("text" or "audio"), the encoder, its digest, the width, and how it read
    FOLDER/items/<key>.npz    text: `states` [tokens, width], `characters` i32 [tokens], key: sha256 of the text
                              audio: `states` [frames, width], `seconds`, `note`, key: sha256 of the file

`launch.py embed` fills such a folder, builders and `predict` read it: the network needs jax, their workers must not.
Words can be recovered from embeddings, and voices recognised: they need the protection of transcripts and recordings.
"""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.errors import InputError
from mmpsy_jax.features.text import TextExtractor, TextSettings, windows
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.files import file_sha256, write_atomically, write_json

INFO = "embeddings.json"
FORMAT = 1
_REMEDY = "make it with launch.py embed"


@dataclasses.dataclass(frozen=True)
class EmbeddingSettings(TextSettings):
    """How embedded transcripts become windows.

    Attributes:
      folder: of the embeddings.
    """

    folder: str = ""


class TokenEmbeddings(TextExtractor):
    """The extractor of transcripts whose tokens were embedded beforehand.

    Attributes:
      info: what `embeddings.json` says.

    Raises:
      InputError: no folder of embedded texts.
    """

    name, kind = "token_embeddings", "features"

    def __init__(self, settings: EmbeddingSettings):
        self.settings = settings
        self.info = read_info(Path(settings.folder), "text")

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: tokens, width."""
        return self.settings.positions, self.info["width"]

    def card(self) -> dict[str, Any]:
        """The modality's entry in `corpus.json`."""
        return _card(self)

    def positions(self, transcript: Transcript) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """The states of all tokens, and the characters at which they begin.

        Raises:
          InputError: the transcript is not among those that were embedded, or its file is damaged.
        """
        held = read(Path(self.settings.folder), key_of_text(transcript.text), "the transcript")
        return held["states"], held["characters"]


@dataclasses.dataclass(frozen=True)
class SpeechSettings:
    """How embedded recordings become windows.

    Attributes:
      folder: of the embeddings.
      window_seconds: of a window; they do not overlap.

    Raises:
      InputError: a length that cannot be.
    """

    folder: str = ""
    window_seconds: float = 60.0

    def __post_init__(self):
        seconds = self.window_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
            raise InputError(f"speech settings: window_seconds is {seconds!r}, must be above 0 and at most 3600")

    @property
    def step_seconds(self) -> float:
        """From one window to the next."""
        return self.window_seconds


class SpeechEmbeddings:
    """The extractor of recordings that were embedded beforehand.

    Attributes:
      name, kind, time_axis: for the card of a corpus.
      settings: of the windows.
      info: what `embeddings.json` says.

    Raises:
      InputError: no folder of embedded recordings.
    """

    name, kind, time_axis = "speech_embeddings", "features", 0

    def __init__(self, settings: SpeechSettings):
        self.settings = settings
        self.info = read_info(Path(settings.folder), "audio")

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: frames, width."""
        return max(1, round(self.settings.window_seconds * self.info["frames_per_second"])), self.info["width"]

    def card(self) -> dict[str, Any]:
        """The modality's entry in `corpus.json`."""
        return _card(self)

    def extract(self, recordings: Sequence[Path], dtype: np.dtype) -> Windows:
        """Windows of the recordings of one participant, in order, one behind the other.

        Args:
          recordings: files.
          dtype: of the windows.

        Raises:
          InputError: a recording is not among those that were embedded, or its file is damaged.
        """
        folder = Path(self.settings.folder)
        held = [read(folder, file_sha256(path).hex(), str(path)) for path in recordings]
        states = np.concatenate([one["states"] for one in held]).astype(dtype)
        size, rate = self.shape[0], self.info["frames_per_second"]
        values, lengths = windows(states, size)
        return Windows(
            values=values,
            lengths=lengths,
            start_s=(size * np.arange(len(values)) / rate).astype(np.float32),
            duration_s=len(states) / rate,
            parts_s=tuple(float(one["seconds"]) for one in held),
            notes=tuple(str(one["note"]) for one in held),
        )


def _card(extractor: TokenEmbeddings | SpeechEmbeddings) -> dict[str, Any]:
    return {
        "kind": extractor.kind,
        "shape": list(extractor.shape),
        "time_axis": extractor.time_axis,
        "extractor": {"name": extractor.name, **dataclasses.asdict(extractor.settings)},
        "encoder": extractor.info,
    }


def read_info(folder: Path, of: str) -> dict[str, Any]:
    """`embeddings.json` of a folder.

    Args:
      folder: of embeddings.
      of: "text" or "audio", which it must hold.

    Raises:
      InputError: there is none, of another format, or of the other.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text())
        if info["format"] != FORMAT:
            raise InputError(f"{path}: format {info['format']!r}, this version reads {FORMAT}: {_REMEDY}")
        if info["of"] != of:
            raise InputError(f"{path}: embeddings of {info['of']}, needed are those of {of}: {_REMEDY}")
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no folder of embeddings ({type(error).__name__}): {_REMEDY}") from error
    return info


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Starts a folder, or checks that what is to be added was made in the same way.

    Raises:
      InputError: it holds embeddings that were made in another way.
    """
    info = {"format": FORMAT, **info}
    if not (folder / INFO).exists():
        write_json(folder / INFO, info)
        return
    there = read_info(folder, info["of"])
    differing = [name for name in info if there.get(name) != info[name]]
    if differing:
        raise InputError(f"{folder}: its embeddings differ in {', '.join(differing)}: give another folder")


def key_of_text(text: str) -> str:
    """Under which a transcript is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def has(folder: Path, key: str) -> bool:
    """Whether something was embedded."""
    return _file(folder, key).is_file()


def write(folder: Path, key: str, **arrays: Any) -> None:
    """Adds a transcript or recording."""
    write_atomically(_file(folder, key), lambda stream: np.savez(stream, **arrays))


def read(folder: Path, key: str, what: str) -> dict[str, np.ndarray]:
    """The arrays of a transcript or recording.

    Args:
      folder, key: where it is.
      what: it is, for the error.

    Raises:
      InputError: not there, or damaged.
    """
    path = _file(folder, key)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise InputError(f"{what} is not among those that were embedded in {folder}: run embed again") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}): delete it and run embed again") from error


def _file(folder: Path, key: str) -> Path:
    return folder / "items" / f"{key}.npz"
