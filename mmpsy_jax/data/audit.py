"""What a reader should know of a corpus before the results: counts and quantiles, no participant."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmpsy_jax.data.records import SPLITS, Corpus
from mmpsy_jax.tasks import Task

# Sizes of transcripts; a recording alone counts as one answer of no characters.
TALK = ("n_answers", "n_characters", "n_turns", "n_interviewer_characters")
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


def audit(corpus: Corpus, tasks: Sequence[Task]) -> dict[str, Any]:
    """Flow, missing values and sizes of the participants of a corpus.

    Returns:
      {"left_out": {reason: participants}, "splits": {split: {"participants",
       "labels": {label: {"known", "missing", "scores": QUANTILES}},
       "events": {task: {"known", "missing", "events"}} of the binary tasks,
       "without": {modality: participants that lack it},
       "sizes": {column of the corpus: QUANTILES}}}}
      with None for the quantiles of nothing and of classes. A duration of 0 means that there is no audio and is left
      out, as are the sizes of transcripts in a corpus without any.
    """
    split = np.array(corpus.split)
    counted = [name for name, values in corpus.columns.items() if name not in TALK or values.max(initial=0) > 1]
    return {
        "left_out": dict(Counter(_reason(entry) for entry in corpus.card.get("skipped", ())).most_common()),
        "splits": {name: _part(corpus, tasks, split == name, counted) for name in SPLITS if name in corpus.split},
    }


def _part(corpus: Corpus, tasks: Sequence[Task], members: np.ndarray, counted: Sequence[str]) -> dict[str, Any]:
    n = int(members.sum())
    scores, classes = (
        {label: values[members] for label, values in corpus.labels.items()},
        corpus.card.get("classes", {}),
    )
    known = {label: int(np.isfinite(values).sum()) for label, values in scores.items()}
    sizes = {name: corpus.columns[name][members] for name in counted}
    sizes["duration_s"] = sizes["duration_s"][sizes["duration_s"] > 0]
    return {
        "participants": n,
        "labels": {
            label: {
                "known": known[label],
                "missing": n - known[label],
                "scores": None if label in classes else _quantiles(values[np.isfinite(values)]),
            }
            for label, values in scores.items()
        },
        "events": {
            task.name: {
                "known": known[task.label],
                "missing": n - known[task.label],
                "events": int((task.targets(scores[task.label]) == 1).sum()),
            }
            for task in tasks
            if task.event
        },
        "without": {name: int((~has[members].astype(bool)).sum()) for name, has in corpus.has.items()},
        "sizes": {name: _quantiles(values) for name, values in sizes.items()},
    }


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    values_at = np.quantile(values.astype(np.float64), list(QUANTILES.values()))
    return dict(zip(QUANTILES, values_at.tolist(), strict=True))


def _reason(skipped: Mapping[str, str]) -> str:
    """Why a participant was left out, without the file that stands before the first colon, and without the id."""
    _, _, rest = skipped["reason"].partition(": ")
    return (rest or skipped["reason"]).replace(skipped["participant"], "...")
