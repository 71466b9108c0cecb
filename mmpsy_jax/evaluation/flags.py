"""What a reader must know before believing a number: printed first in every report."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.predictions import Predictions, number_groups
from mmpsy_jax.io import repeats_ids
from mmpsy_jax.tasks import Task

FEW_EVENTS = 10
TOO_GOOD_AUROC = 0.95
NEAR = 0.5  # of an end of a scale: some label should come so near
# Baselines that know nothing but how much was said, and what each of them knows.
HOW_MUCH = {"length": "the length of the transcript", "answers": "the number of answers"}

MESSAGES = {
    "participant_in_two_splits": (
        "{n} participants stand in more than one split of the same fold: the model may know them. Split by participant "
        "and train again."
    ),
    "group_in_two_splits": (
        "the groups of {column} are small, as those of persons or families are, and {n} of them stand in more than one "
        "split of the same fold. Where they name who belongs together, build with that column as cluster."
    ),
    "threshold_on_test": (
        "{n} participants of the test split are in the validation split of the same fold: thresholds and checkpoints "
        "are chosen on participants that are tested. Divide them and train again."
    ),
    "decisions_only": (
        "every probability is 0 or 1: these are decisions at a threshold that was chosen elsewhere, perhaps on test, "
        "and their AUROC is that of one point. Give probabilities."
    ),
    "near_duplicate_texts": (
        "{n} participants of a test split have a near-duplicate transcript in the train or validation split of the "
        "same fold: look for one interview under two ids."
    ),
    "near_duplicate_windows": (
        "{n} participants of a test split share a near-identical window of audio with the train or validation split of "
        "the same fold: look for one recording under two ids."
    ),
    "few_events": "only {n} participants in the smaller class (fewer than {few}): the numbers say little.",
    "auroc_too_good": (
        "AUROC above {limit} on real data: look for a leak (participants or files that splits share, the answer as a "
        "part of the input, the order or length of files) before believing it."
    ),
    "length_suffices": (
        "a baseline that knows {what} alone reaches the model's interval: nothing shows that the model uses more than "
        "how much was said."
    ),
    "all_negative": (
        "the prevalence is {prevalence:.3f}: calling nobody positive gives a weighted F1 of {f1:.3f}, so a weighted F1 "
        "near that says nothing."
    ),
    "missing_folds": "folds {there} are there, {absent} not: did one fail?",
    "uneven_seeds": "some predictions come from {low} seeds, others from {high}: the ensemble averages what is there.",
    "missing_labels": "{n} rows have no label and are left out.",
    "baseline_partial": "baseline {name} predicts {n} of {rows} rows; it is compared on those.",
    "default_threshold": (
        "no validation rows of both classes in fold {folds}: the threshold there is the default, not a chosen one."
    ),
    "far_maximum": (
        "the scale of this score ends at {maximum:g}, and no label comes near (the largest is {largest:g}): the "
        "network learns shares of that end. Give the task the maximum of its own scale and train again."
    ),
    "beyond_scale": (
        "{n} labels lie outside of {minimum:g} to {maximum:g}, the scale of this score, which no prediction leaves: "
        "give the task the ends of its own scale and train again."
    ),
    "range_seen": (
        "the scale of this score, {low:g} to {high:g}, was seen on the training split: if it has other ends, give them "
        "when the corpus is built (--ranges)."
    ),
    "table": "{text}.",
    "split_rule": "the records are divided {rule}.",
}
RED = (
    "participant_in_two_splits",
    "group_in_two_splits",
    "threshold_on_test",
    "decisions_only",
    "near_duplicate_texts",
    "near_duplicate_windows",
    "few_events",
    "auroc_too_good",
    "length_suffices",
    "far_maximum",
    "beyond_scale",
)

# What a report looks for, in words.
CHECKS = {
    "participant_in_two_splits": "participants shared between splits",
    "threshold_on_test": "thresholds chosen on participants that are tested",
    "near_duplicate_texts": "near-duplicate transcripts across splits",
    "near_duplicate_windows": "near-identical windows of audio across splits",
    "decisions_only": "decisions in place of probabilities",
    "few_events": "few events",
    "auroc_too_good": "an AUROC too good to be true",
    "length_suffices": "a baseline that knows only how much was said doing as well as the model",
}
NOT_SEARCHED = "only a training looks for them"

Flag = dict[str, Any]


def flag(code: str, task: str | None = None, split: str | None = None, **values: Any) -> Flag:
    """A flag as it stands in `report.json`: level "red" or "note", code, task, split and message."""
    level = "red" if code in RED else "note"
    return {"level": level, "code": code, "task": task, "split": split, "message": MESSAGES[code].format(**values)}


def red_first(found: Iterable[Flag]) -> list[Flag]:
    """The flags in the order of a report."""
    return sorted(found, key=lambda one: one["level"] != "red")


def of_table(predictions: Predictions, within_clusters: bool = False) -> list[Flag]:
    """Flags of the table as a whole: people shared between splits, decisions, folds or seeds that are missing.

    Args:
      predictions: all rows.
      within_clusters: splits divide the rows of a cluster on purpose: it may be in several.
    """
    found = []
    owner = predictions.participant_id if within_clusters else predictions.cluster
    _, first = number_groups(owner, predictions.fold, predictions.split)
    places, owner = predictions.take(first), owner[first]  # one row per person, fold and split
    person, _ = number_groups(owner, places.fold)
    shared = int((np.bincount(person) > 1).sum())
    if shared:
        found.append(flag("participant_in_two_splits", n=shared))
    chosen_on = np.bincount(person[places.split == "validation"], minlength=len(np.unique(person))) > 0
    tested_too = np.unique(owner[(places.split == "test") & chosen_on[person]])
    if len(tested_too):
        found.append(flag("threshold_on_test", n=len(tested_too)))
    for task in np.unique(predictions.task).tolist():
        probabilities = predictions.select(task=task).y_prob
        if np.isin(probabilities, (0, 1)).all():
            found.append(flag("decisions_only", task))
    folds = np.unique(predictions.fold)
    absent = np.setdiff1d(np.arange(folds.min(), folds.max() + 1), folds)
    if len(absent):
        found.append(flag("missing_folds", there=_listed(folds), absent=_listed(absent)))
    cell, _ = number_groups(predictions.participant_id, predictions.split, predictions.fold, predictions.task)
    seeds = np.bincount(cell)
    if seeds.min() != seeds.max():
        found.append(flag("uneven_seeds", low=seeds.min(), high=seeds.max()))
    return found


def of_groups(predictions: Predictions, members: Mapping[str, Shaped[np.ndarray, " n"]]) -> list[Flag]:
    """Flags of columns of groups that look as if they named persons, whom splits divide.

    Args:
      predictions: all rows.
      members: the group of each row by column, "" where it is not known.
    """
    found = []
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
            found.append(flag("group_in_two_splits", column=column, n=len(shared)))
    return found


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
    found, name = [], task.name
    if task.event:
        smaller = min(entry["n_events"], entry["n_participants"] - entry["n_events"])
        if smaller < FEW_EVENTS:
            found.append(flag("few_events", name, split, n=smaller, few=FEW_EVENTS))
        if split == "test" and entry["n_rows"]:
            prevalence = entry["prevalence"]
            found.append(flag("all_negative", name, split, prevalence=prevalence, f1=all_negative_f1(prevalence)))
    if entry["n_without_label"]:
        found.append(flag("missing_labels", name, split, n=entry["n_without_label"]))
    if split == "train":  # a model may be as good as it likes there, and baselines do not predict it
        return found
    if task.event and not synthetic and (entry["model"]["auroc"]["value"] or 0) > TOO_GOOD_AUROC:
        found.append(flag("auroc_too_good", name, split, limit=TOO_GOOD_AUROC))
    reaching = [what for baseline, what in HOW_MUCH.items() if _reaches(baseline, task.kind, entry)]
    if reaching:
        found.append(flag("length_suffices", name, split, what=" or ".join(reaching)))
    for baseline, covered in entry["baseline_rows"].items():
        if covered < entry["n_rows"]:
            found.append(flag("baseline_partial", name, split, name=baseline, n=covered, rows=entry["n_rows"]))
    return found


def of_scale(task: Task, y_true: Float[np.ndarray, " n"]) -> list[Flag]:
    """Flags of a score whose labels do not fit its scale: all far from both its ends, or some outside of them.

    Args:
      task: what is predicted; others than scores have no scale.
      y_true: all its labels, NaN where missing.
    """
    known = y_true[~np.isnan(y_true)]
    if not task.scaled or not len(known):
        return []
    found, (low, high) = [], (float(known.min()), float(known.max()))
    if high < NEAR * task.maximum and not (task.minimum < 0 and low < NEAR * task.minimum):
        found.append(flag("far_maximum", task.name, maximum=task.maximum, largest=high))
    outside = int(((known < task.minimum) | (known > task.maximum)).sum())
    if outside:
        found.append(flag("beyond_scale", task.name, n=outside, minimum=task.minimum, maximum=task.maximum))
    return found


def of_ranges(tasks: Iterable[Task], ranges: Mapping[str, Any]) -> list[Flag]:
    """A note for every score whose scale is what a corpus saw of it: `ranges` as of `Corpus.ranges`."""
    found = []
    for task in tasks:
        known = ranges.get(task.label)
        taken = known is not None and known.source == "seen" and task.scaled
        if taken and (task.minimum, task.maximum) == (known.low, known.high):
            found.append(flag("range_seen", task.name, low=known.low, high=known.high))
    return found


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
    """A note where a threshold could not be chosen on validation."""
    folds = [entry["fold"] for entry in thresholds if entry["source"] != "validation"]
    return [flag("default_threshold", task, folds=_listed(folds))] if folds else []


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(n)) for n in numbers)
