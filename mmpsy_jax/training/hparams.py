"""Config fields whose value may differ between trainings of one compiled program."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mmpsy_jax.models.perceiver import off

# Everything else changes a shape or the program itself, and is another compilation.
DYNAMIC = (
    "model.dropout",
    "model.modality_dropout",
    "model.ngram_dropout",
    "model.token_dropout",
    "objective.ccc",
    "objective.delta",
    "objective.weights",
    "optimizer.b1",
    "optimizer.b2",
    "optimizer.clip",
    "optimizer.eps",
    "optimizer.final_fraction",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
)
# At zero these leave something out of the program, so zero and another value are two programs.
OFF_AT_ZERO = ("optimizer.clip",)


def is_dynamic(field: str, values: Sequence[Any] = ()) -> bool:
    """Whether trainings that differ in this field, having these values, can share a program."""
    if not any(field == name or field.startswith(name + ".") for name in DYNAMIC):
        return False
    return field not in OFF_AT_ZERO or not any(off(value) for value in values)


def overlay(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """A copy of a config with some fields replaced, by arrays where a replica brings its own.

    Args:
      values: by field, such as {"optimizer.learning_rate": 1e-3}.
    """
    changed = ConfigDict(config.to_dict(), type_safe=False)
    for field, value in values.items():
        *parents, name = field.split(".")
        node = changed
        for parent in parents:
            node = node[parent]
        node[name] = value
    return changed
