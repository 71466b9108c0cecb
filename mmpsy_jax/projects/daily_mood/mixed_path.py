"""The closed form of `mixed.py` as part of a network: what common, slopes and levels say of a day."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from mmpsy_jax.models.base import Modality
from mmpsy_jax.models.linear_path import LEFT_OUT, scaled, valid_steps

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
    ) -> tuple[Float[Array, "b q"], Float[Array, "b k"] | None]:
        """Of one pack of a batch; `person` is None where nobody's layers are asked for. In training, where days are
        told what was left out, their numbers are not read (None)."""
        if LEFT_OUT in batch:
            return batch[LEFT_OUT], None
        rows, parts = batch["valid"].shape[0], []
        for modality in self.modalities:
            mask, there = valid_steps(batch, modality.name, rows)
            parts.append(jnp.where(there, scaled(self, batch, modality, mask, rows), 0.0))
        x = jnp.concatenate(parts, axis=-1)
        total = x @ self._fitted("common", x.shape[1], self.moods)
        slopes, levels = (
            self._fitted(name, self.people, *shape, self.moods)
            for name, shape in (("slopes", (x.shape[1],)), ("levels", ()))
        )
        if person is not None:
            of_person = jnp.einsum("bk,bkq->bq", x, slopes[person]) + levels[person]
            total = total + jnp.where((person > 0)[:, None], of_person, 0.0)
        return total, x

    def _fitted(self, name: str, *shape: int) -> Float[Array, "..."]:
        return self.variable("fitted", name, jnp.zeros if name in ("slopes", "levels") else jnp.ones, shape).value
