"""One of several classes without an order: a logit per class, and a softmax over them."""

from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, whole


class Kind(Task):
    """The score is the index of the class, in records -1 where it is missing."""

    named, logits, votes, conformal = True, True, True, False
    option = "its values are classes without an order, from 0"
    output, entries = "most probable class", ("per_class", "conformal")
    subgroup_metrics, tuned_by = ("balanced_accuracy", "f1_macro"), "balanced_accuracy"

    def targets(self, scores: Float[Any, " n"], xp: Any = np) -> Float[Any, " n"]:
        """The index of the class; of codes NaN where a score is none of them.

        Raises:
          InputError: with numpy and without codes, a score that is neither such an index nor -1.
        """
        if self.codes:
            scores = xp.asarray(scores, np.float32)
            indices = xp.full_like(scores, np.nan)
            for i, code in enumerate(self.codes):
                indices = xp.where(scores == code, np.float32(i), indices)
            return indices
        if xp is not np:
            return scores
        scores = np.asarray(scores, np.float32)
        scores = np.where(scores == -1, np.float32(np.nan), scores)
        if not np.isin(scores[~np.isnan(scores)], np.arange(self.n_classes)).all():
            raise InputError(
                f"task {self.name!r}: a value of {self.label!r} is not the index of a class: give whole numbers "
                f"from 0 to {self.n_classes - 1}, -1 where it is missing"
            )
        return scores

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " c"]:
        """Logarithms of the shares of the classes."""
        return np.log(self.shares(targets))

    def losses(self, output: Float[Any, "b c"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """Softmax cross-entropy."""
        import optax

        del delta
        return optax.softmax_cross_entropy_with_integer_labels(output, targets.astype(np.int32))

    def predictions(self, output: Float[Any, "n c"], xp: Any = np) -> Float[Any, " n"]:
        """Index of the most probable class."""
        return output.argmax(axis=1).astype(float if xp is np else output.dtype)

    def averageable(self, output: Float[Any, "n c"], xp: Any = np) -> Float[Any, "n c"]:
        """Probabilities of the classes."""
        output = np.asarray(output, np.float64) if xp is np else output
        odds = xp.exp(output - output.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def average(self, values: Float[np.ndarray, "t n c"]) -> Float[np.ndarray, " n"]:
        """The class of the greatest mean probability."""
        return values.mean(axis=0).argmax(axis=1).astype(float)

    def constant(self, targets: Float[np.ndarray, " n"]) -> float:
        """The most frequent class."""
        return float(np.bincount(targets.astype(int)).argmax())

    def check(self, y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " m"]) -> None:
        """Both must be indices of classes."""
        if not np.isin(np.concatenate([y_true, y_pred]), np.arange(self.n_classes)).all():
            top = self.n_classes - 1
            raise InputError(f"task {self.name!r}: y_true and y_pred must be indices of classes, 0 to {top}")

    def describe(self) -> str:
        """The label and the names of the classes."""
        return f"{self.label}: {', '.join(self.classes)}"

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> Task:
        """Classes from 0 to the highest one, with numbers as names."""
        top = max(1, whole(name, "nominal", "y_true and y_pred", np.concatenate([y_true, y_pred]), maximum))
        return Task(name, name, "nominal", classes=tuple(map(str, range(top + 1))))
