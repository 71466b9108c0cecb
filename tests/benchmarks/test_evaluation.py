"""The benchmark of `evaluate` measures what it says: all kinds of task on as many participants as asked for."""

import numpy as np

from benchmarks import evaluation, harness


def test_the_table_and_a_point():
    rows = evaluation.table(30, "test", 0)
    assert len(rows) == 90 and len(np.unique(rows.participant_id)) == 30
    assert set(rows.task) == {task.name for task in evaluation.TASKS}
    assert {task.kind for task in evaluation.TASKS} == {"binary", "ordinal", "regression"}
    made = evaluation.point(participants=30, resamples=10)
    assert set(made) == {"wall s", "CPU s"} and min(made.values()) > 0


def test_growth_has_the_exponent_of_its_points(capsys):
    code = "from benchmarks import harness; harness.print_point({'s': {count} ** 2})"
    harness.grow("people", [10, 100], ["-c", code])
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| people | s | peak MB |"
    assert [row.split(" | ")[1] for row in table[2:]] == [
        "100",
        "1e+04",
        "2.00",
    ]
