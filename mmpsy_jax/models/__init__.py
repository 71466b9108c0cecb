"""Networks, one file per architecture, each with a class `Model`; `build` finds one by its file name."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

# Files that hold blocks rather than a `Model`.
BLOCKS = {"perceiver", "projection"}


def names() -> list[str]:
    """Names that `config.model.name` may take."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in BLOCKS)


def build(name: str, **arguments) -> nn.Module:
    """The network `mmpsy_jax/models/<name>.py`, built with plain arguments.

    Raises:
      ValueError: there is no such model, or it has no such argument; the message lists what there is.
    """
    if name not in names():
        raise ValueError(f"unknown model {name!r}: choose one of: {', '.join(names())}")
    model = importlib.import_module(f"{__name__}.{name}").Model
    fields = [f for f in model.__dataclass_fields__ if f not in ("parent", "name")]
    unknown = sorted(set(arguments) - set(fields))
    if unknown:
        raise ValueError(f"model {name!r} has no argument {unknown[0]!r}: it takes {', '.join(sorted(fields))}")
    return model(**arguments)


def pretrained(name: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where a network starts beside random numbers: parameters and frozen variables by name, both empty for most.

    Args:
      name: as in `build`.
      arguments: of the model, and others.
    """
    module = importlib.import_module(f"{__name__}.{name}")
    return module.pretrained(arguments) if hasattr(module, "pretrained") else ({}, {})
