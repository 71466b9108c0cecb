"""Recordings and transcripts on disk -> one record per participant, as `docs/architecture.md` lays records out.

What was extracted from recordings is kept in a folder, under a digest of their content and of the settings, so that a
build that was killed goes on where it stopped, and no recording is decoded twice. Free of tfds and jax: worker
processes import this module.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.examine import OMITTED, Record
from data_builders.common.source import Config, Corpus, Option, Source, read_names
from data_builders.common.store import Store, of_windows, to_windows
from data_builders.interviews import check, layouts
from mmpsy_jax.features import interview, kept_entries, manifest, session, table
from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.interview import INTERVIEWERS
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.mel import LogMel
from mmpsy_jax.features.omissions import Omissions, read_option
from mmpsy_jax.features.recording import header_seconds
from mmpsy_jax.features.script_lines import Line, Script
from mmpsy_jax.features.session import Reading
from mmpsy_jax.features.text import SECONDS_PER_CHARACTER
from mmpsy_jax.features.windows import Windows
from mmpsy_jax.io import InputError, file_sha256, one_of, parse_json, read_text, repeats_ids
from mmpsy_jax.modality import INTERVIEWER


@dataclasses.dataclass(frozen=True)
class _TableEntry(Entry):
    """A participant of a table in the layout of MMPsy, with recordings named as the answers."""

    interview: table.Interview | None = None

    def recordings(self) -> list[Path]:
        """The audio files in order of the questions, after checking that each belongs to an answer."""
        files = super().recordings()
        expected, stems = [f"wav_{number}" for number in self.interview.questions], [file.stem for file in files]
        for what, names in (("recording", set(expected) - set(stems)), ("answer", set(stems) - set(expected))):
            if names:
                raise InputError(
                    f"{self.recording}: {len(expected)} answers in the table and {len(stems)} recordings, "
                    f"{min(names, key=table.natural_key)} has no {what}: bring the two into agreement"
                )
        return files

    def scripts(self) -> list[Script]:
        """What the table says."""
        answers = zip(self.interview.answers, self.interview.questions, strict=True)
        return [Script(lines=tuple(Line(answer, question=question) for answer, question in answers))]


class InterviewSource(Source):
    """Recordings and transcripts on disk; a record is one participant.

    Args:
      path: a manifest; or a table in the layout of MMPsy, its folder or the folder above `data/`.
      is_table: the latter, with the recordings in a folder per participant beside the table.
      layout: name of the layout of a published corpus, whose folder `path` is; "" for a manifest or table.
      settings: JSON of the settings of the extractors by modality, `{"audio": {...}, "text": {...}}`.
      dtype: "float16" or "float32", of the windows of sound.
      ignore: columns of a manifest that are not read.
      interviewer: modalities of the interviewer that records hold, "text" or "audio" or both.
      speaker: name of the participant in transcripts that name speakers, where an entry names none.
      omit: what is left out.
      hide_names: keep the names of files out of errors and notes, since they may be those of people.
      kept: folder of extracted windows; "" keeps none.
      ranges: stated ends of the scales of labels.

    Attributes:
      entries: all participants in natural order.
      extractors: of the modalities that anybody has.
    """

    has_words = True
    few = 3
    entries: tuple[Entry, ...]
    _notes_of: Sequence[tuple[str, str]] = ()

    def __init__(
        self,
        path: str | Path,
        *,
        is_table: bool = False,
        layout: str = "",
        settings: str = "{}",
        dtype: str = "float16",
        ignore: tuple[str, ...] = (),
        interviewer: tuple[str, ...] = (),
        speaker: str = "",
        omit: Omissions | None = None,
        hide_names: bool = False,
        kept: str = "",
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ):
        self.path, self.dtype = Path(path), dtype
        self._hide_names, self._kept = hide_names, Store(kept)
        self._interviewer, omit = interviewer, omit or Omissions()
        self.how = Reading(speaker, omit.omit, omit.stretches)
        self.reading = self.how.card()
        extractor_settings = read_settings(settings)
        if is_table:
            self.table = table.find_table(self.path)
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
            notes: tuple[str, ...] = ()
            extractor_settings["text"] = {"placement": "corpus", **extractor_settings.get("text", {})}
        else:
            if layout:
                listing = layouts.read(layout, self.path)
            else:
                listing = manifest.read(self.path, ignore=ignore, ranges=ranges)
            self.table, self.labels, self.subgroups = listing.path, listing.labels, listing.subgroups
            self.entries, clustered, notes = listing.entries, listing.clustered, listing.notes
            self.ranges, self.classes, self.lacking = listing.ranges, listing.classes, listing.lacking
            self.split_rule, self.synthetic = listing.split_rule, listing.synthetic
            self.same_people_as, self.unit = listing.same_people_as, listing.unit
            self._notes_of, self.is_table = listing.notes_of, not layout and not omit.stretches
            omit.require_known(entry.participant for entry in self.entries)
            scores = (score for entry in self.entries for score in entry.labels.values() if score is not None)
            if any(score % 1 or score < 0 for score in scores):
                self.label_dtype = "float32"
            self.may_rank = True
        self._entry = {entry.participant: entry for entry in self.entries}
        self.participants = tuple(self._entry)
        if clustered:
            self.cluster = manifest.CLUSTER
            self.clusters = {entry.participant: entry.cluster for entry in self.entries}
        listed = {entry.participant: entry.split for entry in self.entries}
        self.listed_splits = listed if all(listed.values()) else None
        self.folds = {entry.participant: entry.fold for entry in self.entries if entry.fold}
        self.fault = self._make_extractors(extractor_settings)
        notes += _repeated_ids(self.entries, self.subgroups) + _empty_cells(
            [entry for entry in self.entries if entry.participant not in self.lacking]
        )
        self.notes = [*(("", note) for note in notes), *self._notes_of]

    def _make_extractors(self, settings: Mapping[str, Any]) -> str:
        """Makes them; gives what is wrong with labels and settings, "" where nothing is."""
        has = {
            "audio": any(entry.has_recording for entry in self.entries),
            "text": any(entry.has_words for entry in self.entries),
        }
        self.extractors = {name: interview.make_extractor(name, settings.get(name)) for name in has if has[name]}
        self.modalities = {name: extractor.card() for name, extractor in self.extractors.items()}
        audio, text = self.extractors.get("audio"), self.extractors.get("text")
        if audio or text:
            characters = text.settings.positions * SECONDS_PER_CHARACTER if text else 0.0
            self.window_seconds = audio.settings.window_seconds if audio else characters
        lacking = [name for name in self._interviewer if not has[name]]
        for name in self._interviewer if not lacking else ():
            self.extractors[f"{INTERVIEWERS}{name}"] = self.extractors[name]
            self.modalities[f"{INTERVIEWERS}{name}"] = {**self.modalities[name], "role": INTERVIEWER}
        self.has_turns = bool(self._interviewer or self.how.speaker) or any(e.speaker for e in self.entries)
        unused = [name for name in settings if not has[name]]
        if not self.labels:
            return f"{self.table}: no column label:NAME: give one for each score that is to be estimated"
        if not self.extractors:
            return f"{self.table}: all cells of recording, transcript and text are empty: fill them"
        if lacking:
            return f"{self.table}: --interviewer={','.join(lacking)}, but nobody has that: leave it out"
        if unused:
            return f"{self.table}: settings for {', '.join(unused)}, but nobody has that: leave them out"
        return ""

    def scores(self, participant: str) -> Mapping[str, float | None]:
        return self._entry[participant].labels

    def keep_places(self, version_folder: Path) -> None:
        if not self.is_table and not self._hide_names:  # a manifest is found again by its path
            of_people = Reading(stretches=self.how.stretches)  # what is left out of everybody's is in the card
            entries = [dataclasses.replace(entry, omit=of_people.omit_of(entry)) for entry in self.entries]
            kept_entries.write(version_folder, entries)

    def verify(self, has: Mapping[str, int]) -> None:
        lacking = [name for name, entry in self.modalities.items() if "role" in entry and not has.get(name)]
        if lacking:
            raise InputError(
                f"{self.path}: nobody has {', '.join(lacking)}: no transcript names another speaker, with times: leave "
                "--interviewer out"
            )

    def subgroup_row(self, participant: str) -> Sequence[str]:
        return list(self._entry[participant].subgroups.values())

    def n_windows(self) -> int:
        """From the headers of the recordings alone."""
        audio = self.extractors.get("audio")
        seconds = self.window_seconds if audio is None else audio.settings.step_seconds
        return sum(1 + int(_seconds(entry) / seconds) for entry in self.entries)

    def digests(self) -> dict[str, str]:
        """Of the manifest's bytes (of a layout, of what it says); of names, sizes and times of change of the files."""
        digest = hashlib.sha256()
        of_layout = hashlib.sha256(repr(self.entries).encode()).hexdigest()
        for entry in self.entries:
            for path in entry.paths:
                files = sorted(path.rglob("*")) if path and path.is_dir() else [path]
                for file in files:
                    if file is not None and file.is_file():
                        status = file.stat()
                        digest.update(f"{file}\x00{status.st_size}\x00{status.st_mtime_ns}\n".encode())
        table_sha256 = file_sha256(self.table) if self.table.is_file() else of_layout
        return {"source_sha256": table_sha256, "files_sha256": digest.hexdigest()}

    def describe(self, deep: bool, strict: bool) -> dict[str, Any]:
        return check.describe(self, strict)

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        entry = self._entry[participant]
        recordings: Sequence[Path] = ()
        try:
            recordings = entry.recordings()
            both = session.read(entry, self.how)
            dtypes = {name: interview.dtype_of(card, self.dtype) for name, card in self.modalities.items()}
            ours, theirs = (
                dataclasses.replace(side, sound=self._sound(side.recordings, dtypes["audio"])) if heard else side
                for side, heard in (
                    (both.participant, both.participant.recordings),
                    (both.interviewer, both.interviewer.recordings and "audio" in self._interviewer),
                )
            )
            words = ours.transcript
            record, notes = interview.record(
                ours.recordings, words, self.extractors, dtypes, ours.sound, theirs if self._interviewer else None
            )
            notes = [self._without_names(note, entry, recordings) for note in notes]
            notes += check.unread_note(entry, self._hide_names) if "audio" in self.extractors else []
        except InputError as error:
            raise InputError(self._without_names(str(error), entry, recordings)) from error
        record["n_answers"] = np.int32(len(words.answers))
        record["n_characters"] = np.int32(words.characters)
        if self.has_turns:
            record["n_turns"] = np.int32(words.turns)
            record["n_interviewer_characters"] = np.int32(theirs.transcript.characters)
        seconds, characters = both.omitted_s, both.omitted_characters
        left_out = (seconds, seconds + float(record["duration_s"]), characters, characters + words.characters)
        return record | {"transcript": words.text, OMITTED: left_out}, notes

    def recordings(self, participant: str) -> Sequence[Path | Clip]:
        return session.read(self._entry[participant], self.how).participant.recordings

    def _without_names(self, message: str, entry: Entry, recordings: Sequence[Path]) -> str:
        if not self._hide_names:
            return message
        for number, path in enumerate(recordings, 1):
            message = message.replace(str(path), f"recording {number}")
        for name, path in (("recording", entry.recording), ("transcript", entry.transcript)):
            message = message.replace(str(path), name) if path else message
        return message

    def _sound(self, recordings: Sequence[Path | Clip], dtype: np.dtype) -> Windows:
        """Windows of recordings, extracted now or before."""
        audio = self.extractors["audio"]
        make = functools.partial(audio.extract, recordings, dtype)
        if not isinstance(audio, LogMel):  # only its windows cost more than reading a file
            return make()
        key = {"dtype": str(dtype), **audio.card()["extractor"]}
        clips = as_clips(recordings)
        parts = [clip.about() for clip in clips]
        key |= {"clips": parts} if any(parts) else {}
        return self._kept.get([clip.path for clip in clips], key, make, of_windows, to_windows)


