"""Lengths of training in words: "300 steps", "20 epochs", "5000 examples", "10 percent"."""

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
    factor = {
        "steps": 1.0,
        "epochs": float(steps_per_epoch),
        "examples": 1.0 / batch_size,
        "percent": (total or 0) / 100.0,
    }[unit]
    return max(1, round(amount * factor)) if amount else 0
