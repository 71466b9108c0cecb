"""What a manifest names, what is missing and what is odd, before anyone builds it: counts only, as `mmpsy/check.py`."""

import collections
from collections.abc import Sequence
from pathlib import Path

from data_builders.common import shards, splits
from data_builders.interviews import source as source_lib
from data_builders.mmpsy.check import Report, list_problems, spread, summary
from mmpsy_jax.features import manifest
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.recording import measure
from mmpsy_jax.io import InputError


def check(path: Path, *, deep: bool = False, strict: bool = False, ignore: Sequence[str] = ()) -> Report:
    """Looks at a manifest and at the files that it names.

    Args:
      path: of the manifest.
      deep: read every recording as the build does, with the default settings; otherwise they are only measured.
      strict: what would be noted of a recording is a problem.
      ignore: columns that are not read.

    Returns:
      counts, JSON-ready; "problems" lists what would stop a build (or be skipped by it), "notes" what is odd.

    Raises:
      InputError: the manifest itself cannot be used.
    """
    found = manifest.read(path, ignore=ignore)
    seconds: list[float] = []
    files = characters = 0
    notes = [note.removeprefix(f"{path}: ") for note in found.notes]
    of_all: list[str] = []
    problems: list[str] = []
    source = None
    try:
        source = source_lib.open_source(path, strict=strict, ignore=tuple(ignore))
        notes = [note.removeprefix(f"{source.table}: ") for note in source.notes]
        splits.assign(source.participants, listed=source.listed_splits, may_rank=True, clusters=source.clusters)
    except InputError as error:
        of_all.append(str(error))
    lengths: list[int] = []
    without = {"recording": 0, "transcript": 0}
    noted: list[str] = []
    for entry in found.entries:
        try:
            transcript = entry.words()
            words = transcript.text
            levels = [(file, measure(file)) for file in entry.recordings()]
            recordings = [level.seconds for _, level in levels]
            noted += [f"{entry.participant}: transcript: {note}" for note in transcript.notes]
            noted += [f"{file}: {note}" for file, level in levels if (note := level.note(file))]
            noted += source_lib.unread_note(entry)
        except InputError as error:
            problems.append(str(error))
            continue
        without["recording"] += not recordings
        without["transcript"] += not words.strip()
        files += len(recordings)
        seconds += [sum(recordings)] if recordings else []
        lengths += [len(words)] if words.strip() else []
        characters += len(words)
        if not recordings and not words.strip():
            problems.append(f"{path}: {entry.participant}: has neither a recording nor words")
    if deep and source is not None:
        problems, noted = shards.examine_all(source.spec, source.participants, 3)
    elif strict:
        problems, noted = problems + noted, []
    return {
        "manifest": str(path),
        "participants": len(found.entries),
        "splits": dict(collections.Counter(entry.split for entry in found.entries if entry.split)),
        "recordings": {"files": files, "hours": round(sum(seconds) / 3600, 2), "per_participant_s": summary(seconds)},
        "characters": {"total": characters, "per_participant": summary(lengths)},
        "participants_without": without,
        "labels": {name: _label(found.entries, name) for name in found.labels},
        "subgroups": {
            name: dict(collections.Counter(entry.subgroups[name] or "unknown" for entry in found.entries))
            for name in found.subgroups
        },
        "problems": of_all + problems,
        "notes": notes + noted,
    }


def _label(entries: Sequence[Entry], name: str) -> Report:
    scores = [entry.labels[name] for entry in entries if entry.labels[name] is not None]
    return {"missing": len(entries) - len(scores), "scores": summary(scores)}


def render(report: Report) -> str:
    """The report as text for a terminal."""
    recordings, characters, without = (report[name] for name in ("recordings", "characters", "participants_without"))
    lines = [
        f"manifest      {report['manifest']}",
        f"participants  {report['participants']:,}",
        f"recordings    {recordings['files']:,} files, {recordings['hours']:g} hours, "
        f"{spread(recordings['per_participant_s'])} s per participant; {without['recording']} participants without",
        f"characters    {characters['total']:,}, {spread(characters['per_participant'])} per participant; "
        f"{without['transcript']} participants without",
    ]
    for label, entry in report["labels"].items():
        lines.append(f"label         {label}: {spread(entry['scores'])}; {entry['missing']} missing")
    counts = {"splits": report["splits"] or {"by a hash of the id": report["participants"]}}
    for name, found in (counts | {f"subgroup {name}": found for name, found in report["subgroups"].items()}).items():
        lines.append(f"{name:<13} {', '.join(f'{key} {count:,}' for key, count in found.items())}")
    lines += [f"note          {note}" for note in report["notes"]]
    return "\n".join(lines + list_problems(report["problems"]))
