"""A corpus in which a part of the training split has labels and the rest none, as where few clips were rated."""

import dataclasses

import numpy as np

from mmpsy_jax.data.records import Corpus


def hide_labels(corpus: Corpus, fraction: float, seed: int) -> Corpus:
    """Hides every label of all but a random part of the training participants; validation and test keep theirs.

    Of two fractions with one seed the smaller part lies within the larger.

    Args:
      corpus: any.
      fraction: of the participants of the training split with any label whose labels stay, above 0; at least one.
      seed: of the choice.
    """
    known = np.isfinite(list(corpus.labels.values())).any(axis=0)
    labelled = np.random.default_rng(seed).permutation(np.flatnonzero(known & (np.array(corpus.split) == "train")))
    hidden = labelled[max(1, round(fraction * len(labelled))) :]
    labels = {name: column.copy() for name, column in corpus.labels.items()}
    for column in labels.values():
        column[hidden] = np.nan
    return dataclasses.replace(corpus, labels=labels)
