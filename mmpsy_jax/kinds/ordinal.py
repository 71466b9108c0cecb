"""The band of a score between ascending cut-offs: proportional odds (McCullagh 1980, "Regression models for ordinal
data"), cumulative logits that are one place on a line less cut points on it."""

import sys
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, between, whole

FAR = 40.0  # a logit whose sigmoid is 1 in float32, and differences of two such logits stay finite


class Kind(Task):
    """What is predicted is the expected band."""

    n_cutoffs, cut_points, bounded = range(2, sys.maxsize), True, True
    option = "its values are bands, from 0"
    output, entries = "expected band", ("bands", "conformal")
    subgroup_metrics, tuned_by = ("qwk",), "qwk"

    def targets(self, scores: Float[Any, " n"], xp: Any = np) -> Float[Any, " n"]:
        """Number of cut-offs that the score reaches."""
        return between(scores, self.cutoffs, xp)

    def start(self, targets: Float[np.ndarray, " n"]) -> Float[np.ndarray, " cuts"]:
        """Ascending cut points."""
        below = np.cumsum(self.shares(targets))[:-1]
        return np.log(below / (1 - below))

    def losses(self, output: Float[Any, "b cuts"], targets: Float[Any, " b"], delta: Any) -> Float[Any, " b"]:
        """Negative log likelihood.

        With a_k = logit P(band > k), descending in k, a_-1 = +inf and a_K = -inf,
        P(band = k) = s(a_{k-1}) - s(a_k) = s(a_{k-1}) s(-a_k) (1 - exp(a_k - a_{k-1})), whose logarithm is stable.
        """
        import jax
        import jax.numpy as jnp

        del delta
        edge = jnp.full((*output.shape[:-1], 1), FAR)
        logits = jnp.concatenate([edge, jnp.clip(output, 1e-3 - FAR, FAR - 1e-3), -edge], axis=-1)
        above, below = logits[..., :-1], logits[..., 1:]
        apart = jnp.log(-jnp.expm1(jnp.minimum(below - above, -1e-6)))
        log_p = jax.nn.log_sigmoid(above) + jax.nn.log_sigmoid(-below) + apart
        return -jnp.take_along_axis(log_p, targets.astype(jnp.int32)[:, None], axis=-1)[:, 0]

    def predictions(self, output: Float[Any, "n cuts"], xp: Any = np) -> Float[Any, " n"]:
        """E[band] = sum_k P(band > k)."""
        output = np.asarray(output, np.float64) if xp is np else output
        return (1 / (1 + xp.exp(-output))).sum(axis=1)

    def check(self, y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " m"]) -> None:
        """Truths must be bands."""
        if not np.isin(y_true, np.arange(self.n_classes)).all():
            top = self.n_classes - 1
            raise InputError(
                f"task {self.name!r}: y_true must be a band from 0 to {top}, not a score: apply the cut-offs"
            )

    def describe(self) -> str:
        """The label and its cut-offs."""
        return f"bands of {self.label} from {', '.join(f'{cutoff:g}' for cutoff in self.cutoffs)}"

    @classmethod
    def infer(cls, name: str, y_true: np.ndarray, y_pred: np.ndarray, maximum: float | None = None) -> Task:
        """Bands from 0 to the highest one."""
        top = int(maximum or 0) or max(2, whole(name, "ordinal", "y_true", y_true))
        return Task(name, name, "ordinal", tuple(map(float, range(1, top + 1))))
