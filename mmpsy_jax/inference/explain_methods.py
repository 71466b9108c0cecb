"""What a network attended to and what mattered in one interview, by unit: seconds of a recording, tokens of a text.

- Attention: weight of a unit in the encoder's cross-attention, mean over latents and heads; adds up to 1.
- Occlusion (Zeiler and Fergus 2014): how much lower the value is when a unit is hidden. Hidden tokens are masked, like
  what a participant lacks and like `token_dropout` in training; n-grams of a hidden character leave its bag too.
- Integrated gradients (Sundararajan, Taly and Yan 2017) from zero input: the mean of a z-normalised recording, no
  embedding. They add up to the difference between the values of the interview and of zero input.
- A deletion curve (Petsiuk, Das and Saenko 2018) checks each: hiding what matters most must change the value fastest.

All explain the same number (`explained`), in the mean over the trainings of a run.

Departures from the papers: the mean over heads and latents in attention, and the uneven nodes of integrated gradients.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from mmpsy_jax.modality import Modality
from mmpsy_jax.models import linear_path
from mmpsy_jax.tasks import Task

METHODS = ("attention", "occlusion", "integrated_gradients")
# Units of a modality: an interview is passed through the network about as often.
MOST_UNITS = 100
# Points on the path of the integrated gradients, interviews that are computed together, steps and random orders of the
# deletion curve. With 19 random orders, being better than all of them has a chance of 1 in 20.
NODES, TOGETHER, STEPS, RANDOM_ORDERS = 64, 16, 10, 19
# The place behind the last unit, of what is in none.
NOWHERE = -1


class Unit(NamedTuple):
    """What gets one number: a recording's seconds, or a text's tokens, from `start` to `end` (without it)."""

    modality: str
    in_seconds: bool
    start: float
    end: float


class View(NamedTuple):
    """One training and how it sees the interview.

    Attributes:
      network: its network.
      variables: its parameters, and what was fitted.
      batch: the interview, the only row of one pack of a batch.
    """

    network: nn.Module
    variables: PyTree
    batch: dict[str, Any]


def places(view: View, modality: Modality) -> Float[np.ndarray, "s n"]:
    """Where each token of a modality lies: the second of its middle, or its number; -1 where nothing is.

    Only this function and those that are compiled know how a batch is laid out.
    """
    length, start = (np.asarray(view.batch[f"{modality.name}_{what}"]) for what in ("length", "start_s"))
    patch = getattr(view.network, "patch", 1) if modality.kind == "frames" else 1
    n = -(-modality.shape[0] // patch)
    valid = np.arange(n) * patch < length[:, None]
    seconds = start[:, None] + (np.arange(n) + 0.5) * (view.network.window_seconds / n)
    place = seconds if modality.kind == "frames" else (np.cumsum(valid) - 1.0).reshape(valid.shape)
    return np.where(valid, place, -1.0)


def divide(views: Sequence[View]) -> tuple[list[Unit], list[dict[str, Int[np.ndarray, "s n"]]]]:
    """The units of the interview, and per view and modality the unit of each token, `NOWHERE` for none.

    A unit is a whole number of tokens, the fewest that make at most `MOST_UNITS` units and, of a recording, last a
    second. Windows that overlap share their seconds, but not their tokens of text: the records do not say which of
    those are the same.
    """
    units: list[Unit] = []
    maps: list[dict[str, np.ndarray]] = [{} for _ in views]
    for modality in views[0].network.modalities:
        placed = [places(view, modality) for view in views]
        # Seconds of a token, or one where places are numbers; of trainings with tokens of several lengths, the longest.
        lengths = [view.network.window_seconds / place.shape[1] for view, place in zip(views, placed, strict=True)]
        token = max(lengths) if modality.kind == "frames" else 1.0
        end = max(place.max() for place in placed) + (token / 2 if modality.kind == "frames" else 1)
        size = token * math.ceil(max(1.0, end / MOST_UNITS) / token)
        blocks = [np.where(place >= 0, place // size, -1).astype(int) for place in placed]
        there = np.unique(np.concatenate([block[block >= 0] for block in blocks]))
        for of_view, block in zip(maps, blocks, strict=True):
            of_view[modality.name] = np.where(block >= 0, len(units) + np.searchsorted(there, block), NOWHERE)
        units += [
            Unit(modality.name, modality.kind == "frames", float(b * size), float(min((b + 1) * size, end)))
            for b in there
        ]
    return units, maps


def explained(task: Task, output: Float[Array, "b o"]) -> Float[Array, " b"]:
    """The number that is explained: a probability, an expected band, or a score that is not cut to its range.

    Of a score outside its range nothing would change what is written to `predictions.csv`.
    """
    return task.unclipped(output, jnp)


def _apply(network: nn.Module, task: Task, variables: PyTree, batch: PyTree) -> Float[Array, ""]:
    return explained(task, network.apply(variables, batch)[task.name])[0]


def _per_token(values: Shaped[Array, " u"], unit: Int[Array, "s n"], otherwise: float | bool) -> Shaped[Array, "s n"]:
    return jnp.append(values, otherwise)[unit]  # NOWHERE is the last place


@functools.partial(jax.jit, static_argnames=("network", "task"))
def _kept(
    network: nn.Module, task: Task, variables: PyTree, batch: PyTree, units: PyTree, keep: Bool[Array, "k u"]
) -> Float[Array, " k"]:
    """The value with some units kept and the others hidden."""

    def value(keep: Bool[Array, " u"]) -> Float[Array, ""]:
        changed = dict(batch)
        for modality in network.modalities:
            kept = _per_token(keep, units[modality.name], True)
            changed[f"{modality.name}_keep"] = kept
            if modality.kind == "ids":
                changed[modality.name] = jnp.where(kept[..., None], batch[modality.name], 0)
        return _apply(network, task, variables, changed)

    return jax.vmap(value)(keep)


@functools.partial(jax.jit, static_argnames=("network", "task"))
def _scaled(
    network: nn.Module, task: Task, variables: PyTree, batch: PyTree, units: PyTree, factors: Float[Array, "k u"]
) -> tuple[Float[Array, " k"], Float[Array, "k u"]]:
    """The value with the inputs of each unit (of ids: their embeddings) times its factor, and its derivatives."""

    def value(factors: Float[Array, " u"]) -> Float[Array, ""]:
        changed, perturbations = dict(batch), {}
        for modality in network.modalities:
            name, inputs = modality.name, batch[modality.name]
            factor = _per_token(factors, units[name], 1.0)
            if modality.kind == "ids":
                less = (factor[..., None] - 1) * (inputs > 0)
                perturbations[f"{name}_adapter"] = {"present": less}
                perturbations.setdefault(linear_path.NAME, {})[f"{name}_present"] = less
                continue
            frames = inputs.shape[1]
            factor = jnp.repeat(factor, -(-frames // factor.shape[1]), axis=1)[:, :frames]
            changed[name] = inputs.astype(jnp.float32) * factor[..., None]
        return _apply(network, task, {**variables, "perturbations": perturbations}, changed)

    return jax.vmap(jax.value_and_grad(value))(factors)


@functools.partial(jax.jit, static_argnames=("network",))
def token_attention(network: nn.Module, variables: PyTree, batch: PyTree) -> dict[str, Float[Array, "_ _"]]:
    """The encoder's attention weights of each modality's tokens [s n], mean over latents and heads."""
    _, sown = network.apply(variables, batch, mutable=["intermediates"])
    weights = sown["intermediates"]["encoder"]["attention"]["attention"]
    return {modality.name: x.mean(axis=(2, 3)) for modality, x in zip(network.modalities, weights, strict=True)}


class Explained:
    """One interview as all trainings of a run see it: the value of any part of it, and what the methods say.

    Attributes:
      units: what gets a number.
      whole, nothing: the value of the interview, and with all of it hidden.
    """

    def __init__(self, views: Sequence[View], task: Task):
        self._views, self._task = views, task
        self.units, self._maps = divide(views)
        n = len(self.units)
        self.whole, self.nothing = self.values(np.repeat([[True], [False]], n, axis=1)).tolist()

    def _mean(self, program: Callable[..., PyTree], vectors: Shaped[np.ndarray, "k u"]) -> PyTree:
        """The mean over the trainings of what a program makes of each row; rows are padded to one shape."""
        parts = []
        for start in range(0, len(vectors), TOGETHER):
            rows = vectors[start : start + TOGETHER]
            padded = np.pad(rows, ((0, TOGETHER - len(rows)), (0, 0)))
            values = [
                jax.device_get(program(view.network, self._task, view.variables, view.batch, units, padded))
                for view, units in zip(self._views, self._maps, strict=True)
            ]
            mean = jax.tree.map(lambda *x: np.mean(x, axis=0, dtype=np.float64), *values)
            parts.append(jax.tree.map(operator.itemgetter(slice(len(rows))), mean))
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def values(self, keep: Bool[np.ndarray, "k u"]) -> Float[np.ndarray, " k"]:
        """The value with only the kept units."""
        return self._mean(_kept, keep)

    def occlusion(self) -> Float[np.ndarray, " u"]:
        """How much higher the value is with a unit than without it."""
        return self.whole - self.values(~np.eye(len(self.units), dtype=bool))

    def integrated_gradients(self) -> Float[np.ndarray, " u"]:
        """The input times the integral of its gradient on the straight path from zero input.

        Tokens are layer-normalised, so that nearly all of the way the value does not change: it does where inputs are
        about a thousandth of themselves. Nodes are therefore u^4 of evenly spaced u.
        """
        u = (np.arange(NODES) + 0.5) / NODES
        _, gradients = self._mean(_scaled, np.repeat(u[:, None] ** 4, len(self.units), axis=1))
        return (4 * u**3 / NODES) @ gradients

    def from_zero(self) -> float:
        """value(interview) - value(zero input): what integrated gradients add up to, but for the width of nodes."""
        (whole, zero), _ = self._mean(_scaled, np.repeat([[1.0], [0.0]], len(self.units), axis=1))
        return float(whole - zero)

    def attention(self) -> Float[np.ndarray, " u"]:
        """The encoder's attention to each unit."""
        total = np.zeros(len(self.units))
        for view, units in zip(self._views, self._maps, strict=True):
            weights = jax.device_get(token_attention(view.network, view.variables, view.batch))
            for name, unit in units.items():
                np.add.at(total, unit[unit != NOWHERE], weights[name][unit != NOWHERE])
        return total / len(self._views)

    def attributions(self) -> dict[str, Float[np.ndarray, " u"]]:
        """What each of `METHODS` gives the units; attention only of networks that have an encoder."""
        attends = all(hasattr(view.network, "heads_attention") for view in self._views)
        return {name: getattr(self, name)() for name in METHODS if attends or name != "attention"}


