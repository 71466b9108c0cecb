"""Keys of dropout: numbers as good as independent, whatever way a key was derived, and JAX's own rules for keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmpsy_jax.models import perceiver
from mmpsy_jax.models.hash_keys import hash_key

SHAPE = (256, 1024)
FIRST = hash_key(jax.random.key(0))
WAYS = {
    "seeds": lambda n: jax.vmap(lambda i: hash_key(jax.random.key(i)))(jnp.arange(n)),
    "fold_in": lambda n: jax.vmap(lambda i: jax.random.fold_in(FIRST, i))(jnp.arange(n)),
    "split": lambda n: jax.random.split(FIRST, n),
    "twice": lambda n: jax.vmap(lambda i: jax.random.split(jax.random.fold_in(FIRST, i), 2)[1])(jnp.arange(n)),
}


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_as_good_as_independent(way):
    draw = jax.jit(lambda keys: jax.vmap(lambda key: perceiver.keep_mask(key, 0.5, SHAPE))(keys))
    masks = np.asarray(draw(jax.jit(WAYS[way], static_argnums=0)(8)), float) - 0.5
    n = masks[0].size
    assert np.all(np.abs(masks.mean(axis=(1, 2))) < 4 * 0.5 / np.sqrt(n))
    assert np.all(np.abs(masks.mean(axis=1)) < 5.5 * 0.5 / np.sqrt(256))
    assert np.all(np.abs(masks.mean(axis=2)) < 5.5 * 0.5 / np.sqrt(1024))
    products = [(masks[:, :, lag:] * masks[:, :, : 1024 - lag]).mean() for lag in (1, 2, 3, 7, 16, 64, 256)]
    products += [(masks[:, lag:] * masks[:, : 256 - lag]).mean() for lag in (1, 2, 16)]
    products += [(masks[i] * masks[j]).mean() * np.sqrt(1 / 8) for i in range(8) for j in range(i)]  # between keys
    assert np.all(np.abs(products) < 5 * 0.25 / np.sqrt(6 * n))


def test_keys_differ_however_many_there_are():
    fold = jax.jit(jax.vmap(lambda i: jax.random.key_data(jax.random.fold_in(FIRST, i))))
    words = [fold(jnp.arange(50_000)), jax.random.key_data(jax.random.split(FIRST, 50_000)), jax.random.key_data(FIRST)]
    rows = np.concatenate([np.reshape(w, (-1, 2)) for w in words])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_they_serve_all_of_jax_random():
    key = jax.random.split(FIRST)[0]
    uniform = np.asarray(jax.random.uniform(key, (100_000,)))
    assert np.all(np.abs(np.histogram(uniform, 20, (0, 1))[0] - 5000) < 5 * np.sqrt(5000))
    assert abs(float(jax.random.bernoulli(key, 0.1, (100_000,)).mean()) - 0.1) < 0.005
    assert set(np.asarray(jax.random.randint(key, (1000,), -4, 5))) == set(range(-4, 5))
    for kind in (jnp.uint8, jnp.uint16):
        bits = np.asarray(jax.random.bits(key, (100_000,), kind))
        assert bits.dtype == kind and abs(bits.mean() / np.iinfo(kind).max - 0.5) < 0.01


def test_devices_that_share_an_array_draw_the_numbers_of_one():
    alone = jax.jit(lambda key: jax.random.bits(key, SHAPE))(FIRST)
    sharded = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))
    several = jax.jit(lambda key: jax.random.bits(key, SHAPE), out_shardings=sharded)(FIRST)
    assert len(several.sharding.device_set) == 8
    np.testing.assert_array_equal(alone, several)
    one_by_one = [jax.random.bits(key, (5,)) for key in jax.random.split(FIRST, 3)]
    np.testing.assert_array_equal(jax.vmap(lambda k: jax.random.bits(k, (5,)))(jax.random.split(FIRST, 3)), one_by_one)


def test_a_network_draws_its_masks_without_a_loop():
    drop = lambda key: perceiver.Dropout().apply({}, jnp.ones((4, 8)), 0.5, rngs={"dropout": key})  # noqa: E731
    texts = {name: jax.jit(drop).lower(key).as_text() for name, key in (("ours", FIRST), ("jax", jax.random.key(0)))}
    assert "while" in texts["jax"] and "while" not in texts["ours"]
