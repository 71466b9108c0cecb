"""The linear path of a network (`models/linear_path.py`), fitted in closed form on the training participants.

Ridge regression in its dual form, since there are fewer people than n-grams: with K the centred products of all pairs
of participants, y - mean(y) = (K + p I) a. All labels share one decomposition of K; the penalty p of each is chosen by
generalised cross-validation (Golub, Heath and Wahba 1979). What a participant would be predicted without having been
fitted follows from the hat matrix H: y_i - (y_i - fit_i) / (1 - H_ii). On these left-out predictions, never on those of
the fit, outputs of tasks are fitted, and a network is trained beside the path (stacking, Wolpert 1992).

Our choices: the penalty is the largest one whose error is at most one standard error above the least (the rule of
Breiman et al. 1984), which ranks people better than the least one; slopes of the outputs undo the shrinkage. The mean
label is not left out: under a strong penalty its part, -y_i / (n - 1), would be all that left-out predictions say.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import scipy  # its parts are loaded when they are used
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from mmpsy_jax import objectives
from mmpsy_jax.data import statistics
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.modality import LAST_KEY
from mmpsy_jax.models.base import Head, Modality
from mmpsy_jax.models.linear_path import SLOPES, ReadOut, read_by, readable
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import covariates

# Penalties that are tried, times the mean squared length of a centred vector.
PENALTIES = np.logspace(-3, 3, 49)
STANDARD_ERRORS = 1.0  # that the error may be above the least one
LARGEST = 30.0  # penalty that this may lead to
MOST_PEOPLE = 20_000  # of a training part: products of all pairs are held, and decomposed
LEAST_PEOPLE = 3
# Of the slopes and output biases: so little that nothing but what one class alone would send to infinity is moved.
SHRINKAGE = 1e-3


class Solution(NamedTuple):
    """Ridge regressions of l labels on n participants.

    Attributes:
      dual: weights of the participants: with k the products of x with them, x is predicted
        mean(y) + (k - mean of the kernel's rows) dual.
      fit: of each participant, with all of them.
      left_out: what each participant is predicted by the others.
      penalty: of each label.
    """

    dual: Float[np.ndarray, "n l"]
    fit: Float[np.ndarray, "n l"]
    left_out: Float[np.ndarray, "n l"]
    penalty: Float[np.ndarray, " l"]


@jax.jit
def _solve(
    kernel: Float[Array, "n n"], targets: Float[Array, "n l"], penalties: Float[Array, " p"], standard_errors: float
) -> tuple[Float[Array, "n l"], Float[Array, "n l"], Float[Array, "n l"], Float[Array, " l"]]:
    n, mean = len(kernel), targets.mean(axis=0)
    values, vectors = jnp.linalg.eigh(kernel)
    values = jnp.maximum(values, 0.0)
    rotated = vectors.T @ (targets - mean)
    kept = penalties / (values[:, None] + penalties)  # share of each direction that stays in the residual
    freedom = n - 1 - (1 - kept).sum(axis=0)  # n - trace(H); the mean is not penalised
    squares = jnp.einsum("np,nl->pl", kept**2, rotated**2)
    errors = n * squares / jnp.maximum(freedom, 1e-6)[:, None] ** 2  # [p, l], mean squared ones

    def at(chosen: Int[Array, " l"]) -> tuple[Array, Array, Array]:
        hat = (vectors**2) @ (1 - kept[:, chosen])
        residual = vectors @ (kept[:, chosen] * rotated)
        return targets - residual, residual / jnp.maximum(1 - hat, 1e-6), penalties[chosen]

    least = jnp.argmin(errors, axis=0)
    _, residual, _ = at(least)
    limit = errors.min(axis=0) + standard_errors * (residual**2).std(axis=0) / jnp.sqrt(n)
    within = (errors <= limit) & (penalties <= LARGEST)[:, None] | (jnp.arange(len(penalties))[:, None] == least)
    fitted, residual, penalty = at(len(penalties) - 1 - jnp.argmax(within[::-1], axis=0))
    dual = vectors @ (rotated / (values[:, None] + penalty))
    return dual, fitted, targets - residual, penalty


def solve(kernel: Float[np.ndarray, "n n"], targets: Float[np.ndarray, "n l"]) -> Solution:
    """Ridge regressions with an intercept, that is not penalised.

    Args:
      kernel: products of the vectors of all pairs of participants; they need not be centred.
      targets: without NaN.
    """
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
    scale = max(float(np.trace(centred)) / len(kernel), 1e-12)
    mean = targets.mean(axis=0)
    # In units in which float32 is good: vectors of mean length one, targets of mean zero.
    arguments = (centred / scale, targets - mean, PENALTIES, STANDARD_ERRORS)
    parts = _solve(*(jnp.asarray(part, jnp.float32) for part in arguments))
    dual, fitted, left_out, penalty = (np.asarray(part, np.float64) for part in parts)
    return Solution(dual / scale, fitted + mean, left_out + mean, penalty * scale)


class Path(NamedTuple):
    """A fitted linear path.

    Attributes:
      variables: of `LinearPath`.
      left_out: what it says of each participant of the corpus without having been fitted on them, for who is trained
        on; elsewhere 0.
    """

    variables: dict[str, Float[np.ndarray, "..."]]
    left_out: Float[np.ndarray, "n l"]


def fit(
    config: ConfigDict,
    tasks: Sequence[Task],
    modalities: Sequence[Modality],
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
) -> Path:
    """Fits the linear path on some participants.

    Args:
      members: positions of the training participants in the corpus.

    Raises:
      InputError: too many participants, or nothing to read.
    """
    if len(members) > MOST_PEOPLE:
        raise InputError(
            f"the linear path holds the products of all pairs of training participants, and {len(members)} are more "
            f"than the {MOST_PEOPLE} that are possible: take another model, or --config.model.linear=False"
        )
    try:
        inputs = [
            pooled_input(corpus, one.name, members, config.data.max_windows or None) for one in readable(modalities)
        ]
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error
    kernel = sum(one.products() for one in inputs)
    targets = targets_of(tasks, corpus)[members]
    dual, left_out = np.zeros(targets.shape), np.zeros(targets.shape)
    intercept, known = np.zeros(targets.shape[1]), ~np.isnan(targets)
    for pattern in np.unique(known, axis=1).T:
        columns, rows = np.flatnonzero((known == pattern[:, None]).all(axis=0)), np.flatnonzero(pattern)
        if len(rows) < LEAST_PEOPLE:  # the mean is all that can be said, by the output biases
            continue
        part = kernel[np.ix_(rows, rows)]
        solution = solve(part, targets[np.ix_(rows, columns)])
        unit = unit_of(solution.left_out)
        dual[np.ix_(rows, columns)] = solution.dual * unit
        intercept[columns] = -part.mean(axis=0) @ solution.dual * unit
        # Who lacks the label is predicted by all who have it.
        left_out[:, columns] = kernel[:, rows] @ dual[np.ix_(rows, columns)] + intercept[columns]
        left_out[np.ix_(rows, columns)] += (solution.left_out - solution.fit) * unit
    variables = {"intercept": intercept}
    for one in inputs:
        variables |= one.variables(dual)
    everybody = np.zeros((len(corpus), targets.shape[1]))
    everybody[members] = left_out
    types = {name: x.dtype if x.dtype == np.int32 else np.float32 for name, x in variables.items()}
    return Path({name: np.asarray(x, types[name]) for name, x in variables.items()}, everybody)


def unit_of(left_out: Float[np.ndarray, "n l"]) -> Float[np.ndarray, " l"]:
    """What brings left-out predictions to deviation one, so that the slopes of outputs start alike; 0 where all are
    the same, and NaN left out of account."""
    spread = np.nanstd(left_out, axis=0)
    return np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)


def targets_of(tasks: Sequence[Task], corpus: Corpus) -> Float[np.ndarray, "n l"]:
    """What is regressed on, NaN where missing; the columns are those of `linear_path.columns_of`."""
    columns: dict[str, np.ndarray] = {}
    for task in tasks:
        if task.named:
            classes = np.asarray(task.targets(corpus.labels[task.label]), np.float64)
            of_classes = (classes[:, None] == np.arange(task.n_classes)).astype(np.float64)
            columns[task.name] = np.where(np.isnan(classes)[:, None], np.nan, of_classes)
        else:
            scores = np.asarray(corpus.labels[task.label], np.float64)
            missing = (scores == -1) & (task.minimum >= 0)
            columns.setdefault(task.label, np.where(missing, np.nan, scores)[:, None])
    return np.concatenate(list(columns.values()), axis=1)


class Input(NamedTuple):
    """One modality of the training participants.

    Attributes:
      name: of the modality.
      x: vectors [m, k], zero for who lacks it; sparse of n-grams.
      there: who has it.
      scales: variables by which the network makes the same vectors.
    """

    name: str
    x: Any
    there: Bool[np.ndarray, " m"]
    scales: dict[str, np.ndarray]

    def products(self) -> Float[np.ndarray, "m m"]:
        """Products of all pairs, about the mean of those who have it; 0 with who lacks it."""
        products = self.x @ self.x.T
        products = products.toarray() if scipy.sparse.issparse(products) else products
        if not self.there.any():
            return products
        mean = products[:, self.there].mean(axis=1)
        products = products - mean - mean[:, None] + mean[self.there].mean()
        return np.where(self.there & self.there[:, None], products, 0.0)

    def variables(self, dual: Float[np.ndarray, "m l"]) -> dict[str, np.ndarray]:
        """Weights of the vector, and what the mean vector would be predicted by them."""
        mean = np.asarray(self.x.sum(axis=0)).ravel() / max(self.there.sum(), 1)
        weights = self.x.T @ dual - np.outer(mean, dual[self.there].sum(axis=0))
        new = {"weights": weights, "centre": mean @ weights, **self.scales}
        return {f"{self.name}_{what}": value for what, value in new.items()}


def pooled_input(corpus: Corpus, name: str, members: Int[np.ndarray, " m"], limit: int | None) -> Input:
    """A modality of some participants, in the units of those of them who have it."""
    there, kind = corpus.has[name][members], corpus.modalities[name].kind
    if kind == "ids":
        counts, keys = statistics.key_counts(corpus, name, limit)
        idf = statistics.inverse_document_frequency(counts[members])
        # N-grams of training participants alone, behind them room for so many that all folds have one size.
        kept, size = np.flatnonzero(idf), max(len(keys), 1)
        x = statistics.tf_idf(counts[members], idf)[:, kept]
        x.resize((len(members), size))
        fill = (0, size - len(kept))
        scales = {"idf": np.pad(idf[kept], fill), "keys": np.pad(keys[kept], fill, constant_values=LAST_KEY)}
        return Input(name, x, there, scales)
    pooled = covariates.frame_statistics if kind == "frames" else statistics.time_means
    x = pooled(corpus, name, limit)[members]
    there = there & np.isfinite(x).all(axis=1)
    known = x[there] if there.any() else np.zeros((1, x.shape[1]))
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    # Vectors of length one in the mean, as those of n-grams have.
    scale = np.where(deviation > 1e-6, deviation, 1.0) * np.sqrt(x.shape[1])
    return Input(name, np.where(there[:, None], (x - mean) / scale, 0.0), there, {"mean": mean, "deviation": scale})


def read_out(
    config: ConfigDict,
    tasks: Sequence[Task],
    heads: tuple[Head, ...],
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
    left_out: Float[np.ndarray, "n l"],
    start: Mapping[str, Any],
) -> dict[str, Float[np.ndarray, "..."]]:
    """Slopes and output biases that have the least loss of the config's objective on left-out predictions.

    A task is read from its own label alone, so that people of a fold are ranked as by the ridge regression.

    Args:
      heads: the outputs of the tasks.
      members: positions of the training participants.
      left_out: of `Path`.
      start: `bias`, where the output biases start, and `class_weights`, of `train_statistics.of_scores`.
    """
    fields = {"model": config.model.to_dict(), "fields": config.objective.to_dict()}
    objective = objectives.build(config.objective.name, tasks, (), **fields)
    slopes = np.zeros((left_out.shape[1], sum(one.n_values for one in heads)))
    begin = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {SLOPES: slopes, **start["bias"]})
    flat, unflatten = jax.flatten_util.ravel_pytree(begin)
    slots = read_by(heads)
    trained = np.isin(np.arange(len(corpus)), members)
    labels = {name: jnp.where(trained, column, jnp.nan) for name, column in corpus.labels.items()}
    of_people = (jnp.asarray(left_out, jnp.float32), labels, jnp.asarray(trained), start["class_weights"])

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss(heads, objective, unflatten(jnp.asarray(point, jnp.float32)), begin, *of_people)
        gradient = {**gradient, SLOPES: gradient[SLOPES] * slots}
        return float(value), np.asarray(jax.flatten_util.ravel_pytree(gradient)[0], np.float64)

    least = scipy.optimize.minimize(evaluate, np.asarray(flat, np.float64), jac=True, method="L-BFGS-B")
    return jax.tree.map(np.asarray, unflatten(jnp.asarray(least.x, jnp.float32)))


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.value_and_grad, argnums=2)
def _loss(heads, objective, params, begin, linear, labels, valid, class_weights) -> Array:
    """Sum of the losses of all tasks, and how far the parameters have moved."""
    losses, _ = objective(ReadOut(heads).apply({"params": params}, linear), labels, valid, class_weights)
    moved = sum(((x - y) ** 2).sum() for x, y in zip(*map(jax.tree.leaves, (params, begin)), strict=True))
    return losses.sum() + SHRINKAGE * moved
