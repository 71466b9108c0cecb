"""A config's network, objective and optimizer put together: the one place where model, objective and tasks meet."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmpsy_jax import models, objectives
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import EMBEDDING, Modality, Rates
from mmpsy_jax.objectives import weighting
from mmpsy_jax.objectives.base import Objective
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import optimizer, privacy
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.mesh import on_each_device, one_device
from mmpsy_jax.training.step import Functions, Parts, make_functions
from mmpsy_jax.training.train_statistics import head

RATES = {"dropout": "dropout", "token": "token_dropout", "ngram": "ngram_dropout", "modality": "modality_dropout"}


def network(
    config: ConfigDict, tasks: Sequence[Task], *, modalities: Sequence[Modality], window_seconds: float
) -> nn.Module:
    """The network of a config; arguments as of `build`.

    Raises:
      InputError: an unknown model or argument, or a task whose name is taken.
    """
    if any(task.name == EMBEDDING for task in tasks):
        raise InputError(f"config.tasks: the name {EMBEDDING!r} is taken by an output of the network: choose another")
    arguments = {k: v for k, v in config.model.items() if k != "name" and k not in RATES.values()}
    try:
        # A config that was read from its file has lists, with which a network could not be hashed.
        arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        return models.build(
            config.model.name,
            modalities=tuple(modalities),
            heads=tuple(head(task) for task in tasks),
            window_seconds=window_seconds,
            **arguments,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error


def objective(config: ConfigDict, tasks: Sequence[Task], modalities: Sequence[str]) -> Objective:
    """What `config.objective` stands for, given the whole config.

    Raises:
      InputError: an unknown name, or values that do not fit the tasks.
    """
    fields = {"model": dict(config.model.items()), "fields": dict(config.objective.items())}
    return objectives.build(config.objective.name, tasks, modalities, **fields)


def build(
    config: ConfigDict,
    tasks: Sequence[Task],
    *,
    modalities: Sequence[Modality],
    window_seconds: float,
    total: int,
    steps_per_epoch: int,
    mesh: Mesh | None = None,
) -> Functions:
    """The pure functions of one training.

    Args:
      config: the whole config.
      tasks: what is predicted.
      modalities: the inputs.
      window_seconds: length of a window.
      total, steps_per_epoch: length of the training in batches.
      mesh: whose devices share a batch; None of one device.

    Raises:
      InputError: an unknown model, argument, weighting or schedule.
    """
    model = network(config, tasks, modalities=modalities, window_seconds=window_seconds)

    def parts(values: Mapping[str, Any]) -> Parts:
        """What depends on the fields that replicas may bring as arrays."""
        ours = overlay(config, values)
        asked = objective(ours, tasks, [m.name for m in modalities])
        return Parts(
            rates=Rates(**{name: ours.model.get(field, 0.0) for name, field in RATES.items()}),
            objective=asked,
            weighting=weighting.build(
                ours.objective.weighting,
                asked.names,
                weights=ours.objective.weights.to_dict(),
                temperature=ours.objective.dwa_temperature,
                alpha=ours.objective.gradnorm_alpha,
                layer=ours.objective.gradnorm_layer,
            ),
            optimizer=optimizer.build(ours.optimizer, total, steps_per_epoch, config.data.batch_size),
        )

    parts({})  # whatever is wrong with the config is found before anything is compiled
    if privacy.is_on(config) and not config.privacy.noise_multiplier:
        raise InputError("config.privacy.epsilon: this verb does not train privately: leave it out")
    private = functools.partial(privacy.gradients, privacy=config.privacy, expected=config.data.batch_size)
    divide = functools.partial(on_each_device, mesh=mesh or one_device(), fsdp=config.mesh.fsdp)
    ours = private if privacy.is_on(config) else None
    return make_functions(model, parts, config.optimizer.ema, ours, divide)
