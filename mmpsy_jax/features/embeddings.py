"""Text as token embeddings of a pretrained network, computed beforehand: a file per transcript.

    FOLDER/embeddings.json                 the encoder, its digest, the width, and how texts were read
    FOLDER/texts/<sha256 of a text>.npz    `states` [tokens, width], `characters` i32 [tokens]

`launch.py embed` fills such a folder, builders and `predict` read it: the network needs jax, their workers must not.
Embeddings can be turned back into words: they need the protection of the transcripts.
"""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.errors import InputError
from mmpsy_jax.features.text import TextExtractor, TextSettings
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.files import write_atomically, write_json

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
      InputError: no folder of embeddings.
    """

    name, kind = "token_embeddings", "features"

    def __init__(self, settings: EmbeddingSettings):
        self.settings = settings
        self.info = read_info(Path(settings.folder))

    @property
    def shape(self) -> tuple[int, int]:
        """Of a window: tokens, width."""
        return self.settings.positions, self.info["width"]

    def card(self) -> dict[str, Any]:
        """The modality's entry in `corpus.json`."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "time_axis": self.time_axis,
            "extractor": {"name": self.name, **dataclasses.asdict(self.settings)},
            "encoder": self.info,
        }

    def positions(self, transcript: Transcript) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """The states of all tokens.

        Raises:
          InputError: the transcript is not among those that were embedded, or its file is damaged.
        """
        return read(Path(self.settings.folder), transcript.text)


def read_info(folder: Path) -> dict[str, Any]:
    """`embeddings.json` of a folder.

    Raises:
      InputError: there is none, or another format.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text())
        if info["format"] != FORMAT:
            raise InputError(f"{path}: format {info['format']!r}, this version reads {FORMAT}: {_REMEDY}")
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
    there = read_info(folder)
    differing = [name for name in info if there.get(name) != info[name]]
    if differing:
        raise InputError(f"{folder}: its embeddings differ in {', '.join(differing)}: give another folder")


def has(folder: Path, text: str) -> bool:
    """Whether a text was embedded."""
    return _file(folder, text).is_file()


def write(folder: Path, text: str, states: Float[np.ndarray, "n d"], characters: Int[np.ndarray, " n"]) -> None:
    """Adds a text."""
    arrays = {"states": states, "characters": characters.astype(np.int32)}
    write_atomically(_file(folder, text), lambda stream: np.savez(stream, **arrays))


def read(folder: Path, text: str) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """States of the tokens of a text, and the characters at which they begin.

    Raises:
      InputError: not there, or damaged.
    """
    path = _file(folder, text)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            return held["states"], held["characters"]
    except FileNotFoundError:
        raise InputError(f"the transcript is not among those that were embedded in {folder}: run embed again") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}): delete it and run embed again") from error


def _file(folder: Path, text: str) -> Path:
    return folder / "texts" / f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}.npz"
