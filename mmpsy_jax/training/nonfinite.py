"""Records that hold numbers that are not finite: named by where they are, before a loss becomes NaN because of them."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError

_SHOWN = 5


def refuse(corpus: Corpus, names: Sequence[str]) -> None:
    """Raises InputError where the index of a corpus knows of numbers that are not finite.

    Args:
      corpus: of N participants.
      names: of the modalities that are read.
    """
    for name in names:
        _raise_for(corpus, name, np.flatnonzero(~corpus.finite[name]).tolist())
    _raise_for_labels(corpus, range(len(corpus)))


def look_at(corpus: Corpus, names: Sequence[str], members: Int[np.ndarray, " m"]) -> None:
    """Raises InputError where records that are read again now hold numbers that are not finite.

    Args:
      corpus: of N participants.
      names: of the modalities that are read.
      members: positions of the participants, -1 for nobody.
    """
    members = [int(i) for i in np.ravel(members) if i >= 0]
    for name in names:
        if corpus.modalities[name].kind == "features":
            records = ((i, corpus.reader.read(i, [name])[name]) for i in members)
            _raise_for(corpus, name, [i for i, values in records if not np.isfinite(values).all()])
    _raise_for_labels(corpus, members)


def _raise_for_labels(corpus: Corpus, members: Iterable[int]) -> None:
    for name, scores in corpus.labels.items():  # NaN is a label that is missing
        _raise_for(corpus, f"label {name}", [i for i in members if np.isinf(scores[i])])


def _raise_for(corpus: Corpus, what: str, bad: Sequence[int]) -> None:
    if not bad:
        return
    places = ", ".join(f"{i} ({corpus.split[i]})" for i in bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
    raise InputError(
        f"{corpus.path}: {what} holds numbers that are not finite for {len(bad)} of {len(corpus)} participants, at "
        f"these positions in the corpus, from 0: {places}: correct them at their source and build the corpus again"
    )
