"""Random keys for initial weights and dropout, by a hash: `jax.random` takes them as it takes its own.

Neither needs cryptographic random numbers, and a network has dozens of both. JAX's Threefry is a loop on a CPU: 24 of
them in a step of `configs/phq.py` took a sixth of the time that it compiled, those of the initialisation half. Here a
number is a hash of its position and of two words, and so is a key: a few multiplications and shifts, which XLA fuses
with what they are for. Positions do not depend on how arrays lie on devices. Not for privacy: the noise of DP-SGD is
Threefry's.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl
from jaxtyping import Array, UInt32

GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring positions become distant words
SPLIT = 0x85EBCA6B  # the keys of `split` are no keys of `fold_in`


def mix(x: UInt32[Array, "..."], word: UInt32[Array, ""]) -> UInt32[Array, "..."]:
    """Two rounds of multiply, xor-shift and a word; each bit of the result depends on all of x.

    The constants are those of lowbias32 (C. Wellons, "Prospecting for Hash Functions", public domain).
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor) + word
    return x ^ (x >> 16)


def positions(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """0, 1, 2, ... in an array."""
    return jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)


def fold_in(key: UInt32[Array, "2"], data: UInt32[Array, ""]) -> UInt32[Array, "2"]:
    return derive(key, jnp.uint32(data))


def derive(key: UInt32[Array, "2"], data: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape 2"]:
    """Keys that depend on a key and on numbers; different numbers give different words."""
    data = (data + jnp.uint32(1)) * jnp.uint32(GOLDEN)
    return jnp.stack([mix(data + key[0], key[1]), mix(data ^ key[1], key[0])], axis=-1)


def split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "*shape 2"]:
    return derive(key ^ jnp.uint32(SPLIT), positions(shape))


def random_bits(key: UInt32[Array, "2"], bit_width: int, shape: tuple[int, ...]) -> Array:
    """Random words of 8, 16 or 32 bits."""
    if bit_width not in (8, 16, 32):
        raise NotImplementedError(f"random words of {bit_width} bits: keys of dropout draw 8, 16 or 32")
    x = mix(positions(shape) * jnp.uint32(GOLDEN) ^ key[0], key[1])
    return (x >> (32 - bit_width)).astype(f"uint{bit_width}")


def seed(number: Array) -> UInt32[Array, "2"]:
    return derive(jnp.zeros(2, jnp.uint32), jnp.uint32(number))


IMPLEMENTATION = define_prng_impl(
    key_shape=(2,), seed=seed, split=split, random_bits=random_bits, fold_in=fold_in, name="mmpsy_hash", tag="mmh"
)


def hash_key(key: jax.Array) -> jax.Array:
    """A key from which masks are drawn, from the words of one of JAX's own, which may be small numbers."""
    words = jnp.zeros(2, jnp.uint32)
    for word in jax.random.key_data(key):
        words = derive(words, word)
    return jax.random.wrap_key_data(words, impl=IMPLEMENTATION)
