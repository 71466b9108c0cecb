"""A corpus on disk -> one record per participant, as `docs/architecture.md` lays records out.

Free of tfds, TensorFlow and jax: worker processes import this module. Everything that can be wrong with a
participant's files is found here and raised as an `InputError` that names the file.
"""

import collections
import dataclasses
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_builders.common.examine import Record, content_digests
from data_builders.mmpsy import arrays as arrays_lib
from mmpsy_jax.features import interview as interview_lib
from mmpsy_jax.features import table, text
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.io import InputError, file_sha256

# How the release cut its recordings: 60 s windows that overlap by 10 s.
WINDOW_SECONDS = 60.0
HOP_SECONDS = 50.0

TIME_AXIS = {"audio": 1, "text": 0}

# Shapes are settled by this many participants, so that one damaged file does not decide for all.
_WITNESSES = 5


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """Everything a worker process needs to open the same source.

    Attributes:
      path: the table, its folder, or the folder above `data/`.
      volumes: volumes of the archive in order, where they do not lie beside the table (downloads).
      transcripts_only: text ids from the table alone, no features.
      dtype: "float16" or "float32", of the features in the record.
      include_text: whether records carry the transcript.
      opened: differs with every `open_source`, so that no process takes an earlier reading of the same path for it.
    """

    path: str
    volumes: tuple[str, ...] = ()
    transcripts_only: bool = False
    dtype: str = "float16"
    include_text: bool = False
    opened: str = ""

    @property
    def root(self) -> Path:
        """The folder that paths in messages are shown relative to."""
        return Path(self.path)

    def open(self) -> "Source":
        """Opens the corpus."""
        return Source(self)


