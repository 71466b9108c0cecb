"""BERT and RoBERTa: Devlin et al. 2019 (arXiv 1810.04805), Liu et al. 2019 (arXiv 1907.11692)."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmpsy_jax.encoders.layers import INIT, Dtype, Implementation, dense, layer_norm, result, run_layers
from mmpsy_jax.io import InputError


class Bert(nn.Module):
    """Token ids -> hidden states; heads are left out.

    Attributes:
      positions: rows of the table of positions.
      types: rows of the table of token types.
      padding_id: None counts positions from 0 (BERT); a padding id makes RoBERTa's positions, counted from
        padding id + 1 over the tokens that are not padding.
      pooler: whether the last state of the first token goes through a dense layer and tanh, as `out["pooled"]` [b d].
    """

    FRONT_END: ClassVar[str] = r"(word_table|position_table|type_table|embedding_norm)/.*"

    vocabulary: int
    positions: int
    types: int
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str
    epsilon: float
    dropout: float
    padding_id: int | None = None
    pooler: bool = False
    dtype: Dtype = jnp.float32
    remat: bool = False
    implementation: Implementation = "auto"

    @property
    def longest(self) -> int:
        """Most tokens of one row."""
        return self.positions if self.padding_id is None else self.positions - self.padding_id - 1

    @nn.compact
    def __call__(
        self,
        inputs: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None = None,
        *,
        token_types: Int[Array, "b n"] | None = None,
        between: Callable[[Float[Array, "b n d"]], Float[Array, "b n d"]] | None = None,
        deterministic: bool = True,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        """See `mmpsy_jax.encoders` for the result.

        Args:
          inputs: token ids.
          mask: True for tokens, False for padding behind them; None means that nothing is padding.
          token_types: 0 for the first segment (the default), 1 for the second.
          between: what the layers read instead of the embeddings, given these; None for the embeddings.

        Raises:
          InputError: there are more tokens than positions.
        """
        if inputs.shape[1] > self.longest:
            raise InputError(f"{inputs.shape[1]} tokens in a row, the encoder has {self.longest} positions: cut them")
        if self.padding_id is None:
            places = jnp.arange(inputs.shape[1])[None]
        else:
            real = inputs != self.padding_id
            places = jnp.cumsum(real, axis=1) * real + self.padding_id
        table = lambda rows, name: nn.Embed(rows, self.width, embedding_init=INIT, dtype=self.dtype, name=name)  # noqa: E731
        types = jnp.zeros_like(inputs) if token_types is None else token_types
        x = table(self.vocabulary, "word_table")(inputs) + table(self.types, "type_table")(types)
        x = x + table(self.positions, "position_table")(places)
        x = layer_norm(self.epsilon, self.dtype, "embedding_norm")(x)
        x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
        x = x if between is None else between(x)
        states = run_layers(
            x, mask, None, deterministic, layers=self.layers, remat=self.remat, heads=self.heads, hidden=self.hidden,
            activation=self.activation, norm_first=False, epsilon=self.epsilon, dropout=self.dropout, dtype=self.dtype,
            implementation=self.implementation,
        )  # fmt: skip
        out = result(states, states[-1], mask, output_hidden_states)
        if self.pooler:
            first = dense(self.width, self.dtype, "pooler")(states[-1][:, 0])
            out["pooled"] = jnp.tanh(first)
        return out
