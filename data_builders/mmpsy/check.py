"""What a source holds, what is missing and what is odd, in seconds, before anyone builds it.

The report has counts only: no transcript, and no id beside a score.
"""

import collections
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from data_builders.common import shards, splits
from data_builders.mmpsy import arrays as arrays_lib
from data_builders.mmpsy import source as source_lib
from mmpsy_jax.features import table as table_lib
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import BANDS

# Severity names that the README of the release gives its bands; in the file, "Normal" stands for "Minimal".
BAND_NAMES = {
    "phq9": ("Normal", "Mild", "Moderate", "Moderately severe", "Severe"),
    "gad7": ("Normal", "Mild", "Moderate", "Severe"),
}
CUTOFFS = {"phq9": (5, 10, 15, 20), "gad7": (5, 10, 15)}

Report = dict[str, Any]
LISTED = 20  # problems on a terminal


def check(source: str | os.PathLike, *, deep: bool = False, released: bool = False) -> Report:
    """Looks at a source without building it.

    Args:
      source: the table, its folder, or the folder above `data/`.
      deep: read every window exactly as the build does; otherwise headers, sizes and the last mel window of everybody.
      released: it is a problem where there are no windows at all.

    Returns:
      counts, JSON-ready; "problems" lists what would stop a build (or be skipped by it), one message each.

    Raises:
      InputError: the table itself, or the archive as a whole, cannot be used.
    """
    table = table_lib.find_table(source)
    interviews = table_lib.read_table(table)
    of_all: list[str] = []
    report: Report = {"table": str(table), **_describe_table(interviews), "features": None, "notes": []}
    try:
        splits.assign([interview.participant for interview in interviews])
    except InputError as error:
        of_all.append(str(error))
    problems: list[str] = []
    if released or arrays_lib.find_arrays(table.parent) is not None:
        opened = source_lib.open_source(table)
        report["features"], problems = _describe_features(opened)
        report["notes"] = list(opened.notes)
        if deep:
            problems, notes = shards.examine_all(opened.spec, opened.participants)
            report["notes"] += notes
    return report | {"problems": of_all + problems}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Least, median and most of some numbers; zeros where there is none."""
    quantiles = np.quantile(np.asarray(values, np.float64), (0, 0.5, 1)) if len(values) else (0, 0, 0)
    return {name: round(float(value), 2) for name, value in zip(("least", "median", "most"), quantiles, strict=True)}


def _describe_table(interviews: Sequence[table_lib.Interview]) -> Report:
    transcripts = collections.Counter("".join(i.transcript.split()) for i in interviews)
    answers = [answer for interview in interviews for answer in interview.answers]
    labels = {label: _describe_label(label, interviews) for label in table_lib.LABEL_KEYS}
    return {
        "participants": len(interviews),
        "answers": {
            "total": len(answers),
            "empty": sum(not answer.strip() for answer in answers),
            "per_participant": summary([len(i.answers) for i in interviews]),
        },
        "characters": summary([sum(map(len, i.answers)) for i in interviews]),
        "transcripts": {
            "empty": transcripts.pop("", 0),
            "shared_by_several": sum(count > 1 for count in transcripts.values()),
        },
        "labels": labels,
        "correlation": _correlation(interviews),
    }


def _describe_label(label: str, interviews: Sequence[table_lib.Interview]) -> Report:
    scores = np.array([i.scores[label] for i in interviews if i.scores[label] is not None], np.int64)
    names = BAND_NAMES[label]
    found: dict[str, list[int]] = {}
    disagree = 0
    for interview in interviews:
        score, level = interview.scores[label], interview.levels[label]
        if score is None or not level:
            continue
        found.setdefault(level, []).append(score)
        disagree += level.casefold() != names[int(np.digitize(score, BANDS[label]))].casefold()
    return {
        "missing": len(interviews) - len(scores),
        "scores": summary(scores),
        "at_least": {
            str(cutoff): {"count": int((scores >= cutoff).sum()), "share": round(float((scores >= cutoff).mean()), 4)}
            for cutoff in CUTOFFS[label]
            if len(scores)
        },
        "levels": {
            "disagree_with_bands": disagree,
            "ranges": {level: [min(held), max(held)] for level, held in sorted(found.items(), key=lambda x: min(x[1]))},
        },
    }


def _correlation(interviews: Sequence[table_lib.Interview]) -> float | None:
    """Pearson correlation of the scales over participants who have both; None where it is undefined."""
    pairs = [list(i.scores.values()) for i in interviews if None not in i.scores.values()]
    first, second = np.array(pairs, np.float64).reshape(-1, 2).T
    if len(pairs) < 3 or first.std() == 0 or second.std() == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)


def _describe_features(source: source_lib.Source) -> tuple[Report, list[str]]:
    index = source.arrays.index
    table = set(source.participants)
    problems: list[str] = []
    modalities: dict[str, Report] = {}
    for modality, folder in arrays_lib.FOLDERS.items():
        types, shapes, files = collections.Counter(), collections.Counter(), 0
        for participant in source.participants:
            for path in index.get(participant, {}).get(modality, {}).values():
                files += 1
                try:
                    dtype, shape = arrays_lib.describe_header(source.arrays, path)
                except InputError as error:
                    problems.append(str(error))
                    continue
                types[dtype] += 1
                shapes["x".join(map(str, shape))] += 1
        have = sum(modality in index.get(participant, {}) for participant in table)
        modalities[modality] = {
            "folder": folder,
            "files": files,
            "participants_without": len(table) - have,
            "types": dict(types),
            "shapes": dict(shapes),
        }
    counts, durations = [], []
    for participant in source.participants:
        try:
            counts.append(source.count_windows(participant))
            durations += _duration(source, participant, counts[-1])
        except InputError as error:
            problems.append(str(error))
    report = {
        "place": source.arrays.name,
        "participants_without": len(source.without_windows),
        "not_in_table": len(set(index) - table),
        "windows": {"total": sum(counts), "per_participant": summary(counts)},
        "duration_s": summary(durations) | {"hours": round(sum(durations) / 3600, 2)},
        "modalities": modalities,
    }
    return report, _unique(problems)


def _duration(source: source_lib.Source, participant: str, count: int) -> list[float]:
    files = source.arrays.index[participant].get("audio", {})
    if not files:
        return []
    window = source.load_window(files[max(files)], "audio")
    frames = source_lib.valid_length(window, source_lib.TIME_AXIS["audio"])
    return [(count - 1) * source_lib.HOP_SECONDS + frames * source_lib.WINDOW_SECONDS / window.shape[1]]


def _unique(messages: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(messages))


def render(report: Report) -> str:
    """The report as text for a terminal."""
    answers, transcripts = report["answers"], report["transcripts"]
    lines = [
        f"table         {report['table']}",
        f"participants  {report['participants']:,}",
        f"answers       {answers['total']:,}, {spread(answers['per_participant'])} each; {answers['empty']} empty",
        f"characters    {spread(report['characters'])} per participant",
        f"transcripts   {transcripts['empty']} empty, {transcripts['shared_by_several']} said by several people",
    ]
    for label, entry in report["labels"].items():
        lines.append(f"{label:<13} scores {spread(entry['scores'])}; {entry['missing']} missing")
        for cutoff, at_least in entry["at_least"].items():
            lines.append(f"              >= {cutoff:<3} {at_least['count']:>6,}  {at_least['share']:.1%}")
        ranges = ", ".join(f"{level} {low}-{high}" for level, (low, high) in entry["levels"]["ranges"].items())
        lines.append(
            f"              released levels: {ranges or 'none'}; "
            f"{entry['levels']['disagree_with_bands']} disagree with the documented bands (only scores are used)"
        )
    lines.append(f"correlation   {report['correlation']} between the scales")
    lines += _render_features(report["features"])
    lines += [f"note          {note}" for note in report["notes"]]
    return "\n".join(lines + list_problems(report["problems"]))


def list_problems(problems: Sequence[str]) -> list[str]:
    """Lines that say what would stop a build, the first of it word for word."""
    lines = [f"problems      {len(problems)}", *(f"  - {problem}" for problem in problems[:LISTED])]
    if len(problems) > LISTED:
        lines.append(f"  ... and {len(problems) - LISTED} more (all with --json)")
    return lines


def spread(found: dict[str, float]) -> str:
    """A `summary` in words."""
    return f"{found['least']:g} to {found['most']:g} (median {found['median']:g})"


def _render_features(features: Report | None) -> list[str]:
    if features is None:
        return ["features      none beside the table: mmpsy/transcripts can be built, mmpsy/released cannot"]
    windows, duration = features["windows"], features["duration_s"]
    lines = [
        f"features      {features['place']}",
        f"              {features['participants_without']} of the table have none, {features['not_in_table']} are not "
        "in the table",
        f"windows       {windows['total']:,}, {spread(windows['per_participant'])} each",
        f"sound         {duration['hours']:g} hours, {spread(duration)} s per participant",
    ]
    for modality, entry in features["modalities"].items():
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in (entry["types"] | entry["shapes"]).items())
        lines.append(
            f"{modality:<13} {entry['files']:,} files in {entry['folder']}/ ({kinds}); "
            f"{entry['participants_without']} participants without"
        )
    return lines
