"""wav2vec 2.0 and HuBERT: Baevski et al. 2020 (arXiv 2006.11477), Hsu et al. 2021 (arXiv 2106.07447).

Both are one network: a stack of convolutions over the waveform (one frame per 20 ms), a convolution that tells
positions, and transformer layers.

Departures from the papers: SpecAugment (masking of frames in training) is left out, and the weight norm of the
positional convolution is folded into its kernel.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmpsy_jax.encoders.layers import Dtype, Implementation, activate, dense, layer_norm, result, run_layers
from mmpsy_jax.io import InputError

FRONT_EPSILON = 1e-5  # of the norms between the convolutions, whatever config.json says of the others


def frames(samples: Any, kernels: Sequence[int], strides: Sequence[int]) -> Any:
    """Frames that convolutions without padding make of so many samples (an int or an array of them); 0 for too few."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples * (samples > 0)


class ChannelNorm(nn.Module):
    """Group norm with one group per channel: each channel to mean 0 and variance 1 over time, in float32.

    Only `valid` frames count; None counts all, as the published models do.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], valid: Bool[Array, "b n"] | None) -> Float[Array, "b n d"]:
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        where = None if valid is None else valid[..., None]
        x = x.astype(jnp.float32)
        mean = _mean(x, where)
        variance = _mean(jnp.square(x - mean), where)
        return ((x - mean) * jax.lax.rsqrt(variance + FRONT_EPSILON) * scale + bias).astype(self.dtype)


def _mean(x: Float[Array, "b n d"], where: Bool[Array, "b n 1"] | None) -> Float[Array, "b 1 d"]:
    """Mean over time; 0 for a row without any frame."""
    if where is None:
        return x.mean(1, keepdims=True)
    return jnp.where(where, x, 0).sum(1, keepdims=True) / jnp.maximum(where.sum(1, keepdims=True), 1)


class FrontEnd(nn.Module):
    """Convolutions over the waveform."""

    widths: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    use_bias: bool
    group_norm: bool
    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: Float[Array, "b samples"], lengths: Int[Array, " b"] | None) -> Float[Array, "b n d"]:
        x = waveform[..., None].astype(self.dtype)
        for number, (width, kernel, stride) in enumerate(zip(self.widths, self.kernels, self.strides, strict=True)):
            x = nn.Conv(
                width, (kernel,), stride, padding="VALID", use_bias=self.use_bias, dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(), name=f"conv_{number}",
            )(x)  # fmt: skip
            if not self.group_norm:
                x = layer_norm(FRONT_EPSILON, self.dtype, f"norm_{number}")(x)
            elif number == 0:
                valid = None
                if lengths is not None:
                    valid = jnp.arange(x.shape[1]) < frames(lengths, self.kernels[:1], self.strides[:1])[:, None]
                x = ChannelNorm(self.dtype, name="norm_0")(x, valid)
            x = activate(x, self.activation)
        return x


class Wav2Vec2(nn.Module):
    """Waveforms at 16 kHz -> hidden states, one per 20 ms.

    Attributes:
      widths, kernels, strides: of the convolutions.
      group_norm: the first convolution has a norm per channel over time ("group"), or every one has a layer norm.
      stable: layer norms stand before the parts of a layer, and one after the last layer.
      projection_norm: whether features are layer-normalised before they are projected.
      valid_statistics: with `group_norm`, take mean and variance over each row's own samples instead of the padded
        row. Then a padded row gives what it gives alone, which the published models do not. Needs a mask.
    """

    FRONT_END: ClassVar[str] = r"front_end/.*"

    widths: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    conv_bias: bool
    group_norm: bool
    front_activation: str
    projection_norm: bool
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str
    epsilon: float
    stable: bool
    position_kernel: int
    position_groups: int
    projection_dropout: float
    dropout: float
    activation_dropout: float
    valid_statistics: bool = False
    dtype: Dtype = jnp.float32
    remat: bool = False
    implementation: Implementation = "auto"

    @property
    def shortest(self) -> int:
        """Samples that make one frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "b samples"],
        mask: Bool[Array, "b samples"] | None = None,
        *,
        deterministic: bool = True,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        """See `mmpsy_jax.encoders` for the result.

        Args:
          inputs: waveforms as the feature extractor gives them, padded with zeros.
          mask: True for samples, False for padding behind them; None lets frames of padding be attended to, which is
            what base models were trained with.

        Raises:
          InputError: the waveforms are too short for one frame.
        """
        if inputs.shape[1] < self.shortest:
            raise InputError(f"{inputs.shape[1]} samples make no frame: give at least {self.shortest}")
        lengths = None if mask is None else mask.sum(-1, dtype=jnp.int32)
        x = FrontEnd(
            self.widths, self.kernels, self.strides, self.conv_bias, self.group_norm, self.front_activation, self.dtype,
            name="front_end",
        )(inputs, lengths if self.valid_statistics else None)  # fmt: skip
        if self.projection_norm:
            x = layer_norm(self.epsilon, self.dtype, "projection_norm")(x)
        x = dense(self.width, self.dtype, "projection")(x)
        x = nn.Dropout(self.projection_dropout, deterministic=deterministic)(x)
        keys = None
        if lengths is not None:
            keys = jnp.arange(x.shape[1]) < frames(lengths, self.kernels, self.strides)[:, None]
            x = jnp.where(keys[..., None], x, 0)  # so that the convolution of positions sees no padding
        x = x + self.positions(x)
        norm = layer_norm(self.epsilon, self.dtype, "norm")
        x = nn.Dropout(self.dropout, deterministic=deterministic)(x if self.stable else norm(x))
        states = run_layers(
            x, keys, None, deterministic, layers=self.layers, remat=self.remat, heads=self.heads, hidden=self.hidden,
            activation=self.activation, norm_first=self.stable, epsilon=self.epsilon, dropout=self.dropout,
            activation_dropout=self.activation_dropout, dtype=self.dtype, implementation=self.implementation,
        )  # fmt: skip
        return result(states, norm(states[-1]) if self.stable else states[-1], keys, output_hidden_states)

    def positions(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """What the convolution over neighbouring frames adds; as many frames as there are."""
        half = self.position_kernel // 2
        convolved = nn.Conv(
            self.width, (self.position_kernel,), padding=[(half, self.position_kernel - 1 - half)],
            feature_group_count=self.position_groups, dtype=self.dtype, name="position_conv",
        )(x)  # fmt: skip
        return activate(convolved, self.front_activation)
