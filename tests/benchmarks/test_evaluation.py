"""The benchmark of `evaluate` measures what it says: all kinds of task on as many participants as asked for."""

import numpy as np

from benchmarks import evaluation


def test_the_table_and_a_point():
    rows = evaluation.table(30, "test", 0)
    assert len(rows) == 90 and len(np.unique(rows.participant_id)) == 30
    assert set(rows.task) == {task.name for task in evaluation.TASKS}
    assert {task.kind for task in evaluation.TASKS} == {"binary", "ordinal", "regression"}
    made = evaluation.point(participants=30, resamples=10)
    assert set(made) == {"wall s", "CPU s", "peak MB"} and min(made.values()) > 0
