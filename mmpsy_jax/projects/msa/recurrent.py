"""LSTMs over padded sequences, arranged for few and large matrix products.

The inputs of all steps are multiplied at once, one step is one product of the states, and the gradient of the
recurrent weights is one product over all steps. Differentiating the loop instead would add up a gradient of the weights
at every step and keep each gate by itself.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Inputs = Float[Array, "t b g"]
Recurrent = Float[Array, "h g"]
Steps = Float[Array, "t b h"]
# Letters of shapes: t steps, b participants, h size of a state, g = 4 h gates, one kind after the other.


class Padded(NamedTuple):
    """One modality of b participants.

    Attributes:
      values: [b t f], zero where there is nothing.
      length: valid steps of each.
    """

    values: Float[Array, "b t f"]
    length: Int[Array, " b"]

    @property
    def mask(self) -> Bool[Array, "b t"]:
        """Which steps are valid."""
        return jnp.arange(self.values.shape[1]) < self.length[:, None]

    @property
    def present(self) -> Float[Array, "b 1"]:
        """1 for who has the modality, else 0."""
        return (self.length > 0).astype(jnp.float32)[:, None]


class Lstm(nn.Module):
    """An LSTM over the valid steps.

    Attributes:
      hidden: size of the state.
      reverse: read from the last valid step to the first; states stay at their steps.
    """

    hidden: int
    reverse: bool = False

    @nn.compact
    def __call__(self, sequence: Padded) -> tuple[Float[Array, "b t h"], Float[Array, "b h"]]:
        """The states, and the last one of each participant; 0 for who has no step."""
        start = as_pytorch(self.hidden)
        rows, steps, size = sequence.values.shape
        values = jnp.moveaxis(sequence.values, 1, 0).reshape(-1, size)
        inputs = nn.Dense(4 * self.hidden, kernel_init=start, bias_init=start, name="input")(values)
        recurrent = self.param("recurrent", start, (self.hidden, 4 * self.hidden))
        states, _ = run(inputs.reshape(steps, rows, -1), recurrent, sequence.mask.T, self.reverse)
        return jnp.moveaxis(states, 0, 1), states[0 if self.reverse else -1]


def as_pytorch(hidden: int) -> nn.initializers.Initializer:
    """What PyTorch starts an LSTM with: evenly between -1 / sqrt(hidden) and 1 / sqrt(hidden)."""
    end = hidden**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -end, end)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def run(inputs: Inputs, recurrent: Recurrent, valid: Bool[Array, "t b"], reverse: bool = False) -> tuple[Steps, Steps]:
    """States and cells after each step, which at an invalid one are those before it; both begin as 0.

        i, f, g, o = split(x + h U);  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')

    Args:
      inputs: x, the products of the inputs and the biases.
      recurrent: U.
      reverse: from the last step to the first.
    """
    states, cells, _ = _forward(inputs, recurrent, valid, reverse)
    return states, cells


def _forward(
    inputs: Inputs, recurrent: Recurrent, valid: Bool[Array, "t b"], reverse: bool
) -> tuple[Steps, Steps, Inputs]:
    """States, cells, and of each gate tanh of it, or of half of it for the three that have a sigmoid."""
    hidden = recurrent.shape[0]
    half = jnp.full(4 * hidden, 0.5).at[2 * hidden : 3 * hidden].set(1.0)

    def step(before: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        (state, cell), (x, seen) = before, at
        # One function over all gates, since sigmoid(x) = (1 + tanh(x / 2)) / 2.
        gates = jnp.tanh((x + state @ recurrent) * half)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new = 0.5 * ((1 + f) * cell + (1 + i) * g)
        cell = jnp.where(seen[:, None], new, cell)
        state = jnp.where(seen[:, None], 0.5 * (1 + o) * jnp.tanh(cell), state)
        return (state, cell), (state, cell, gates)

    zeros = jnp.zeros((inputs.shape[1], hidden), inputs.dtype)
    return jax.lax.scan(step, (zeros, zeros), (inputs, valid), reverse=reverse)[1]


def _keep(inputs: Inputs, recurrent: Recurrent, valid: Bool[Array, "t b"], reverse: bool) -> tuple:
    states, cells, gates = _forward(inputs, recurrent, valid, reverse)
    return (states, cells), (states, cells, gates, recurrent, valid)


def _backward(reverse: bool, kept: tuple, gradients: tuple[Steps, Steps]) -> tuple[Inputs, Recurrent, None]:
    states, cells, gates, recurrent, valid = kept
    start = jnp.zeros_like(states[:1])
    before = lambda x: jnp.concatenate([x[1:], start] if reverse else [start, x[:-1]])  # noqa: E731

    def step(after: tuple[Array, Array], at: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        (d_state, d_cell), (of_state, of_cell, gate, cell, former, seen) = after, at
        i, f, g, o = jnp.split(gate, 4, axis=-1)
        end, seen = jnp.tanh(cell), seen[:, None]
        d_state, d_cell = d_state + of_state, d_cell + of_cell
        through = jnp.where(seen, d_cell + d_state * 0.5 * (1 + o) * (1 - end * end), 0)
        of_gates = jnp.concatenate(
            [
                through * g * 0.25 * (1 - i * i),
                through * former * 0.25 * (1 - f * f),
                through * 0.5 * (1 + i) * (1 - g * g),
                jnp.where(seen, d_state * end * 0.25 * (1 - o * o), 0),
            ],
            axis=-1,
        )
        d_state = jnp.where(seen, 0, d_state) + of_gates @ recurrent.T
        return (d_state, jnp.where(seen, through * 0.5 * (1 + f), d_cell)), of_gates

    over_time = (*gradients, gates, cells, before(cells), valid)
    _, of_inputs = jax.lax.scan(step, (start[0], start[0]), over_time, reverse=not reverse)
    wide, narrow = of_inputs.reshape(-1, of_inputs.shape[-1]), before(states).reshape(-1, states.shape[-1])
    return of_inputs, narrow.T @ wide, None


run.defvjp(_keep, _backward)
