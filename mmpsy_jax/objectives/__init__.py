"""Objectives, one file each, with a class `Objective` (`base.py`) and a function `build`; found by their file name."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmpsy_jax import registry, rules
from mmpsy_jax.objectives.base import Objective
from mmpsy_jax.tasks import Task


def build(
    name: str, tasks: Sequence[Task], modalities: Sequence[str], *, model: Mapping[str, Any], fields: Mapping[str, Any]
) -> Objective:
    """The objective of a name.

    Args:
      tasks: what is predicted.
      modalities: names of the inputs.
      model: `config.model`.
      fields: `config.objective`; those that this objective declares are taken.

    Raises:
      InputError: an unknown name, or values that do not fit the tasks.
    """
    values = {field: fields[field] for field in registry.declared_fields("objectives", name)}
    return registry.load("objectives", name).build(tasks, modalities, model, **values)


def check_fields(name: str, values: Mapping[str, Any]) -> None:
    """Raises InputError for the first value that a config field of an objective cannot have.

    Args:
      name: as in `build`.
      values: by field; those that the objective does not declare are passed over.
    """
    parameters = inspect.signature(registry.load("objectives", name).build).parameters.values()
    fields = {one.name: one.annotation for one in parameters if one.kind == one.KEYWORD_ONLY}
    rules.check_fields(values, fields, "config.objective")


def has_memory(name: str) -> bool:
    """Whether an objective keeps something of earlier steps (`Objective.memory`)."""
    return hasattr(registry.load("objectives", name).Objective, "memory")


def learns_unlabelled(name: str) -> bool:
    """Whether participants without any label teach something under an objective (`Objective.learns_unlabelled`)."""
    return getattr(registry.load("objectives", name).Objective, "learns_unlabelled", False)
