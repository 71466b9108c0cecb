"""Text and sound as embeddings of a pretrained network, computed beforehand: a file per transcript or recording.

    FOLDER/embeddings.json    what was embedded ("text" or "audio"), the encoder, its digest, the width, and how it read
    FOLDER/items/<key>.npz    text: `states` [tokens, width], `characters` i32 [tokens], key: sha256 of the text
                              audio: `states` [frames, width], `seconds`, `note`, key: sha256 of the file, or of it and
                              the stretches that were heard
                              both: `source`, the key, and `way`, a digest of how embeddings.json says it was made

`source` and `way` tell files that were exchanged; those of versions before this have neither and are taken as they are.
`launch.py embed` fills such a folder, builders and `predict` read it: the network needs jax, their workers must not.
Words can be recovered from embeddings, and voices recognised: they need the protection of transcripts and recordings.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.text import TextExtractor, TextSettings
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.windows import SoundExtractor, Windows, cast, cut_sound, require
from mmpsy_jax.io import InputError, open_npz, read_json, write_json, write_npz
from mmpsy_jax.rules import number

INFO = "embeddings.json"
FORMAT = 1
_REMEDY = "make it with launch.py embed"
_AGAIN = "delete it and run embed again"


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

    name = "token_embeddings"

    def __init__(self, settings: EmbeddingSettings):
        self.settings = settings
        self.store = Store.open(Path(settings.folder), "text")
        self.info = self.store.info

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: tokens, width."""
        return self.settings.positions, self.info["width"]

    def about(self) -> dict[str, Any]:
        """The encoder, and the type of its states."""
        return _about(self.info)

    def positions(self, transcript: Transcript) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """The states of all tokens, and the characters at which they begin.

        Raises:
          InputError: the transcript is not among those that were embedded, or its file is damaged.
        """
        arrays = self.store.read(key_of_text(transcript.text), "the transcript")
        return arrays["states"], arrays["characters"]


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
        require("speech settings: window_seconds", self.window_seconds, number(0, 3600, above=True))

    @property
    def step_seconds(self) -> float:
        """From one window to the next."""
        return self.window_seconds


