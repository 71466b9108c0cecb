"""MISA's losses against their formulas in numpy, on rows that have a modality or not."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.io import InputError
from mmpsy_jax.projects.msa.objectives import misa
from mmpsy_jax.tasks import Task

TASK = Task("sentiment", "sentiment", "regression", maximum=3.0, minimum=-3.0)
NAMES = ("text", "audio", "vision")
OBJECTIVE = misa.build([TASK], NAMES, difference=0.3, similarity=0.7, reconstruction=2.0)
KINDS = ("private", "shared", "given", "remade")


def batch(rng, rows=7, width=4):
    outputs = {f"{s}_{kind}": jnp.asarray(rng.normal(size=(rows, width)), jnp.float32) for s in NAMES for kind in KINDS}
    outputs |= {f"{s}_present": jnp.asarray(rng.random((rows, 1)) < 0.7, jnp.float32) for s in NAMES}
    outputs["sentiment"] = jnp.asarray(rng.normal(size=(rows, 1)), jnp.float32)
    score = rng.uniform(-3, 3, rows)
    score[1] = np.nan
    return outputs, {"sentiment": jnp.asarray(score, jnp.float32)}, jnp.asarray([True] * (rows - 1) + [False])


def expected(outputs, scores, valid):
    """The four losses, row by row."""
    outputs = {k: np.asarray(v, np.float64) for k, v in outputs.items()}
    has = {s: (outputs[f"{s}_present"][:, 0] > 0) & np.asarray(valid) for s in NAMES}
    known = np.asarray(valid) & ~np.isnan(scores)
    error = np.mean((3 * outputs["sentiment"][known, 0] - np.asarray(scores)[known]) ** 2)

    def difference(a, b, rows):
        a, b = (x[rows] - x[rows].mean(axis=0) for x in (a, b))
        a, b = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6) for x in (a, b))
        return np.mean((a.T @ b) ** 2)

    private, shared = ({s: outputs[f"{s}_{kind}"] for s in NAMES} for kind in ("private", "shared"))
    apart = sum(difference(private[s], shared[s], has[s]) for s in NAMES)
    alike = 0
    for s, t in itertools.combinations(NAMES, 2):
        apart += difference(private[s], private[t], has[s] & has[t])
        x, y = shared[s][has[s]], shared[t][has[t]]
        alike += np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)) / 3
        for k in range(2, 6):
            moments = [((z - z.mean(axis=0)) ** k).mean(axis=0) for z in (x, y)]
            alike += np.linalg.norm(moments[0] - moments[1]) / 3
    remade = np.mean([np.mean((outputs[f"{s}_remade"] - outputs[f"{s}_given"])[has[s]] ** 2) for s in NAMES])
    return error, apart, alike, remade


def test_losses_are_their_formulas():
    outputs, labels, valid = batch(np.random.default_rng(0))
    loss, (present, sums) = jax.jit(OBJECTIVE)(outputs, labels, valid, {})
    error, apart, alike, remade = expected(outputs, labels["sentiment"], valid)
    np.testing.assert_allclose(loss, [error + 0.3 * apart + 0.7 * alike + 2.0 * remade], rtol=1e-5)
    assert present.tolist() == [True]
    np.testing.assert_allclose(sums["sentiment"], [5 * error, 5], rtol=1e-5)


def test_gradients_are_finite_where_codes_are_equal_or_absent():
    outputs, labels, valid = batch(np.random.default_rng(1))
    equal = {name: jnp.full_like(x, 0.5) if name.endswith(KINDS) else x for name, x in outputs.items()}
    absent = equal | {"text_present": jnp.zeros((7, 1))}
    gradient = jax.jit(jax.grad(lambda outputs: OBJECTIVE(outputs, labels, valid, {})[0][0]))
    for case in (equal, absent):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient(case)))


def test_lengths_are_constants_of_the_gradient():
    rng = np.random.default_rng(2)
    a, b = (jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    found = jax.jit(jax.grad(misa.difference))(a, b, jnp.ones(5))
    centred = np.asarray(a - np.mean(a, axis=0))
    lengths = np.linalg.norm(centred, axis=1, keepdims=True) + misa.EPSILON

    def held(x):
        y = b - b.mean(axis=0)
        y = y / (jnp.linalg.norm(y, axis=1, keepdims=True) + misa.EPSILON)
        return jnp.mean((((x - x.mean(axis=0)) / lengths).T @ y) ** 2)

    np.testing.assert_allclose(found, jax.jit(jax.grad(held))(a), rtol=1e-4, atol=1e-6)


def test_one_modality_has_nothing_to_be_compared_with():
    alone = dataclasses.replace(OBJECTIVE, modalities=("text",))
    outputs, _, valid = batch(np.random.default_rng(3))
    assert jax.jit(alone.of_codes)(outputs, valid)[1] == 0


def test_what_cannot_be():
    weights = {"difference": 1.0, "similarity": 1.0, "reconstruction": 1.0}
    with pytest.raises(InputError, match="one task of kind 'regression'"):
        misa.build([TASK, TASK], NAMES, **weights)
    with pytest.raises(InputError, match=r"set config\.model\.name = misa"):
        OBJECTIVE.of_codes({}, jnp.ones(2, bool))
