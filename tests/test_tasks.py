import json

import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import tasks
from mmpsy_jax.io import InputError


def test_targets_follow_the_cut_offs_and_keep_missing_scores():
    screen, bands, score = tasks.questionnaire("phq9", "phq")
    scores = np.array([0, 4, 5, 9, 10, 14, 15, 20, 27, np.nan], np.float32)
    np.testing.assert_array_equal(screen.targets(scores), [0, 0, 0, 0, 1, 1, 1, 1, 1, np.nan])
    np.testing.assert_array_equal(bands.targets(scores), [0, 0, 1, 1, 2, 2, 3, 4, 4, np.nan])
    np.testing.assert_array_equal(score.targets(scores), scores)
    assert (screen.n_classes, bands.n_classes, score.n_classes) == (2, 5, 0)


EMOTION = tasks.Task("emotion", "emotion", "nominal", classes=("joy", "fear", "anger"))


def test_nominal_targets_are_the_indices_of_classes_and_nothing_else():
    np.testing.assert_array_equal(EMOTION.targets([2, 0, -1, np.nan, 1]), [2, 0, np.nan, np.nan, 1])
    assert EMOTION.n_classes == 3
    for wrong in (3, 0.5, -2):
        with pytest.raises(InputError, match="whole numbers from 0 to 2"):
            EMOTION.targets([0, wrong])


def test_classes_have_the_values_of_the_corpus():
    names, labels = {"emotion": ("anger", "fear", "joy", "shame")}, {"emotion": np.array([2, 0, 1, np.nan, 2])}
    every, some, alike = tasks.with_classes(
        (
            tasks.Task("every", "emotion", "nominal", classes=(tasks.EVERY,)),
            tasks.Task("some", "emotion", "nominal", classes=("joy", "anger")),
            tasks.Task("alike", "emotion", "nominal", classes=names["emotion"]),
        ),
        names,
        labels,
    )
    assert (every.classes, every.codes) == (("anger", "fear", "joy"), (0, 1, 2))  # nobody is ashamed
    assert (some.classes, some.codes) == (("joy", "anger"), (2, 0)) and alike.codes == ()
    for xp in (np, jnp):
        np.testing.assert_array_equal(some.targets(labels["emotion"], xp), [0, 1, np.nan, np.nan, 0])
    assert tasks.from_config(json.loads(json.dumps(tasks.to_config([some])))) == (some,)
    assert tasks.with_classes((some,), {"emotion": ("anger", "joy")}, labels)[0].codes == (1, 0)  # another corpus


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (tasks.Task("t", "emotion", "binary", (1,)), r"'emotion' holds classes \(anger, fear\), not scores"),
        (tasks.Task("t", "emotion", "nominal", classes=("joy", "fear")), "'joy'.*choose one of: anger, fear"),
        (tasks.Task("t", "emotion", "nominal", classes=("*",)), "two or more different names"),
        (tasks.Task("t", "phq9", "nominal", classes=("*",)), "names no classes of 'phq9'"),
    ],
)
def test_questions_that_classes_do_not_answer(task, message):
    labels = {"emotion": np.array([1.0, np.nan]), "phq9": np.array([3.0, 4.0])}
    with pytest.raises(InputError, match=message):
        tasks.with_classes((task,), {"emotion": ("anger", "fear")}, labels)


CALLS = tasks.Task("calls", "calls", "count")


def test_a_count_has_no_highest_value_and_takes_whole_numbers_alone():
    np.testing.assert_array_equal(CALLS.targets([0, 3, -1, np.nan]), [0, 3, np.nan, np.nan])
    assert (CALLS.n_classes, CALLS.column, CALLS.ends) == (0, "y_pred", (0, np.inf))
    for wrong in (0.5, -2):
        with pytest.raises(InputError, match="whole numbers from 0"):
            CALLS.targets([wrong])
    with pytest.raises(InputError, match="give none"):
        tasks.Task("calls", "calls", "count", (3,))