class Source:
    """An opened corpus; see `open_source`.

    Attributes:
      spec: how it was opened.
      table: path of the table.
      interviews: all participants in natural order.
      arrays: where the windows lie; None for transcripts only.
      modalities: {name: entry of `corpus.json`}.
      window_seconds: length of a window.
      listed_splits, subgroups, clusters: none.
      notes: what is odd about the corpus as a whole.
    """

    listed_splits: Mapping[str, str] | None = None
    subgroups: tuple[str, ...] = ()
    clusters: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def __init__(self, spec: SourceSpec):
        self.spec = spec
        self.table = table.find_table(spec.path)
        self.interviews = tuple(table.read_table(self.table))
        self._interview = {interview.participant: interview for interview in self.interviews}
        self.arrays: arrays_lib.Arrays | None = None
        if spec.transcripts_only:
            self.modalities: dict[str, dict[str, Any]] = {"text": text.modality_card()}
            self.window_seconds = text.SECONDS_PER_WINDOW
            return
        self.window_seconds = WINDOW_SECONDS
        if spec.volumes:
            self.arrays = arrays_lib.ZipArrays([Path(volume) for volume in spec.volumes])
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
            modality: {"kind": "features", "shape": list(shape), "time_axis": TIME_AXIS[modality]}
            for modality in arrays_lib.FOLDERS
            if (shape := self._find_shape(modality)) is not None
        }
        self.notes = self._odd()

    @property
    def participants(self) -> tuple[str, ...]:
        """Ids in natural order."""
        return tuple(self._interview)

    @property
    def without_windows(self) -> tuple[str, ...]:
        """Participants of the table that have no feature file at all."""
        if self.arrays is None:
            return ()
        return tuple(participant for participant in self._interview if not self.arrays.index.get(participant))

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

    def n_windows(self, participants: Iterable[str] | None = None) -> int:
        """Number of windows of these (default: all) participants, from the index alone: nothing is read."""
        participants = self.participants if participants is None else participants
        if self.arrays is None:
            size = text.POSITIONS_PER_WINDOW
            return sum(max(1, -(-len(self._interview[p].transcript) // size)) for p in participants)
        index = self.arrays.index
        return sum(max((len(files) for files in index.get(p, {}).values()), default=0) for p in participants)

    def table_sha256(self) -> str:
        """Digest of the table's bytes."""
        return file_sha256(self.table)

    def files_sha256(self) -> str:
        """Digest of the names and sizes (in an archive also the checksums) of the windows; "" without windows."""
        return self.arrays.fingerprint() if self.arrays is not None else ""

    def interview(self, participant: str) -> table.Interview:
        """The participant's row of the table."""
        return self._interview[participant]

    def read(self, participant: str) -> Record:
        """Record of one participant, before any TFDS encoding.

        Args:
          participant: an id of the table.

        Returns:
          the features of the record contract, numpy arrays and scalars; `<modality>` is [W, *shape] with W >= 1.

        Raises:
          InputError: whatever is wrong with the participant's files, naming the file.
        """
        interview = self._interview[participant]
        record: Record = {"participant": participant}
        for label, score in interview.scores.items():
            record[label] = np.int32(-1 if score is None else score)
        record["n_answers"] = np.int32(len(interview.answers))
        record["n_characters"] = np.int32(sum(map(len, interview.answers)))
        if self.arrays is None:
            encoder = text.NGrams()
            made = {"text": encoder.extract(Transcript(interview.answers, interview.questions))}
            record |= interview_lib.features(made, {"text": encoder}, {"text": np.dtype(np.int32)}, duration_s=0)
        else:
            record |= self._read_windows(participant)
        if self.spec.include_text:
            record["transcript"] = interview.transcript
        return record

    def examine(self, participant: str) -> tuple[Record, dict[str, list[str]]]:
        """Record of one participant, its `content_digests`, and "notes" about windows that are missing or empty."""
        record = self.read(participant)
        digests = content_digests(record, self.interview(participant).transcript)
        return record, digests | {"notes": [] if self.arrays is None else self._missing(participant, record)}

    def _missing(self, participant: str, record: Record) -> list[str]:
        held, notes = self.arrays.index[participant], []
        for modality in self.modalities:
            empty = np.flatnonzero(record[f"{modality}_length"] == 0)
            if modality not in held:
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
            windows = np.zeros((count, *card["shape"]), self.spec.dtype)
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
        held = self.arrays.index.get(participant, {})
        modalities = {name: held[name] for name in arrays_lib.FOLDERS if name in held}
        if not modalities:
            raise InputError(
                f"{self.arrays.describe(participant)}: {participant} has no windows: the table names the participant, "
                f"but neither {' nor '.join(arrays_lib.FOLDERS.values())} holds a file"
            )
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
            said = ", ".join(f"{count} in {arrays_lib.FOLDERS[modality]}" for modality, count in counts.items())
            raise InputError(
                f"{self.arrays.describe(participant)}: unequal numbers of windows ({said}): sound and text are paired "
                "by number; fetch the missing files, or remove the modality's folder altogether"
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
            cast = array.astype(self.spec.dtype)
        if not np.isfinite(cast).all():
            raise InputError(
                f"{self.arrays.describe(path)}: values up to {np.abs(array).max():.3g} do not fit {self.spec.dtype}: "
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


def open_source(
    path: str | os.PathLike,
    *,
    volumes: Iterable[str | os.PathLike] = (),
    transcripts_only: bool = False,
    dtype: str = "float16",
    include_text: bool = False,
) -> Source:
    """Opens a corpus in the released layout; arguments as in `SourceSpec`.

    Raises:
      InputError: no table, an unreadable one, or no features that belong to it.
    """
    spec = SourceSpec(
        path=os.path.abspath(path),
        volumes=tuple(map(os.path.abspath, volumes)),
        transcripts_only=transcripts_only,
        dtype=str(np.dtype(dtype)),
        include_text=include_text,
        opened=secrets.token_hex(8),
    )
    return Source(spec)


def valid_length(window: Float[np.ndarray, "a b"], time_axis: int) -> int:
    """Number of frames or tokens before the zero padding: up to the last that is not zero throughout."""
    filled = np.flatnonzero(window.any(axis=1 - time_axis))
    return int(filled[-1]) + 1 if len(filled) else 0
