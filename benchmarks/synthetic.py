"""Random participants for `train_step.py`, and their packed batches. Everything here is SYNTHETIC and means nothing.

Interviews last as long as those of the demo corpus or the transcripts, whose shapes the inputs have (float16 or ids).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mmpsy_jax.data.in_memory import widen
from mmpsy_jax.data.plan import epoch_plan, limited, rows_of_slots, window_slots
from mmpsy_jax.models.base import Modality
from mmpsy_jax.tasks import from_config

WINDOW_SECONDS, HOP_SECONDS = 60.0, 50.0
SECONDS = (46.8, 0.75, 12.0, 200.0)  # median, log standard deviation, least, most: as in the demo corpus
CHARACTERS = (234.0, 0.8, 24.0, 3967.0)  # the same of the transcripts (docs/mmpsy.md)
SECONDS_OF_TOKENS = 35.0  # of speech that fill the tokens of a window; only the last seconds of an interview do not
CHARACTERS_PER_WINDOW, SECONDS_PER_CHARACTER = 175, 0.25
PEOPLE = 800  # of the corpus, of whom only those of the batches that are asked for get inputs
MOST_PARTS = 5  # see `data.pieces.default_parts`


class Setting(NamedTuple):
    """A config and synthetic participants for it."""

    config: ConfigDict
    tasks: tuple
    modalities: tuple[Modality, ...]  # as whole windows
    participants: list[dict[str, Any]]
    plan: list[np.ndarray]  # members of each batch, [G, B]
    parts: int  # pieces of a window
    slots: dict[str, int]  # pieces of each modality that fit into a batch

    @property
    def pieces(self) -> tuple[Modality, ...]:
        """The modalities as the network sees them."""
        return tuple(m._replace(shape=(m.shape[0] // self.parts, m.shape[1])) for m in self.modalities)


def setting(config: ConfigDict, *, batches: int, equal: int = 0, seed: int = 0) -> Setting:
    """Random participants for a few batches of a config.

    Args:
      equal: full windows of every participant, so that padding and packing waste nothing; 0 draws them.
    """
    rng, tasks, size = np.random.default_rng(seed), from_config(config.tasks), config.data.batch_size
    ids = config.data.dataset.endswith("transcripts")
    if ids:
        modalities = (Modality("text", "ids", (175, 4), vocabulary=65536),)
    else:
        modalities = (Modality("audio", "frames", (1800, 80)), Modality("text", "features", (175, 768)))
    patches = [m.shape[0] // (config.model.patch if m.kind == "frames" else 1) for m in modalities]
    parts = config.data.parts or max(n for n in range(1, MOST_PARTS + 1) if all(patch % n == 0 for patch in patches))
    middle, deviation, least, most = CHARACTERS if ids else SECONDS
    amounts = np.clip(middle * np.exp(deviation * rng.standard_normal(PEOPLE)), least, most)
    windows = amounts / CHARACTERS_PER_WINDOW if ids else 1 + np.maximum(0, amounts - WINDOW_SECONDS) / HOP_SECONDS
    windows = np.full(PEOPLE, equal) if equal else np.ceil(windows).astype(np.int64)
    windows = limited(windows, config.data.max_windows or None)
    participants = []
    for count, amount in zip(windows, amounts, strict=True):
        start = np.arange(count, dtype=np.float32) * (HOP_SECONDS, CHARACTERS_PER_WINDOW * SECONDS_PER_CHARACTER)[ids]
        participants.append({"window_start_s": start})
        for m in modalities:
            if ids:
                share = amount / CHARACTERS_PER_WINDOW - np.arange(count)
            else:
                share = (
                    (amount - start) / WINDOW_SECONDS
                    if m.kind == "frames"
                    else np.full(count, amount / SECONDS_OF_TOKENS)
                )
            share = np.ones(count) if equal else share
            participants[-1][f"{m.name}_length"] = np.clip(share * m.shape[0], 1, m.shape[0]).astype(np.int32)
    counts = {m.name: np.array([_needed(one, m, parts).sum() for one in participants]) for m in modalities}
    slots = window_slots(counts, size, 1)
    plan = epoch_plan(counts, np.arange(PEOPLE), batch_size=size, packs=1, slots=slots, seed=seed)[:batches]
    for member in np.unique(plan):
        if member >= 0:
            participants[member] |= _inputs(rng, modalities, participants[member])
            participants[member]["labels"] = {task.label: np.float32(rng.integers(0, 22)) for task in tasks}
    return Setting(config, tasks, modalities, participants, list(plan), parts, slots)


def _needed(one: Mapping[str, Any], modality: Modality, parts: int) -> np.ndarray:
    """Pieces of each window of a participant that hold something of a modality, [windows]."""
    return -(-one[f"{modality.name}_length"] * parts // modality.shape[0])


def _inputs(rng: np.random.Generator, modalities: Sequence[Modality], one: Mapping[str, Any]) -> dict[str, np.ndarray]:
    inputs = {}
    for m in modalities:
        length = one[f"{m.name}_length"]
        shape = (len(length), *m.shape)
        ids = m.kind == "ids"
        x = rng.integers(1, m.vocabulary, shape, np.int32) if ids else rng.standard_normal(shape, np.float32)
        x[np.arange(m.shape[0]) >= length[:, None]] = 0
        inputs[m.name] = x if ids else x.astype(np.float16)
    return inputs


def packed(drawn: Setting, members: np.ndarray) -> dict[str, Any]:
    """A batch as docs/architecture.md says, on the default device, as `gather` gives it."""
    people = [drawn.participants[i] for i in members[0] if i >= 0]
    padding = members.shape[1] - len(people)
    start = np.concatenate([one["window_start_s"] for one in people])[:, None]
    start = start + np.arange(drawn.parts, dtype=np.float32) * (WINDOW_SECONDS / drawn.parts)  # [windows, parts]
    batch: dict[str, Any] = {"index": members.astype(np.int32), "valid": members >= 0}
    batch["labels"] = {
        name: np.array([[one["labels"][name] for one in people] + [np.nan] * padding], np.float32)
        for name in people[0]["labels"]
    }
    for whole, m in zip(drawn.modalities, drawn.pieces, strict=True):
        needed = [_needed(one, whole, drawn.parts) for one in people]
        kept = np.concatenate([np.arange(drawn.parts) < n[:, None] for n in needed])
        windows = np.concatenate([one[m.name] for one in people])
        length = np.concatenate([one[f"{m.name}_length"] for one in people])[:, None]
        joined = {
            m.name: windows.reshape(len(windows), drawn.parts, *m.shape)[kept],
            f"{m.name}_length": np.clip(length - np.arange(drawn.parts) * m.shape[0], 0, m.shape[0])[kept],
            f"{m.name}_start_s": start[kept],
        }
        for name, x in joined.items():
            batch[name] = np.zeros((1, drawn.slots[m.name], *x.shape[1:]), x.dtype)
            batch[name][0, : len(x)] = x
        counts = np.array([[int(n.sum()) for n in needed] + [0] * padding])
        batch[f"{m.name}_row"] = rows_of_slots(counts, drawn.slots[m.name])
    return jax.tree.map(widen, jax.device_put(batch))