def test_config_round_trip():
    made = (*tasks.questionnaire("gad7", "gad", cutoff=8), EMOTION, CALLS)
    assert tasks.from_config(tasks.to_config(made)) == made
    assert tasks.from_config(json.loads(json.dumps(tasks.to_config(made)))) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "multilabel"}, "choose one of: binary, count, nominal, ordinal"),
        ({"cutoffs": (10, 5), "kind": "ordinal"}, "ascending"),
        ({"cutoffs": ()}, "give one$"),
        ({"maximum": 0}, "positive"),
        ({"maximum": float("nan")}, "positive"),
        ({"maximum": 5, "minimum": 5}, "minimum 5 must be below the maximum"),
        ({"kind": "nominal"}, "fit kind 'nominal': give none"),
        ({"kind": "nominal", "cutoffs": (), "classes": ("joy",)}, "two or more different names"),
        ({"kind": "nominal", "cutoffs": (), "classes": ("joy", "joy")}, "two or more different names"),
        ({"classes": ("joy", "fear")}, "fit kind 'binary': give none"),
    ],
)
def test_wrong_tasks_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        tasks.Task(**{"name": "t", "label": "phq9", "kind": "binary", "cutoffs": (10,), **changes})


def test_empty_and_repeated_lists_are_refused():
    with pytest.raises(InputError, match="empty"):
        tasks.from_config([])
    with pytest.raises(InputError, match="repeats"):
        tasks.from_config(tasks.to_config(tasks.questionnaire("phq9", "x")[:1] * 2))
    with pytest.raises(InputError, match="gad7, phq9"):
        tasks.questionnaire("phq8", "x")


def test_the_scale_of_a_label_is_given_or_known_or_seen():
    seen = {"phq9": (0, 22), "bdi": (0, 80), "stress": (0, 3), "valence": (-2, 1), "loss": (-4, -1), "empty": None}
    ranges = tasks.label_ranges(seen, {"stress": (0, 10)})
    assert ranges == {
        "phq9": tasks.Range(0, 27, "known"),
        "bdi": tasks.Range(0, 80, "seen"),  # no BDI-II is above 63: another scale of that name
        "stress": tasks.Range(0, 10, "given"),
        "valence": tasks.Range(-2, 1, "seen"),
        "loss": tasks.Range(-4, 4, "seen"),
    }
    assert tasks.label_ranges({"mood": (2, 5)})["mood"] == tasks.Range(0, 5, "seen")
    assert tasks.label_ranges({"a": (1, 2), "b": (0, 4)}, {"*": (1, 5), "b": (0, 9)}) == {
        "a": tasks.Range(1, 5, "given"),
        "b": tasks.Range(0, 9, "given"),
    }
    assert tasks.label_ranges({"a": (-1, 1)}, known={"a": (-3, 3)}) == {"a": tasks.Range(-3, 3, "known")}
    with pytest.raises(InputError, match="choose one of: a"):
        tasks.label_ranges({"a": (1, 2)}, {"c": (1, 5)})
    with pytest.raises(InputError, match="lie outside of 2 to 5"):
        tasks.label_ranges({"a": (1, 2)}, {"a": (2, 5)})


def test_ranges_are_written_name_low_high():
    assert tasks.read_ranges("stress:0:3, valence:-3:3") == {"stress": (0, 3), "valence": (-3, 3)}
    assert tasks.read_ranges("") == {}
    for wrong in ("stress", "stress:3", "stress:3:0", "stress:a:3", "a:0:1,a:0:2", "a:-2:-1", "a:0:inf", "a:nan:1"):
        with pytest.raises(InputError, match="write NAME:LOW:HIGH"):
            tasks.read_ranges(wrong)


def test_scores_take_the_ends_that_they_do_not_name():
    made = tasks.with_ranges(
        (
            tasks.Task("own", "stress", "regression"),
            tasks.Task("named", "stress", "regression", maximum=4.0),
            tasks.Task("both", "stress", "regression", maximum=4.0, minimum=-1.0),
            tasks.Task("signed", "valence", "regression"),
            tasks.Task("screen", "stress", "binary", (2,)),
        ),
        {"stress": tasks.Range(1, 3, "given"), "valence": tasks.Range(-2, 2, "seen")},
    )
    assert [(task.minimum, task.maximum) for task in made] == [(1, 3), (0, 4), (-1, 4), (-2, 2), (0, 1)]
    with pytest.raises(InputError, match="neither the task nor the corpus says how high 'mood' can be"):
        tasks.with_ranges((tasks.Task("t", "mood", "regression"),), {})