class SpeechEmbeddings(SoundExtractor):
    """The extractor of recordings that were embedded beforehand.

    Attributes:
      info: what `embeddings.json` says.

    Raises:
      InputError: no folder of embedded recordings.
    """

    name = "speech_embeddings"

    def __init__(self, settings: SpeechSettings):
        self.settings = settings
        self.store = Store.open(Path(settings.folder), "audio")
        self.info = self.store.info

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: frames, width."""
        return max(1, round(self.settings.window_seconds * self.info["frames_per_second"])), self.info["width"]

    def about(self) -> dict[str, Any]:
        """The encoder, and the type of its states."""
        return _about(self.info)

    def extract(self, recordings: Sequence[Path | Clip], dtype: np.dtype) -> Windows:
        """As of `SoundExtractor`.

        Raises:
          InputError: a recording is not among those that were embedded, its file is damaged, or its states do not fit
            the type.
        """
        parts = [self.store.read(clip.sha256(), str(clip)) for clip in as_clips(recordings)]
        states = cast(np.concatenate([one["states"] for one in parts]), dtype, "speech embeddings")
        seconds, notes = [float(one["seconds"]) for one in parts], [str(one["note"]) for one in parts]
        return cut_sound(states, self.shape[0], self.info["frames_per_second"], seconds, notes)


def _about(info: dict[str, Any]) -> dict[str, Any]:
    return {**({"dtype": "float32"} if info.get("dtype") == "float32" else {}), "encoder": info}


def key_of_text(text: str) -> str:
    """Under which a transcript is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of embeddings.

    Attributes:
      folder: where it is.
      info: what `embeddings.json` says.
    """

    folder: Path
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, of: str) -> "Store":
        """The store of a folder.

        Args:
          folder: of embeddings.
          of: "text" or "audio", which it must hold.

        Raises:
          InputError: there is none, of another format, or of the other.
        """
        path = folder / INFO
        if not path.exists():
            raise InputError(f"{path}: no folder of embeddings: {_REMEDY}")
        try:
            info = read_json(path, _REMEDY)
            if info["format"] != FORMAT:
                raise InputError(f"{path}: format {info['format']!r}, this version reads {FORMAT}: {_REMEDY}")
            if info["of"] != of:
                raise InputError(f"{path}: embeddings of {info['of']}, needed are those of {of}: {_REMEDY}")
            sizes = [info["width"], *([info["frames_per_second"]] if of == "audio" else [])]
            if not all(isinstance(size, int | float) and size > 0 for size in sizes):
                raise InputError(f"{path}: width and frames_per_second must be numbers above 0: {_REMEDY}")
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: no folder of embeddings ({type(error).__name__}): {_REMEDY}") from error
        return cls(folder, info)

    @classmethod
    def start(cls, folder: Path, info: dict[str, Any]) -> "Store":
        """Starts a folder, or opens one that is filled in the same way by the same encoder, wherever that lies.

        Raises:
          InputError: it holds embeddings that were made in another way.
        """
        info = json.loads(json.dumps({"format": FORMAT, **info}))  # as it will be read: tuples become lists
        if not (folder / INFO).exists():
            write_json(folder / INFO, info)
            return cls(folder, info)
        there = cls.open(folder, info["of"])
        differing = [name for name in _way(info) if there.info.get(name) != info[name]]
        if differing:
            raise InputError(f"{folder}: its embeddings differ in {', '.join(differing)}: give another folder")
        return there

    @functools.cached_property
    def way(self) -> str:
        """Digest of how the embeddings are made."""
        return hashlib.sha256(json.dumps(_way(self.info), sort_keys=True).encode()).hexdigest()

    def fault(self, key: str) -> str | None:
        """What is wrong with the file of a transcript or recording: "" for nothing, None where there is no file."""
        path = self._file(key)
        if not path.is_file():
            return None
        try:
            with open_npz(path) as arrays:
                return self._exchanged(key, arrays)
        except InputError as error:
            return str(error).removeprefix(f"{path}: ")

    def write(self, key: str, what: str, states: Float[np.ndarray, "n d"], **arrays: Any) -> None:
        """Adds a transcript or recording.

        Args:
          key: of it.
          what: it is, for the error.
          states: are stored in the type that `embeddings.json` says.
          **arrays: what else is stored.

        Raises:
          InputError: a state is not finite, or too large for the type.
        """
        remedy = "give --dtype=float32 and another --output"
        states = cast(states, np.dtype(self.info["dtype"]), f"{what}: states of {self.info['of']}", remedy)
        arrays |= {"states": states, "source": key, "way": self.way}
        write_npz(self._file(key), **arrays)

    def read(self, key: str, what: str) -> dict[str, np.ndarray]:
        """The arrays of a transcript or recording.

        Args:
          key: of it.
          what: it is, for the error.

        Raises:
          InputError: not there, damaged, of something else, or not finite.
        """
        path = self._file(key)
        if not path.is_file():
            raise InputError(f"{what} is not among those that were embedded in {self.folder}: run embed again")
        with open_npz(path, _AGAIN) as file:
            fault, arrays, states = self._exchanged(key, file), dict(file), file["states"]
        if not fault and (states.ndim != 2 or states.shape[1] != self.info["width"] or not np.isfinite(states).all()):
            fault = f"holds no finite states of width {self.info['width']}"
        if fault:
            raise InputError(f"{path}: {fault}: {_AGAIN}")
        return arrays

    def _exchanged(self, key: str, arrays: Mapping[str, np.ndarray]) -> str:
        """Whether an open file is what its name and `embeddings.json` say: "", or what it is instead."""
        if "source" in arrays and str(arrays["source"]) != key:
            return f"holds the embedding of another {'transcript' if self.info['of'] == 'text' else 'recording'}"
        if "way" in arrays and str(arrays["way"]) != self.way:
            return f"was made by another encoder, or in another way, than {INFO} says"
        return ""

    def _file(self, key: str) -> Path:
        return self.folder / "items" / f"{key}.npz"


def _way(info: dict[str, Any]) -> dict[str, Any]:
    """What decides the numbers; where the encoder lies does not, its digest does."""
    return {name: value for name, value in info.items() if name != "encoder"}
