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
from mmpsy_jax.features.manifest import CLUSTER
from mmpsy_jax.io import write_table
from mmpsy_jax.tasks import Task

FILE = "calls.csv"
COLUMNS = (
    "call", "fold", "task", "segments", "seconds", "mean_prob", "share_called", "share_true", "first_third",
    "last_third", "change", "highest_prob", "highest_at_s",
)  # fmt: skip
PICTURES = 3
TEXT = (
    "Probability of each label for the segments of the test calls with most segments; a dot marks a segment that has "
    "the label."
)


def measure(
    report: dict[str, Any], predictions: Predictions, tasks: Sequence[Task], *, corpus: Any, workdir: Path
) -> None:
    """Writes `calls.csv` and adds `calls` to the report where the clusters of an open corpus are calls or the like."""
    binary = {name: entry["thresholds"]["model"] for name, entry in report["tasks"].items() if "thresholds" in entry}
    if corpus is None or corpus.card.get("cluster") in (None, CLUSTER) or not binary:
        return
    tested = predictions.take(np.isin(predictions.task, list(binary))).select(split="test").over_seeds("binary")
    times = corpus.start_times(set(tested.participant_id.tolist()))
    write_csv(workdir / FILE, tested, times, binary)
    report["calls"] = longest(tested, times)


def sections(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The section of the page with the pictures."""
    drawn = {f"call {number}": _picture(number, call) for number, call in enumerate(report.get("calls") or (), 1)}
    return [{"title": "Over the call", "text": TEXT, "pictures": drawn}]


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


def longest(rows: Predictions, start_s: Mapping[str, float], most: int = PICTURES) -> list[dict[str, Any]]:
    """What is drawn of the calls with most segments: `minutes` of their starts, and by label `prob` and `holds`.

    Args:
      rows, start_s: as `write_csv`.
      most: calls at most.
    """
    calls: dict[tuple[str, int], dict[str, Any]] = {}
    for call, fold, task, part, time in _calls(rows, start_s):
        entry = calls.setdefault((call, fold), {"minutes": (time / 60).round(3), "labels": {}})
        entry["labels"][task] = {"prob": part.y_prob.round(3), "holds": part.y_true == 1}
    return sorted(calls.values(), key=lambda call: -len(call["minutes"]))[:most]


def _calls(rows: Predictions, start_s: Mapping[str, float]) -> Iterator[tuple[str, int, str, Predictions, np.ndarray]]:
    """Call, fold, task, its rows in the order of time, and their times."""
    for fold in np.unique(rows.fold).tolist():
        for task in dict.fromkeys(rows.task.tolist()):
            part = rows.select(fold=fold, task=task)
            for call in dict.fromkeys(part.cluster.tolist()):
                segments = part.take(part.cluster == call)
                time = np.array([start_s[name] for name in segments.participant_id.tolist()])
                order = np.argsort(time, kind="stable")
                yield call, fold, task, segments.take(order), time[order]


def _picture(number: int, call: Mapping[str, Any]) -> str:
    time, labels = np.array(call["minutes"]), call["labels"]
    with plots.figure(f"Probabilities over call {number}", size=(7.0, 1.2 + 0.24 * len(labels))) as drawing:
        axes = drawing.axes
        # A segment fills the time until the next one; the last as long as the median.
        edges = np.append(time, time[-1] + (np.median(np.diff(time)) if len(time) > 1 else 1 / 60))
        prob = np.array([label["prob"] for label in labels.values()])
        mesh = axes.pcolormesh(edges, np.arange(len(labels) + 1), prob, vmin=0, vmax=1, cmap="cividis", rasterized=True)
        for k, label in enumerate(labels.values()):
            middle = ((edges[:-1] + edges[1:]) / 2)[np.array(label["holds"], bool)]
            style = {"color": "white", "markeredgecolor": "black", "markersize": 4}
            axes.plot(middle, np.full(len(middle), k + 0.5), "o", **style)
        axes.set(xlabel="minutes into the call", yticks=np.arange(len(labels)) + 0.5, yticklabels=list(labels))
        axes.invert_yaxis()
        axes.grid(False)
        drawing.figure.colorbar(mesh, ax=axes, label="probability")
    return drawing.svg
