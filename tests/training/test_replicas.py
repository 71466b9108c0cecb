"""Replicas: the numbers of a training alone, whatever the layout, the waves and the devices. The corpus is SYNTHETIC."""

import dataclasses

import numpy as np
import pytest

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import loop, replicas, run
from tests.runs import small


@pytest.fixture(scope="module")
def config(dataset):
    config = small(dataset)
    config.total = "2 epochs"
    config.cv.folds, config.seeds = 3, 2
    config.data.groups = 8
    config.replicas.layout = "sequence"
    return config


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


def planned(config, corpus, folder):
    return list(run.trainings(config, from_config(config.tasks), corpus, folder))


@pytest.fixture(scope="module")
def whole(config, corpus, tmp_path_factory):
    """Six replicas, one after another through one program."""
    folder = tmp_path_factory.mktemp("whole")
    runs = planned(config, corpus, folder)
    return runs, replicas.train(runs, folder / "replicas")


def assert_close(one, other, atol=2e-5):
    assert one.participant_id.tolist() == other.participant_id.tolist()
    np.testing.assert_allclose(one.y_prob, other.y_prob, atol=atol)
    np.testing.assert_allclose(one.y_pred, other.y_pred, atol=27 * atol)


def test_a_replica_gives_the_numbers_of_the_training_alone(whole, tmp_path):
    runs, together = whole
    for i in (0, 3):
        alone = loop.train(dataclasses.replace(runs[i], workdir=tmp_path / str(i)))
        assert_close(together[i], alone)
    assert not np.allclose(together[0].y_prob, together[1].y_prob, equal_nan=True)
