"""One training (a fold with a seed, perhaps with settings of its own), and what becomes of its network's outputs."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mmpsy_jax.data.records import SPLITS, Corpus
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches, nonfinite
from mmpsy_jax.training.selection import quick_metrics

HELD_OUT = SPLITS[1:]


class TrainingDiverged(RuntimeError):
    """A loss or gradient is not finite; the message says at which step and what."""


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """What one training is made of.

    Attributes:
      config: the whole config.
      corpus: the opened records.
      splits: indices of participants per name of `SPLITS`.
      workdir: its own folder (one per fold and seed).
      seed, fold: written to the predictions; `seed` also starts every random stream.
      batches: per epoch at least; folds of slightly different size then make equally many.
      values: config fields in which this training differs from others of one program (`hparams.py`).
      keeps_model: leave the best parameters in the workdir (`run_files.py`); not needed of a point of a sweep.
    """

    config: ConfigDict
    corpus: Corpus
    splits: Mapping[str, Int[np.ndarray, " n"]]
    workdir: Path
    seed: int = 0
    fold: int = 0
    batches: int | None = None
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    keeps_model: bool = True

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is predicted."""
        return from_config(self.config.tasks)

    @property
    def held_out(self) -> list[str]:
        """Validation and test, where they hold anybody."""
        return [split for split in HELD_OUT if len(self.splits[split])]

    def refuse_nonfinite(self, members: Int[np.ndarray, "*n"]) -> None:
        """Raises InputError where records of these participants hold numbers that are not finite (`nonfinite.py`)."""
        nonfinite.refuse(self.corpus, batches.names_of(self.config, self.corpus), members)

    def predictions(self, outputs: Mapping[str, np.ndarray], index: Int[np.ndarray, " n"], split: str) -> Predictions:
        """The rows of `predictions.csv` for a split, participants in corpus order.

        Args:
          outputs: of the network, per task [n, o].
          index: position of each row in the corpus.
          split: its name.
        """
        order = np.argsort(index)
        index = index[order]
        who = {"cluster": [self.corpus.cluster[i] for i in index], "split": split, "fold": self.fold, "seed": self.seed}
        ids = [self.corpus.participants[i] for i in index]
        parts = []
        for task in self.tasks:
            value = task.predictions(outputs[task.name])[order]
            if not np.isfinite(value).all():
                self.refuse_nonfinite(index[~np.isfinite(value)])
            column = {task.column: value}
            truth = task.targets(self.corpus.labels[task.label][index])
            parts.append(Predictions.build(ids, task.name, truth, **who, **column))
        return Predictions.concatenate(parts)

    def all_predictions(self, parts: Sequence[Predictions]) -> Predictions:
        """The predictions of all splits, all of which are numbers.

        Raises:
          TrainingDiverged: some are not finite, though no loss was.
        """
        whole = Predictions.concatenate(parts)
        values = np.where(np.isnan(whole.y_prob), whole.y_pred, whole.y_prob)
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise TrainingDiverged(
                f"{bad} of {len(values)} predictions of fold {self.fold}, seed {self.seed} are not finite: lower "
                "config.optimizer.learning_rate or set config.optimizer.clip, and take another --workdir"
            )
        return whole

    def scores(
        self,
        outputs: Mapping[str, np.ndarray],
        index: Int[np.ndarray, " n"],
        sums: Mapping[str, Sequence[float]],
        split: str,
    ) -> dict[str, float]:
        """Metrics of a split: `loss` (weighted sum over tasks of their mean losses) and `<task>/<metric>`.

        Args:
          outputs, index, split: as `predictions`.
          sums: (sum, weight) of each task's loss.
        """
        losses = dict.fromkeys([f"{task.name}/loss" for task in self.tasks], float("nan"))
        losses |= {f"{name}/loss": float(s / w) for name, (s, w) in sums.items() if w}
        weights = self.config.objective.weights.to_dict()
        scores = {"loss": sum(weights.get(t.name, 1.0) * losses[f"{t.name}/loss"] for t in self.tasks), **losses}
        rows = self.predictions(outputs, index, split).known()
        for task in self.tasks:
            of_task = quick_metrics(task, rows.select(task=task.name))
            scores |= {f"{task.name}/{name}": value for name, value in of_task.items()}
        return scores
