"""What a compiled program holds, does and sends: from its text, from estimates, and compiled for eight CPU devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from mmpsy_jax.models.base import NO_DROPOUT
from mmpsy_jax.objectives import multitask, weighting
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import compiled_cost, mesh, step

TEXT = """
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body.1 (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %gathered = bf16[8,4]{1,0} all-gather(%x), channel_id=1, dimensions={0}
}

%condition.1 (state: (s32[], f32[8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %total = (f32[2,3]{1,0:T(8,128)}, f32[]) all-reduce(%p, %q), to_apply=%add
  %loop = (s32[], f32[8]) while(%start), condition=%condition.1, body=%body.1, config={"known_trip_count":{"n":"5"}}
  %sent = (f32[4]{0}, f32[4]{0}) collective-permute-start(%p), source_target_pairs={{0,1}}
  %done = f32[4]{0} collective-permute-done(%sent)
}
"""


def test_collectives_are_counted_as_often_as_their_loop_turns():
    assert compiled_cost.collectives(TEXT) == {
        "all-reduce": (1, 28),
        "all-gather": (5, 5 * 64),
        "collective-permute": (1, 16),
    }
    assert compiled_cost.collectives(TEXT, inside=True) == {"all-gather": (5, 320)}
    assert compiled_cost.text_of({}) == "nothing"


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(0.25, (0.25, 0)), (-1.75, (0.25, 2)), (-3.0, (0.0, 3)), (float("nan"), (0.0, 1))],
)
def test_operations_without_estimate_take_a_second_off(estimate, expected):
    assert compiled_cost.split_estimate(estimate) == pytest.approx(expected)


def test_a_chip_is_no_faster_than_its_data_sheet():
    cost = compiled_cost.Cost(0, 197e12, 0.0, {"all-reduce": (1, 200_000_000_000)}, {}, 0.5, 0)
    assert cost.least_seconds(compiled_cost.CHIPS["v5e"]) == pytest.approx(2.0)
    assert cost.least_seconds(None) == 0.5


class Deep(nn.Module):
    """Layers in a loop, so that gradients could be added up in every turn of it."""

    @nn.compact
    def __call__(self, batch, rates=None):
        del rates
        layer = nn.scan(
            lambda dense, x, _: (nn.tanh(dense(x)), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
        )
        x, _ = layer(nn.Dense(32, name="layers"), batch["x"], None)
        return {"a": nn.Dense(1, name="a")(x), "embedding": x}


def functions_of(devices, fsdp):
    parts = step.Parts(
        NO_DROPOUT,
        multitask.build([Task("a", "a", "regression", maximum=1.0)], ccc=0.5, delta=1.0),
        weighting.build("fixed", ["a"], weights={}, temperature=2.0, alpha=1.5, layer=""),
        optax.adam(0.01),
    )
    return step.make_functions(
        Deep(), lambda values: parts, divide=lambda run: mesh.on_each_device(run, devices, fsdp=fsdp)
    )


def batch():
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(8, 4, 32)), "labels": {"a": rng.normal(size=(8, 4))}}
    return {**jax.tree.map(np.float32, arrays), "valid": np.ones((8, 4), bool), "index": np.arange(32).reshape(8, 4)}


@pytest.mark.parametrize("fsdp", [False, True])
def test_devices_send_once_per_parameter_and_train_as_one(fsdp, monkeypatch):
    monkeypatch.setattr(mesh, "FSDP_ELEMENTS", 64)
    nothing = {"bias": {}, "network": {}, "class_weights": {}}
    results, whole = [], batch()
    for devices in (mesh.one_device(), mesh.make_mesh()):
        data = jax.device_put(whole, mesh.over_data(devices))
        programs = step.compile_for(functions_of(devices, fsdp), devices, data, nothing, fsdp=fsdp)
        state, losses = programs.init(np.int32(0), data, nothing), []
        for _ in range(3):
            state, metrics = programs.update(state, data)
            losses.append(float(metrics["loss"]))
        results.append((losses, jax.device_get(state["params"])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *results)
    cost = compiled_cost.of(programs.update.lower(state, data).compile())
    parameters = len(jax.tree.leaves(state["params"]))
    assert not cost.sent_inside and {"all-to-all", "collective-permute"}.isdisjoint(cost.sent)
    gathers, sums = (cost.sent.get(kind, (0, 0))[0] for kind in ("all-gather", "all-reduce"))
    assert gathers <= (parameters if fsdp else 0) + 4  # outputs, scores, which rows are valid, whose they are
    assert sums + cost.sent.get("reduce-scatter", (0, 0))[0] <= parameters + (parameters if fsdp else 0)
    assert cost.flops > 0 and cost.bytes_held > 0


def test_replicas_on_their_own_devices_send_nothing_in_their_steps():
    devices = mesh.make_mesh(8)
    functions, nothing = functions_of(devices, False), {"bias": {}, "network": {}, "class_weights": {}}
    one = jax.tree.map(lambda x: jnp.asarray(x[:1]), batch())

    def chunk(seeds):
        def train(seed):
            state = functions.init(seed, one, nothing)
            return jax.lax.scan(lambda state, _: functions.update(state, one, {}), state, length=2)[0]["params"]

        return jax.vmap(train)(seeds)

    over = NamedSharding(devices, PartitionSpec("replica"))
    compiled = jax.jit(chunk, in_shardings=over, out_shardings=over).lower(jnp.arange(8)).compile()
    assert compiled_cost.collectives(compiled.as_text()) == {}
