"""The macro-micro network: nothing passes between records, absent modalities, layers of people, fusions by formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mmpsy_jax.models.base import EMBEDDING, Head, Modality, Rates
from mmpsy_jax.projects.daily_mood.models.macro_micro import FUSIONS, Fusion, Model
from tests.networks import draw_variables

B, SIZES = 5, {"zcm": 6, "pim": 4, "speech": 8}
HEADS = (Head("happy", "regression", 0), Head("low", "binary", 2), Head("worry", "ordinal", 4))
PEOPLE = 7
MODALITIES = (
    *(Modality(name, "features", (1, size)) for name, size in SIZES.items()),
    Modality("person", "ids", (1, 2), vocabulary=PEOPLE + 1),
)


def make_batch(seed=0, people=(3, 1, 7, 3, 2), lacks=2):
    """Record `lacks` has no speech; the last slot of each modality is unused."""
    rng = np.random.default_rng(seed)
    batch = {"valid": np.ones(B, bool)}
    for name, size in {**SIZES, "person": 2}.items():
        rows = [i for i in range(B) if name != "speech" or i != lacks]
        slots = B + 1
        batch[f"{name}_row"] = np.array(rows + [B] * (slots - len(rows)), np.int32)
        batch[f"{name}_length"] = (batch[f"{name}_row"] < B).astype(np.int32)
        batch[f"{name}_start_s"] = np.zeros(slots, np.float32)
        batch[name] = rng.normal(size=(slots, 1, size)).astype(np.float32)
    numbers = np.zeros((B + 1, 1, 2), np.int32)
    numbers[:B, 0, 0], numbers[B, 0, 0] = people, 5
    return jax.device_put({**batch, "person": numbers})


def build(**options):
    return Model(MODALITIES, HEADS, 86400.0, width=8, heads_attention=2, **options)


def random_params(model, batch):
    return draw_variables(model, batch)["params"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_record_depends_on_nothing_but_itself(fusion):
    model, batch = build(fusion=fusion), make_batch()
    params = random_params(model, batch)
    run = jax.jit(lambda batch: model.apply({"params": params}, batch))
    outputs = run(batch)
    assert {name: value.shape[1] for name, value in outputs.items()} == {"happy": 1, "low": 2, "worry": 3, EMBEDDING: 8}
    other = {**batch, "person": batch["person"].at[1:, 0, 0].set(4)}
    for name in SIZES:
        other[name] = jnp.where((batch[f"{name}_row"] == 0)[:, None, None], batch[name], 9.0)
    again = run(other)
    for name, value in outputs.items():
        np.testing.assert_allclose(again[name][0], value[0], rtol=1e-5, atol=1e-6)
        assert np.all(np.isfinite(value)) and not np.allclose(again[name][1], value[1])


def test_nobody_has_layers_before_training_and_only_those_seen_get_them():
    model, batch = build(), make_batch()
    shared = random_params(build(micro=False), batch)
    first = jax.jit(lambda key: {k: v for k, v in model.init(key, batch)["params"].items() if k.startswith("micro")})
    params = {**shared, **first(jax.random.key(0))}
    alone = jax.jit(build(micro=False).apply)({"params": shared}, batch)
    run = jax.jit(lambda params, batch: model.apply({"params": params}, batch))
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)  # noqa: E731
    jax.tree.map(close, run(params, batch), alone)
    gradient = jax.jit(jax.grad(lambda p: sum((v**2).sum() for v in model.apply({"params": p}, batch).values())))(
        params
    )
    for name in ("micro_readout", "micro_level"):
        moved = np.abs(gradient[name]).reshape(PEOPLE + 1, -1).any(axis=1)
        assert np.flatnonzero(moved).tolist() == [1, 2, 3, 7]
    trained = {**params, "micro_level": params["micro_level"].at[3].set(2.0).at[0].set(9.0)}
    made = run(trained, make_batch(people=(3, 1, 7, 3, 0)))["happy"][:, 0]
    np.testing.assert_allclose(made - alone["happy"][:, 0], [2, 0, 0, 2, 0], atol=1e-5)


def fuse(kind, tokens, present):
    module, inputs = Fusion(kind, 2, jnp.dtype("float32")), (jnp.asarray(tokens), jnp.asarray(present))
    variables = draw_variables(module, *inputs)
    made, there = jax.jit(module.apply)(variables, *inputs)
    return np.asarray(made), np.asarray(there), jax.tree.map(np.asarray, variables).get("params")


def test_fusions_are_their_formulas():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(4, 3, 6)).astype(np.float32)
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)
    shown = tokens * present[..., None]
    flat = shown.reshape(4, 18)
    made, there, _ = fuse("max", tokens, present)
    np.testing.assert_array_equal(made[1, 0], np.maximum(tokens[1, 0], tokens[1, 2]))
    assert not made[3].any() and there[:, 0].tolist() == [True, True, True, False]
    made, _, params = fuse("concat", tokens, present)
    np.testing.assert_allclose(made[:, 0], flat @ params["dense"]["kernel"] + params["dense"]["bias"], atol=1e-5)
    made, _, params = fuse("attention", tokens, present)
    scores = np.where(present, flat @ params["gate"]["kernel"] + params["gate"]["bias"], -np.inf)
    weights = scipy.special.softmax(scores[:3], axis=1)
    np.testing.assert_allclose(made[:3, 0], np.einsum("bm,bmd->bd", weights, tokens[:3]), atol=1e-5)
    made, _, params = fuse("gated", tokens, present)
    gates = scipy.special.expit(flat @ params["gate"]["kernel"] + params["gate"]["bias"]).reshape(4, 3, 6)
    np.testing.assert_allclose(made[:, 0], (gates * shown).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_attention_among_modalities_sees_whom_it_should(kind):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(1, 3, 6)).astype(np.float32)
    present = np.array([[True, True, False]])
    made, there, _ = fuse(kind, tokens, present)
    assert there.tolist() == present.tolist()
    step = rng.normal(size=6).astype(np.float32)
    changed = [fuse(kind, tokens + np.eye(3, dtype=np.float32)[i][:, None] * step, present)[0][0] for i in range(3)]
    assert not np.allclose(changed[1][0], made[0, 0])
    np.testing.assert_allclose(changed[2][:2], made[0, :2], atol=1e-6)
    # Of two that are there, each sees the other alone: what the first reads does not depend on the first.
    assert np.allclose(changed[0][0] - step, made[0, 0], atol=1e-5) == (kind == "cross")


def test_dropout():
    model, batch = build(), make_batch()
    params = random_params(model, batch)
    key = {"dropout": jax.random.key(2)}
    dropped = jax.jit(lambda: model.apply({"params": params}, batch, Rates(dropout=0.5, modality=0.5), rngs=key))()
    kept = jax.jit(lambda: model.apply({"params": params}, batch))()
    assert not np.allclose(dropped["happy"], kept["happy"])


def test_a_single_column_is_read_where_columns_are_standardised_and_only_there():
    sensors = (Modality("steps", "features", (1, 1)), MODALITIES[-1])
    batch = make_batch()
    batch = {name.replace("zcm", "steps"): x for name, x in batch.items() if not name.startswith(("pim", "speech"))}
    batch["steps"] = 4 + batch["steps"][..., :1]
    scale = {"steps_scale": {"mean": jnp.full(1, 4.0), "deviation": jnp.ones(1)}}
    outputs = {}
    for standardize in (False, True):
        model = Model(sensors, HEADS, 86400.0, width=8, heads_attention=2, micro=False, standardize=standardize)
        variables = {"params": random_params(model, batch), "fitted": scale}
        run = jax.jit(model.apply)
        outputs[standardize] = run(variables, batch)["happy"][:, 0]
    assert np.ptp(outputs[True]) > 100 * np.ptp(outputs[False])
    moved = run(variables, {**batch, "steps": 2 * batch["steps"]})["happy"][:, 0]
    doubled = {"steps_scale": {"mean": jnp.full(1, 8.0), "deviation": jnp.full(1, 2.0)}}
    again = run({**variables, "fitted": doubled}, {**batch, "steps": 2 * batch["steps"]})["happy"][:, 0]
    np.testing.assert_allclose(again, outputs[True], atol=1e-5)
    assert np.abs(moved - again).max() > 1e-2
