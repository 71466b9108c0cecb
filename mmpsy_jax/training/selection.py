"""Which epoch is kept, by one rule written in the config, on validation only."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmpsy_jax.evaluation import metrics
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task

# Metrics of which less is better; of all others more is.
LESS_IS_BETTER = ("loss", *(name for of_kind in metrics.NAMES.values() for name, sign in of_kind.items() if sign < 0))

# Rank of an undefined metric; finite, since a checkpoint's metrics are JSON.
UNDEFINED = -1e30


def quick_metrics(task: Task, rows: Predictions) -> dict[str, float]:
    """Metrics of one task that need no threshold, for the learning curves and the selection."""
    names = [one.name for one in metrics.METRICS[task.kind].values() if not one.at_threshold]
    return metrics.point(metrics.rows_of(task, rows.y_true, getattr(rows, task.column)), names).values


def metric_names(task: Task) -> list[str]:
    """What `config.selection.metric` may be called of one task."""
    nobody = np.zeros(0)
    rows = Predictions.build([], task.name, nobody, y_prob=nobody, y_pred=nobody)
    return [f"{task.name}/{name}" for name in ("loss", *quick_metrics(task, rows))]


class Selection:
    """Follows one validation metric: the best step so far, and when to stop.

    `config.metric` is "loss", "<task>/<metric>", or "step" for the last evaluation; of equal values the earlier step is
    kept. After `config.patience` evaluations without a better value training stops; 0 never stops early.
    """

    def __init__(self, config: ConfigDict):
        """Reads the rule; whether the metric exists is checked at the first evaluation."""
        self.metric, self.patience = config.metric, config.patience
        self.sign = -1.0 if self.metric.rsplit("/", 1)[-1] in LESS_IS_BETTER else 1.0
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.waited = 0
        self.last: float | None = None

    def update(self, step: int, scores: dict[str, float]) -> float:
        """Takes the scores of a step; returns its value for ranking, higher is better."""
        if self.metric not in scores:
            raise one_of("config.selection.metric", self.metric, scores)
        self.last = scores[self.metric]
        # An undefined metric (one class only) ranks below every defined one.
        value = self.sign * self.last if self.last == self.last else UNDEFINED
        if self.best_step is None or value > self.best_value:
            self.best_value, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        return value

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and self.waited >= self.patience

    def describe(self) -> str:
        """For the progress line."""
        return f"{self.metric} {self.last:.4f} (best {self.sign * self.best_value:.4f} at step {self.best_step})"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in ("best_value", "best_step", "waited", "last")}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` gave."""
        vars(self).update(state)
