"""What inputs are scaled and weighted by: mean and deviation of features, and how many participants use an n-gram."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, Int, Int32

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.modality import ngram_keys


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
def id_counts(corpus: Corpus, modality: str, max_windows: int | None) -> scipy.sparse.csr_matrix:
    """How often each participant uses each id [N, vocabulary]; id 0 is nothing.

    Args:
      corpus: the participants.
      modality: of kind "ids".
      max_windows: of each participant, from the start; None for all.
    """
    used = [np.unique(ids[ids > 0], return_counts=True) for ids in _ids(corpus, modality, max_windows)]
    return _sparse(used, corpus.modalities[modality].vocabulary)


@functools.lru_cache(maxsize=2)
def key_counts(
    corpus: Corpus, modality: str, max_windows: int | None
) -> tuple[scipy.sparse.csr_matrix, Int32[np.ndarray, " v"]]:
    """How often each participant uses each n-gram that several use [N, v], and their `ngram_keys`, ascending.

    Args:
      corpus, modality, max_windows: as of `id_counts`.
    """
    keys = [ngram_keys(ids) for ids in _ids(corpus, modality, max_windows)]
    used = [np.unique(one[one > 0], return_counts=True) for one in keys]
    everything, users = np.unique(np.concatenate([one for one, _ in used]), return_counts=True)
    kept = everything[users > 1]
    there = [np.isin(one, kept) for one, _ in used]
    parts = [(np.searchsorted(kept, one[k]), n[k]) for (one, n), k in zip(used, there, strict=True)]
    return _sparse(parts, len(kept)), kept


def _ids(corpus: Corpus, modality: str, max_windows: int | None) -> Iterator[Int32[np.ndarray, "*n k"]]:
    nothing = np.zeros((0, corpus.modalities[modality].shape[-1]), np.int32)
    for i in range(len(corpus)):
        there = corpus.has[modality][i]
        yield corpus.reader.read(i, [modality])[modality][:max_windows] if there else nothing


def _sparse(used: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> scipy.sparse.csr_matrix:
    """Rows from the columns and counts of each."""
    starts = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in used])])
    columns, counts = (np.concatenate(part) for part in zip(*used, strict=True))
    return scipy.sparse.csr_matrix((counts.astype(np.int32), columns.astype(np.int64), starts), (len(used), size))


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
