"""What is fitted on the training participants before the first step, and on nobody else."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from mmpsy_jax import models, objectives
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.data.statistics import id_counts, inverse_document_frequency, moments
from mmpsy_jax.io import InputError
from mmpsy_jax.models import linear_path
from mmpsy_jax.models.base import Head, Modality
from mmpsy_jax.objectives import multitask
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import ridge


def fit(
    config: ConfigDict,
    tasks: Sequence[Task],
    modalities: Sequence[Modality],
    corpus: Corpus,
    members: Int[np.ndarray, " m"],
) -> dict[str, Any]:
    """Constants of one training, as a pytree of numpy arrays whose shapes depend on config and corpus alone.

    Args:
      members: positions of the training participants in the corpus.

    Returns:
      `bias`: initial parameters of the network by name (output biases, a pretrained encoder); `class_weights`
      [classes] by task of classes; `network`: the network's collection "fitted" (weights of n-grams, frozen parts
      of an encoder, a frozen teacher, scales of features); `scores`, for an objective with a memory, by label: those of
      the training participants, NaN for all others of the corpus; `left_out`, of a network beside a linear path: what
      that path says of each participant of the corpus who is trained on without having been fitted on them.

    Raises:
      InputError: a task without a single training label.
    """
    scores = {name: column[members] for name, column in corpus.labels.items()}
    limit = config.data.max_windows or None
    parameters, network = models.pretrained(config.model.name, config.model.to_dict())
    network = network | {
        f"{m.name}_adapter": {"idf": inverse_document_frequency(id_counts(corpus, m.name, limit)[members])}
        for m in modalities
        if m.kind == "ids"
    }
    network |= models.fit(config.model.name, config, tasks, corpus, members)
    if models.scales_inputs(config.model.name, config.model.to_dict()):
        read = [m.name for m in modalities if m.kind != "ids"]
        network |= {f"{name}_scale": moments(corpus, name, members, limit) for name in read}
    fitted = {**of_scores(tasks, scores, config.objective.class_weights), "network": network}
    fitted["bias"] = fitted["bias"] | parameters
    if models.reads_linear(config.model.name, config.model.to_dict()):
        path = ridge.fit(config, tasks, modalities, corpus, members)
        network[linear_path.NAME] = path.variables
        fitted["bias"] |= ridge.read_out(config, tasks, tuple(map(head, tasks)), corpus, members, path.left_out, fitted)
        if not models.is_closed_form(config.model.name):
            fitted["left_out"] = path.left_out.astype(np.float32)
    if objectives.has_memory(config.objective.name):
        fitted["scores"] = training_scores(corpus.labels, members)
    return fitted


def training_scores(
    scores: Mapping[str, Float[np.ndarray, " n"]], members: Int[np.ndarray, " m"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """What the memory of an objective begins with: the scores of those who are trained on, NaN for all others."""
    kept = {name: np.full(len(column), np.nan, np.float32) for name, column in scores.items()}
    for name, column in kept.items():
        column[members] = scores[name][members]
    return kept


def of_scores(
    tasks: Sequence[Task], scores: Mapping[str, Float[np.ndarray, " n"]], class_weighting: str
) -> dict[str, Any]:
    """`bias` and `class_weights` of `fit`, from the scores of the training participants by label."""
    biases = [head(task).bias(start(task, scores[task.label])) for task in tasks]
    return {
        "bias": {name: value for bias in biases for name, value in bias.items()},
        "class_weights": {
            task.name: np.asarray(multitask.class_weights(task, scores[task.label], class_weighting), np.float32)
            for task in tasks
            if task.n_classes
        },
    }


def head(task: Task) -> Head:
    """A task's output of the network."""
    return Head(task.name, task.kind, task.n_classes, task.label)


def start(task: Task, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
    """Where a task's output biases start, see `Task.start`."""
    known = task.targets(scores)
    known = known[~np.isnan(known)]
    if not len(known):
        raise InputError(f"task {task.name!r}: no participant of the training split has a {task.label!r} score")
    return task.start(known)
