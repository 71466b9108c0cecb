"""What a source holds, what is missing and what is odd, in seconds, before anyone builds it.

The report has counts only: no transcript, and no id beside a score.
"""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_builders.common.examine import spread, summary
from data_builders.mmpsy import arrays as arrays_lib
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


def describe(source, deep: bool) -> Report:
    """What a source of the MMPsy layout says: headers, sizes and the last mel window of everybody.

    Args:
      source: a `ReleasedSource` or `TranscriptSource`.
      deep: windows are read anyway, so that problems are looked for elsewhere.
    """
    report: Report = {"table": str(source.table), **_describe_table(source.interviews), "features": None}
    problems: list[str] = []
    if source.arrays is not None:
        report["features"], problems = _describe_features(source)
    report |= {"notes": [note for _, note in source.notes], "problems": problems}
    return report | {"lines": _lines(report)}


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
    by_level: dict[str, list[int]] = {}
    disagree = 0
    for interview in interviews:
        score, level = interview.scores[label], interview.levels[label]
        if score is None or not level:
            continue
        by_level.setdefault(level, []).append(score)
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
            "ranges": {
                level: [min(of_level), max(of_level)]
                for level, of_level in sorted(by_level.items(), key=lambda x: min(x[1]))
            },
        },
    }


def _correlation(interviews: Sequence[table_lib.Interview]) -> float | None:
    """Pearson correlation of the scales over participants who have both; None where it is undefined."""
    pairs = [list(i.scores.values()) for i in interviews if None not in i.scores.values()]
    first, second = np.array(pairs, np.float64).reshape(-1, 2).T
    if len(pairs) < 3 or first.std() == 0 or second.std() == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)


def _describe_features(source) -> tuple[Report, list[str]]:
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
        "participants_without": len(source.lacking),
        "not_in_table": len(set(index) - table),
        "windows": {"total": sum(counts), "per_participant": summary(counts)},
        "duration_s": summary(durations) | {"hours": round(sum(durations) / 3600, 2)},
        "modalities": modalities,
    }
    return report, list(dict.fromkeys(problems))


def _duration(source, participant: str, count: int) -> list[float]:
    files = source.arrays.index[participant].get("audio", {})
    if not files:
        return []
    window = source.load_window(files[max(files)], "audio")
    frames = arrays_lib.valid_length(window, 1)
    return [(count - 1) * arrays_lib.HOP_SECONDS + frames * arrays_lib.WINDOW_SECONDS / window.shape[1]]


def _lines(report: Report) -> list[str]:
    """The report for a terminal."""
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
    return lines + _feature_lines(report["features"])


def _feature_lines(features: Report | None) -> list[str]:
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
