"""Mean and deviation of the features of participants: what inputs are scaled by."""

import functools

import numpy as np
from jaxtyping import Float, Float32, Int

from mmpsy_jax.data.records import Corpus


@functools.lru_cache(maxsize=8)  # folds and seeds ask for the same corpus and its few modalities
def time_means(corpus: Corpus, modality: str, max_windows: int | None) -> Float[np.ndarray, "n f"]:
    """Mean over the valid steps of each participant; NaN for who has none.

    Args:
      corpus: the participants.
      modality: of kind "features".
      max_windows: of each participant, from the start; None for all.
    """
    kind = corpus.modalities[modality]
    made = np.full((len(corpus), int(np.delete(kind.shape, kind.time_axis)[0])), np.nan)
    for i in np.flatnonzero(corpus.has[modality]).tolist():
        record = corpus.reader.read(i, [modality, f"{modality}_length"])
        windows = np.moveaxis(record[modality][:max_windows], 1 + kind.time_axis, 1)
        valid = np.arange(kind.steps) < record[f"{modality}_length"][:max_windows, None]
        if valid.any():
            made[i] = windows[valid].mean(axis=0, dtype=np.float64)
    return made


def moments(
    corpus: Corpus, modality: str, members: Int[np.ndarray, " m"], max_windows: int | None
) -> dict[str, Float32[np.ndarray, " f"]]:
    """`mean` and `deviation` over participants of their `time_means`; 0 and 1 of a feature that does not vary.

    Args:
      members: positions of the participants: the training part and nobody else.
    """
    known = time_means(corpus, modality, max_windows)[np.asarray(members)]
    known = known[~np.isnan(known[:, 0])]
    if not len(known):
        return {"mean": np.zeros(known.shape[1], np.float32), "deviation": np.ones(known.shape[1], np.float32)}
    deviation = known.std(axis=0)
    return {
        "mean": known.mean(axis=0).astype(np.float32),
        "deviation": np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32),
    }
