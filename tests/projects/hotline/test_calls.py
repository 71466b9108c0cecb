"""Calls in time: the table of summaries, and pictures that name nobody. All rows are random."""

import csv
import re

import numpy as np
import pytest

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.scoring import finite
from mmpsy_jax.projects.hotline.reports import calls

LABELS = ("fear", "pain", "guilt")
HALF = {name: [{"fold": 0, "value": 0.5}] for name in LABELS}


def test_calls_are_summarised_in_time(tmp_path):
    ids = [f"c/{i}" for i in range(4)]
    prob, truth = np.array([0.9, 0.1, 0.3, 0.6]), np.array([1.0, 0, np.nan, 1])
    rows = Predictions.build(ids, "fear", truth, y_prob=prob, cluster=["c"] * 4)
    calls.write_csv(tmp_path / "calls.csv", rows, {"c/0": 60.0, "c/1": 0.0, "c/2": 10.0, "c/3": 50.0}, HALF)
    (row,) = csv.DictReader((tmp_path / "calls.csv").read_text().splitlines())
    numbers = {name: float(value) for name, value in row.items() if name not in ("call", "task")}
    assert row["call"] == "c" and row["task"] == "fear"
    assert numbers == pytest.approx(
        {
            "fold": 0, "segments": 4, "seconds": 60, "mean_prob": prob.mean(), "share_called": 0.5,
            "share_true": 2 / 3, "first_third": 0.2, "last_third": 0.75, "change": 0.55, "highest_prob": 0.9,
            "highest_at_s": 60,
        }
    )  # fmt: skip


def test_pictures_are_of_the_longest_calls_and_name_nobody():
    rng = np.random.default_rng(0)
    ids = np.array([f"c{i}/{j}" for i in range(5) for j in range(8)])
    callers = [name.split("/")[0] for name in ids]
    table = Predictions.concatenate(
        [
            Predictions.build(ids, name, rng.integers(0, 2, 40), y_prob=rng.random(40), cluster=callers)
            for name in LABELS
        ]
    )
    short = table.take(np.char.find(table.participant_id, "c4/7") < 0)
    times = {name: 10.0 * int(name.split("/")[1]) for name in table.participant_id.tolist()}
    report = finite({"calls": calls.longest(short, times, most=2)})
    assert not re.search(r"c\d/\d", str(report)) and len(report["calls"][0]["minutes"]) == 8
    (section,) = calls.sections(report)
    assert list(section["pictures"]) == ["call 1", "call 2"]
    for svg in section["pictures"].values():
        assert all(label in svg for label in LABELS) and not re.search(r"c\d/\d", svg)
    one = table.take(table.participant_id == "c0/0")
    assert len(calls.sections({"calls": calls.longest(one, times)})[0]["pictures"]) == 1  # a call of a single segment
