"""What inputs are scaled and weighted by: mean and deviation of features, and how many participants use an n-gram."""

import functools

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, Int

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.modality import FINE, fine_ids


@functools.lru_cache(maxsize=8)  # folds and seeds ask for the same corpus and its few modalities
def time_means(corpus: Corpus, modality: str, max_windows: int | None) -> Float[np.ndarray, "n f"]:
    """Mean over the valid steps of each participant; NaN for who has none.

    Args:
      corpus: the participants.
      modality: of kind "features".
      max_windows: of each participant, from the start; None for all.
    """
    kind = corpus.modalities[modality]
    means = np.full((len(corpus), int(np.delete(kind.shape, kind.time_axis)[0])), np.nan)
    for i in np.flatnonzero(corpus.has[modality]).tolist():
        record = corpus.reader.read(i, [modality, f"{modality}_length"])
        windows = np.moveaxis(record[modality][:max_windows], 1 + kind.time_axis, 1)
        valid = np.arange(kind.steps) < record[f"{modality}_length"][:max_windows, None]
        if valid.any():
            means[i] = windows[valid].mean(axis=0, dtype=np.float64)
    return means


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


@functools.lru_cache(maxsize=2)  # folds and seeds ask for the same corpus; 1,020 transcripts take half a second
def id_counts(corpus: Corpus, modality: str, max_windows: int | None, *, fine: bool = False) -> scipy.sparse.csr_matrix:
    """How often each participant uses each id [N, vocabulary]; id 0 is nothing.

    Args:
      corpus: the participants.
      modality: of kind "ids".
      max_windows: of each participant, from the start; None for all.
      fine: count `fine_ids`, of which there are `FINE`.
    """
    used = []
    for i in range(len(corpus)):
        ids = corpus.reader.read(i, [modality])[modality][:max_windows] if corpus.has[modality][i] else np.zeros(0, int)
        ids = fine_ids(ids) if fine and ids.size else ids
        used.append(np.unique(ids[ids > 0], return_counts=True))
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in used])])
    columns, counts = (np.concatenate(part) for part in zip(*used, strict=True))
    shape = (len(corpus), FINE if fine else corpus.modalities[modality].vocabulary)
    return scipy.sparse.csr_matrix((counts.astype(np.int32), columns.astype(np.int64), starts), shape)


def tf_idf(counts: scipy.sparse.csr_matrix, idf: Float32[np.ndarray, " v"]) -> scipy.sparse.csr_matrix:
    """(1 + ln count) idf of each id, divided by the length of the row (as `models.perceiver.bag_weights`)."""
    weighted = counts.astype(np.float64)
    weighted.data = (1 + np.log(weighted.data)) * idf[weighted.indices]
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return scipy.sparse.diags(1 / np.where(length > 0, length, 1.0)) @ weighted


def inverse_document_frequency(counts: scipy.sparse.csr_matrix, *, at_least: int = 2) -> Float32[np.ndarray, " v"]:
    """ln((1 + n) / (1 + df)) + 1 of each id over n participants, as scikit-learn's TfidfTransformer smooths it.

    Args:
      counts: rows of `id_counts`: the training part and nobody else.
      at_least: ids that fewer of them use get weight zero.
    """
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    weight = np.log((1 + counts.shape[0]) / (1 + frequency)) + 1
    return np.where(frequency >= at_least, weight, 0.0).astype(np.float32)
