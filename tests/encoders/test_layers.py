"""Attention by its formula, whichever way it is computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.encoders import layers


@functools.partial(jax.jit, static_argnums=(0, 1))
def attention(implementation, causal, q, k, v, mask):
    """The result, and the gradient of the sum of its squares."""
    run = functools.partial(layers.attend, causal=causal, implementation=implementation)
    return run(q, k, v, mask), jax.grad(lambda x: jnp.square(run(x, k, v, mask)).sum())(q)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_its_formula(causal, monkeypatch):
    monkeypatch.setattr(layers, "BLOCK", 3)  # 5 queries are two blocks, one of them not full
    generator = np.random.default_rng(0)
    q, k, v = (generator.normal(size=(3, 5, 2, 4)).astype(np.float32) for _ in range(3))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    arrays = tuple(map(jnp.asarray, (q, k, v, mask)))
    ours, gradient = attention("xla", causal, *arrays)
    blocked, blocked_gradient = attention("blocked", causal, *arrays)
    wanted = np.zeros_like(q)
    for row in range(2):
        for head in range(2):
            for query in range(5):
                keys = [m for m in range(5) if mask[row, m] and (m <= query or not causal)]
                scores = k[row, keys, head] @ q[row, query, head] / 2
                weights = np.exp(scores) / np.exp(scores).sum()
                wanted[row, query, head] = weights @ v[row, keys, head]
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    np.testing.assert_allclose(blocked, wanted, atol=1e-5)
    np.testing.assert_allclose(blocked_gradient, gradient, atol=1e-5)
    assert not gradient[2].any()
