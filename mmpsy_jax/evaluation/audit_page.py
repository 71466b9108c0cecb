"""The part of the report about the data: who came in, who was left out and why, how long, how many events."""

from collections.abc import Mapping
from typing import Any

from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.tables import Table

SIZES = {
    "duration_s": ("audio in minutes", 1 / 60, ".2f"),
    "n_windows": ("windows", 1, "g"),
    "n_answers": ("answers", 1, "g"),
    "n_characters": ("characters", 1, "g"),
    "n_turns": ("turns", 1, "g"),
    "n_interviewer_characters": ("characters of the interviewer", 1, "g"),
}
QUANTILES = {"min": "least", "q25": "25 %", "median": "median", "q75": "75 %", "max": "most"}


def sections(report: Mapping[str, Any]) -> list[Table]:
    """Tables from `context["audit"]` (`data/audit.py`); nothing where a report has none.

    Flow of participants, prevalence of each binary task, missing labels and modalities, sizes of the interviews.
    """
    audit = (report.get("context") or {}).get("audit")
    return [_flow(report, audit), _labels(audit, wording.unit(report)), _sizes(audit)] if audit else []


def _flow(report: Mapping[str, Any], audit: Mapping[str, Any]) -> Table:
    left_out, parts, folds = audit["left_out"], audit["splits"].values(), len(report["folds"])
    unit = wording.unit(report)
    n = sum(part["participants"] for part in parts)
    rows = [["found in the source", n + sum(left_out.values())]]
    rows += [[f"left out: {reason}", count] for reason, count in left_out.items()]
    rows.append(["in the corpus", n])
    for label in dict.fromkeys(entry["label"] for entry in report["tasks"].values()):
        rows.append([f"with {label}", sum(part["labels"][label]["known"] for part in parts)])
    if folds == 1:
        rows += [[f"in the {split} split", part["participants"]] for split, part in audit["splits"].items()]
    for split in ("validation", "test") if folds > 1 else ():
        scored = [entry["splits"][split] for entry in report["tasks"].values() if split in entry["splits"]]
        if scored:
            n_scored = max(part["n_participants"] for part in scored)
            rows.append([f"in the {split} part of some of the {folds} folds, with a label", n_scored])
    return Table(f"Flow of {unit}", ["", unit], rows, opened=True)


def _labels(audit: Mapping[str, Any], unit: str) -> Table:
    rows = []
    for split, part in audit["splits"].items():
        for label, about in part["labels"].items():
            middle = about["scores"] and "{median:g} ({q25:g}, {q75:g})".format(**about["scores"])
            rows.append([split, label, about["known"], about["missing"], middle, ""])
        for task, about in part["events"].items():
            share = f"{about['events'] / about['known']:.3f}" if about["known"] else "undefined"
            events = f"{about['events']} events, prevalence {share}"
            rows.append([split, task, about["known"], about["missing"], "", events])
        for modality, missing in part["without"].items():
            rows.append([split, modality, part["participants"] - missing, missing, "", ""])
    columns = ["split of the corpus", "of", "known", "missing", "median score (25 %, 75 %)", "events"]
    return Table(f"What is known of the {unit}", columns, rows)


def _sizes(audit: Mapping[str, Any]) -> Table:
    rows = []
    for split, part in audit["splits"].items():
        for column, quantiles in part["sizes"].items():
            name, unit, form = SIZES[column]
            if quantiles:  # of no recordings there are no lengths
                rows.append([split, name, *(f"{quantiles[one] * unit:{form}}" for one in QUANTILES)])
    return Table("Sizes of the records", ["split of the corpus", "size", *QUANTILES.values()], rows)
