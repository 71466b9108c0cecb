"""Segments of one caller in time: a table of summaries per call, and pictures of the labels over a call.

Which call a picture is of is not said: the page names nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.evaluation import plots
from mmpsy_jax.evaluation.operating_points import decide
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import write_table

FILE = "calls.csv"
COLUMNS = (
    "call", "fold", "task", "segments", "seconds", "mean_prob", "share_called", "share_true", "first_third",
    "last_third", "change", "highest_prob", "highest_at_s",
)  # fmt: skip
PICTURES = 3


def write_csv(
    path: Path,
    rows: Predictions,
    start_s: Mapping[str, float],
    thresholds: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Writes one line per call, fold and binary task; like `predictions.csv` it names the callers.

    Columns: `seconds` from the start of the first segment to that of the last; `mean_prob`; `share_called` of segments
    at or above the threshold, `share_true` of those with a known label; `first_third` and `last_third`, the mean
    probability of the segments that begin in that third of these seconds, and their difference `change`;
    `highest_prob` and where it is.

    Args:
      rows: of one split, seeds averaged, `cluster` being the call.
      start_s: of each participant in its call.
      thresholds: of each task, see `operating_points.choose_thresholds`.
    """
    table = []
    for call, fold, task, part, time in _calls(rows, start_s):
        third = (time[-1] - time[0]) / 3
        first, last = part.y_prob[time <= time[0] + third].mean(), part.y_prob[time >= time[-1] - third].mean()
        known = part.known()
        share = known.y_true.mean() if len(known) else None
        highest = int(part.y_prob.argmax())
        called = decide(part, thresholds[task]).mean()
        numbers = (part.y_prob.mean(), called, share, first, last, last - first, part.y_prob[highest], time[highest])
        table.append([call, fold, task, len(part), time[-1] - time[0], *numbers])
    write_table(path, COLUMNS, table)


def pictures(rows: Predictions, start_s: Mapping[str, float], most: int = PICTURES) -> dict[str, str]:
    """SVG by title of the calls with most segments.

    Args:
      rows, start_s: as `write_csv`.
      most: pictures at most.
    """
    made: dict[tuple[str, int], dict[str, tuple[Predictions, np.ndarray]]] = {}
    for call, fold, task, part, time in _calls(rows, start_s):
        made.setdefault((call, fold), {})[task] = (part, time)
    longest = sorted(made.values(), key=lambda tasks: -len(next(iter(tasks.values()))[0]))[:most]
    return {f"call {number}": _picture(number, tasks) for number, tasks in enumerate(longest, 1)}


def _calls(rows: Predictions, start_s: Mapping[str, float]) -> Iterator[tuple[str, int, str, Predictions, np.ndarray]]:
    """Call, fold, task, its rows in the order of time, and their times."""
    for fold in np.unique(rows.fold).tolist():
        for task in dict.fromkeys(rows.task.tolist()):
            part = rows.select(fold=fold, task=task)
            for call in dict.fromkeys(part.cluster.tolist()):
                own = part.take(part.cluster == call)
                time = np.array([start_s[name] for name in own.participant_id.tolist()])
                order = np.argsort(time, kind="stable")
                yield call, fold, task, own.take(order), time[order]


def _picture(number: int, tasks: Mapping[str, tuple[Predictions, np.ndarray]]) -> str:
    time = next(iter(tasks.values()))[1]
    prob = np.stack([part.y_prob for part, _ in tasks.values()])
    size = (7.0, 1.2 + 0.24 * len(tasks))
    with plots.figure(f"Probabilities over call {number}", size=size) as drawing:
        axes = drawing.axes
        # A segment fills the time until the next one; the last as long as the median.
        edges = np.append(time, time[-1] + (np.median(np.diff(time)) if len(time) > 1 else 1.0)) / 60
        mesh = axes.pcolormesh(edges, np.arange(len(tasks) + 1), prob, vmin=0, vmax=1, cmap="cividis", rasterized=True)
        for k, (part, _) in enumerate(tasks.values()):
            holds = np.flatnonzero(part.y_true == 1)
            axes.plot(
                (edges[holds] + edges[holds + 1]) / 2,
                np.full(len(holds), k + 0.5),
                "o",
                color="white",
                markeredgecolor="black",
                markersize=4,
            )
        axes.set(xlabel="minutes into the call", yticks=np.arange(len(tasks)) + 0.5, yticklabels=list(tasks))
        axes.invert_yaxis()
        axes.grid(False)
        drawing.figure.colorbar(mesh, ax=axes, label="probability")
    return drawing.svg
