"""Weightings of tasks against their equations in numpy, over several steps of a small network with known gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.io import InputError
from mmpsy_jax.objectives import weighting
from mmpsy_jax.objectives.weighting import EPSILON, SMALLEST, WEIGHTINGS

N, RATE = 3, 0.02
FIXED = np.array([1.0, 0.5, 2.0])
KEY = jax.random.key(0)
# Where the trained state starts: anywhere but on the edges of absolute values.
OWN = {"log_variance": [0.3, -0.2, 0.7], "sigma": [0.5, -0.3, 0.4], "loss_scale": [0.1, 0.4, -0.3]}


def build(name, **changes):
    arguments = {"weights": {"b": 0.5, "c": 2.0}, "temperature": 2.0, "alpha": 1.5, "layer": "^shared/", **changes}
    return weighting.build(name, ["a", "b", "c"], **arguments)


class Network:
    """L_k = mean of (x W h_k - y_k)^2 with a layer W that the tasks share and heads h_k."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.normal(size=(8, 5)), rng.normal(size=(8, N)) * [1.0, 3.0, 0.3]
        self.params = {"shared": {"kernel": rng.normal(size=(5, 4))}, "heads": rng.normal(size=(4, N))}

    def task_losses(self, params, present=(True,) * N):
        error = self.x @ params["shared"]["kernel"] @ params["heads"] - self.y
        present = jnp.asarray(present)
        return jnp.where(present, (error**2).mean(axis=0), 0.0), (present, jnp.float32(7))

    def by_hand(self, params):
        """Losses, and per task the gradients of W and of all heads."""
        w, h = params["shared"]["kernel"], params["heads"]
        error = self.x @ w @ h - self.y
        of_w = [2 / 8 * np.outer(self.x.T @ error[:, k], h[:, k]) for k in range(N)]
        of_h = [np.outer(2 / 8 * (self.x @ w).T @ error[:, k], np.eye(N)[k]) for k in range(N)]
        return (error**2).mean(axis=0), of_w, of_h


def average(history, temperature):
    if len(history) < 2:
        return np.ones(N)
    powers = np.exp((history[-1] + EPSILON) / (history[-2] + EPSILON) / temperature)
    return N * powers / powers.sum()


def by_hand(name, own, history, losses, of_w, of_h, key):
    """What is minimised, what the gradients of the tasks are multiplied by, and the gradient of the trained state."""
    if name == "fixed":
        return FIXED @ losses, FIXED, None
    if name == "dwa":
        factors = FIXED * average(history, 2.0)
        return factors @ losses, factors, None
    if name == "uncertainty":
        factors = FIXED * np.exp(-own) / 2
        return factors @ losses + FIXED @ own / 2, factors, FIXED * (1 - np.exp(-own) * losses) / 2
    if name in ("revised", "restrained", "druw"):
        count = 2 if name == "revised" else N
        total = FIXED @ (losses / (count * own**2) + np.log(1 + own**2))
        factors = FIXED / (count * own**2)
        of_own = FIXED * (-2 * losses / (count * own**3) + 2 * own / (1 + own**2))
        if name != "revised":
            left = 1 - np.abs(own).sum()
            total, of_own = total + abs(left), of_own - np.sign(left) * np.sign(own)
        if name == "druw":
            factors = factors + FIXED * average(history, 2.0)
            total += FIXED * average(history, 2.0) @ losses
        return total, factors, of_own
    if name == "gradnorm":
        share = np.exp(own) / np.exp(own).sum()
        sizes = np.array([np.linalg.norm(FIXED[k] * of_w[k]) for k in range(N)])
        left = losses / [*history, losses][0]
        made = N * share * sizes
        target = made.mean() * (left / left.mean()) ** 1.5
        of_share = N * sizes * np.sign(made - target)
        return FIXED * N * share @ losses, FIXED * N * share, share * (of_share - share @ of_share)
    return FIXED @ losses, None, None  # pcgrad


