"""How many participants use an n-gram: what TF-IDF weights are fitted on."""

import functools

import numpy as np
import scipy.sparse
from jaxtyping import Float32, Int

from mmpsy_jax.data.records import Corpus


@functools.lru_cache(maxsize=2)  # folds and seeds ask for the same corpus; 1,020 transcripts take half a second
def presence(corpus: Corpus, modality: str, max_windows: int | None) -> scipy.sparse.csr_matrix:
    """Which ids each participant uses [N, vocabulary], bool; id 0 is nothing.

    Args:
      corpus: the participants.
      modality: of kind "ids".
      max_windows: of each participant, from the start; None for all.
    """
    found = []
    for i in range(len(corpus)):
        used = np.unique(corpus.reader.read(i, [modality])[modality][:max_windows]) if corpus.has[modality][i] else ()
        found.append(np.setdiff1d(np.asarray(used, np.int64), [0], assume_unique=True))
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in found])])
    columns = np.concatenate(found)
    shape = (len(corpus), corpus.modalities[modality].vocabulary)
    return scipy.sparse.csr_matrix((np.ones(len(columns), bool), columns, starts), shape)


def inverse_document_frequency(
    corpus: Corpus, modality: str, members: Int[np.ndarray, " m"], max_windows: int | None, *, at_least: int = 2
) -> Float32[np.ndarray, " v"]:
    """ln((1 + n) / (1 + df)) + 1 of each id over n participants, as scikit-learn's TfidfTransformer smooths it.

    Args:
      members: positions of the participants to count: the training part and nobody else.
      at_least: ids that fewer of them use get weight zero.
    """
    frequency = presence(corpus, modality, max_windows)[np.asarray(members)].sum(axis=0, dtype=np.int64)
    frequency = np.asarray(frequency).ravel()
    weight = np.log((1 + len(members)) / (1 + frequency)) + 1
    return np.where(frequency >= at_least, weight, 0.0).astype(np.float32)
