"""The layout of the published hotline code (repo czl0914/psy_hotline_analysis): a table per caller, a file per segment.

    SOURCE/<caller>.csv                               columns index, role, and one 0/1 column per emotion
    SOURCE/original_audio_data/<caller>/<index>.wav   one segment (or another kind of sound file)

A row is kept where `role` is 1: the caller. Emotions are the eleven published ones, or `label:NAME`, or the columns
that `--labels` names; all tables must have the same. Two more columns are read where they are there: `negative` (0/1;
otherwise a segment is negative where any of the published emotions is, our choice) and `start_s`, the start of the
segment in the call in seconds (otherwise the caller's kept segments lie one behind the other). `text` is never read.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Option, Source, read_names, stat_sha256
from data_builders.hotline import demo
from data_builders.hotline.columns import AUDIO_FOLDER, CALLER_ROLE, EMOTIONS, NEGATIVE
from mmpsy_jax.features import interview
from mmpsy_jax.features.recording import header_seconds
from mmpsy_jax.features.recording_folder import list_unread, recordings_by_stem, visible
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.waveform import Waveform, WaveformSettings
from mmpsy_jax.io import InputError, Table, number, read_table, whole, whole_or_none

CLUSTER_FEATURE = "caller"
OPTIONAL = (NEGATIVE, "start_s", "text")
_LABEL = "label:"
_NAME = re.compile(r"[^\W\d_]\w{0,39}")
_TAKEN = re.compile(
    r"participant|caller|n_(answers|characters|windows)|duration_s|window_start_s|transcript|has_.*|audio(_length)?"
)


@dataclasses.dataclass(frozen=True)
class Segment:
    """One turn of a caller.

    Attributes:
      caller: whose call it is.
      index: number of the segment in the call; names its recording.
      labels: 0 or 1 by name.
      start_s: start in the call in seconds, None where the table does not say.
      recording: of this segment alone.
    """

    caller: str
    index: int
    labels: dict[str, int]
    start_s: float | None
    recording: Path

    @property
    def name(self) -> str:
        """Unique id."""
        return f"{self.caller}/{self.index}"


@dataclasses.dataclass(frozen=True)
class Calls:
    """Opened tables.

    Attributes:
      labels: names, in the order of the records.
      segments: the caller's segments of every call, in the order of their index.
      notes: by caller, "" for all: how a table differs from what is documented, and what is not read.
    """

    labels: tuple[str, ...]
    segments: dict[str, list[Segment]]
    notes: tuple[tuple[str, str], ...]


def read_calls(folder: Path, labels: Sequence[str] = ()) -> Calls:
    """Reads all tables.

    Args:
      folder: of the tables.
      labels: columns of emotions; none: `label:NAME`, or the published ones.

    Raises:
      InputError: no tables, a missing or unknown column, a cell that is not what its column holds, an index twice, a
        caller without a segment, a recording that is not there, tables with other labels than the first.
    """
    files = visible(folder.iterdir()) if folder.is_dir() else []
    tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv")]
    if not tables:
        raise InputError(f"{folder}: no <caller>.csv: give the folder that holds one table per caller")
    segments: dict[str, list[Segment]] = {}
    names: dict[str, str] | None = None
    notes: list[tuple[str, str]] = []
    for path in sorted(tables, key=lambda path: natural_key(path.stem)):
        known = ("role", "index", *EMOTIONS, *OPTIONAL, f"{_LABEL}*")
        table = read_table(path, ("index", "role", *labels), [name for name in known if name not in labels])
        columns = _label_columns(table, labels)
        names = columns if names is None else names
        if columns.keys() != names.keys():
            odd = ", ".join(sorted(columns.keys() ^ names.keys()))
            raise InputError(
                f"{path}: its labels differ from those of the first table in {odd}: give all tables the same"
            )
        if path.stem in segments:
            raise InputError(f"{path}: there are two tables of this caller: keep one")
        segments[path.stem], unread = _read_call(table, columns)
        notes += [(path.stem, note) for note in (*table.notes, *unread)]
    audio = folder / AUDIO_FOLDER
    strangers = list_unread(audio, [audio / caller for caller in segments])
    if strangers:
        notes.append(("", f"{audio}: {len(strangers)} files or folders belong to no table and are not read"))
    return Calls(tuple(names or ()), segments, tuple(notes))


def _label_columns(table: Table, labels: Sequence[str]) -> dict[str, str]:
    """Columns by label."""
    prefixed = {name.removeprefix(_LABEL): name for name in table.header if name.startswith(_LABEL)}
    named = {name: name for name in labels} or prefixed
    published = [name for name in EMOTIONS if name in table.columns]
    if not named and len(published) < len(EMOTIONS):
        missing = ", ".join(name for name in EMOTIONS if name not in published)
        raise InputError(
            f"{table.path}: no column {missing}: needed are the published emotions; emotions of your own are "
            "label:NAME, or the columns that --labels=NAME,... names"
        )
    if not labels:
        negative = {NEGATIVE: NEGATIVE} if not prefixed or NEGATIVE in table.columns else {}
        named = {**negative, **dict(zip(published, published, strict=True)), **prefixed}
    for name in named:
        if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
            raise InputError(
                f"{table.path}: {name[:40]!r} cannot be the name of a label: take 1 to 40 letters, digits and '_', "
                "beginning with a letter, and none that a record has besides, such as caller"
            )
    return named


def _read_call(table: Table, columns: dict[str, str]) -> tuple[list[Segment], list[str]]:
    """The caller's segments in order, and notes on recordings of no row."""
    path, segments, others = table.path, {}, []
    folder = path.parent / AUDIO_FOLDER / path.stem
    recordings = recordings_by_stem(folder)
    for line, row in table.rows:
        where = f"{path}: line {line}"
        if whole(where, "role", row["role"]) != CALLER_ROLE:
            others.append(whole_or_none(row["index"]))
            continue
        index = whole(where, "index", row["index"])
        if index in segments:
            raise InputError(f"{where}: index {index} is there twice: keep one row per segment")
        labels = {name: whole(where, column, row[column], 1) for name, column in columns.items() if column in row}
        if NEGATIVE in columns and NEGATIVE not in labels:
            labels[NEGATIVE] = int(any(labels.values()))
        start = number(where, "start_s", row["start_s"], 0.0) if "start_s" in row else None
        recording = recordings.get(str(index))
        if recording is None:
            raise InputError(
                f"{folder / str(index)}.wav: missing, as any other kind of sound file is, but line {line} of "
                f"{path.name} is a turn of the caller: add the file"
            )
        segments[index] = Segment(path.stem, index, {name: labels[name] for name in columns}, start, recording)
    if not segments:
        raise InputError(f"{path}: no row with role {CALLER_ROLE} (the caller): remove the table, or mend the roles")
    unread = list_unread(folder, [one.recording for one in segments.values()])
    unread = [file for file in unread if file.stem not in {str(index) for index in others}]
    notes = [f"{folder}: {len(unread)} files belong to no row of the table and are not read"] * bool(unread)
    return [segments[index] for index in sorted(segments)], notes


