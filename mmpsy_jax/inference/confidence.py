"""How sure a prediction is: calibrated probabilities, intervals of scores and sets of bands, as cells of a table."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mmpsy_jax.evaluation import calibration, out_of_fold
from mmpsy_jax.tasks import Task
from mmpsy_jax.training.finished_run import FinishedRun

COLUMNS = ("y_prob_calibrated", "y_positive", "y_low", "y_high", "y_set")


class Confidence:
    """What a run has fitted on people whom a fold was not trained on (`evaluation/calibration.py`, `of_run`)."""

    def __init__(self, run: FinishedRun):
        self._card: dict[str, Any] = run.card.get("calibration") or {"tasks": {}}
        self._folds = np.array([one.fold for one in run.trainings])

    def statements(self, tasks: tuple[Task, ...]) -> Iterator[str]:
        """One line per task: what its columns promise and what was measured, or why there are none."""
        for task in tasks:
            entry = self._of(task)
            if "reason" in entry:
                yield f"{task.name}: no calibrated values ({entry['reason']})"
            elif "temperatures" in entry:
                yield f"{task.name}: calibrated by temperatures fitted {_on(entry)}"
            else:
                measured = "not measured" if entry["coverage"] is None else f"{entry['coverage']:.1%} measured on test"
                source = f", fitted {_on(entry)}" if "fitted_on" in entry else ""
                what = "y_set" if task.n_classes else "y_low to y_high"
                yield f"{task.name}: {what} has the nominal coverage {self._card['level']:.0%}, {measured}{source}"

    def cells(self, task: Task, values: Float[np.ndarray, "t m ..."]) -> list[dict[str, Any]]:
        """The columns of `COLUMNS` that the task fills, per participant; none where nothing was fitted.

        Args:
          values: of each training, as of `FinishedRun.predict`.
        """
        entry, mean = self._of(task), values.mean(axis=0)
        if "reason" in entry:
            return [{} for _ in mean]
        if "temperatures" in entry:
            probabilities = calibration.calibrated(values, self._folds, entry["temperatures"])
            cells = [{"y_prob_calibrated": value} for value in probabilities.tolist()]
            if threshold := entry.get("threshold"):
                cells = [{**one, "y_positive": int(one["y_prob_calibrated"] >= threshold)} for one in cells]
            return cells
        if "residuals" in entry:
            of_folds = (out_of_fold.by_fold(values, self._folds), entry["residuals"])
            if task.n_classes:
                sets = out_of_fold.cross_conformal(*of_folds, task.n_classes, self._card["level"])
                sets |= calibration.band_set(mean, 0.0, task.n_classes)  # an empty set would tell nobody anything
                return [{"y_set": _listed(row)} for row in sets]
            ends = np.clip(out_of_fold.cv_plus(*of_folds, self._card["level"]), *task.ends)
            return [{"y_low": low, "y_high": high} for low, high in ends.T.tolist()]
        if task.n_classes:
            sets = calibration.band_set(mean, entry["radius"], task.n_classes)
            return [{"y_set": _listed(row)} for row in sets]
        # No score lies outside its questionnaire, so cutting the interval there costs no coverage.
        ends = np.clip([mean - entry["radius"], mean + entry["radius"]], *task.ends)
        return [{"y_low": low, "y_high": high} for low, high in ends.T.tolist()]

    def _of(self, task: Task) -> dict[str, Any]:
        return self._card["tasks"].get(task.name, {"reason": "the run is of an older version: run its command again"})


def _on(entry: dict[str, Any]) -> str:
    return "out of fold" if entry.get("fitted_on") == out_of_fold.OUT_OF_FOLD else "on validation"


def _listed(members: Bool[np.ndarray, " k"]) -> str:
    return " ".join(map(str, np.flatnonzero(members)))
