"""Which label of another corpus a task of a run is compared with, and whether that label is on the same scale."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.tasks import KNOWN_MAXIMUM, Range, Task
from mmpsy_jax.training.finished_run import FinishedRun


@dataclasses.dataclass(frozen=True)
class Question:
    """A task of a run, as it is asked of another corpus.

    Attributes:
      ours: the task of the run.
      task: what is scored: the same, or kind "ranking" where the label is on another scale.
      truth: its targets there.
      why: how the scales differ; "" where they do not.
    """

    ours: Task
    task: Task
    truth: Float32[np.ndarray, " n"]
    why: str = ""


def questions(run: FinishedRun, corpus: Corpus, labels: Mapping[str, str]) -> tuple[list[Question], list[Task]]:
    """What can be asked of a corpus, and the tasks whose label it lacks.

    Args:
      run: its tasks are asked.
      corpus: with labels.
      labels: label of the run: label of the corpus, where they are not called alike.

    Raises:
      InputError: a label that one of the two lacks, none of the labels, or other classes.
    """
    ours = {task.label for task in run.tasks}
    for here, there in labels.items():
        if here not in ours:
            raise one_of("label of the run in --label", here, sorted(ours))
        if there not in corpus.labels:
            raise one_of("label of the records in --label", there, corpus.labels)
    asked, lacking = [], []
    for task in run.tasks:
        label = labels.get(task.label, task.label)
        if label in corpus.labels:
            asked.append(_ask(run, corpus, task, label))
        else:
            lacking.append(task)
    if not asked:
        raise InputError(
            f"{corpus.path}: has none of the labels of the run ({', '.join(sorted(ours))}), but "
            f"{', '.join(corpus.labels)}: say which to compare with, --label={run.tasks[0].label}:NAME"
        )
    return asked, lacking


def _ask(run: FinishedRun, corpus: Corpus, task: Task, label: str) -> Question:
    if task.named:
        renamed = dataclasses.replace(task, label=label, codes=_codes(corpus, task, label))
        return Question(task, renamed, np.asarray(renamed.targets(corpus.labels[label]), np.float32))
    why = _differs(_scale(run, task), corpus.ranges.get(label), task.label, label)
    if not why:
        same = dataclasses.replace(task, label=label)
        return Question(task, same, np.asarray(same.targets(corpus.labels[label]), np.float32))
    return Question(task, Task(task.name, label, "ranking"), corpus.labels[label], why)


def _codes(corpus: Corpus, task: Task, label: str) -> Sequence[float]:
    """The value that each class of a task has in the corpus; of one that it lacks, a value that nobody has."""
    names = list((corpus.card.get("classes") or {}).get(label, ()))
    if not names:  # numbers, whose meaning the two corpora share
        return task.codes
    if not set(names) & set(task.classes):
        raise InputError(
            f"{corpus.path}: none of the classes of {label!r} ({', '.join(names)}) is one of the run "
            f"({', '.join(task.classes)}): name them alike"
        )
    return tuple(float(names.index(name)) if name in names else -np.inf for name in task.classes)


def _scale(run: FinishedRun, task: Task) -> Range | None:
    """The scale of a label of a run; None where it does not say."""
    entry = (run.card.get("label_ranges") or {}).get(task.label)
    if task.scaled:
        source = entry["source"] if entry and (entry["low"], entry["high"]) == task.ends else "given"
        return Range(*task.ends, source)
    return Range(**entry) if entry else None


def _differs(ours: Range | None, theirs: Range | None, here: str, there: str) -> str:
    """How two scales differ; "" where they do not.

    Two questionnaires are two scales, even if they end alike. A scale that was only seen fits in every wider one.
    """
    if here != there and ({here, there} & KNOWN_MAXIMUM.keys()):
        ends = [f"{one.low:g} to {one.high:g}" if one else "unknown" for one in (ours, theirs)]
        return f"{here} goes from {ends[0]}, {there} from {ends[1]}"
    if ours is None or theirs is None:
        return "" if here == there else "its ends are not known"
    if (ours.low, ours.high) == (theirs.low, theirs.high):
        return "" if here == there or "seen" not in (ours.source, theirs.source) else "its ends were only seen"
    within = ours.low <= theirs.low and theirs.high <= ours.high
    around = theirs.low <= ours.low and ours.high <= theirs.high
    if here == there and ((theirs.source == "seen" and within) or (ours.source == "seen" and around)):
        return ""
    return f"{ours.low:g} to {ours.high:g} and {theirs.low:g} to {theirs.high:g}"
