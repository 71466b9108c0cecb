"""A corpus on disk -> one record per participant, as `docs/architecture.md` lays records out.

Free of tfds, TensorFlow and jax: worker processes import this module. Everything that can be wrong with a
participant's files is found here and raised as an `InputError` that names the file.
"""

import collections
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Source
from data_builders.interviews.source import OPTIONS as INTERVIEW_OPTIONS
from data_builders.interviews.source import InterviewSource
from data_builders.mmpsy import arrays as arrays_lib
from data_builders.mmpsy import check, demo
from data_builders.mmpsy.arrays import HOP_SECONDS, WINDOW_SECONDS, valid_length
from mmpsy_jax.features import interview as interview_lib
from mmpsy_jax.features import table, text
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.io import InputError, file_sha256

TIME_AXIS, KIND = {"audio": 1, "text": 0}, {"audio": "frames", "text": "features"}

# Shapes are settled by this many participants, so that one damaged file does not decide for all.
_WITNESSES = 5


class _TableSource(Source):
    """What the table says, of which a participant is a row.

    Args:
      path: the table, its folder, or the folder above `data/`.
    """

    has_words = True

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.table = table.find_table(path)
        self.interviews = tuple(table.read_table(self.table))
        self._interview = {interview.participant: interview for interview in self.interviews}
        self.participants = tuple(self._interview)
        self.labels = tuple(table.LABEL_KEYS)

    def scores(self, participant: str) -> Mapping[str, float | None]:
        return self._interview[participant].scores

    def digests(self) -> dict[str, str]:
        """Of the table's bytes; of the names and sizes (in an archive also the checksums) of the windows."""
        arrays = self.arrays
        return {
            "source_sha256": file_sha256(self.table),
            "files_sha256": arrays.fingerprint() if arrays is not None else "",
        }

    def describe(self, deep: bool, strict: bool) -> dict[str, Any]:
        return check.describe(self, deep)

    def _words(self, participant: str) -> Record:
        interview = self._interview[participant]
        return {
            "n_answers": np.int32(len(interview.answers)),
            "n_characters": np.int32(sum(map(len, interview.answers))),
            "transcript": interview.transcript,
        }


