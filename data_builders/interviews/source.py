"""Recordings and transcripts on disk -> one record per participant, as `docs/architecture.md` lays records out.

What was extracted from recordings is kept in a folder, under a digest of their content and of the settings, so that a
build that was killed goes on where it stopped, and no recording is decoded twice. Free of tfds and jax: worker
processes import this module.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.examine import Record, content_digests
from mmpsy_jax.features import interview, manifest, table
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.mel import LogMel
from mmpsy_jax.features.recording import header_seconds
from mmpsy_jax.features.recording_folder import name_unread
from mmpsy_jax.features.text import SECONDS_PER_CHARACTER
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError, file_sha256, one_of, open_npz, parse_json, repeats_ids, write_npz

# Another number whenever the same recording would give other windows.
_EXTRACTION = 2


@dataclasses.dataclass(frozen=True)
class InterviewSpec:
    """Everything a worker process needs to open the same source.

    Attributes:
      path: a manifest; or a table in the layout of MMPsy, its folder or the folder above `data/`.
      is_table: the latter, with the recordings in a folder per participant beside the table.
      settings: JSON of the settings of the extractors by modality, `{"audio": {...}, "text": {...}}`.
      dtype: "float16" or "float32", of the windows of sound.
      include_text: whether records carry the transcript.
      ignore: columns of a manifest that are not read.
      hide_names: keep the names of files out of errors and notes, since they may be those of people.
      strict: refuse a participant of whose recordings something would be noted.
      kept: folder of extracted windows; "" keeps none.
      opened: differs with every `open_source`, so that no process takes an earlier reading of the same path for it.
    """

    path: str
    is_table: bool = False
    settings: str = "{}"
    dtype: str = "float16"
    include_text: bool = False
    ignore: tuple[str, ...] = ()
    hide_names: bool = False
    strict: bool = False
    kept: str = ""
    opened: str = ""

    @property
    def root(self) -> Path:
        """The folder that paths in messages are shown relative to."""
        path = Path(self.path)
        return path if path.is_dir() else path.parent

    def open(self) -> "InterviewSource":
        """Reads the manifest or table."""
        return InterviewSource(self)


@dataclasses.dataclass(frozen=True)
class _TableEntry(Entry):
    """A participant of a table in the layout of MMPsy, with recordings named as the answers."""

    interview: table.Interview | None = None

    def recordings(self) -> list[Path]:
        """The audio files in order of the questions, after checking that each belongs to an answer."""
        files = super().recordings()
        wanted, found = [f"wav_{number}" for number in self.interview.questions], [file.stem for file in files]
        for what, names in (("recording", set(wanted) - set(found)), ("answer", set(found) - set(wanted))):
            if names:
                raise InputError(
                    f"{self.recording}: {len(wanted)} answers in the table and {len(found)} recordings, "
                    f"{min(names, key=table.natural_key)} has no {what}: bring the two into agreement"
                )
        return files

    def words(self) -> Transcript:
        """What the table says."""
        return Transcript(self.interview.answers, self.interview.questions)


class InterviewSource:
    """Opened interviews; see `open_source`.

    Attributes:
      spec: how they were opened.
      table: path of the manifest or table.
      entries: all participants in natural order.
      labels, subgroups: names of the columns.
      clusters: {participant: cluster} where the manifest says who belongs together.
      notes: how the manifest differs from what is documented, and what is odd about all participants together.
      extractors: of the modalities that anybody has.
      window_seconds: length of a window.
      without_windows: nobody; who lacks files is found by `read`.
    """

    without_windows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # about the corpus as a whole

    def __init__(self, spec: InterviewSpec):
        self.spec = spec
        path = Path(spec.path)
        self.entries: tuple[Entry, ...]
        if spec.is_table:
            self.table = table.find_table(path)
            self.labels, self.subgroups, clustered = tuple(table.LABEL_KEYS), (), False
            self.entries = tuple(
                _TableEntry(
                    one.participant,
                    recording=self.table.parent / one.participant,
                    text=one.transcript,
                    labels=one.scores,
                    interview=one,
                )
                for one in table.read_table(self.table)
            )
        else:
            found = manifest.read(path, ignore=spec.ignore)
            self.table, self.labels, self.subgroups, self.entries = (
                found.path,
                found.labels,
                found.subgroups,
                found.entries,
            )
            self.entries, clustered, self.notes = found.entries, found.clustered, found.notes
        if not self.labels:
            raise InputError(f"{self.table}: no column label:NAME: give one for each score that is to be estimated")
        self._entry = {entry.participant: entry for entry in self.entries}
        self.clusters = {entry.participant: entry.cluster for entry in self.entries if clustered}
        settings = read_settings(spec.settings)
        has = {
            "audio": any(entry.recording for entry in self.entries),
            "text": any(entry.transcript or entry.text for entry in self.entries),
        }
        if spec.is_table:
            settings["text"] = {"placement": "corpus", **settings.get("text", {})}
        if not any(has.values()):
            raise InputError(f"{self.table}: all cells of recording, transcript and text are empty: fill them")
        self.notes += _repeated_ids(self.entries, self.subgroups) + _empty_cells(self.entries)
        unused = [name for name in settings if not has[name]]
        if unused:
            raise InputError(f"{self.table}: settings for {', '.join(unused)}, but nobody has that: leave them out")
        self.extractors = {name: interview.make_extractor(name, settings.get(name)) for name in has if has[name]}
        audio, text = self.extractors.get("audio"), self.extractors.get("text")
        self.window_seconds = (
            audio.settings.window_seconds if audio else text.settings.positions * SECONDS_PER_CHARACTER
        )

    @property
    def modalities(self) -> dict[str, dict[str, Any]]:
        """{name: entry of `corpus.json`}."""
        return {name: extractor.card() for name, extractor in self.extractors.items()}

    @property
    def participants(self) -> tuple[str, ...]:
        """Ids in natural order."""
        return tuple(self._entry)

    @property
    def listed_splits(self) -> dict[str, str] | None:
        """{participant: split} where the manifest gives them."""
        splits = {entry.participant: entry.split for entry in self.entries}
        return splits if all(splits.values()) else None

    def group_rows(self, names: Mapping[str, str]) -> list[list[str]]:
        """Header and rows of a `subgroups.csv`.

        Args:
          names: {participant: id in the records} of those who are to be in it.
        """
        rows = [[name, *self._entry[participant].subgroups.values()] for participant, name in names.items()]
        return [["participant_id", *self.subgroups], *rows]

    def n_windows(self, participants: Iterable[str] | None = None) -> int:
        """About how many windows these (default: all) participants have, from the headers of the recordings alone."""
        audio = self.extractors.get("audio")
        seconds = self.window_seconds if audio is None else audio.settings.step_seconds
        lengths = (_seconds(self._entry[p]) for p in (self.participants if participants is None else participants))
        return sum(1 + int(length / seconds) for length in lengths)

    def table_sha256(self) -> str:
        """Digest of the manifest's bytes."""
        return file_sha256(self.table)

    def files_sha256(self) -> str:
        """Digest of the names, sizes and times of change of the files that the manifest names."""
        digest = hashlib.sha256()
        for entry in self.entries:
            for path in (entry.recording, entry.transcript):
                found = sorted(path.rglob("*")) if path and path.is_dir() else [path]
                for file in found:
                    if file is not None and file.is_file():
                        status = file.stat()
                        digest.update(f"{file}\x00{status.st_size}\x00{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def examine(self, participant: str) -> tuple[Record, dict[str, list[str]]]:
        """Record of one participant, before any TFDS encoding, and what the build wants to know of it.

        Returns:
          the features of the record contract; `content_digests` and "notes" about what is odd but no error.

        Raises:
          InputError: whatever is wrong with the participant's files.
        """
        entry = self._entry[participant]
        recordings: Sequence[Path] = ()
        try:
            words = entry.words()
            recordings = entry.recordings()
            dtypes = {name: interview.dtype_of(entry, self.spec.dtype) for name, entry in self.modalities.items()}
            sound = self._sound(recordings, dtypes["audio"]) if recordings else None
            features, notes = interview.record(recordings, words, self.extractors, dtypes, sound)
            notes = [self._without_names(note, entry, recordings) for note in notes]
            notes += unread_note(entry, self.spec.hide_names) if "audio" in self.extractors else []
            if notes and self.spec.strict:
                raise InputError(f"{'; '.join(notes)}: mend this, or build without --strict")
        except InputError as error:
            raise InputError(self._without_names(str(error), entry, recordings)) from error
        record: Record = {"participant": participant}
        record |= {name: np.int32(-1 if score is None else score) for name, score in entry.labels.items()}
        record["n_answers"] = np.int32(len(words.answers))
        record["n_characters"] = np.int32(sum(map(len, words.answers)))
        record |= features
        if self.spec.include_text:
            record["transcript"] = words.text
        return record, content_digests(record, words.text) | {"notes": notes}

    def _without_names(self, message: str, entry: Entry, recordings: Sequence[Path]) -> str:
        if not self.spec.hide_names:
            return message
        for number, path in enumerate(recordings, 1):
            message = message.replace(str(path), f"recording {number}")
        for name, path in (("recording", entry.recording), ("transcript", entry.transcript)):
            message = message.replace(str(path), name) if path else message
        return message

    def _sound(self, recordings: Sequence[Path], dtype: np.dtype) -> Windows:
        """Windows of recordings, extracted now or before."""
        audio = self.extractors["audio"]
        if not self.spec.kept or not isinstance(audio, LogMel):  # only its windows cost more than reading a file
            return audio.extract(recordings, dtype)
        key = {"extraction": _EXTRACTION, "dtype": str(dtype), **audio.card()["extractor"]}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
        for path in recordings:
            digest.update(bytes.fromhex(file_sha256(path)))
        source = digest.hexdigest()
        file = Path(self.spec.kept) / f"{source}.npz"
        sound = _load(file, source)
        if sound is None:
            sound = audio.extract(recordings, dtype)
            arrays = {"source": np.array(source), **{name: np.asarray(value) for name, value in vars(sound).items()}}
            write_npz(file, **arrays)
        return sound


def open_source(path: str | os.PathLike, **options: Any) -> InterviewSource:
    """Opens a manifest, or a table with recordings; options as in `InterviewSpec`.

    Raises:
      InputError: nothing of that kind, an unreadable one, or settings that cannot be.
    """
    return InterviewSpec(path=os.path.abspath(path), opened=secrets.token_hex(8), **options).open()


def read_settings(given: str) -> dict[str, dict[str, Any]]:
    """Settings of the extractors by modality, from JSON.

    Raises:
      InputError: no JSON object of objects, a key twice, or an unknown modality.
    """
    settings = parse_json("settings of the features", given)
    if not isinstance(settings, dict) or not all(isinstance(value, dict) for value in settings.values()):
        raise InputError('settings of the features: must be like {"audio": {"bands": 128}, "text": {"positions": 900}}')
    for name in settings:
        if name not in ("audio", "text"):
            raise one_of("modality in the settings of the features", name, ("audio", "text"))
    return settings


def _empty_cells(entries: Sequence[Entry]) -> tuple[str, ...]:
    """A note on each kind of file that some participants have and some lack."""
    lacking = {
        "recording": sum(entry.recording is None for entry in entries),
        "transcript": sum(entry.transcript is None and not entry.text for entry in entries),
    }
    return tuple(f"participants without a {kind}: {n}" for kind, n in lacking.items() if 0 < n < len(entries))


def _repeated_ids(entries: Sequence[Entry], subgroups: Sequence[str]) -> tuple[str, ...]:
    """A note on each column of subgroups that looks as if it named persons."""
    likely = (name for name in subgroups if repeats_ids([entry.subgroups[name] for entry in entries]))
    return tuple(
        f"subgroup:{name} has few participants in each of its subgroups: where it names persons or families, call it "
        f"{manifest.CLUSTER}, so that each stays in one split"
        for name in likely
    )


def unread_note(entry: Entry, hide_names: bool = False) -> list[str]:
    """A note about what lies in the folders of a participant and is not read; none where nothing does."""
    unread = entry.unread()
    if hide_names and unread:
        return [f"not read: {len(unread)} files or folders beside those that are"]
    return [name_unread(unread)] if unread else []


def _seconds(entry: Entry) -> float:
    with contextlib.suppress(InputError):  # said when the participant is read
        return sum(map(header_seconds, entry.recordings()))
    return 0.0


def _load(file: Path, source: str) -> Windows | None:
    """What was kept of some recordings; None where nothing was, where it is damaged, or is of other recordings."""
    try:
        with open_npz(file) as stored:
            arrays = dict(stored)
        if str(arrays["source"]) != source:  # the file was renamed, or put here under the name of another
            print(f"warning: {file}: is of other recordings: they are read again", file=sys.stderr)
            return None
        scalars = {name: arrays[name].tolist() for name in ("duration_s", "parts_s", "notes")}
        return Windows(
            **{name: arrays[name] for name in ("values", "lengths", "start_s")},
            duration_s=scalars["duration_s"],
            parts_s=tuple(scalars["parts_s"]),
            notes=tuple(scalars["notes"]),
        )
    except (InputError, KeyError):
        return None
