"""Networks, one file per architecture, each with a class `Model` (`base.py`); `build` finds one by its file name.

A file may also have `pretrained(arguments)`: parameters and frozen variables that a network starts from; and
`fit(config, tasks, corpus, members)`: frozen variables that are fitted on the training participants.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmpsy_jax import registry, rules


def build(name: str, **arguments) -> nn.Module:
    """The network of a name, built with plain arguments.

    Raises:
      ValueError: there is no such model, it has no such argument or value, or it cannot read these modalities.
    """
    known = {field.name for field in dataclasses.fields(_class(name))} - {"parent", "name"}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise ValueError(f"model {name!r} has no argument {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    check_fields(name, arguments)
    model = _class(name)(**arguments)
    if hasattr(model, "check"):
        model.check()
    return model


def annotations(name: str) -> dict[str, Any]:
    """The annotation of each config field of a model, which has its rule (`rules.py`).

    Raises:
      InputError: there is no such model.
    """
    types = {field.name: field.type for field in dataclasses.fields(_class(name))}
    return {field: types.get(field, rules.Share) for field in registry.declared_fields("models", name)}


def check_fields(name: str, values: Mapping[str, Any]) -> None:
    """Raises InputError for the first value that a config field of a model cannot have; other names are passed over."""
    rules.check_fields(values, annotations(name), "config.model")


def scales_inputs(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a model reads `fitted/<modality>_scale`: mean and deviation of its features in training.

    Args:
      name: as in `build`.
      arguments: of the model, and others.

    Raises:
      InputError: there is no such model.
    """
    return getattr(_class(name), "scales", False) or bool(arguments.get("standardize"))


def reads_linear(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a model has a linear path (`linear_path.py`), fitted in closed form before the first step.

    Args:
      name: as in `build`.
      arguments: of the model, and others.

    Raises:
      InputError: there is no such model.
    """
    return is_closed_form(name) or bool(arguments.get("linear"))


def is_closed_form(name: str) -> bool:
    """Whether nothing of a model is trained by steps; raises InputError where there is no such model."""
    return getattr(_class(name), "closed_form", False)


def pretrained(name: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pretrained parameters and frozen variables that a network starts from, by name; both empty for most.

    Args:
      name: as in `build`.
      arguments: of the model, and others.
    """
    module = registry.load("models", name)
    return module.pretrained(arguments) if hasattr(module, "pretrained") else ({}, {})


def fit(name: str, *of_run: Any) -> dict[str, Any]:
    """Frozen variables of a network that are fitted on the training participants of a run, by name; empty for most.

    Args:
      name: as in `build`.
      of_run: config, tasks, corpus, positions of the training participants in it.
    """
    module = registry.load("models", name)
    return module.fit(*of_run) if hasattr(module, "fit") else {}


def _class(name: str) -> type[nn.Module]:
    return registry.load("models", name).Model
