"""Lengths of training in words: "300 steps", "20 epochs", "5000 examples", "10 percent"."""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmpsy_jax.io import InputError

UNITS = ("steps", "epochs", "examples", "percent")


def to_steps(text: str, *, steps_per_epoch: int, batch_size: int, total: int | None = None) -> int:
    """A cadence in optimiser-loop steps, at least 1 for a positive amount.

    Args:
      text: an amount and a unit of `UNITS`, such as "2 epochs"; "0 steps" means never.
      steps_per_epoch: batches of one epoch.
      batch_size: participants per batch.
      total: steps of the whole run; needed for percent.

    Raises:
      InputError: not of that form, negative, or percent where no total is known.
    """
    parts = str(text).split()
    try:
        amount = float(parts[0])
        unit = parts[1] if parts[1].endswith("s") or parts[1] == "percent" else parts[1] + "s"
    except (IndexError, ValueError):
        amount, unit = -1.0, ""
    if len(parts) != 2 or unit not in UNITS or not 0 <= amount < float("inf"):
        raise InputError(f"cadence {text!r}: write an amount and a unit, such as '2 epochs'; units: {', '.join(UNITS)}")
    if unit == "percent" and total is None:
        raise InputError(f"cadence {text!r}: percent has no meaning for the length of the run itself")
    factors = (1.0, float(steps_per_epoch), 1.0 / batch_size, (total or 0) / 100.0)
    return max(1, round(amount * dict(zip(UNITS, factors, strict=True))[unit])) if amount else 0


class Steps(NamedTuple):
    """Steps of a training: all of them, and from one evaluation and one log line to the next."""

    total: int
    evaluate: int
    log: int


def steps_of(config: ConfigDict, per_epoch: int) -> Steps:
    """What a config comes to with so many batches per epoch; "never" is once, at the end."""
    numbers = {"steps_per_epoch": per_epoch, "batch_size": config.data.batch_size}
    total = to_steps(config.total, **numbers)
    every = (to_steps(part.every, total=total, **numbers) or total for part in (config.selection, config.log))
    return Steps(total, *every)
