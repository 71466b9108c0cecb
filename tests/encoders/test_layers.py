"""Attention by its formula, whichever way it is computed."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.encoders import layers


def attention(implementation, causal, q, k, v, mask):
    """The result, and the gradient of the sum of its squares."""
    run = functools.partial(layers.attend, causal=causal, implementation=implementation)
    both = lambda q: (run(q, k, v, mask), jax.grad(lambda x: jnp.square(run(x, k, v, mask)).sum())(q))  # noqa: E731
    return jax.jit(both)(q)


LOOPS = {"together": {}, "loops": {"BLOCK": 3, "AT_ONCE": 0}}  # 5 queries are two blocks, one of them not full


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_its_formula(causal, monkeypatch):
    generator = np.random.default_rng(0)
    q, k, v = (generator.normal(size=(4, 5, 2, 4)).astype(np.float32) for _ in range(3))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 1]], bool)
    arrays = tuple(map(jnp.asarray, (q, k, v, mask)))
    wanted = np.zeros_like(q)
    for row in range(4):
        for head in range(2):
            for query in range(5):
                keys = [m for m in range(5) if mask[row, m] and (m <= query or not causal)]
                scores = k[row, keys, head] @ q[row, query, head] / 2
                weights = np.exp(scores)
                wanted[row, query, head] = weights @ v[row, keys, head] / max(weights.sum(), 1e-30)
    outputs = {"xla": attention("xla", causal, *arrays)}
    for name, values in LOOPS.items():
        for attribute, value in values.items():
            monkeypatch.setattr(layers, attribute, value)
        outputs[name] = attention("blocked", causal, *arrays)
    # XLA mixes all values for a query that is masked but has keys behind it; nothing reads that.
    seen = (np.cumsum(mask, 1) > 0) | ~mask.any(1)[:, None] if causal else np.ones_like(mask)
    for name, (ours, gradient) in outputs.items():
        np.testing.assert_allclose(ours[seen], wanted[seen], atol=1e-5, err_msg=name)
        assert not np.asarray(gradient)[2].any()
    np.testing.assert_allclose(outputs["loops"][1], outputs["together"][1], atol=1e-5)
    rows = [0, 1, 2] if causal else [0, 1, 2, 3]
    np.testing.assert_allclose(outputs["together"][1][jnp.array(rows)], outputs["xla"][1][jnp.array(rows)], atol=1e-5)


def test_without_a_mask_and_with_fewer_queries_than_keys(monkeypatch):
    generator = np.random.default_rng(1)
    q, k, v = (jnp.asarray(generator.normal(size=(2, n, 3, 8)), jnp.float32) for n in (4, 7, 7))
    wanted, _ = attention("xla", False, q, k, v, None)
    for values in LOOPS.values():
        for attribute, value in values.items():
            monkeypatch.setattr(layers, attribute, value)
        np.testing.assert_allclose(attention("auto", False, q, k, v, None)[0], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("platform", "capability", "size", "dtype", "name"),
    [
        ("cpu", "", 64, jnp.float32, "blocked"),
        ("gpu", "9.0", 64, jnp.bfloat16, "cudnn"),
        ("gpu", "9.0", 64, jnp.float16, "cudnn"),
        ("gpu", "9.0", 64, jnp.float32, "xla"),
        ("gpu", "9.0", 20, jnp.bfloat16, "xla"),
        ("gpu", "9.0", 256, jnp.bfloat16, "xla"),
        ("gpu", "7.5", 64, jnp.bfloat16, "xla"),
        ("gpu", "gfx90a", 64, jnp.bfloat16, "xla"),
        ("tpu", "", 64, jnp.bfloat16, "xla"),
    ],
)
def test_auto_is_chosen_by_platform_type_and_size(platform, capability, size, dtype, name, monkeypatch):
    device = types.SimpleNamespace(platform=platform, compute_capability=capability)
    monkeypatch.setattr(layers, "_device", lambda: device)
    assert layers.fastest(size, dtype) == name


def test_products_of_half_types_are_summed_in_float32_on_a_cpu():
    """Rounded once: the same as float32 products of the same factors."""
    x = jax.random.normal(jax.random.key(0), (3, 700), jnp.bfloat16)
    module = layers.dense(5, jnp.bfloat16, "product", use_bias=False)
    params = module.init(jax.random.key(1), x)
    kernel = params["params"]["kernel"].astype(jnp.bfloat16)
    wanted = (x.astype(jnp.float32) @ kernel.astype(jnp.float32)).astype(jnp.bfloat16)
    made = module.apply(params, x)
    assert made.dtype == jnp.bfloat16
    np.testing.assert_allclose(made.astype(jnp.float32), wanted.astype(jnp.float32), rtol=2**-7)
    lowered = jax.jit(module.apply).lower(params, x).as_text()
    assert "(tensor<3x700xbf16>, tensor<700x5xbf16>) -> tensor<3x5xf32>" in lowered
