"""The part of the report that shows what a sweep tried: a table, and a picture per field."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.evaluation import plots


def section(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs.

    Args:
      sweep: `metric`, `inner_folds`, `points` (settings, each {field: value}), `scores` [folds][points] on validation
        (higher is better, None where a training diverged), `chosen` [folds].
    """
    scores = np.array([[np.nan if v is None else v for v in row] for row in sweep["scores"]], float)
    fields = list(sweep["points"][0])
    times = np.bincount(sweep["chosen"], minlength=len(sweep["points"]))
    mean, spread = _over_folds(scores)
    order = sorted(range(len(mean)), key=lambda i: (np.isnan(mean[i]), -np.nan_to_num(mean[i])))
    return {
        "metric": sweep["metric"],
        "where": f"{sweep['inner_folds']} folds of the training participants of each fold"
        if sweep["inner_folds"]
        else "the validation part of each fold",
        "fields": fields,
        "rows": [
            {
                "values": [_short(sweep["points"][i].get(field)) for field in fields],
                "mean": "diverged" if np.isnan(mean[i]) else f"{mean[i]:.4f}",
                "spread": "" if np.isnan(spread[i]) else f"{spread[i]:.4f}",
                "times": int(times[i]),
            }
            for i in order
        ],
        "pictures": {field: picture(field, sweep, mean) for field in fields},
    }


def _over_folds(scores: Float[np.ndarray, "f p"]) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Mean of each point over the folds in which it did not diverge, and the standard deviation where there are two."""
    known = (~np.isnan(scores)).sum(axis=0)
    total = np.nansum(scores, axis=0)
    mean = np.where(known > 0, total / np.maximum(known, 1), np.nan)
    squares = np.nansum((scores - mean) ** 2, axis=0)
    return mean, np.where(known > 1, np.sqrt(squares / np.maximum(known - 1, 1)), np.nan)


def picture(field: str, sweep: Mapping[str, Any], mean: Sequence[float]) -> str:
    """Validation score against the values of one field, as SVG; chosen points filled."""
    values = [point.get(field) for point in sweep["points"]]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    names = sorted({_short(v) for v in values})
    x = np.array(values, float) if numeric else np.array([names.index(_short(v)) for v in values], float)
    chosen = np.isin(np.arange(len(values)), sweep["chosen"])
    with plots.figure(f"{sweep['metric']} on validation against {field}") as drawing:
        axes, colour = drawing.axes, plots.COLOURS[0]
        axes.scatter(x[~chosen], np.asarray(mean)[~chosen], facecolors="none", edgecolors=colour, label="tried")
        axes.scatter(x[chosen], np.asarray(mean)[chosen], color=colour, label="chosen in a fold")
        if numeric and x.min() > 0 and x.max() / x.min() >= 20:
            axes.set_xscale("log")
        if not numeric:
            axes.set_xticks(range(len(names)), names)
        axes.set(xlabel=field, ylabel=f"{sweep['metric']}, mean of folds")
        axes.legend()
    return drawing.svg


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
