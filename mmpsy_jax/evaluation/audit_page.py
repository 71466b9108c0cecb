"""The part of the report about the data: who came in, who was left out and why, how long, how many events."""

from collections.abc import Mapping
from typing import Any

from mmpsy_jax.evaluation.split_page import Section, section

SIZES = {
    "duration_s": ("audio in minutes", 1 / 60, ".2f"),
    "n_windows": ("windows", 1, "g"),
    "n_answers": ("answers", 1, "g"),
    "n_characters": ("characters", 1, "g"),
}
QUANTILES = {"min": "least", "q25": "25 %", "median": "median", "q75": "75 %", "max": "most"}


def sections(report: Mapping[str, Any]) -> list[Section]:
    """Tables from `context["audit"]` (`data/audit.py`); nothing where a report has none.

    Flow of participants, prevalence of each binary task, missing labels and modalities, sizes of the interviews.
    """
    audit = (report.get("context") or {}).get("audit")
    if not audit:
        return []
    return [_flow(report, audit), _labels(audit), _sizes(audit)]


def _flow(report, audit) -> Section:
    left_out = audit["left_out"]
    n = sum(part["participants"] for part in audit["splits"].values())
    rows = [["found in the source", str(n + sum(left_out.values()))]]
    rows += [[f"left out: {reason}", str(count)] for reason, count in left_out.items()]
    rows.append(["in the corpus", str(n)])
    labels = dict.fromkeys(entry["label"] for entry in report["tasks"].values())
    for label in labels:
        known = sum(part["labels"][label]["known"] for part in audit["splits"].values())
        rows.append([f"with {label}", str(known)])
    folds = len(report["folds"])
    if folds == 1:
        rows += [[f"in the {split} split", str(part["participants"])] for split, part in audit["splits"].items()]
    else:
        for split in ("validation", "test"):
            tasks = [entry["splits"][split] for entry in report["tasks"].values() if split in entry["splits"]]
            if tasks:
                n_scored = max(scored["n_participants"] for scored in tasks)
                rows.append([f"in the {split} part of some of the {folds} folds, with a label", str(n_scored)])
    return section("Flow of participants", ["", "participants"], rows, opened=True)


def _labels(audit) -> Section:
    rows = []
    for split, part in audit["splits"].items():
        for label, about in part["labels"].items():
            scores = "-" if about["scores"] is None else _middle(about["scores"])
            rows.append([split, label, str(about["known"]), str(about["missing"]), scores, ""])
        for task, about in part["events"].items():
            share = f"{about['events'] / about['known']:.3f}" if about["known"] else "undefined"
            events = f"{about['events']} events, prevalence {share}"
            rows.append([split, task, str(about["known"]), str(about["missing"]), "", events])
        for modality, missing in part["without"].items():
            rows.append([split, modality, str(part["participants"] - missing), str(missing), "", ""])
    columns = ["split of the corpus", "of", "known", "missing", "median score (25 %, 75 %)", "events"]
    return section("What is known of the participants", columns, rows)


def _middle(quantiles: Mapping[str, float]) -> str:
    return f"{quantiles['median']:g} ({quantiles['q25']:g}, {quantiles['q75']:g})"


def _sizes(audit) -> Section:
    rows = []
    for split, part in audit["splits"].items():
        for column, quantiles in part["sizes"].items():
            name, unit, form = SIZES[column]
            shown = ["-" if quantiles is None else f"{quantiles[one] * unit:{form}}" for one in QUANTILES]
            rows.append([split, name, *shown])
    return section("Sizes of the records", ["split of the corpus", "size", *QUANTILES.values()], rows)
