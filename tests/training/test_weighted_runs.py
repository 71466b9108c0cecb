"""Weightings of tasks in whole trainings: state saved, taken up again, and stacked. The corpus is SYNTHETIC."""

import dataclasses
import itertools

import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.training import loop, replicas
from tests.runs import final_state, small


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


def make_run(dataset, corpus, weighting, folder, **options):
    config = small(dataset)
    config.objective.weighting, config.total = weighting, "1 epochs"
    return loop.Run(config, corpus, splits.by_name(corpus), folder, **options)


@pytest.mark.parametrize(
    ("weighting", "trained", "remembered"), [("druw", "sigma", "previous"), ("gradnorm", "loss_scale", "first")]
)
def test_a_resumed_training_ends_with_the_same_bits(
    dataset, corpus, tmp_path, monkeypatch, weighting, trained, remembered
):
    loop.train(make_run(dataset, corpus, weighting, tmp_path / "whole"))
    broken = make_run(dataset, corpus, weighting, tmp_path / "broken")
    with monkeypatch.context() as patch:
        asked = itertools.count(1)
        patch.setattr(loop, "must_stop", lambda _: next(asked) == 3)
        with pytest.raises(loop.Interrupted):
            loop.train(broken)
    between, state = final_state(tmp_path / "broken")
    memory = next(value for path, value in state.items() if "'weighting'" in path)
    assert np.all(memory > 0)
    loop.train(broken)
    (end, whole), (other_end, resumed) = final_state(tmp_path / "whole"), final_state(tmp_path / "broken")
    assert between == 3 < end == other_end and whole.keys() == resumed.keys()
    assert any(f"['weighting']['{remembered}']" in path for path in whole)
    for path, value in whole.items():
        assert value.tobytes() == resumed[path].tobytes(), path
        if f"['objective']['{trained}']" in path and "params" in path:
            assert len(np.unique(value)) == len(value) == 3


def test_stacked_trainings_weigh_their_own_tasks(dataset, corpus, tmp_path):
    runs = [make_run(dataset, corpus, "druw", tmp_path / str(seed), seed=seed) for seed in range(2)]
    for one in runs:
        one.config.replicas.layout = "vmap"
    stacked = replicas.train(runs, tmp_path / "replicas")
    alone = loop.train(dataclasses.replace(runs[1], workdir=tmp_path / "alone"))
    np.testing.assert_allclose(stacked[1].y_prob, alone.y_prob, atol=5e-5)
    assert not np.allclose(stacked[0].y_prob, stacked[1].y_prob, equal_nan=True)
