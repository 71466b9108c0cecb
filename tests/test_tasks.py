import json

import numpy as np
import pytest

from mmpsy_jax import tasks
from mmpsy_jax.errors import InputError


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


def test_config_round_trip():
    made = (*tasks.questionnaire("gad7", "gad", cutoff=8), EMOTION)
    assert tasks.from_config(tasks.to_config(made)) == made
    assert tasks.from_config(json.loads(json.dumps(tasks.to_config(made)))) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "multilabel"}, "choose one of: binary, nominal, ordinal, regression"),
        ({"cutoffs": (10, 5), "kind": "ordinal"}, "ascending"),
        ({"cutoffs": ()}, "give one for binary"),
        ({"maximum": 0}, "positive"),
        ({"kind": "nominal"}, "none for regression and nominal"),
        ({"kind": "nominal", "cutoffs": (), "classes": ("joy",)}, "two or more different names"),
        ({"kind": "nominal", "cutoffs": (), "classes": ("joy", "joy")}, "two or more different names"),
        ({"classes": ("joy", "fear")}, "none for the others"),
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
