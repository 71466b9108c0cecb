"""The LSTM over all steps against a loop over single ones that jax differentiates by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.projects.msa.recurrent import run

STEPS, ROWS, HIDDEN = 5, 3, 2


def step_by_step(inputs, recurrent, valid, reverse):
    state, cell = jnp.zeros((2, ROWS, HIDDEN))
    states, cells = [None] * STEPS, [None] * STEPS
    for at in reversed(range(STEPS)) if reverse else range(STEPS):
        i, f, g, o = jnp.split(inputs[at] + state @ recurrent, 4, axis=-1)
        new = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        seen = valid[at][:, None]
        state = jnp.where(seen, jax.nn.sigmoid(o) * jnp.tanh(new), state)
        cell = jnp.where(seen, new, cell)
        states[at], cells[at] = state, cell
    return jnp.stack(states), jnp.stack(cells)


@pytest.mark.parametrize("reverse", [False, True])
def test_states_cells_and_gradients_are_those_of_single_steps(reverse):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    inputs, recurrent = draw(STEPS, ROWS, 4 * HIDDEN), draw(HIDDEN, 4 * HIDDEN)
    valid = jnp.arange(STEPS)[:, None] < jnp.array([5, 2, 0])
    weights = draw(2, STEPS, ROWS, HIDDEN)

    def value(function, *arguments):
        outputs = function(*arguments, valid, reverse)
        return sum((weight * x).sum() for weight, x in zip(weights, outputs, strict=True)), outputs

    (_, ours), gradients = jax.jit(jax.value_and_grad(lambda *a: value(run, *a), (0, 1), has_aux=True))(
        inputs, recurrent
    )
    (_, expected), reference = jax.jit(jax.value_and_grad(lambda *a: value(step_by_step, *a), (0, 1), has_aux=True))(
        inputs, recurrent
    )
    for x, y in zip((*ours, *gradients), (*expected, *reference), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_trainings_side_by_side_are_trained_alike():
    """Replicas are a further axis of everything."""
    rng = np.random.default_rng(1)
    inputs = jnp.asarray(rng.normal(size=(2, STEPS, ROWS, 4 * HIDDEN)), jnp.float32)
    recurrent = jnp.asarray(rng.normal(size=(2, HIDDEN, 4 * HIDDEN)), jnp.float32)
    valid = jnp.ones((STEPS, ROWS), bool)
    gradient = jax.grad(lambda x, u: run(x, u, valid)[0][-1].sum(), (0, 1))
    together = jax.jit(jax.vmap(gradient))(inputs, recurrent)
    alone = [jax.jit(gradient)(inputs[at], recurrent[at]) for at in range(2)]
    for at in range(2):
        for x, y in zip(together, alone[at], strict=True):
            np.testing.assert_allclose(x[at], y, atol=1e-6)
