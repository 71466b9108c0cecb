"""`persons.html`: the predictions of a run person by person. Personal data, written only where somebody asks for it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.operating_points import decide
from mmpsy_jax.evaluation.predictions import Predictions, read_csv
from mmpsy_jax.evaluation.report import read_report
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.io import InputError, write_atomically

FILE = "persons.html"


def write(workdir: str | os.PathLike) -> Path:
    """Writes the page of the run in a workdir beside its report, and returns where it is.

    Raises:
      InputError: no readable `predictions.csv`, or no `report.json` of ours.
    """
    workdir = Path(workdir)
    predictions = read_csv(workdir / "predictions.csv")
    report = read_report(workdir / "report.json")
    if not report:
        raise InputError(
            f"{workdir}: no report.json of ours beside predictions.csv, so the tasks are not known: let the run finish"
        )
    html = wording.template("persons.html").render(
        title=f"Person by person: {wording.title(report.get('context') or {})}",
        synthetic=report["synthetic"],
        disclaimer=wording.disclaimer(report),
        parts=list(_sections(report, predictions)),
    )
    write_atomically(workdir / FILE, html, private=True)
    return workdir / FILE


def _sections(report: Mapping[str, Any], predictions: Predictions) -> Iterator[Table]:
    """A table per task, of the split that the report shows first, one row per participant and fold."""
    split = wording.headline_split(report)
    for name, entry in report["tasks"].items():
        rows = predictions.select(task=name, split=split).over_seeds(entry["kind"])
        who = [rows.participant_id.tolist(), rows.fold.tolist()]
        if entry.get("thresholds"):
            called = decide(rows, entry["thresholds"]["model"])
            titles = ["class", "probability", "called"]
            cells = [_texts(rows.y_true, "g"), _texts(rows.y_prob, ".3f"), _texts(called.astype(float), "g")]
        elif entry.get("classes"):
            titles, names = ["true", "predicted"], entry["classes"]
            cells = [_names(rows.y_true, names), _names(rows.y_pred, names)]
        else:
            titles = ["true", "predicted", "error"]
            cells = [_texts(rows.y_true, "g"), _texts(rows.y_pred, ".3f"), _texts(rows.y_pred - rows.y_true, ".3f")]
        body = [list(map(str, row)) for row in zip(*who, *cells, strict=True)]
        yield Table(f"{name}, {split}", ["participant", "fold", *titles], body)


def _names(values: Float[np.ndarray, " n"], names: list[str]) -> list[str]:
    return ["not known" if value != value else names[int(value)] for value in values.tolist()]


def _texts(values: Float[np.ndarray, " n"], form: str) -> list[str]:
    return ["not known" if value != value else format(value, form) for value in values.tolist()]
