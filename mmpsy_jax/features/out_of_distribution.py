"""How usual an interview is: a few numbers per modality, from the windows of its record alone.

`training` keeps their quantiles over the training participants, `inference` compares new interviews with them. Ids of
a transcript cannot be read back without effort, so language is judged by them: by the share of characters and of pairs
of characters that the training participants do not use.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Shaped

UNKNOWN = "unknown_"  # how measures of ids begin that need to know those of training
_UNKNOWN_IDS = (f"{UNKNOWN}characters", f"{UNKNOWN}pairs")


def measures(
    windows: Shaped[np.ndarray, "w ..."],
    lengths: Int32[np.ndarray, " w"],
    entry: dict[str, Any],
    known: Bool[np.ndarray, "2 v"] | None = None,
) -> dict[str, float]:
    """The measures of one modality of one record; empty where nothing of it is valid.

    Args:
      windows, lengths: `<modality>` and `<modality>_length` of the record.
      entry: of the modality in `corpus.json`: `kind` and `time_axis`.
      known: of kind "ids": which ids of characters and of pairs the training participants use; None where that is not
        told, and then nothing is unknown.

    Returns:
      `length`: valid frames, tokens or characters over all windows.
      Of kind "ids": `unknown_characters` and `unknown_pairs`, shares of the valid positions (with a successor).
      Of kind "features": `spread_over_time`, the standard deviation of the mean of each frame or token, and
      `spread_over_features`, that of the mean of each band or dimension. (Log-mel is z-normalised per recording, which
      leaves no level to look at; noise has no spread over time, a tone too much over bands.)
    """
    valid = np.arange(windows.shape[1 + entry["time_axis"]]) < lengths[:, None]
    if not valid.any():
        return {}
    steps = np.moveaxis(windows, 1 + entry["time_axis"], 1)[valid]
    values = {"length": float(len(steps))}
    if entry["kind"] == "ids":
        for column, name in enumerate(_UNKNOWN_IDS if known is not None else ()):
            there = steps[:, column][steps[:, column] > 0]
            values[name] = float((~known[column, there]).mean()) if len(there) else 0.0
        return values
    steps = steps.astype(np.float32)
    return values | {
        "spread_over_time": float(steps.mean(axis=1).std()),
        "spread_over_features": float(steps.mean(axis=0).std()),
    }
