"""Where a model should not be asked: interviews unlike those that it was trained on.

A measure (`features/out_of_distribution.py`) is outside when it is below the 0.1 % quantile of the training
participants divided by `FACTOR`, or above their 99.9 % quantile times `FACTOR`. That finds what is grossly different
(another language, a minute where interviews last ten, noise); an interview inside the limits may still be unlike them
in other ways.
"""

from collections.abc import Sequence

import numpy as np

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.features import out_of_distribution
from mmpsy_jax.io import InputError
from mmpsy_jax.training.finished_run import FinishedRun
from mmpsy_jax.training.run_card import known_ids
from mmpsy_jax.training.run_files import AGAIN, CARD

FACTOR = 1.5
# What the reasons mean, by the measure that they name.
_PLAIN = {
    " length ": "much longer or shorter than the interviews of training",
    " unknown_": "other characters than in training, as of another language",
    " spread_over_": "numbers that vary unlike those of training, as of noise or another recorder",
    "embedding distance": "far from the people of training in the space of the network",
    "nothing to read": "nothing that the run reads",
}


def in_plain_words(reasons: Sequence[str]) -> str:
    """How often each kind of reason occurs among some of `Usual.reason`, the most frequent first; "" without any."""
    counts = {words: sum(measure in f" {reason}" for reason in reasons) for measure, words in _PLAIN.items()}
    frequent = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    return ", ".join(f"{words}: {count}" for words, count in frequent)


class Usual:
    """The limits of a run for the modalities that are read.

    Raises:
      InputError: the run does not say what is usual.
    """

    def __init__(self, run: FinishedRun, names: Sequence[str]):
        self.names = names
        self._entries = {name: run.card["modalities"][name] for name in names}
        try:
            self._quantiles = {name: dict(run.card["usual"][name]["quantiles"]) for name in names}
            self._known: dict[str, np.ndarray | None] = {
                name: known_ids(run.card["usual"][name]["known"], entry["vocabulary"])
                if entry["kind"] == "ids" and "known" in run.card["usual"][name]
                else None
                for name, entry in self._entries.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{CARD} of the run: what it says of usual interviews is damaged: {AGAIN}") from error

    def reason(self, corpus: Corpus, i: int, distance: float) -> str:
        """Why the model should abstain on participant `i`; "" where nothing speaks against a number.

        Args:
          distance: of its embedding, a fraction of the limit, the mean over the trainings.
        """
        reasons = []
        for name in self.names:
            if not corpus.has[name][i]:
                continue
            record = corpus.reader.read(i, [name, f"{name}_length"])
            entry = self._entries[name]
            values = out_of_distribution.measures(record[name], record[f"{name}_length"], entry, self._known[name])
            for measure, (low, high) in self._quantiles[name].items():
                if not low / FACTOR <= values[measure] <= high * FACTOR:
                    reasons.append(f"{name} {measure} {values[measure]:.4g} (training: {low:.4g} to {high:.4g})")
        if distance > FACTOR:
            reasons.append(f"embedding distance {distance:.4g} times the limit of training")
        return "; ".join(reasons) or ("" if any(corpus.has[name][i] for name in self.names) else "nothing to read")