def projected(of_w, of_h, key):
    """PCGrad as in the paper's algorithm, on whole vectors."""
    whole = [FIXED[k] * np.concatenate([of_w[k].ravel(), of_h[k].ravel()]) for k in range(N)]
    total = 0
    for i, own_key in enumerate(jax.random.split(key, N)):
        mine = whole[i].copy()
        for j in np.asarray(jax.random.permutation(own_key, N)):
            if j != i and mine @ whole[j] < 0:
                mine -= mine @ whole[j] / (whole[j] @ whole[j]) * whole[j]
        total = total + mine
    return total


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_step_follows_the_equations(name):
    chosen, network = build(name), Network()
    ours = {"network": network.params, "objective": {k: jnp.asarray(OWN[k]) for k in chosen.init()}}
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), ours)
    theirs = {"network": network.params, "own": next((np.array(OWN[k]) for k in chosen.init()), None)}
    memory, history, conflicts = chosen.memory(), [], 0
    step = jax.jit(lambda params, memory, key: chosen.gradients(network.task_losses, params, memory, key)[:3])
    for number in range(5):
        key = jax.random.fold_in(KEY, number)
        total, gradients, memory = step(ours, memory, key)
        losses, of_w, of_h = network.by_hand(theirs["network"])
        wanted, factors, of_own = by_hand(name, theirs["own"], history, losses, of_w, of_h, key)
        if name == "pcgrad":
            flat = projected(of_w, of_h, key)
            of_network = {"shared": {"kernel": flat[:20].reshape(5, 4)}, "heads": flat[20:].reshape(4, N)}
            conflicts += not np.allclose(flat[:20].reshape(5, 4), sum(f * g for f, g in zip(FIXED, of_w, strict=True)))
        else:
            summed = [sum(f * g for f, g in zip(factors, each, strict=True)) for each in (of_w, of_h)]
            of_network = {"shared": {"kernel": summed[0]}, "heads": summed[1]}
        np.testing.assert_allclose(total, wanted, rtol=1e-4)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)  # noqa: E731
        jax.tree.map(close, gradients["network"], of_network)
        for made in gradients["objective"].values():
            np.testing.assert_allclose(made, of_own, rtol=2e-3, atol=2e-4)
        ours = jax.tree.map(lambda p, g: np.asarray(p) - RATE * np.asarray(g), ours, gradients)
        theirs["network"] = jax.tree.map(lambda p, g: p - RATE * g, theirs["network"], of_network)
        theirs["own"] = None if of_own is None else theirs["own"] - RATE * of_own
        history.append(losses)
    assert name != "pcgrad" or conflicts, "no two gradients pointed against each other: this test shows nothing"


def test_sigma_of_druw_starts_at_one_over_n_and_the_optimum_is_as_searched():
    chosen = build("druw", weights={})
    np.testing.assert_allclose(chosen.init()["sigma"], np.full(N, 1 / N), rtol=1e-6)
    # Of `restrained` with equal losses of 1, 0.5 and 0.1 (a grid search over one sigma for all).
    total = lambda s, loss: build("restrained", weights={}).total(  # noqa: E731
        {"sigma": jnp.full(N, s)}, {}, jnp.full(N, loss), jnp.ones(N, bool)
    )
    grid, totals = np.linspace(0.05, 1.5, 2901, dtype=np.float32), jax.jit(jax.vmap(total, in_axes=(0, None)))
    for loss, best in ((1.0, 0.70), (0.5, 0.56), (0.1, 0.35)):
        found = grid[np.argmin(totals(grid, np.float32(loss)))]
        np.testing.assert_allclose(found, best, atol=0.006)


@pytest.mark.parametrize(("sigma", "edge"), [(0.0, SMALLEST), (-1e-6, -SMALLEST), (-0.2, -0.2)])
def test_a_vanishing_sigma_counts_as_the_edge_and_can_leave_it(sigma, edge):
    chosen = build("revised", weights={})
    own, losses, present = {"sigma": jnp.array([sigma, 1.0, 1.0])}, jnp.full(N, 0.5), jnp.ones(N, bool)
    value, gradient = jax.jit(jax.value_and_grad(lambda own: chosen.total(own, {}, losses, present)))(own)
    wanted = 0.5 / (2 * edge**2) + np.log1p(sigma**2) + 2 * (0.25 + np.log(2))
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient["sigma"][0], -0.5 / edge**3 + 2 * sigma / (1 + sigma**2), rtol=1e-5)


def test_average_of_vanishing_losses_is_finite():
    previous = np.array([[1.0, 1e-30, 1.0], [1e-30, 1e-30, 1.0]], np.float32)
    average = jax.jit(weighting.dynamic_average, static_argnums=1)
    made = average(previous, 2.0)
    assert np.isfinite(made).all() and float(made.sum()) == pytest.approx(N)
    previous[1, 0] = 0.0
    np.testing.assert_array_equal(average(previous, 2.0), np.ones(N))


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_task_without_a_label_takes_no_part(name):
    chosen, network = build(name), Network()
    present = (True, False, True)
    params = {"network": network.params, "objective": {k: jnp.asarray(OWN[k]) for k in chosen.init()}}
    before = {k: jnp.full(v.shape, 0.7) for k, v in chosen.memory().items()}
    losses = lambda network_params: network.task_losses(network_params, present)  # noqa: E731
    step = jax.jit(lambda params, memory: chosen.gradients(losses, params, memory, KEY))
    total, gradients, memory, beside = step(params, before)
    assert np.isfinite(total) and beside == 7
    assert not gradients["network"]["heads"][:, 1].any() and gradients["network"]["heads"][:, 0].any()
    for made in memory.values():
        np.testing.assert_allclose(made[..., 1], 0.7)
    if name == "gradnorm":  # of the others only through the softmax, whose gradients sum to zero
        np.testing.assert_allclose(sum(gradients["objective"]["loss_scale"]), 0, atol=1e-4)


def test_a_weight_of_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="a, b, c"):
        build("fixed", weights={"d": 1.0})


def test_a_layer_that_is_not_there_is_named():
    chosen, network = build("gradnorm", layer="trunk"), Network()
    params = {"network": network.params, "objective": chosen.init()}
    with pytest.raises(InputError, match="'trunk' matches no parameter of the network, for example 'heads'"):
        chosen.gradients(network.task_losses, params, chosen.memory(), KEY)
