"""A feature file of MMSA on disk -> one record per clip, as `docs/architecture.md` lays records out.

What is read is a folder of plain files, `<split>/<field>.npy` (never pickled objects) and `<split>/{id,raw_text}.json`
with the splits train, valid (or dev) and test:

| field | shape | |
|---|---|---|
| `text`, `audio`, `vision` | [N, T, F] | features; a corpus may lack one of them |
| `text_bert` | [N, 3, T] | ids, mask (how long each text is), types; ids and types are `tokens` [T, 2] |
| `audio_lengths`, `vision_lengths` | [N] | valid frames; of aligned files, which lack them, the length of the text |
| `regression_labels` | [N] or [N, 1] | the sentiment |
| `regression_labels_T`, `_A`, `_V` | [N] | of SIMS: what each modality alone says |
| `id`, `raw_text` | N texts | |

`safe_source` makes such a folder of MMSA's `.pkl` file, in a process of its own and with consent only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Shaped

from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Option, Source, stat_sha256
from data_builders.mmsa import demo
from data_builders.mmsa.unpickle import ALIASES, LENGTHS, SPLITS
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, file_sha256, read_json, require_file

MODALITIES = ("text", "audio", "vision")
TOKENS = "tokens"
# Label of the records -> field of the file.
LABELS = {
    "sentiment": "regression_labels",
    "sentiment_text": "regression_labels_T",
    "sentiment_audio": "regression_labels_A",
    "sentiment_vision": "regression_labels_V",
}
SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}
# Clips are a few seconds long, and the files do not say how long.
WINDOW_SECONDS = 10.0


def safe_source(path: str | os.PathLike, kept: str | os.PathLike, *, unpickle: bool) -> Path:
    """The folder that a feature file becomes, made now or before; a folder is returned as it is.

    Args:
      path: MMSA's `.pkl` file, or a folder as above.
      kept: where folders made of pickles are kept, by the digest of the file.
      unpickle: consent to load a pickle, which is done by a process that can make arrays only.

    Raises:
      InputError: no consent, or a file that holds anything but features.
    """
    path = Path(path)
    if path.is_dir():
        return path
    if not path.is_file():
        raise InputError(f"{path}: no such file: give MMSA's feature file (.pkl), or the folder made of it")
    if not unpickle:
        raise InputError(
            f"{path}: a pickle can run code when it is loaded. Where you trust its origin, add --unpickle: it is then "
            "loaded by a separate process that makes arrays, text and numbers only"
        )
    folder = Path(kept) / file_sha256(path)
    if folder.exists():
        return folder
    workplace = folder.with_name(f"incomplete.{folder.name}")
    if workplace.exists():  # left over from a build that was killed
        shutil.rmtree(workplace)
    program = Path(__file__).with_name("unpickle.py")
    process = subprocess.run(
        [sys.executable, "-I", program, path.absolute(), workplace.absolute()], capture_output=True, text=True
    )
    if process.returncode:
        shutil.rmtree(workplace, ignore_errors=True)
        last_line = process.stderr.strip().splitlines()[-1:] or [f"the process ended with {process.returncode}"]
        raise InputError(f"{path}: {last_line[0][:400]}; mend the file, or fetch it again from where it is published")
    workplace.rename(folder)
    return folder


class MmsaSource(Source):
    """A folder made of a feature file; a record is one clip, of one window.

    Args:
      path: the folder.
      highest: end of the scale of ratings from `-highest`, where it is known.
    """

    unit = "clips"
    window_seconds = WINDOW_SECONDS
    label_dtype = "float32"
    dtype = "float32"
    has_words = True
    is_table = False  # no table of transcripts, as readers of the card's "source" expect

    def __init__(self, path: str | os.PathLike, *, highest: float | None = None):
        self.path = Path(path)
        self._folder = {split: _folder(self.path, split) for split in SPLITS}
        self._ids = {split: self._texts(split, "id") for split in SPLITS}
        self._place: dict[str, tuple[str, int]] = {}
        for split, names in self._ids.items():
            for position, name in enumerate(names):
                if name in self._place:
                    raise InputError(f"{self.path}: clip {name!r} occurs more than once: each belongs into one split")
                self._place[name] = (split, position)
        self.participants = tuple(sorted(self._place, key=natural_key))
        self._fields = {split: self._open_fields(split, len(self._ids[split])) for split in SPLITS}
        train = self._fields["train"]
        self.labels = tuple(label for label, field in LABELS.items() if field in train)
        if "sentiment" not in self.labels:
            raise InputError(f"{self.path}: train/{LABELS['sentiment']}.npy is missing: it is what is to be estimated")
        self.ranges = dict.fromkeys(self.labels, (-highest, highest)) if highest else {}
        self.modalities = {
            name: {"kind": "features", "shape": list(train[name].shape[1:]), "time_axis": 0}
            for name in MODALITIES
            if name in train
        }
        if not self.modalities:
            raise InputError(f"{self.path}: none of {', '.join(MODALITIES)} is there: nothing to learn from")
        self._require_alike()
        if TOKENS in train:
            largest = max(int(fields[TOKENS].max(initial=0)) for fields in self._fields.values() if TOKENS in fields)
            shape = list(train[TOKENS].shape[1:])
            self.modalities[TOKENS] = {"kind": "ids", "shape": shape, "time_axis": 0, "vocabulary": largest + 1}
        self._words = {split: self._texts(split, "raw_text") for split in SPLITS}
        self.listed_splits = {name: SPLIT_NAMES[split] for name, (split, _) in self._place.items()}

    def _texts(self, split: str, field: str) -> list[str]:
        path = self._folder[split] / f"{field}.json"
        if field == "raw_text" and not path.exists():
            return [""] * len(self._ids[split])
        texts = read_json(path, "make the folder again", list)
        if not all(isinstance(one, str) for one in texts):
            raise InputError(f"{path}: must be a list of texts: make the folder again")
        return texts

    def _open_fields(self, split: str, n: int) -> dict[str, np.ndarray]:
        """Arrays of a split by field, mapped into memory; each has a row per clip."""
        fields = {}
        for path in sorted(self._folder[split].glob("*.npy")):
            require_file(path)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{path}: cannot be read ({str(error)[:100]}): make the folder again") from error
            rank = 3 if path.stem in MODALITIES or path.stem == "text_bert" else 1
            known = rank == 3 or path.stem in LENGTHS or path.stem.startswith("regression_")
            if known and rank == 1 and array.size == n and array.ndim:
                array = array.reshape(n)
            if known and (array.ndim != rank or len(array) != n or array.dtype.kind not in "fiu"):
                shape = "[clips, steps, features]" if rank == 3 else "[clips]"
                raise InputError(
                    f"{path}: has shape {list(array.shape)} of {array.dtype}, must be numbers {shape}, and {split} "
                    f"has {n} clips: make the folder again"
                )
            fields[path.stem] = array
        if "text_bert" in fields:
            fields[TOKENS] = self._tokens(split, fields["text_bert"])
        return fields

    def _require_alike(self) -> None:
        """Raises InputError where a split lacks what the training split has, or has it in another shape."""
        train = self._fields["train"]
        for split, fields in self._fields.items():
            for name in (*self.modalities, *(LABELS[label] for label in self.labels)):
                feature_shape = list(fields[name].shape[1:]) if name in fields else "not there"
                if feature_shape != list(train[name].shape[1:]):
                    raise InputError(
                        f"{self.path}: {split}/{name} is {feature_shape} (steps, features), in train "
                        f"{list(train[name].shape[1:])}: pad and extract all splits alike"
                    )

    def _tokens(self, split: str, values: Shaped[np.ndarray, "..."]) -> Int32[np.ndarray, "n t 2"]:
        """Ids and types of the tokens, which files hold as floats."""
        whole = ((values >= 0) & (values < 2**31)).all() and (values % 1 == 0).all()
        if values.ndim != 3 or values.shape[1] != 3 or not whole or (values[:, 1:] > 1).any():
            raise InputError(
                f"{self._folder[split] / 'text_bert.npy'}: must hold ids, mask and types [clips, 3, tokens], whole "
                "numbers of at least 0, of mask and types at most 1: make the folder again"
            )
        return values[:, [0, 2]].swapaxes(1, 2).astype(np.int32)

    def digests(self) -> dict[str, str]:
        """Of names and labels; of names and sizes of all files."""
        digest = hashlib.sha256(json.dumps(self._ids).encode())
        for split in SPLITS:
            for label in self.labels:
                digest.update(np.ascontiguousarray(self._fields[split][LABELS[label]], np.float32).tobytes())
        files = [f"{p.parent.name}/{p.name} {p.stat().st_size}" for p in sorted(self.path.glob("*/*"))]
        return {"source_sha256": digest.hexdigest(), "files_sha256": stat_sha256(files)}

    def scores(self, participant: str) -> Mapping[str, float | None]:
        split, row = self._place[participant]
        return {label: self._fields[split][LABELS[label]][row].reshape(()) for label in self.labels}

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        split, row = self._place[participant]
        words, fields = self._words[split][row], self._fields[split]
        notes, windows = [], {}
        for name in self.modalities:
            with np.errstate(over="ignore"):
                window = np.array(fields[name][row], np.int32 if name == TOKENS else np.float32)
            broken = int((~np.isfinite(window)).sum())
            if broken:
                notes.append(f"{name}: {broken} values are not finite, taken for 0")
                window[~np.isfinite(window)] = 0
            length, claimed = self._length(fields, name, row, window)
            if length != claimed:
                notes.append(f"{name}: said to be {claimed:g} steps long, has {len(window)}: taken for {length}")
            windows[name] = window[:length]
        return self.one_window(windows) | {"n_characters": len(words), "transcript": words}, notes

    def _length(
        self, fields: Mapping[str, np.ndarray], name: str, row: int, window: Shaped[np.ndarray, "t f"]
    ) -> tuple[int, float]:
        """Valid steps: as the file says; of aligned features, those of the text; else up to the last that is not 0.

        Returns:
          the number, between 0 and the steps that there are, and the number as found.
        """
        if f"{name}_lengths" in fields:
            known = fields[f"{name}_lengths"][row]
        elif "text_bert" in fields and fields["text_bert"].shape[-1] == len(window):
            known = fields["text_bert"][row, 1].sum()
        else:
            filled = np.flatnonzero(window.any(axis=1))
            known = filled[-1] + 1 if len(filled) else 0
        return int(np.clip(np.nan_to_num(known), 0, len(window))), float(known)


def _folder(root: Path, split: str) -> Path:
    """Folder of a split, under its own name or another.

    Raises:
      InputError: none, or several.
    """
    folders = [root / name for name in (split, *ALIASES.get(split, ())) if (root / name).is_dir()]
    if len(folders) != 1:
        names = ", ".join(path.name for path in folders)
        raise InputError(f"{root}: {f'holds {names}' if folders else f'no folder {split}'}: keep one folder {split}")
    return folders[0]


def open_file(
    path: str | os.PathLike, *, unpickle: bool = False, highest: float | None = None, kept: str = ""
) -> MmsaSource:
    """Opens a feature file, or the folder made of one.

    Raises:
      InputError: as `safe_source`, or it is not such a folder.
    """
    return MmsaSource(safe_source(path, kept, unpickle=unpickle), highest=highest)


_HIGHEST = {"mosi": 3.0, "mosei": 3.0, "sims": 1.0, "simsv2": 1.0}  # of the corpora that MMSA publishes
_FILE = "a feature file in MMSA's layout (.pkl, with --unpickle), or the folder made of one"
CORPUS = Corpus(
    name="mmsa",
    versions={
        "1.0.0": "First layout: one clip per record, of one window.",
        "1.1.0": "Ids of the text's tokens, where the file has them.",
    },
    configs={
        "demo": Config("Synthetic clips.", MmsaSource, demo=demo.write, fixed={"highest": demo.HIGHEST}),
        **{
            name: Config(f"The feature file of {name}.", open_file, needs=_FILE, fixed={"highest": highest})
            for name, highest in _HIGHEST.items()
        },
    },
    named=Config("Clips of a feature file of MMSA.", open_file, needs=_FILE, fixed={"highest": None}),
    options={"unpickle": Option("load the pickle, in a separate process that makes arrays only", None)},
)
