"""Networks, one file per architecture, each with a class `Model`; `build` finds one by its file name."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmpsy_jax.models.sequences import SequenceModel

# Files that hold blocks rather than a `Model`.
BLOCKS = {"crossmodal", "perceiver", "projection", "sequences"}


def names() -> list[str]:
    """Names that `config.model.name` may take."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in BLOCKS)


def build(name: str, **arguments) -> nn.Module:
    """The network `mmpsy_jax/models/<name>.py`, built with plain arguments.

    Raises:
      ValueError: there is no such model, it has no such argument, or it cannot read these modalities.
    """
    known = fields(name)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(f"model {name!r} has no argument {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    made = _find(name)(**arguments)
    if isinstance(made, SequenceModel):
        made.check()
    return made


def fields(name: str) -> list[str]:
    """Arguments of a model.

    Raises:
      ValueError: there is no such model.
    """
    return [field for field in _find(name).__dataclass_fields__ if field not in ("parent", "name")]


def scales_inputs(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a model reads `fitted/<modality>_scale`: mean and deviation of its features in training.

    Args:
      name: as in `build`.
      arguments: of the model, and others.

    Raises:
      ValueError: there is no such model.
    """
    model = _find(name)
    return model.scales if issubclass(model, SequenceModel) else bool(arguments.get("standardize"))


def _find(name: str) -> type[nn.Module]:
    if name not in names():
        raise ValueError(f"unknown model {name!r}: choose one of: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").Model


def pretrained(name: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where a network starts beside random numbers: parameters and frozen variables by name, both empty for most.

    Args:
      name: as in `build`.
      arguments: of the model, and others.
    """
    module = importlib.import_module(f"{__name__}.{name}")
    return module.pretrained(arguments) if hasattr(module, "pretrained") else ({}, {})
