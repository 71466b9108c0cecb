"""The band of a score between ascending cut-offs: proportional odds (McCullagh 1980, "Regression models for ordinal
data"), cumulative logits that are one place on a line less cut points on it."""

import sys
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, between, whole

FAR = 40.0  # a logit whose sigmoid is 1 in float32, and differences of two such logits stay finite


class _CutRegression:
    """A regression whose predictions are cut into bands.

    Args:
      model: of the band number: of scikit-learn, with a ridge penalty of one value or without.
    """

    def __init__(self, model: Any):
        self._model = model

    def fit(self, x: Any, bands: Float[np.ndarray, " n"]) -> "_CutRegression":
        """Cuts leave-one-out predictions, or without a penalty those of the regression, at the shares of bands."""
        if hasattr(self._model, "scoring"):
            self._model.set_params(
                scoring="neg_mean_squared_error"
            )  # then the predictions are stored, not their errors
        self._model.fit(x, bands)
        left_out = getattr(self._model, "cv_results_", None)
        predictions = self._model.predict(x) if left_out is None else left_out.ravel()
        below = np.cumsum(np.bincount(bands.astype(int)))[:-1] / len(bands)
        self.cuts = np.quantile(predictions, below)
        return self

    def predict(self, x: Any) -> Float[np.ndarray, " m"]:
        """The band of each row."""
        return np.searchsorted(self.cuts, self._model.predict(x), side="right").astype(np.float64)


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

    def linear_model(self, penalty: float, n: int) -> Any:
        """Ridge regression of the band, cut where as many training participants lie above as are in the bands above.

        Rounded expected bands of a shrunk regression are nearly all one band, which no measure of agreement rewards.
        """
        return _CutRegression(super().linear_model(penalty, n))

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
