"""Where a model should not be asked: interviews unlike those that it was trained on.

A measure (`features/typical.py`) is outside when it is below the 0.1 % quantile of the training participants divided
by `FACTOR`, or above their 99.9 % quantile times `FACTOR`. That finds what is grossly different (another language, a
minute where interviews last ten, noise); an interview inside the limits may still be unlike them in other ways.
"""

from collections.abc import Sequence

import numpy as np

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.features import typical
from mmpsy_jax.training.trained import Trained, known_ids

FACTOR = 1.5


class Usual:
    """The limits of a run for the modalities that are read."""

    def __init__(self, trained: Trained, names: Sequence[str]):
        self.names = names
        self._entries = {name: trained.card["modalities"][name] for name in names}
        self._quantiles = {name: trained.card["usual"][name]["quantiles"] for name in names}
        self._known: dict[str, np.ndarray | None] = {
            name: known_ids(trained.card["usual"][name]["known"], entry["vocabulary"])
            if entry["kind"] == "ids"
            else None
            for name, entry in self._entries.items()
        }

    def reason(self, corpus: Corpus, i: int, distance: float) -> str:
        """Why the model should abstain on participant `i`; "" where nothing speaks against a number.

        Args:
          distance: of its embedding, a fraction of the limit, the mean over the trainings.
        """
        found = []
        for name in self.names:
            if not corpus.has[name][i]:
                continue
            record = corpus.reader.read(i, [name, f"{name}_length"])
            entry = self._entries[name]
            made = typical.measures(record[name], record[f"{name}_length"], entry, self._known[name])
            for measure, (low, high) in self._quantiles[name].items():
                if not low / FACTOR <= made[measure] <= high * FACTOR:
                    found.append(f"{name} {measure} {made[measure]:.4g} (training: {low:.4g} to {high:.4g})")
        if distance > FACTOR:
            found.append(f"embedding distance {distance:.4g} times the limit of training")
        return "; ".join(found) or ("" if any(corpus.has[name][i] for name in self.names) else "nothing to read")
