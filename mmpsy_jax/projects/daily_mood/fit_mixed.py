"""Fits the closed form of `mixed.py` on the training days of a run, for the part `mixed_path.py` of a network."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mmpsy_jax.data import statistics
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.models.base import Modality
from mmpsy_jax.projects.daily_mood import mixed
from mmpsy_jax.projects.daily_mood.mixed_path import PERSON
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import ridge


def fit(
    config: ConfigDict,
    tasks: Sequence[Task],
    modalities: Sequence[Modality],
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
) -> ridge.Path:
    """Fits the path on some days; arguments and value as of `ridge.fit`.

    Left out is the day where people are in all splits (`within_clusters` of the card), and the person where they are
    not, or have no layers.
    """
    limit = config.data.max_windows or None
    read = [one for one in modalities if one.name != PERSON]
    inputs = [ridge.pooled_input(corpus, one.name, members, limit) for one in read]
    targets = ridge.targets_of(tasks, corpus)[members]
    number, people = numbers(corpus, members, limit)
    model = mixed.fit(np.concatenate([one.x for one in inputs], axis=1), targets, number, people)
    known_people = config.model.micro and people > 1 and corpus.within_clusters
    left_out = model.without_day if known_people else model.without_person
    of_layers = model.fit if config.model.micro and people > 1 else model.shared
    unit = ridge.unit_of(left_out)
    variables = {"common": model.common * unit, "slopes": model.slopes * unit, "levels": model.levels * unit}
    for one in inputs:
        variables |= {f"{one.name}_{what}": value for what, value in one.scales.items()}
    everybody = np.zeros((len(corpus), targets.shape[1]))
    everybody[members] = (np.where(np.isnan(left_out), of_layers, left_out) - model.mean) * unit
    return ridge.Path({name: np.asarray(x, np.float32) for name, x in variables.items()}, everybody)


def numbers(corpus: Corpus, members: Int[np.ndarray, " m"], limit: int | None) -> tuple[Int[np.ndarray, " m"], int]:
    """The person of each day, and how many numbers a network knows; days of nobody get numbers beyond."""
    if PERSON not in corpus.modalities:
        return 1 + np.unique([corpus.cluster[i] for i in members], return_inverse=True)[1], 1
    people = corpus.modalities[PERSON].vocabulary
    number = statistics.id_counts(corpus, PERSON, limit)[members].argmax(axis=1).A1
    return np.where(number > 0, number, people + np.arange(len(members))), people
