"""The transformer layer that all pretrained encoders share, and its attention.

Letters of shapes: b rows of the batch, n positions, m positions that are attended to, h heads, e width per head,
d width. Parameters keep the type that they have; `dtype` is the precision of matrix products and activations. Layer
norms and every softmax are float32 inside.

Departures from the papers: the weights of attention are never dropped (`jax.nn.dot_product_attention` cannot), nor are
whole layers (LayerDrop).
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmpsy_jax.io import one_of

Dtype = jax.typing.DTypeLike
Implementation = Literal["auto", "xla", "cudnn", "blocked"]

BLOCK = 512  # queries; their scores over 1,500 keys take 3 MB
AT_ONCE = 2**23  # scores that are computed together, 32 MB
MASKED_SCORE = -1e9  # below any real score

INIT = nn.initializers.normal(0.02)  # Devlin et al. 2019 (arXiv 1810.04805), which the speech encoders took over

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


def activate(x: Float[Array, "..."], name: str) -> Float[Array, "..."]:
    """The activation that config.json calls `name`.

    Raises:
      InputError: it is none of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise one_of("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name](x)


def layer_norm(epsilon: float, dtype: Dtype, name: str) -> nn.LayerNorm:
    """Layer norm over the last axis, float32 inside, in two passes: the hidden states of large encoders have means far
    from zero, where E[x^2] - E[x]^2 loses digits."""
    return nn.LayerNorm(epsilon, use_fast_variance=False, dtype=dtype, name=name)


def fastest(size: int, dtype: Dtype) -> Implementation:
    """The implementation of attention that "auto" takes on the platform of computations.

    On a CPU "blocked"; on an NVIDIA GPU from compute capability 8.0 on "cudnn" where it can be: of float16 or bfloat16
    and heads whose size is a multiple of 8 up to 128; else "xla".

    Args:
      size: width of a head.
      dtype: of queries, keys and values.
    """
    device = _device()
    if device.platform == "cpu":
        return "blocked"
    half = jnp.dtype(dtype) in (jnp.float16, jnp.bfloat16)
    capability = getattr(device, "compute_capability", "0")
    recent = "." in capability and tuple(map(int, capability.split("."))) >= (8, 0)
    return "cudnn" if device.platform == "gpu" and recent and half and size % 8 == 0 and size <= 128 else "xla"


def _device() -> jax.Device:
    """One of the devices that compute what is bound to none."""
    default = jax.config.jax_default_device
    return default if isinstance(default, jax.Device) else jax.local_devices(backend=default)[0]


def attend(
    q: Float[Array, "b n h e"],
    k: Float[Array, "b m h e"],
    v: Float[Array, "b m h e"],
    mask: Bool[Array, "b m"] | None,
    *,
    causal: bool = False,
    implementation: Implementation = "auto",
) -> Float[Array, "b n h e"]:
    """softmax(q k^T / sqrt(e)) v over the keys that `mask` allows; a row without any gets zeros.

    Args:
      causal: a query sees no key behind its own position.
      implementation: "auto" is that which `fastest` names. "xla" runs everywhere. "blocked" is for CPUs. "cudnn" needs
        a GPU and float16 or bfloat16, and takes `mask` for a length: valid keys must lie before all others, a row in
        which they do not gets NaN.
    """
    if implementation == "auto":
        implementation = fastest(q.shape[-1], q.dtype)
    if implementation == "blocked":
        return _attend_in_blocks(q, k, v, mask, causal)
    if implementation == "cudnn":
        # At least one key, since nothing defines what an empty softmax is there.
        lengths = None if mask is None else jnp.maximum(mask.sum(-1, dtype=jnp.int32), 1)
        mixed = jax.nn.dot_product_attention(
            q, k, v, is_causal=causal, key_value_seq_lengths=lengths, implementation="cudnn"
        )
        if mask is not None:
            gaps = (mask[:, 1:] & ~mask[:, :-1]).any(-1)
            mixed = jnp.where(gaps[:, None, None, None], jnp.nan, mixed)
    else:
        keys = None if mask is None else mask[:, None, None, :]
        mixed = jax.nn.dot_product_attention(q, k, v, mask=keys, is_causal=causal, implementation="xla")
    # XLA gives the mean of the values to a row without keys.
    return mixed if mask is None else jnp.where(mask.any(-1)[:, None, None, None], mixed, 0)


def _attend_in_blocks(
    q: Float[Array, "b n h e"],
    k: Float[Array, "b m h e"],
    v: Float[Array, "b m h e"],
    mask: Bool[Array, "b m"] | None,
    causal: bool,
) -> Float[Array, "b n h e"]:
    """`attend`, all at once or one head and `BLOCK` queries after the other, so that the scores stay in a CPU's cache.

    Heads lie before positions, and weights are divided by their sum after the product with the values. Loops compute
    their scores again in the backward pass.
    """
    rows, queries, heads, size = q.shape
    keys = k.shape[1]
    q, k, v = (jnp.swapaxes(x, 1, 2).reshape(rows * heads, -1, size) for x in (q * size**-0.5, k, v))
    allowed = None if mask is None else jnp.repeat(mask, heads, axis=0)[:, None]

    def block(q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array | None, places: jax.Array) -> jax.Array:
        scores = jnp.einsum("...ne,...me->...nm", q, k, preferred_element_type=jnp.float32)
        if allowed is not None:
            scores = jnp.where(allowed, scores, -jnp.inf)
        if causal:
            scores = jnp.where(jnp.arange(keys) <= places[:, None], scores, -jnp.inf)
        # A query that sees nothing has no finite score, all its weights become 0.
        highest = jax.lax.stop_gradient(jnp.maximum(scores.max(-1, keepdims=True), MASKED_SCORE))
        weights = jnp.exp(scores - highest)
        total = jnp.maximum(weights.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
        mixed = jnp.einsum("...nm,...me->...ne", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return (mixed / total).astype(v.dtype)

    if rows * heads * queries * keys <= AT_ONCE:
        mixed = block(q, k, v, allowed, jnp.arange(queries))
    else:
        blocks = -(-queries // BLOCK)
        length = -(-queries // blocks)
        q = jnp.pad(q, ((0, 0), (0, blocks * length - queries), (0, 0))).reshape(-1, blocks, length, size)
        places = jnp.arange(blocks * length).reshape(blocks, length)

        @jax.checkpoint
        def head(q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array | None) -> jax.Array:
            return jax.lax.map(lambda part: block(part[0], k, v, allowed, part[1]), (q, places))

        mixed = jax.lax.map(lambda one: head(*one), (q, k, v, allowed))
    return jnp.swapaxes(mixed.reshape(rows, heads, -1, size), 1, 2)[:, :queries]


def dense(width: int, dtype: Dtype, name: str, use_bias: bool = True) -> nn.Dense:
    """A dense layer. On a CPU, products of float16 or bfloat16 are float32 until they are rounded, like sums in them:
    XLA has fast products there for that alone, and else converts the factors to float32 first."""
    half = jnp.dtype(dtype).itemsize == 2
    dot = _dot_in_float32 if half and _device().platform == "cpu" else None
    return nn.Dense(width, use_bias, kernel_init=INIT, dtype=dtype, dot_general=dot, name=name)


def _dot_in_float32(x: Array, kernel: Array, dimensions: Any, precision: Any = None) -> Array:
    product = jax.lax.dot_general(x, kernel, dimensions, precision=precision, preferred_element_type=jnp.float32)
    return product.astype(x.dtype)


class Attention(nn.Module):
    """Multi-head attention of x over `memory`, or over x itself."""

    heads: int
    key_bias: bool = True
    causal: bool = False
    dtype: Dtype = jnp.float32
    implementation: Implementation = "auto"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b m"] | None,
        memory: Float[Array, "b m d"] | None = None,
    ) -> Float[Array, "b n d"]:
        width = x.shape[-1]
        read = x if memory is None else memory

        def project(name: str, values: jax.Array, use_bias: bool = True) -> jax.Array:
            projected = dense(width, self.dtype, name, use_bias)(values)
            return projected.reshape(*values.shape[:-1], self.heads, width // self.heads)

        q, k, v = project("query", x), project("key", read, self.key_bias), project("value", read)
        mixed = attend(q, k, v, mask, causal=self.causal, implementation=self.implementation)
        return dense(width, self.dtype, "out")(mixed.reshape(x.shape))


class Layer(nn.Module):
    """Attention, attention over `memory` where `cross`, and an MLP, each with a residual path and a layer norm.

    Attributes:
      hidden: width inside the MLP.
      norm_first: the norm stands before each part (x + f(norm(x)), "stable layer norm") or after its sum
        (norm(x + f(x)), Vaswani et al. 2017).
      key_bias: whether the projection of keys has a bias (Whisper's has none).
      dropout, activation_dropout: rates on each part's result and inside the MLP.
    """

    heads: int
    hidden: int
    activation: str
    norm_first: bool
    epsilon: float
    key_bias: bool = True
    cross: bool = False
    causal: bool = False
    dropout: float = 0.0
    activation_dropout: float = 0.0
    dtype: Dtype = jnp.float32
    implementation: Implementation = "auto"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        memory: Float[Array, "b m d"] | None,
        deterministic: bool,
    ) -> Float[Array, "b n d"]:
        attention = {
            "heads": self.heads,
            "key_bias": self.key_bias,
            "dtype": self.dtype,
            "implementation": self.implementation,
        }
        width = x.shape[-1]

        def mlp(values: jax.Array) -> jax.Array:
            wide = dense(self.hidden, self.dtype, "up")(values)
            wide = nn.Dropout(self.activation_dropout, deterministic=deterministic)(activate(wide, self.activation))
            return dense(width, self.dtype, "down")(wide)

        parts = [("attention", lambda y: Attention(**attention, causal=self.causal, name="attention")(y, mask))]
        if self.cross:
            parts.append(("cross", lambda y: Attention(**attention, name="cross")(y, None, memory)))
        parts.append(("mlp", mlp))
        for name, part in parts:
            norm = layer_norm(self.epsilon, self.dtype, f"{name}_norm")
            drop = nn.Dropout(self.dropout, deterministic=deterministic)
            x = x + drop(part(norm(x))) if self.norm_first else norm(x + drop(part(x)))
        return x


def run_layers(
    x: Float[Array, "b n d"],
    mask: Bool[Array, "b n"] | None,
    memory: Float[Array, "b m d"] | None,
    deterministic: bool,
    *,
    layers: int,
    remat: bool,
    **attributes: Any,
) -> list[Float[Array, "b n d"]]:
    """What enters the first of so many layers and what each gives; called inside a compact module.

    Args:
      remat: activations are computed again in the backward pass instead of being kept.
      attributes: of each `Layer`.
    """
    layer, states = nn.remat(Layer, static_argnums=(4,)) if remat else Layer, [x]
    for number in range(layers):
        states.append(layer(**attributes, name=f"layer_{number}")(states[-1], mask, memory, deterministic))
    return states


def result(
    states: Sequence[Float[Array, "b n d"]],
    last: Float[Array, "b n d"],
    mask: Bool[Array, "b n"] | None,
    output_hidden_states: bool,
) -> dict[str, Any]:
    """What an encoder returns (see `mmpsy_jax.encoders`); without a mask nothing is padding."""
    out = {"last_hidden_state": last, "mask": jnp.ones(last.shape[:2], bool) if mask is None else mask}
    return out | ({"hidden_states": tuple(states)} if output_hidden_states else {})