def read_settings(text: str) -> dict[str, dict[str, Any]]:
    """Settings of the extractors by modality, from JSON.

    Raises:
      InputError: no JSON object of objects, a key twice, or an unknown modality.
    """
    settings = parse_json("settings of the features", text)
    if not isinstance(settings, dict) or not all(isinstance(value, dict) for value in settings.values()):
        raise InputError('settings of the features: must be like {"audio": {"bands": 128}, "text": {"positions": 900}}')
    for name in settings:
        if name not in ("audio", "text"):
            raise one_of("modality in the settings of the features", name, ("audio", "text"))
    return settings


def _empty_cells(entries: Sequence[Entry]) -> tuple[str, ...]:
    """A note on each kind of file that some participants have and some lack."""
    lacking = {
        "recording": sum(not entry.has_recording for entry in entries),
        "transcript": sum(not entry.has_words for entry in entries),
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


def _seconds(entry: Entry) -> float:
    with contextlib.suppress(InputError):  # said when the participant is read
        return sum(map(header_seconds, entry.recordings()))
    return 0.0


def read_settings_file(path: str) -> str:
    """JSON of the settings of the extractors in a file, in one order.

    Raises:
      InputError: it cannot be read, or as `read_settings`.
    """
    try:
        return json.dumps(read_settings(read_text(Path(path))), sort_keys=True)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error


def config_of_layout(name: str) -> Config:
    """How a published corpus is asked for."""
    fixed = {"is_table": False, "layout": name, "ignore": ()}
    return Config(f"{layouts.title(name)}.", InterviewSource, needs=layouts.load(name).NEEDS, fixed=fixed)


def read_sides(text: str) -> tuple[str, ...]:
    """Modalities of the option `--interviewer`, in the order of the records.

    Raises:
      InputError: an unknown one.
    """
    names = read_names(text)
    for name in names:
        if name not in ("audio", "text"):
            raise one_of("modality of the interviewer", name, ("audio", "text"))
    return tuple(sorted(set(names)))


OPTIONS = {
    "settings": Option("JSON file of how features are extracted", read_settings_file),
    "dtype": Option("of stored windows", choices=("float16", "float32")),
    "ignore": Option("columns that are not read, a,b,...", read_names),
    "interviewer": Option(
        "what the interviewer says, as modalities that networks read only by name: text,audio", read_sides
    ),
    "speaker": Option("name of the participant in transcripts that name speakers, where the manifest names none"),
    "omit": Option(
        "what is left out: numbers of questions, a .txt of phrases, a .csv participant,start,end", read_option
    ),
}
CORPUS = Corpus(
    name="interviews",
    versions={"1.0.0": "First layout: one participant per record, ragged windows."},
    configs={name: config_of_layout(name) for name in layouts.names()},
    named=Config(
        "Interviews of a manifest.",
        InterviewSource,
        needs="a manifest of participants, CSV or JSONL",
        fixed={"is_table": False, "layout": ""},
    ),
    options=OPTIONS,
    detect=lambda path: "check" if path.is_file() and path.suffix.lower() != ".json" else "",
)
