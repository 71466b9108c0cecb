"""Whisper's encoder and decoder: Radford et al. 2022 (arXiv 2212.04356)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmpsy_jax.encoders.layers import INIT, Dtype, Implementation, activate, layer_norm, result, run_layers
from mmpsy_jax.io import InputError

EPSILON = 1e-5  # of all layer norms; config.json does not name it


class Stack(nn.Module):
    """Layers with a layer norm after the last; `cross` and `causal` in the decoder."""

    layers: int
    heads: int
    hidden: int
    activation: str
    decoder: bool
    dropout: float
    activation_dropout: float
    dtype: Dtype = jnp.float32
    remat: bool = False
    implementation: Implementation = "auto"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        memory: Float[Array, "b m d"] | None,
        deterministic: bool,
    ) -> tuple[Float[Array, "b n d"], ...]:
        """The states before the layers and after each, the last one normalised."""
        states = run_layers(
            nn.Dropout(self.dropout, deterministic=deterministic)(x), mask, memory, deterministic, layers=self.layers,
            remat=self.remat, heads=self.heads, hidden=self.hidden, activation=self.activation, norm_first=True,
            epsilon=EPSILON, key_bias=False, cross=self.decoder, causal=self.decoder, dropout=self.dropout,
            activation_dropout=self.activation_dropout, dtype=self.dtype, implementation=self.implementation,
        )  # fmt: skip
        return (*states[:-1], layer_norm(EPSILON, self.dtype, "norm")(states[-1]))


class Whisper(nn.Module):
    """Log-mel spectrograms of 30 s -> states of the encoder, or of the decoder where it is given tokens.

    Attributes:
      positions, token_positions: rows of the tables of positions of the encoder and the decoder.
    """

    FRONT_END: ClassVar[str] = r"(conv_0|conv_1)/.*|position_table"

    mels: int
    positions: int
    vocabulary: int
    token_positions: int
    width: int
    encoder_layers: int
    encoder_heads: int
    encoder_hidden: int
    decoder_layers: int
    decoder_heads: int
    decoder_hidden: int
    activation: str
    start_id: int
    dropout: float
    activation_dropout: float
    dtype: Dtype = jnp.float32
    remat: bool = False
    implementation: Implementation = "auto"

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "b mels frames"],
        mask: Bool[Array, "b frames"] | None = None,
        *,
        decoder_ids: Int[Array, "b n"] | None = None,
        decoder_mask: Bool[Array, "b n"] | None = None,
        deterministic: bool = True,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        """See `mmpsy_jax.encoders` for the result.

        Args:
          inputs: what the feature extractor gives: 3,000 frames, whatever the recording lasts.
          mask: True for frames of the recording. The network does not use it (the published one has no mask); it
            becomes the `mask` of the result, for pooling.
          decoder_ids: tokens for the decoder, `start_id` first; then the result is the decoder's, and the encoder's
            lies under `encoder`.
          decoder_mask: True for tokens, False for padding behind them.

        Raises:
          InputError: the number of frames or tokens is not what the tables of positions are for.
        """
        if inputs.shape[2] != 2 * self.positions:
            raise InputError(f"{inputs.shape[2]} frames, the encoder takes {2 * self.positions}: pad or cut to 30 s")
        options = {
            "activation": self.activation,
            "dropout": self.dropout,
            "activation_dropout": self.activation_dropout,
            "dtype": self.dtype,
            "remat": self.remat,
            "implementation": self.implementation,
        }
        x = jnp.swapaxes(inputs, 1, 2).astype(self.dtype)
        for number, stride in ((0, 1), (1, 2)):
            x = nn.Conv(self.width, (3,), stride, padding=[(1, 1)], dtype=self.dtype, name=f"conv_{number}")(x)
            x = activate(x, self.activation)
        x = x + self.param("position_table", INIT, (self.positions, self.width)).astype(self.dtype)
        encoder = Stack(
            self.encoder_layers, self.encoder_heads, self.encoder_hidden, decoder=False, name="encoder", **options
        )
        states = encoder(x, None, None, deterministic)
        encoded = result(states, states[-1], None if mask is None else mask[:, ::2], output_hidden_states)
        if decoder_ids is None:
            return encoded
        count = decoder_ids.shape[1]
        if count > self.token_positions:
            raise InputError(f"{count} tokens, the decoder has {self.token_positions} positions: cut them")
        x = nn.Embed(self.vocabulary, self.width, embedding_init=INIT, dtype=self.dtype, name="word_table")(decoder_ids)
        table = self.param("token_position_table", INIT, (self.token_positions, self.width))
        decoder = Stack(
            self.decoder_layers, self.decoder_heads, self.decoder_hidden, decoder=True, name="decoder", **options
        )
        states = decoder(x + table[:count].astype(self.dtype), decoder_mask, states[-1], deterministic)
        return result(states, states[-1], decoder_mask, output_hidden_states) | {"encoder": encoded}
