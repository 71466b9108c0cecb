"""What a manifest names, what is missing and what is odd, before anyone builds it: counts only, as `mmpsy/check.py`."""

import collections
import functools
import itertools
import operator
from collections.abc import Mapping
from typing import Any

from data_builders.common.examine import spread, summary
from mmpsy_jax.features import session
from mmpsy_jax.features.dialogue import UnknownSpeaker
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.recording import measure
from mmpsy_jax.features.recording_folder import name_unread
from mmpsy_jax.rules import unfit_categories


def describe(source, strict: bool) -> dict[str, Any]:
    """What `InterviewSource.describe` says; recordings are measured, not extracted.

    Args:
      source: an `InterviewSource`.
      strict: what would be noted of a participant is a problem.
    """
    table, entries = source.table, source.entries
    seconds, lengths, problems, noted, unknown = [], [], [], [], []
    files = 0
    without = {"recording": 0, "transcript": 0}
    for entry in entries:
        if entry.participant in source.lacking:
            problems.append(f"{entry.participant}: {source.lacking[entry.participant]}")
            continue
        try:
            transcript = session.read(entry, source.how).participant.transcript
            words = transcript.text
            levels = [(file, measure(file)) for file in entry.recordings()]
            noted += [f"{entry.participant}: transcript: {note}" for note in transcript.notes]
            noted += [f"{file}: {note}" for file, level in levels if (note := level.note(file))]
            noted += unread_note(entry)
        except UnknownSpeaker as error:
            unknown.append(error)
            continue
        except ValueError as error:  # InputError
            problems.append(str(error))
            continue
        without["recording"] += not levels
        without["transcript"] += not words.strip()
        files += len(levels)
        seconds += [sum(level.seconds for _, level in levels)] if levels else []
        lengths += [len(words)] if words.strip() else []
        if not levels and not words.strip():
            problems.append(f"{table}: {entry.participant}: has neither a recording nor words")
    by_name = itertools.groupby(sorted(unknown, key=lambda one: one.speaker), key=lambda one: one.speaker)
    problems += [str(functools.reduce(operator.add, same)) for _, same in by_name]  # one for all of a name
    labels = {}
    for name in source.labels:
        scores = [entry.labels[name] for entry in entries if entry.labels[name] is not None]
        counts = collections.Counter(scores)
        classes = {word: counts[i] for i, word in enumerate(source.classes.get(name, ()))}
        labels[name] = {"missing": len(entries) - len(scores)}
        labels[name] |= {"classes": classes} if classes else {"scores": summary(scores)}
    report = {
        "manifest": str(table),
        "participants": len(entries),
        "splits": dict(collections.Counter(entry.split for entry in entries if entry.split)),
        "recordings": {"files": files, "hours": round(sum(seconds) / 3600, 2), "per_participant_s": summary(seconds)},
        "characters": {"total": sum(lengths), "per_participant": summary(lengths)},
        "participants_without": without,
        "labels": labels,
        "subgroups": {
            name: dict(collections.Counter(entry.subgroups[name] or "unknown" for entry in entries))
            for name in source.subgroups
        },
        "problems": problems + noted * strict,
        "notes": [f"{who}: {note}" if who else note.removeprefix(f"{table}: ") for who, note in source.notes]
        + noted * (not strict)
        + [
            f"a training will refuse this: subgroup {name} {reason}"
            for name in source.subgroups
            if (reason := unfit_categories(entry.subgroups[name] for entry in entries))
        ],
    }
    return report | {"lines": _lines(report)}


def _lines(report: dict[str, Any]) -> list[str]:
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
        values = _counts(entry["classes"]) if "classes" in entry else spread(entry["scores"])
        lines.append(f"label         {label}: {values}; {entry['missing']} missing")
    counts = {"splits": report["splits"] or {"by a hash of the id": report["participants"]}}
    for name, of in (counts | {f"subgroup {name}": of for name, of in report["subgroups"].items()}).items():
        lines.append(f"{name:<13} {_counts(of)}")
    return lines


def _counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {count:,}" for key, count in of.items())


def unread_note(entry: Entry, hide_names: bool = False) -> list[str]:
    """A note about what lies in the folders of a participant and is not read; none where nothing does."""
    unread = entry.unread()
    if hide_names and unread:
        return [f"not read: {len(unread)} files or folders beside those that are"]
    return [name_unread(unread)] if unread else []
