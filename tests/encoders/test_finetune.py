"""Fine-tuning in part, by LoRA, with gradients checkpointed."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmpsy_jax import encoders
from mmpsy_jax.encoders import finetune
from mmpsy_jax.io import InputError

GOLDEN = Path(__file__).parent / "golden"
IDS = jax.random.randint(jax.random.key(1), (2, 9), 4, 30)
MASK = jnp.arange(9) < jnp.array([9, 6])[:, None]


@pytest.fixture(scope="module")
def bert():
    return encoders.load(GOLDEN / "bert")


@functools.partial(jax.jit, static_argnums=0)
def _apply(module, params):
    out = module.apply({"params": params}, IDS, MASK)
    return out["last_hidden_state"] * out["mask"][..., None]


def states(encoder, params):
    return _apply(encoder.module, params)


def loss(encoder, params):
    return jnp.square(states(encoder, params) - 0.3).mean()


def test_partition_and_combine_lose_nothing(bert):
    trained, frozen = finetune.partition(bert.params, (r"layer_1/.*", "embedding_norm/.*"), (r".*/bias",))
    assert set(trained) == {"layer_1", "embedding_norm"}
    assert trained["embedding_norm"].keys() == {"scale"}
    assert "bias" not in str(jax.tree.structure(trained))
    jax.tree.map(np.testing.assert_array_equal, finetune.combine(trained, frozen), bert.params)


@pytest.mark.parametrize("name", ["bert", "wav2vec2_base", "hubert_large", "whisper"])
def test_front_ends_can_be_frozen(name):
    encoder = encoders.load(GOLDEN / name)
    trained, frozen = finetune.partition(encoder.params, freeze=(encoder.module.FRONT_END,))
    wanted = {
        "bert": {"word_table", "position_table", "type_table", "embedding_norm"},
        "whisper": {"conv_0", "conv_1", "position_table"},
    }
    assert set(frozen) == wanted.get(name, {"front_end"})
    assert set(trained) == set(encoder.params) - set(frozen)


def test_patterns_that_match_nothing_are_named(bert):
    with pytest.raises(InputError, match="layer_9"):
        finetune.partition(bert.params, (r"layer_9/.*",))
    with pytest.raises(InputError, match="nothing to train"):
        finetune.partition(bert.params, (r"layer_0/.*",), (r"layer_.*",))
    key = jax.random.key(0)
    with pytest.raises(InputError, match="no rank"):
        finetune.lora_init(key, bert.params, rank=17)
    with pytest.raises(InputError, match="LoRA is for matrices"):
        finetune.lora_init(key, bert.params, rank=1, patterns=(r"layer_0/up/bias",))


def test_lora_starts_at_the_pretrained_network_and_trains_only_its_own(bert):
    low_rank = finetune.lora_init(jax.random.key(0), bert.params, rank=2)
    assert set(low_rank) == {f"layer_{n}/attention/{part}/kernel" for n in range(2) for part in ("query", "value")}
    assert low_rank["layer_0/attention/query/kernel"]["down"].shape == (16, 2)
    merged = finetune.lora_merge(bert.params, low_rank, alpha=4.0)
    jax.tree.map(np.testing.assert_array_equal, merged, bert.params)

    optimiser = optax.adam(0.05)
    objective = lambda tree: loss(bert, finetune.lora_merge(bert.params, tree, alpha=4.0))  # noqa: E731

    @jax.jit
    def step(tree, state):
        value, gradient = jax.value_and_grad(objective)(tree)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(tree, updates), state, value

    state = optimiser.init(low_rank)
    values = []
    for _ in range(20):
        low_rank, state, value = step(low_rank, state)
        values.append(float(value))
    assert values[-1] < 0.9 * values[0]
    # x (W + alpha / rank A B) = x W + alpha / rank (x A) B
    path, x = "layer_1/attention/value/kernel", jax.random.normal(jax.random.key(3), (5, 16))
    kernel, update = bert.params["layer_1"]["attention"]["value"]["kernel"], low_rank[path]
    merged = finetune.lora_merge(bert.params, low_rank, alpha=4.0)["layer_1"]["attention"]["value"]["kernel"]
    np.testing.assert_allclose(x @ merged, x @ kernel + 2 * (x @ update["down"]) @ update["up"], atol=1e-5)
    assert jnp.abs(update["up"]).max() > 0


def test_checkpointed_gradients_are_equal_and_dropout_needs_a_key(bert):
    """Also while activations are dropped: the backward pass drops the same ones."""
    short = bert._replace(module=bert.module.clone(layers=1))
    again = bert._replace(module=short.module.clone(remat=True))

    def objective(params, key, encoder):
        out = encoder.module.apply({"params": params}, IDS, MASK, deterministic=False, rngs={"dropout": key})
        return jnp.square(out["last_hidden_state"] - 0.3).mean()

    plain, checkpointed = (jax.jit(jax.value_and_grad(functools.partial(objective, encoder=e))) for e in (short, again))
    key = jax.random.key(5)
    assert str(jax.make_jaxpr(checkpointed)(bert.params, key)).count("remat") == 1
    (value, ours), (_, wanted) = checkpointed(bert.params, key), plain(bert.params, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, wanted)
    assert plain(bert.params, jax.random.key(6))[0] != value


def test_bfloat16_stays_near(bert):
    small = bert._replace(module=bert.module.clone(dtype=jnp.bfloat16))
    ours, wanted = states(small, bert.params), states(bert, bert.params)
    assert ours.dtype == jnp.bfloat16
    assert float(jnp.abs(ours - wanted).max()) < 0.15
    assert jnp.abs(ours - wanted).max() > 0
