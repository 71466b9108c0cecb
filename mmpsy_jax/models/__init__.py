"""Networks, one file per architecture, each with a class `Model` (`base.py`); `build` finds one by its file name.

A file may also have `pretrained(arguments)`: parameters and frozen variables that a network starts from; and
`fit(config, tasks, corpus, members)`: frozen variables that are fitted on the training participants; and `CHOICES`:
what an argument may be, by name, where that is one of several words.
"""

from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn

from mmpsy_jax import registry


def build(name: str, **arguments) -> nn.Module:
    """The network of a name, built with plain arguments.

    Raises:
      ValueError: there is no such model, it has no such argument, or it cannot read these modalities.
    """
    known = fields(name)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(f"model {name!r} has no argument {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    model = _class(name)(**arguments)
    if hasattr(model, "check"):
        model.check()
    return model


def fields(name: str) -> list[str]:
    """Arguments of a model.

    Raises:
      InputError: there is no such model.
    """
    return [field for field in _class(name).__dataclass_fields__ if field not in ("parent", "name")]


def scales_inputs(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a model reads `fitted/<modality>_scale`: mean and deviation of its features in training.

    Args:
      name: as in `build`.
      arguments: of the model, and others.

    Raises:
      InputError: there is no such model.
    """
    return getattr(_class(name), "scales", False) or bool(arguments.get("standardize"))


def pretrained(name: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where a network starts beside random numbers: parameters and frozen variables by name, both empty for most.

    Args:
      name: as in `build`.
      arguments: of the model, and others.
    """
    module = registry.load("models", name)
    return module.pretrained(arguments) if hasattr(module, "pretrained") else ({}, {})


def choices(name: str) -> dict[str, Collection[str]]:
    """What an argument of a model may be, by name, where that is one of several words.

    Raises:
      InputError: there is no such model.
    """
    return getattr(registry.load("models", name), "CHOICES", {})


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
