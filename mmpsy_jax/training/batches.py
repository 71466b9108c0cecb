"""How a config divides a corpus into batches: the numbers that all its trainings share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int
from ml_collections import ConfigDict

from mmpsy_jax.data.pieces import Pieces, cut, default_parts
from mmpsy_jax.data.plan import batches_needed, window_slots
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.modality import INTERVIEWER, Modality
from mmpsy_jax.training.mesh import packs_of


class Batching(NamedTuple):
    """Shapes of a batch.

    Attributes:
      modalities: the inputs of the network, as pieces of windows.
      pieces: how the windows of the whole corpus are cut.
      sizes: `batch_size`, `packs` and `slots` (by modality), as the functions of `data/plan.py` take them.
    """

    modalities: tuple[Modality, ...]
    pieces: Pieces
    sizes: dict[str, Any]

    @property
    def inputs(self) -> dict[str, Any]:
        """`modalities` and `window_seconds`, as a network takes them."""
        return {"modalities": self.modalities, "window_seconds": self.pieces.seconds}

    def example(self, labels: Iterable[str]) -> dict[str, Any]:
        """Shapes and types of a batch (docs/architecture.md, "A batch") with these labels."""
        packs = self.sizes["packs"]
        spec = lambda dtype, *shape: jax.ShapeDtypeStruct((packs, *shape), dtype)  # noqa: E731
        rows = self.sizes["batch_size"] // packs
        batch: dict[str, Any] = {"valid": spec(bool, rows), "index": spec(np.int32, rows)}
        batch["labels"] = {name: spec(np.float32, rows) for name in labels}
        for one in self.modalities:
            slots = self.sizes["slots"][one.name]
            batch[one.name] = spec(one.dtype, slots, *one.shape)
            batch |= {f"{one.name}_{what}": spec(np.int32, slots) for what in ("length", "row")}
            batch[f"{one.name}_start_s"] = spec(np.float32, slots)
        return batch

    def needed(self, members: Int[np.ndarray, " m"], batches: int | None = None) -> int:
        """Batches per epoch of some participants, at least `batches`."""
        return batches_needed(self.pieces.counts, members, **self.sizes, batches=batches)

    def most(self, parts: Sequence[Int[np.ndarray, " _"]]) -> int:
        """Batches of the part that needs most: all of them take as many steps, whatever trains beside them."""
        return max(self.needed(part) for part in parts)


def real_rows(parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], Int[np.ndarray, " n"]]:
    """Outputs by name and corpus index of each row of some batches (`step.predict`), without rows that pad."""
    index = np.concatenate([part["index"] for part in parts])
    real = index >= 0
    return {k: np.concatenate([part["outputs"][k] for part in parts])[real] for k in parts[0]["outputs"]}, index[real]


def names_of(config: ConfigDict, corpus: Corpus) -> tuple[str, ...]:
    """Modalities that are read: those named in the config, or all but those of the interviewer."""
    named = config.data.modalities or [name for name in corpus.modalities if not is_interviewers(corpus, name)]
    return tuple(name for name in corpus.modalities if name in named)


def is_interviewers(corpus: Corpus, name: str) -> bool:
    """Whether a modality is what the interviewer said."""
    return corpus.card["modalities"][name].get("role") == INTERVIEWER


def of(config: ConfigDict, corpus: Corpus, mesh: Mesh) -> Batching:
    """What `config.data` comes to on this corpus and these devices.

    Raises:
      InputError: parts that do not divide the windows, or participants, packs and devices that cannot be divided.
    """
    data, names = config.data, names_of(config, corpus)
    frames = {name: config.model.get("patch", 1) for name in names if corpus.modalities[name].kind == "frames"}
    parts = data.parts or default_parts(corpus, names, frames)
    pieces = cut(corpus, names, parts, data.max_windows or None)
    rows, packs = data.batch_size, data.packs
    if config.privacy.epsilon:  # a pack per participant, and room for more than are expected
        rows = packs = config.privacy.rows or data.batch_size
    packs = packs_of(rows, packs, mesh)
    slots = window_slots(pieces.counts, rows, packs)
    modalities = tuple(modality.piece(parts) for modality in pieces.modalities.values())
    return Batching(modalities, pieces, {"batch_size": rows, "packs": packs, "slots": slots})