class TranscriptSource(_TableSource):
    """Hashed character n-grams of the table alone."""

    arrays = None
    window_seconds = text.SECONDS_PER_WINDOW

    def __init__(self, path: str | os.PathLike, *, volumes: tuple[str, ...] = (), dtype: str = "float16"):
        super().__init__(path)
        self.modalities, self.dtype = {"text": text.NGrams().card()}, dtype

    def n_windows(self) -> int:
        size = text.POSITIONS_PER_WINDOW
        return sum(max(1, -(-len(one.transcript) // size)) for one in self.interviews)

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        interview, encoder = self._interview[participant], text.NGrams()
        windows = {"text": encoder.extract(Transcript(interview.answers, interview.questions))}
        dtypes = {"text": np.dtype(np.int32)}
        return interview_lib.features(windows, {"text": encoder}, dtypes, duration_s=0) | self._words(participant), []


class ReleasedSource(_TableSource):
    """Table and windows as released.

    Args:
      path: the table, its folder, or the folder above `data/`.
      volumes: volumes of the archive in order, where they do not lie beside the table (downloads).
      dtype: "float16" or "float32", of the windows in the record.

    Attributes:
      arrays: where the windows lie.
    """

    window_seconds = WINDOW_SECONDS

    def __init__(self, path: str | os.PathLike, *, volumes: tuple[str, ...] = (), dtype: str = "float16"):
        super().__init__(path)
        self.dtype = dtype
        self.arrays: arrays_lib.Arrays | None
        if volumes:
            self.arrays = arrays_lib.ZipArrays([Path(volume) for volume in volumes])
        else:
            self.arrays = arrays_lib.find_arrays(self.table.parent)
        if self.arrays is None:
            raise InputError(
                f"{self.table.parent}: no features beside the table: expected np_data/ or np_data.zip.001 ...; fetch "
                "them, or build mmpsy/transcripts, which needs the table alone"
            )
        index = self.arrays.index
        if not any(participant in index for participant in self._interview):
            raise InputError(
                f"{self.arrays.name}: holds windows of {len(index)} people, none of them in {self.table}: table and "
                "features belong to different corpora"
            )
        # The release counts from 0; a corpus that counts from 1 throughout is no corpus with window 0 lost.
        self._first = min(min(files) for modalities in index.values() for files in modalities.values())
        self.modalities = {
            modality: {"kind": KIND[modality], "shape": list(shape), "time_axis": TIME_AXIS[modality]}
            for modality in arrays_lib.FOLDERS
            if (shape := self._find_shape(modality)) is not None
        }
        self.notes = [("", note) for note in self._odd()]
        self.lacking = {one: self._no_windows(one) for one in self.participants if not index.get(one)}

    def _no_windows(self, participant: str) -> str:
        return (
            f"{self.arrays.describe(participant)}: {participant} has no windows: the table names the participant, "
            f"but neither {' nor '.join(arrays_lib.FOLDERS.values())} holds a file"
        )

    def _odd(self) -> tuple[str, ...]:
        """What lies beside the table and is not read, and which modality nobody has."""
        strangers = sorted(set(self.arrays.index) - set(self._interview), key=table.natural_key)
        unread = self.arrays.unread
        return (
            *(
                f"{self.arrays.name}: nobody has {name}: no window lies in {folder}; built without it"
                for name, folder in arrays_lib.FOLDERS.items()
                if name not in self.modalities
            ),
            *[f"{self.arrays.name}: {len(strangers)} people have windows and are not in the table: left out"]
            * bool(strangers),
            *[f"{self.arrays.name}: {len(unread)} files among the windows are no .npy and are not read"] * bool(unread),
        )

    def n_windows(self) -> int:
        """From the index alone: nothing is read."""
        index = self.arrays.index
        return sum(max((len(files) for files in index.get(p, {}).values()), default=0) for p in self.participants)

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        record = self._read_windows(participant)
        return record | self._words(participant), self._missing(participant, record)

    def _missing(self, participant: str, record: Record) -> list[str]:
        indexed, notes = self.arrays.index[participant], []
        for modality in self.modalities:
            empty = np.flatnonzero(record[f"{modality}_length"] == 0)
            if modality not in indexed:
                notes.append(f"{modality}: no window, though others have it: built without it")
            elif len(empty):
                numbers = ", ".join(str(self._first + position) for position in empty[:10])
                notes.append(f"{modality}: {len(empty)} of {record['n_windows']} windows hold nothing: {numbers}")
        return notes

    def _read_windows(self, participant: str) -> Record:
        count = self.count_windows(participant)
        starts = np.arange(count, dtype=np.float32) * np.float32(HOP_SECONDS)
        record: Record = {"duration_s": np.float32(0), "n_windows": np.int32(count), "window_start_s": starts}
        for modality, card in self.modalities.items():
            windows = np.zeros((count, *card["shape"]), self.dtype)
            lengths = np.zeros(count, np.int32)
            files = self.arrays.index[participant].get(modality, {})
            for position, number in enumerate(sorted(files)):
                windows[position] = self.load_window(files[number], modality)
                lengths[position] = valid_length(windows[position], card["time_axis"])
            record |= {f"has_{modality}": bool(lengths.any()), modality: windows, f"{modality}_length": lengths}
        if "audio" in self.modalities and record["has_audio"]:
            last = np.flatnonzero(record["audio_length"])[-1]
            frames = self.modalities["audio"]["shape"][1]
            record["duration_s"] = np.float32(starts[last] + record["audio_length"][last] * WINDOW_SECONDS / frames)
        return record

    def count_windows(self, participant: str) -> int:
        """Number of windows of one participant, after checking that the files are complete and come in pairs.

        Raises:
          InputError: no files, one missing in between, or unequal numbers of mel and token windows.
        """
        indexed = self.arrays.index.get(participant, {})
        modalities = {name: indexed[name] for name in arrays_lib.FOLDERS if name in indexed}
        if not modalities:
            raise InputError(self._no_windows(participant))
        for modality, files in modalities.items():
            missing = sorted(set(range(self._first, max(files) + 1)) - set(files))
            if missing:
                absent = f"{participant}/{arrays_lib.FOLDERS[modality]}/{missing[0]}.npy"
                raise InputError(
                    f"{self.arrays.describe(absent)}: missing, though window {max(files)} is there: windows are "
                    f"consecutive from {self._first}; fetch the missing file"
                )
        counts = {modality: len(files) for modality, files in modalities.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} in {arrays_lib.FOLDERS[modality]}" for modality, count in counts.items())
            raise InputError(
                f"{self.arrays.describe(participant)}: unequal numbers of windows ({listed}): sound and text are "
                "paired by number; fetch the missing files, or remove the modality's folder altogether"
            )
        return next(iter(counts.values()))

    def load_window(self, path: str, modality: str) -> Float[np.ndarray, "a b"]:
        """One window in the dtype of the records, checked.

        Args:
          path: as in `arrays.index`.
          modality: "audio" or "text".

        Raises:
          InputError: unreadable, of another shape than the other windows, not finite, or beyond the dtype's range.
        """
        array = arrays_lib.load(self.arrays, path)
        shape = tuple(self.modalities[modality]["shape"])
        if array.shape != shape:
            raise InputError(
                f"{self.arrays.describe(path)}: shape {array.shape}, but the windows of this corpus are {shape}: "
                "extract its features with the same settings"
            )
        with np.errstate(over="ignore"):
            cast = array.astype(self.dtype)
        if not np.isfinite(cast).all():
            raise InputError(
                f"{self.arrays.describe(path)}: values up to {np.abs(array).max():.3g} do not fit {self.dtype}: "
                "build the float32 config, or scale the features"
            )
        return cast

    def _find_shape(self, modality: str) -> tuple[int, int] | None:
        """Shape that most of the first few readable files have; None where nobody has the modality."""
        shapes: list[tuple[int, int]] = []
        first_error: InputError | None = None
        tried = 0
        for participant in self._interview:
            files = self.arrays.index.get(participant, {}).get(modality)
            if not files:
                continue
            tried += 1
            try:
                shapes.append(arrays_lib.load(self.arrays, files[min(files)]).shape)
            except InputError as error:  # raised again when this participant is read, or here when nothing is readable
                first_error = first_error or error
            if len(shapes) == _WITNESSES or tried == 4 * _WITNESSES:
                break
        if not shapes:
            if first_error:
                raise first_error
            return None
        return collections.Counter(shapes).most_common(1)[0][0]


BASE_URL = "https://shuyeit.oss-cn-guangzhou.aliyuncs.com/Mmpsy_OpenData/data/"
_URLS = tuple(BASE_URL + name for name in (table.TABLE_NAME, *(f"np_data.zip.{number:03d}" for number in range(1, 6))))
_FOLDER = "the folder of wav_select.json and np_data/"


def _released(dtype: str) -> Config:
    description = f"The released mel and token windows, {dtype}."
    return Config(description, ReleasedSource, needs=_FOLDER, fixed={"dtype": dtype}, urls=_URLS)


def _demo(dtype: str) -> Config:
    return Config(
        f"Synthetic: written by a seeded generator, {dtype}.",
        ReleasedSource,
        demo=demo.write,
        leaves=True,
        bulk="data/np_data",
        fixed={"dtype": dtype},
        # More test people than usual: the interval of a test AUROC is to be narrow enough to compare with the optimum.
        fractions=(0.45, 0.15, 0.40),
    )


def _detect(path: Path) -> str:
    """The config that fits what lies beside the table."""
    if path.is_file() and path.suffix.lower() != ".json":
        return ""
    arrays = arrays_lib.find_arrays(table.find_table(path).parent)
    return "transcripts" if arrays is None else "released"


CORPUS = Corpus(
    name="mmpsy",
    versions={"1.0.0": "First layout: one participant per record, ragged windows."},
    configs={
        "demo": _demo("float16"),
        "demo_float32": _demo("float32"),
        "released": _released("float16"),
        "released_float32": _released("float32"),
        "transcripts": Config(
            "Hashed character n-grams of the transcripts.",
            TranscriptSource,
            needs="the folder of wav_select.json",
            fixed={"dtype": "float16"},
            urls=_URLS[:1],
        ),
        "recordings": Config(
            "Log-mel and n-grams of one's own recordings.",
            InterviewSource,
            needs="the folder of wav_select.json and of a folder of recordings per participant",
            fixed={"is_table": True, "layout": "", "ignore": (), "interviewer": (), "speaker": "", "omit": None},
            about=False,
        ),
    },
    options={name: INTERVIEW_OPTIONS[name] for name in ("settings", "dtype")},
    homepage="https://arxiv.org/abs/2408.12088",
    detect=_detect,
)
