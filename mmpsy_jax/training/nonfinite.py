"""Records that hold numbers that are not finite: named by where they are, before a loss becomes NaN because of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError

_SHOWN = 5


def refuse(corpus: Corpus, names: Sequence[str], members: Int[np.ndarray, "*m"] | None = None) -> None:
    """Raises InputError where a corpus holds numbers that are not finite.

    Args:
      corpus: of N participants.
      names: of the modalities that are read.
      members: positions of participants whose records are read again now, -1 for nobody; None asks the index of the
        corpus about all of them.
    """
    whose = range(len(corpus)) if members is None else [int(i) for i in np.ravel(members) if i >= 0]
    for name in names:
        if members is None:
            _raise_for(corpus, name, np.flatnonzero(~corpus.finite[name]).tolist())
        elif corpus.modalities[name].kind != "ids":
            records = ((i, corpus.reader.read(i, [name])[name]) for i in whose)
            _raise_for(corpus, name, [i for i, values in records if not np.isfinite(values).all()])
    for name, scores in corpus.labels.items():  # NaN is a label that is missing
        _raise_for(corpus, f"label {name}", [i for i in whose if np.isinf(scores[i])])


def _raise_for(corpus: Corpus, what: str, bad: Sequence[int]) -> None:
    if not bad:
        return
    places = ", ".join(f"{i} ({corpus.split[i]})" for i in bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
    raise InputError(
        f"{corpus.path}: {what} holds numbers that are not finite for {len(bad)} of {len(corpus)} participants, at "
        f"these positions in the corpus, from 0: {places}: correct them at their source and build the corpus again"
    )
