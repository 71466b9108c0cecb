"""Weightings of tasks in whole trainings: state saved, taken up again, and stacked. The corpus is SYNTHETIC."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.models.base import NO_DROPOUT
from mmpsy_jax.objectives import multitask, weighting
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import interruption, loop, step
from tests.runs import final_state, lean

NAMES = ["a", "b", "c"]

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


def make_run(corpus, folder):
    config = lean(corpus.path, kinds=("binary", "ordinal", "regression"))
    config.objective.weighting, config.total = "druw", "5 steps"
    return loop.TrainJob(config, corpus, splits.by_name(corpus), folder)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    loop.train(make_run(corpus, folder))
    return folder


def test_a_resumed_training_ends_with_the_same_bits(whole, corpus, tmp_path, monkeypatch):
    broken = make_run(corpus, tmp_path)
    with monkeypatch.context() as patch:
        asked = itertools.count(1)
        patch.setattr(interruption, "must_stop", lambda _: next(asked) == 3)
        with pytest.raises(interruption.Interrupted):
            loop.train(broken)
    between, state = final_state(tmp_path)
    assert np.all(state["['weighting']['previous']"] > 0)
    loop.train(broken)
    (end, expected), (other_end, resumed) = final_state(whole), final_state(tmp_path)
    assert between == 3 < end == other_end and expected.keys() == resumed.keys()
    for path, value in expected.items():
        assert value.tobytes() == resumed[path].tobytes(), path
    assert len(np.unique(expected["['params']['objective']['sigma']"])) == 3


class Tiny(nn.Module):
    """Two layers, the first of which all tasks share."""

    @nn.compact
    def __call__(self, batch, rates=None):
        del rates
        x = nn.tanh(nn.Dense(4, name="shared")(batch["x"]))
        return {name: nn.Dense(1, name=name)(x) for name in NAMES}


@pytest.mark.parametrize("name", weighting.WEIGHTINGS)
def test_stacked_trainings_have_the_numbers_of_each_alone(name):
    tasks = [Task(one, one, "regression", maximum=1.0) for one in NAMES]
    chosen = weighting.build(name, NAMES, weights={}, temperature=2.0, alpha=1.5, layer="shared")
    parts = step.Parts(NO_DROPOUT, multitask.build(tasks, ccc=0.0, delta=1.0), chosen, optax.adam(0.05))
    functions = step.make_functions(Tiny(), lambda values: parts)
    rng = np.random.default_rng(0)
    batch = {"x": rng.normal(size=(1, 6, 3)), "labels": {one: rng.normal(size=(1, 6)) for one in NAMES}}
    batch = {**jax.tree.map(jnp.float32, batch), "valid": jnp.ones((1, 6), bool), "index": jnp.arange(6)[None]}
    nothing = {"bias": {}, "network": {}, "class_weights": {}}

    def train(seed):
        state = functions.init(seed, batch, nothing)
        return jax.lax.scan(lambda state, _: functions.update(state, batch, {}), state, length=4)

    states, metrics = jax.jit(jax.vmap(train))(jnp.arange(2))
    alone = jax.jit(train)
    for seed in range(2):
        state, own = alone(seed)
        one = jax.tree.map(lambda x, seed=seed: x[seed], (states, metrics["loss"]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one, (state, own["loss"]))
    trained = jax.tree.leaves(states["params"]["objective"])
    assert all(not np.allclose(value[0], value[1]) for value in trained) and len(trained) == len(chosen.init())