class CallSource(Source):
    """A record is one segment; its feature `caller` names the cluster that stays together in splits and folds.

    Args:
      path: folder of the tables.
      labels: columns of emotions, where their names do not say so.
      window_seconds: longer segments become several windows.
    """

    unit = "segments"
    cluster = CLUSTER_FEATURE
    splits_clusters = True
    records_per_shard = 128

    def __init__(self, path: str | Path, *, labels: tuple[str, ...] = (), window_seconds: float = 10.0):
        self.path, self.window_seconds = Path(path), window_seconds
        self._extractors = {"audio": Waveform(WaveformSettings(window_seconds=window_seconds))}
        calls = read_calls(self.path, labels)
        self.labels, self.notes, self._calls = calls.labels, calls.notes, calls.segments
        self.ranges = dict.fromkeys(self.labels, (0.0, 1.0))
        self._segment = {one.name: one for call in self._calls.values() for one in call}
        self.participants = tuple(self._segment)
        self.clusters = {name: one.caller for name, one in self._segment.items()}
        self.modalities = {name: extractor.card() for name, extractor in self._extractors.items()}
        self._starts: dict[str, dict[int, float]] = {}

    def scores(self, participant: str) -> Mapping[str, float | None]:
        return self._segment[participant].labels

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        segment = self._segment[participant]
        dtypes = {name: interview.dtype_of(entry, None) for name, entry in self.modalities.items()}
        record, notes = interview.record([segment.recording], Transcript(), self._extractors, dtypes)
        return record | {"window_start_s": np.float32(self._start(segment)) + record["window_start_s"]}, notes

    def _start(self, segment: Segment) -> float:
        """Start of a segment in its call in seconds."""
        if segment.caller not in self._starts:
            starts, clock = {}, 0.0
            for one in self._calls[segment.caller]:
                starts[one.index] = clock if one.start_s is None else one.start_s
                if one.start_s is None:
                    clock += header_seconds(one.recording)
            self._starts[segment.caller] = starts
        return self._starts[segment.caller][segment.index]

    def digests(self) -> dict[str, str]:
        files = ((one, one.recording.stat().st_size) for one in self._segment.values())
        return {"source_sha256": stat_sha256([f"{one.name} {one.labels} {one.start_s} {size}" for one, size in files])}


CORPUS = Corpus(
    name="hotline",
    versions={"1.0.0": "First layout: one segment per record, clustered by caller."},
    configs={
        "demo": Config(
            "Synthetic: emotions are tones.",
            CallSource,
            demo=demo.write,
            fixed={"labels": ()},
            defaults={"window_seconds": demo.SECONDS[1]},
            fractions=(0.5, 0.2, 0.3),
        ),
        "calls": Config(
            "Callers' turns from tables and wav files.",
            CallSource,
            needs="the folder of <caller>.csv and original_audio_data/",
        ),
    },
    options={
        "labels": Option("columns of emotions, with commas; default: label:NAME, or published", read_names),
        "window_seconds": Option("longer segments become several windows (default 10)", float),
    },
    former={"callers": "participants"},
    homepage="https://arxiv.org/abs/2405.04128",
)
