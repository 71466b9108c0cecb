"""What a reader must know before believing a number: printed first in every report."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.out_of_fold import CHOSEN
from mmpsy_jax.evaluation.predictions import Predictions, number_groups
from mmpsy_jax.io import repeats_ids
from mmpsy_jax.tasks import Task

FEW_EVENTS = 10
TOO_GOOD_AUROC = 0.95
NEAR = 0.5  # of an end of a scale: some label should come so near
# Baselines that know nothing but how much was said, and what each of them knows.
HOW_MUCH = {"length": "the length of the transcript", "answers": "the number of answers"}

# Of each flag, by code: its level, "red" or "note"; what a report says it looked for, if it does; and the message.
with (Path(__file__).parent / "templates" / "flags.csv").open(encoding="utf-8", newline="") as _file:
    FLAGS = {row["code"]: row for row in csv.DictReader(_file)}
CHECKS = {code: row["check"] for code, row in FLAGS.items() if row["check"]}
NOT_SEARCHED = "only a training looks for them"

Flag = dict[str, Any]


def flag(code: str, task: str | None = None, split: str | None = None, **values: Any) -> Flag:
    """A flag as it stands in `report.json`: level "red" or "note", code, task, split and message."""
    message = FLAGS[code]["message"].format(**values)
    return {"level": FLAGS[code]["level"], "code": code, "task": task, "split": split, "message": message}


def red_first(flags: Iterable[Flag]) -> list[Flag]:
    """The flags in the order of a report."""
    return sorted(flags, key=lambda one: one["level"] != "red")


def of_table(predictions: Predictions, within_clusters: bool = False) -> list[Flag]:
    """Flags of the table as a whole: people shared between splits, decisions, folds or seeds that are missing.

    Args:
      predictions: all rows.
      within_clusters: splits divide the rows of a cluster on purpose: it may be in several.
    """
    flags = []
    owner = predictions.participant_id if within_clusters else predictions.cluster
    _, first = number_groups(owner, predictions.fold, predictions.split)
    places, owner = predictions.take(first), owner[first]  # one row per person, fold and split
    person, _ = number_groups(owner, places.fold)
    shared = int((np.bincount(person) > 1).sum())
    if shared:
        flags.append(flag("participant_in_two_splits", n=shared))
    chosen_on = np.bincount(person[places.split == "validation"], minlength=len(np.unique(person))) > 0
    tested_too = np.unique(owner[(places.split == "test") & chosen_on[person]])
    if len(tested_too):
        flags.append(flag("threshold_on_test", n=len(tested_too)))
    for task in np.unique(predictions.task).tolist():
        probabilities = predictions.select(task=task).y_prob
        if np.isin(probabilities, (0, 1)).all():
            flags.append(flag("decisions_only", task))
    folds = np.unique(predictions.fold)
    absent = np.setdiff1d(np.arange(folds.min(), folds.max() + 1), folds)
    if len(absent):
        flags.append(flag("missing_folds", there=_listed(folds), absent=_listed(absent)))
    cell, _ = number_groups(predictions.participant_id, predictions.split, predictions.fold, predictions.task)
    seeds = np.bincount(cell)
    if seeds.min() != seeds.max():
        flags.append(flag("uneven_seeds", low=seeds.min(), high=seeds.max()))
    return flags


def of_groups(predictions: Predictions, members: Mapping[str, Shaped[np.ndarray, " n"]]) -> list[Flag]:
    """Flags of columns of groups that look as if they named persons, whom splits divide.

    Args:
      predictions: all rows.
      members: the group of each row by column, "" where it is not known.
    """
    flags = []
    _, people = number_groups(predictions.participant_id)
    for column, member in members.items():
        if not repeats_ids(member[people].tolist()):
            continue
        known = np.flatnonzero(member != "")
        _, first = number_groups(member[known], predictions.fold[known], predictions.split[known])
        places = known[first]
        group, one = number_groups(member[places], predictions.fold[places])
        shared = np.unique(member[places][one][np.bincount(group) > 1])
        if len(shared):
            flags.append(flag("group_in_two_splits", column=column, n=len(shared)))
    return flags


def checks(predictions: Predictions, tasks: Mapping[str, Any], synthetic: bool) -> dict[str, str | None]:
    """By the code of each check why it had nothing to check; None where it was made.

    Args:
      predictions: all rows.
      tasks: finished entries of `report.json`.
      synthetic: whether the corpus is a made one.
    """
    _, first = number_groups(predictions.fold, predictions.split)
    places = predictions.take(first)
    splits = [set(places.split[places.fold == fold].tolist()) for fold in np.unique(places.fold)]
    scored = [part for entry in tasks.values() for split, part in entry["splits"].items() if split != "train"]
    binary = [part for part in scored if part["n_events"] is not None]
    of_binary = None if binary else "no binary task"
    known = any(part["model"]["auroc"]["value"] is not None for part in binary)
    lengths = any(HOW_MUCH.keys() & part["baselines"].keys() - set(part["constant_baselines"]) for part in scored)
    return {
        "participant_in_two_splits": None if max(map(len, splits)) > 1 else "all rows of a fold are of one split",
        "threshold_on_test": None
        if any({"validation", "test"} <= there for there in splits)
        else "no fold has rows of validation and of test",
        "near_duplicate_texts": NOT_SEARCHED,
        "near_duplicate_windows": NOT_SEARCHED,
        "decisions_only": of_binary,
        "few_events": of_binary if any(part["n_rows"] for part in binary) or not binary else "no row has a label",
        "auroc_too_good": of_binary or ("the data are synthetic" if synthetic else None if known else "no AUROC"),
        "length_suffices": None if lengths else "no such baseline, or none that varies",
    }


def of_split(task: Task, split: str, entry: dict[str, Any], synthetic: bool) -> list[Flag]:
    """Flags of one task on one split, from its finished entry of `report.json`."""
    flags, name = [], task.name
    if task.event:
        smaller = min(entry["n_events"], entry["n_participants"] - entry["n_events"])
        if smaller < FEW_EVENTS:
            flags.append(flag("few_events", name, split, n=smaller, few=FEW_EVENTS))
        if split == "test" and entry["n_rows"]:
            prevalence = entry["prevalence"]
            flags.append(flag("all_negative", name, split, prevalence=prevalence, f1=all_negative_f1(prevalence)))
    if entry["n_without_label"]:
        flags.append(flag("missing_labels", name, split, n=entry["n_without_label"]))
    if split == "train":  # a model may be as good as it likes there, and baselines do not predict it
        return flags
    if task.event and not synthetic and (entry["model"]["auroc"]["value"] or 0) > TOO_GOOD_AUROC:
        flags.append(flag("auroc_too_good", name, split, limit=TOO_GOOD_AUROC))
    reaching = [what for baseline, what in HOW_MUCH.items() if _reaches(baseline, task.kind, entry)]
    if reaching:
        flags.append(flag("length_suffices", name, split, what=" or ".join(reaching)))
    for baseline, covered in entry["baseline_rows"].items():
        if covered < entry["n_rows"]:
            flags.append(flag("baseline_partial", name, split, name=baseline, n=covered, rows=entry["n_rows"]))
    return flags


def of_scale(task: Task, y_true: Float[np.ndarray, " n"]) -> list[Flag]:
    """Flags of a score whose labels do not fit its scale: all far from both its ends, or some outside of them.

    Args:
      task: what is predicted; others than scores have no scale.
      y_true: all its labels, NaN where missing.
    """
    known = y_true[~np.isnan(y_true)]
    if not task.scaled or not len(known):
        return []
    flags, (low, high) = [], (float(known.min()), float(known.max()))
    if high < NEAR * task.maximum and not (task.minimum < 0 and low < NEAR * task.minimum):
        flags.append(flag("far_maximum", task.name, maximum=task.maximum, largest=high))
    outside = int(((known < task.minimum) | (known > task.maximum)).sum())
    if outside:
        flags.append(flag("beyond_scale", task.name, n=outside, minimum=task.minimum, maximum=task.maximum))
    return flags


def of_ranges(tasks: Iterable[Task], ranges: Mapping[str, Any]) -> list[Flag]:
    """A note for every score whose scale is what a corpus saw of it: `ranges` as of `Corpus.ranges`."""
    flags = []
    for task in tasks:
        known = ranges.get(task.label)
        taken = known is not None and known.source == "seen" and task.scaled
        if taken and (task.minimum, task.maximum) == (known.low, known.high):
            flags.append(flag("range_seen", task.name, low=known.low, high=known.high))
    return flags


def all_negative_f1(prevalence: float) -> float:
    """F1 weighted by class of the rule that calls nobody positive: 2 q^2 / (1 + q) with q = 1 - prevalence."""
    q = 1 - prevalence
    return 2 * q * q / (1 + q)


def _reaches(baseline: str, kind: str, entry: dict[str, Any]) -> bool:
    """Whether a baseline is not clearly worse than the model by the first metric of the kind."""
    if baseline not in entry["baselines"] or baseline in entry["constant_baselines"]:
        return False
    name, sign = next(iter(NAMES[kind].items()))
    reached, model = entry["baselines"][baseline][name]["value"], entry["model"][name]
    bound = model["low"] if sign > 0 else model["high"]
    known = all(value is not None and np.isfinite(value) for value in (reached, bound))
    return known and sign * reached >= sign * bound


def of_thresholds(task: str, thresholds: Iterable[dict[str, Any]]) -> list[Flag]:
    """A note where a threshold could not be chosen on people whom the fold does not test."""
    folds = [entry["fold"] for entry in thresholds if entry["source"] not in CHOSEN]
    return [flag("default_threshold", task, folds=_listed(folds))] if folds else []


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(n)) for n in numbers)
