"""Distances of embeddings against scikit-learn."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.covariance import LedoitWolf

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import embedding, programs


def drawn(n, seed, d=5):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_distances_and_limit_are_those_of_scikit_learn(seed):
    train, held_out, others = drawn(40, seed), drawn(30, seed + 10), drawn(20, seed + 20)
    fitted = embedding.fit(train, held_out)
    theirs = LedoitWolf().fit(train.astype(np.float64))
    np.testing.assert_allclose(embedding.distance(fitted, others), np.sqrt(theirs.mahalanobis(others)), rtol=1e-5)
    limits = [np.quantile(np.sqrt(theirs.mahalanobis(part)), 0.999) for part in (train, held_out)]
    assert limits[1] > limits[0] and fitted["limit"] == pytest.approx(limits[1], rel=1e-5)
    for few in (held_out[:0], train[:2]):
        assert embedding.fit(train, few)["limit"] == pytest.approx(limits[0], rel=1e-5)


def test_embeddings_that_do_not_vary_have_finite_distances():
    fitted = embedding.fit(np.ones((10, 3), np.float32), np.ones((0, 3), np.float32))
    assert fitted["limit"] == 0
    assert 1 < embedding.distance(fitted, np.full((1, 3), 2.0))[0] < np.inf


def test_no_task_may_take_the_name_of_the_embedding():
    task = Task("embedding", "phq9", "binary", (10,), 27.0)
    with pytest.raises(InputError, match="the name 'embedding' is taken"):
        programs.network(ConfigDict(), [task], modalities=(), window_seconds=60.0)
