"""The closed form of `mixed.py` as part of a network: what common, slopes and levels say of a day."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from mmpsy_jax.data import statistics
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.models.base import Modality
from mmpsy_jax.models.linear_path import CORRECTION, pool, pooled_size
from mmpsy_jax.models.perceiver import merge_windows
from mmpsy_jax.projects.daily_mood import mixed
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import ridge

PERSON = "person"


class MixedPath(nn.Module):
    """Ratings of a day in units in which left-out predictions have deviation one, and the numbers of the day.

    Attributes:
      modalities: the inputs, without the person.
      people: numbers of people, 0 for nobody who is known; 0 where no person has layers.
      moods: how many ratings there are.
    """

    modalities: tuple[Modality, ...]
    people: int
    moods: int

    @nn.compact
    def __call__(
        self, batch: PyTree, person: Int[Array, " b"] | None
    ) -> tuple[Float[Array, "b q"], Float[Array, "b k"]]:
        """Of one pack of a batch; `person` is None where nobody's layers are asked for."""
        rows, parts = batch["valid"].shape[0], []
        for modality in self.modalities:
            name, size = modality.name, pooled_size(modality)
            values, row = batch[name], batch[f"{name}_row"]
            mask = jnp.arange(values.shape[1]) < batch[f"{name}_length"][:, None]
            mask &= batch.get(f"{name}_keep", True)
            there = merge_windows(mask.sum(axis=1, dtype=jnp.float32), row, rows)[:, None] > 0
            x = pool(values, mask, row, rows, spread=modality.kind == "frames")
            x = (x - self._fitted(f"{name}_mean", size)) / self._fitted(f"{name}_deviation", size)
            parts.append(jnp.where(there, x, 0.0))
        x = jnp.concatenate(parts, axis=-1)
        total = x @ self._fitted("common", x.shape[1], self.moods)
        slopes, levels = (
            self._fitted(name, self.people, *shape, self.moods)
            for name, shape in (("slopes", (x.shape[1],)), ("levels", ()))
        )
        if person is not None:
            of_person = jnp.einsum("bk,bkq->bq", x, slopes[person]) + levels[person]
            total = total + jnp.where((person > 0)[:, None], of_person, 0.0)
        return total + batch.get(CORRECTION, 0.0), x

    def _fitted(self, name: str, *shape: int) -> Float[Array, "..."]:
        return self.variable("fitted", name, jnp.zeros if name in ("slopes", "levels") else jnp.ones, shape).value


def fit(
    config: ConfigDict,
    tasks: Sequence[Task],
    modalities: Sequence[Modality],
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
) -> ridge.Path:
    """Fits the path on some days; arguments and value as of `ridge.fit`.

    Left out is the day where people are in all splits (`within_clusters` of the card), and the person where they are
    not, or have no layers.
    """
    limit = config.data.max_windows or None
    read = [one for one in modalities if one.name != PERSON]
    inputs = [ridge.read(corpus, one.name, members, limit) for one in read]
    targets = ridge.targets_of(tasks, corpus)[members]
    number, people = numbers(corpus, members, limit)
    model = mixed.fit(np.concatenate([one.x for one in inputs], axis=1), targets, number, people)
    known_people = config.model.micro and people > 1 and bool(corpus.card.get("within_clusters"))
    left_out = model.without_day if known_people else model.without_person
    of_layers = model.fit if config.model.micro and people > 1 else model.shared
    deviation = np.nanstd(left_out, axis=0)
    unit = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
    variables = {"common": model.common * unit, "slopes": model.slopes * unit, "levels": model.levels * unit}
    for one in inputs:
        variables |= {f"{one.name}_{what}": value for what, value in one.scales.items()}
    everybody = np.zeros((2, len(corpus), targets.shape[1]))
    filled = np.where(np.isnan(left_out), of_layers, left_out)
    everybody[:, members] = (filled - model.mean) * unit, (filled - of_layers) * unit
    return ridge.Path({name: np.asarray(x, np.float32) for name, x in variables.items()}, *everybody)


def numbers(corpus: Corpus, members: Int[np.ndarray, " m"], limit: int | None) -> tuple[Int[np.ndarray, " m"], int]:
    """The person of each day, and how many numbers a network knows; days of nobody get numbers beyond."""
    if PERSON not in corpus.modalities:
        return 1 + np.unique([corpus.cluster[i] for i in members], return_inverse=True)[1], 1
    people = corpus.modalities[PERSON].vocabulary
    used = statistics.id_counts(corpus, PERSON, limit)[members]
    number = np.where(np.diff(used.indptr) > 0, np.asarray(used.argmax(axis=1)).ravel(), 0)
    return np.where(number > 0, number, people + np.arange(len(members))), people
