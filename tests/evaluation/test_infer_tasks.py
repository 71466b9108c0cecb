"""Tasks of foreign tables: what the columns say, what the user says, and what is asked back."""

import csv

import numpy as np
import pytest

import launch
from mmpsy_jax.evaluation.infer_tasks import infer_tasks, read_kinds
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task

N = 60
IDS = [f"p{i}" for i in range(N)]
RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 4, N).astype(float)
TABLE = Predictions.concatenate(
    [
        Predictions.build(IDS, "screen", CLASSES > 1, y_prob=RNG.random(N)),
        Predictions.build(IDS, "emotion", CLASSES, y_pred=RNG.integers(0, 4, N)),
        Predictions.build(IDS, "band", CLASSES, y_pred=CLASSES + RNG.normal(0, 0.3, N)),
        Predictions.build(IDS, "mood", CLASSES, y_pred=CLASSES + RNG.normal(0, 0.3, N)),
        Predictions.build(IDS, "valence", CLASSES - 1.5, y_pred=CLASSES - 1.4),
    ]
)


def test_what_the_columns_say():
    notes = []
    made = {task.name: task for task in infer_tasks(TABLE, notes=notes)}
    assert {name: task.kind for name, task in made.items()} == {
        "screen": "binary", "emotion": "regression", "band": "regression", "mood": "regression", "valence": "regression"
    }  # fmt: skip
    assert (made["valence"].minimum, made["valence"].maximum) == (-1.5, 1.5) and made["mood"].maximum == 3
    assert len(notes) == 1 and "'emotion'" in notes[0], "whole numbers throughout may be classes"
    assert "--nominal=emotion" in notes[0] and "--ordinal=emotion" in notes[0]


@pytest.mark.parametrize("separate", [True, False])
def test_what_the_user_says(separate):
    maximum = ["mood:10", "valence:3"] if separate else ["mood:10,valence:3"]
    kinds = read_kinds(maximum, nominal=["emotion"], ordinal=["band"])
    notes = []
    made = {task.name: task for task in infer_tasks(TABLE, kinds, notes=notes)}
    assert made["emotion"] == Task("emotion", "emotion", "nominal", classes=("0", "1", "2", "3")) and not notes
    assert made["band"].kind == "ordinal" and made["band"].n_classes == 4
    assert (made["mood"].maximum, made["valence"].maximum, made["valence"].minimum) == (10, 3, -1.5)
    higher = {task.name: task for task in infer_tasks(TABLE, read_kinds(ordinal=["band"], maximum=["band:5"]))}
    assert higher["band"].n_classes == 6, "nobody has the highest band"


def test_what_a_run_of_ours_says_holds_but_where_the_user_says_otherwise():
    defined = {name: Task(name, "emotion", "regression", maximum=9.0) for name in ("emotion", "mood", "band")}
    made = {task.name: task for task in infer_tasks(TABLE, read_kinds(nominal=["emotion"]), defined)}
    assert made["emotion"].kind == "nominal" and made["mood"] is defined["mood"] and made["screen"].kind == "binary"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"maximum": ["mood"]}, "--maximum=mood: write TASK:N"),
        ({"maximum": ["mood:high"]}, "write TASK:N"),
        ({"maximum": ["mood:0"]}, "above 0"),
        ({"maximum": ["mood:nan"]}, "above 0"),
        ({"maximum": ["mood:3", "mood:4"]}, "each task once"),
        ({"nominal": ["mood"], "ordinal": ["mood"]}, "said to be nominal and more"),
        ({"nominal": ["mood"], "maximum": ["mood:3"]}, "said to be nominal and more"),
        ({"nominal": ["moood"]}, "unknown task 'moood'"),
        ({"nominal": ["screen"]}, "fills y_prob, hence is binary"),
        ({"maximum": ["screen:1"]}, "fills y_prob, hence is binary"),
        ({"nominal": ["mood"]}, "y_true and y_pred must be whole numbers from 0"),
        ({"ordinal": ["valence"]}, "y_true must be whole numbers from 0"),
        ({"maximum": ["mood:2"]}, "labels are above its --maximum, 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, says):
    with pytest.raises(InputError) as caught:
        infer_tasks(TABLE, read_kinds(**options))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "remedy"),
    [
        ([0, 1, 1, 0], [0, 1, 0, 0], "--nominal=t"),
        ([0, 0, 0, 0], [0, 1, 0, 0], "--nominal=t"),
        ([0, 1, 1, 0], [0.2, 0.9, 0.4, 0.1], "--maximum=t:1"),
        ([0, 1, np.nan, 0], [-3.0, 2.0, 1.0, 0.5], "--maximum=t:1"),
    ],
)
def test_decisions_and_probabilities_in_the_wrong_column_are_asked_about(y_true, y_pred, remedy):
    table = Predictions.build(list("abcd"), "t", y_true, y_pred=y_pred)
    with pytest.raises(InputError) as caught:
        infer_tasks(table)
    assert "in y_prob instead" in str(caught.value) and remedy in str(caught.value)
    option, _, value = remedy[2:].partition("=")
    (task,) = infer_tasks(table, read_kinds(**{option: [value]}))
    assert task.kind == ("nominal" if option == "nominal" else "regression"), "the remedy works"


@pytest.mark.parametrize("y_true", [[0, 0, 0, 0], [0, 2, 1, 0]])
def test_scores_are_not_asked_about(y_true):
    assert infer_tasks(Predictions.build(list("abcd"), "t", y_true, y_pred=[0.5, 2, 1, 0]))[0].kind == "regression"


def test_decisions_from_the_command_line(tmp_path, capsys):
    """Refused with both remedies, then scored as decisions: balanced accuracy as scikit-learn has it."""
    from sklearn.metrics import balanced_accuracy_score

    truth, decided = (CLASSES > 1) * 1.0, (CLASSES + RNG.normal(0, 1, N) > 1) * 1.0
    write_csv(tmp_path / "p.csv", Predictions.build(IDS, "screen", truth, y_pred=decided))
    assert launch.main(["evaluate", f"--predictions={tmp_path / 'p.csv'}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "y_prob" in said and "--nominal=screen" in said
    options = [f"--predictions={tmp_path / 'p.csv'}", f"--output={tmp_path / 'out'}", "--nominal=screen"]
    assert launch.main(["evaluate", *options]) == 0
    with (tmp_path / "out" / "tables" / "headline.csv").open(newline="") as file:
        found = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, decided))
