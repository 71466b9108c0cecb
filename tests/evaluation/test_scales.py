"""Flags of scores whose labels do not fit the scale of their task."""

import numpy as np
import pytest

from mmpsy_jax.evaluation import flags, scoring
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Range, Task


def found(y_true, **ends):
    return [one["code"] for one in flags.of_scale(Task("t", "t", "regression", **ends), np.array(y_true, float))]


@pytest.mark.parametrize(
    ("y_true", "minimum", "maximum", "codes"),
    [
        ([0, 1, 3], 0.0, 100.0, ["far_maximum"]),
        ([0, 1, 3], 0.0, 9.0, ["far_maximum"]),
        ([0, 1, 3], 0.0, 6.0, []),
        ([-3, 0, 1], -3.0, 3.0, []),
        ([-1, 0, 1], -3.0, 3.0, ["far_maximum"]),
        ([0, 1, 3], 0.0, 2.0, ["beyond_scale"]),
        ([-1, 1], 0.0, 2.0, ["beyond_scale"]),
        ([np.nan, np.nan], 0.0, 100.0, []),
    ],
)
def test_labels_far_from_the_ends_of_a_scale_or_beyond_them_are_flagged(y_true, minimum, maximum, codes):
    assert found(y_true, minimum=minimum, maximum=maximum) == codes
    assert flags.of_scale(Task("t", "t", "binary", (10,)), np.array(y_true, float)) == []


def test_a_report_says_so_in_red():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, 40).astype(float)
    table = Predictions.build([f"p{i}" for i in range(40)], "stress", y_true=scores, y_pred=scores + 0.5, split="test")
    for maximum, red in ((100.0, True), (3.0, False)):
        task = Task("stress", "stress", "regression", maximum=maximum, minimum=0.0)
        report = scoring.evaluate(table, (task,), n_bootstrap=10)
        shown = [one for one in report["flags"] if one["code"] == "far_maximum"]
        assert [one["level"] for one in shown] == ["red"] * red
        assert all("ends at 100" in one["message"] and "the largest is 3" in one["message"] for one in shown)


def test_a_scale_that_was_only_seen_is_a_note():
    task = Task("stress", "stress", "regression", maximum=3.0, minimum=0.0)
    (note,) = flags.of_ranges((task,), {"stress": Range(0.0, 3.0, "seen")})
    assert note["level"] == "note" and "0 to 3, was seen" in note["message"]
    for known in (Range(0.0, 3.0, "given"), Range(0.0, 10.0, "seen")):  # of the second the task names its own
        assert flags.of_ranges((task,), {"stress": known}) == []