class Deletion(NamedTuple):
    """Values while units are hidden, the most important first (Petsiuk et al. 2018, RISE).

    Attributes:
      fractions: of the units that are hidden.
      curves: per method, the value at each fraction.
      random: the same for random orders.
      gain: per method, mean distance of its curve from that of the random orders; positive where it changes faster.
      p: per method, share of the orders, its own among them, that do as well as it or better.
    """

    fractions: Float[np.ndarray, " f"]
    curves: dict[str, Float[np.ndarray, " f"]]
    random: Float[np.ndarray, "r f"]
    gain: dict[str, float]
    p: dict[str, float]


def deletion(interview: Explained, attributions: Mapping[str, Float[np.ndarray, " u"]], seed: int = 0) -> Deletion:
    """The deletion curve of each method, and of random orders.

    Units are important in the direction in which the interview moves the value: where hiding all of it raises the
    value, the lowest attribution comes first. Attention has no sign, its largest comes first.
    """
    n, rng = len(interview.units), np.random.default_rng(seed)
    sign = 1.0 if interview.whole >= interview.nothing else -1.0
    signed = {name: x if name == "attention" else sign * x for name, x in attributions.items()}
    orders = [np.argsort(-values, kind="stable") for values in signed.values()]
    orders += [rng.permutation(n) for _ in range(RANDOM_ORDERS)]
    fractions = np.linspace(0, 1, STEPS + 1)
    rank = np.argsort(orders, axis=1)
    keep = rank[:, None, :] >= np.round(fractions * n)[:, None]
    values = interview.values(keep.reshape(-1, n)).reshape(len(orders), -1)
    areas = sign * np.trapezoid(values, fractions, axis=1)
    ours, random = areas[: len(signed)], areas[len(signed) :]
    return Deletion(
        fractions=fractions,
        curves=dict(zip(signed, values, strict=False)),
        random=values[len(signed) :],
        gain=dict(zip(signed, (random.mean() - ours).tolist(), strict=True)),
        p={
            name: (1 + int((random <= area).sum())) / (1 + len(random)) for name, area in zip(signed, ours, strict=True)
        },
    )
