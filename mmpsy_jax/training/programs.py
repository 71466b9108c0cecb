"""A config's network, objective and optimizer put together: the one place where model, objective and tasks meet."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mmpsy_jax import models
from mmpsy_jax.errors import InputError
from mmpsy_jax.models.mental_perceiver import Head, Modality
from mmpsy_jax.objectives import multitask
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import optimizer
from mmpsy_jax.training.step import Programs, make_programs


def build(
    config: ConfigDict,
    tasks: Sequence[Task],
    *,
    modalities: Sequence[Modality],
    window_seconds: float,
    scores: Mapping[str, Float[np.ndarray, " n"]],
    mesh: jax.sharding.Mesh,
    total: int,
    steps_per_epoch: int,
) -> Programs:
    """The compiled programs of one training.

    Args:
      config: the whole config.
      tasks: what is predicted.
      modalities: the inputs.
      window_seconds: length of a window.
      scores: of the training participants, per label; initial biases and class weights are fitted on them.
      mesh: the devices.
      total, steps_per_epoch: length of the training in batches.

    Raises:
      InputError: an unknown model, argument, weighting or schedule, or a task without a single training label.
    """
    objective = multitask.build(
        tasks,
        scores,
        weighting=config.objective.weighting,
        weights=config.objective.weights.to_dict(),
        class_weighting=config.objective.class_weights,
        ccc=config.objective.ccc,
        delta=config.objective.delta,
    )
    arguments = {name: value for name, value in config.model.items() if name != "name"}
    try:
        model = models.build(
            config.model.name,
            modalities=tuple(modalities),
            heads=tuple(head(task, scores[task.label]) for task in tasks),
            window_seconds=window_seconds,
            **arguments,
        )
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error
    chain = optimizer.build(config.optimizer, total, steps_per_epoch, config.data.batch_size)
    return make_programs(model, objective, chain, mesh, config.optimizer.ema)


def head(task: Task, scores: Float[np.ndarray, " n"]) -> Head:
    """A task's output, with biases that start at the training participants' frequencies (or mean score)."""
    known = task.targets(scores)
    known = known[~np.isnan(known)]
    if not len(known):
        raise InputError(f"task {task.name!r}: no participant of the training split has a {task.label!r} score")
    if task.kind == "regression":
        return Head(task.name, task.kind, 0, (float(known.mean() / task.maximum),))
    # One is added to each class so that an empty class has a finite bias.
    counts = np.bincount(known.astype(int), minlength=task.n_classes) + 1.0
    share = counts / counts.sum()
    if task.kind == "binary":
        return Head(task.name, task.kind, task.n_classes, tuple(float(v) for v in np.log(share)))
    below = np.cumsum(share)[:-1]
    return Head(task.name, task.kind, task.n_classes, tuple(float(v) for v in np.log(below / (1 - below))))
