"""Labels of a manifest in records and card: classes as words, decimals, numbers below 0, -1 for missing, and folds."""

import numpy as np
import pytest

from configs import interviews as interviews_config
from data_builders.common import cli
from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.training import plan_runs, run

ROWS = [
    ("fear", -0.5, 3, "train"),
    ("anger", 0.25, -1, "train"),
    ("joy", 1, 0, "train"),
    ("anger", -1, 3, "train"),
    ("fear", 0, 2, "validation"),
    ("", "", "", "test"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    lines = ["participant,text,label:emotion,label:valence,label:item,split,fold"]
    for i, (emotion, valence, item, split) in enumerate(ROWS):
        lines.append(f"p{i},what {i} says,{emotion},{valence},{item},{split},{i % 3}")
    (folder / "m.csv").write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=r"label:valence is no whole number of 0 or more: .* --ranges=valence:LOW:HIGH"
    ):
        cli.build("interviews/labels", folder / "data", source=folder / "m.csv")
    report = cli.check(folder / "m.csv", ranges="valence:-1:1,item:0:3")
    assert report["labels"]["emotion"] == {"missing": 1, "classes": {"anger": 2, "fear": 2, "joy": 1}}
    assert "anger 2, fear 2, joy 1; 1 missing" in "\n".join(report["lines"]) and not report["problems"]
    ranges = "valence:-1:1,item:0:3"
    return cli.build("interviews/labels", folder / "data", source=folder / "m.csv", ranges=ranges, workers=0)


def test_records_hold_indices_of_classes_decimals_and_nan(built):
    corpus = open_corpus(built)
    assert corpus.card["label_dtype"] == "float32" and corpus.card["classes"] == {"emotion": ["anger", "fear", "joy"]}
    np.testing.assert_array_equal(corpus.labels["emotion"], [1, 0, 2, 0, 1, np.nan])
    np.testing.assert_array_equal(corpus.labels["valence"], [-0.5, 0.25, 1, -1, 0, np.nan])
    np.testing.assert_array_equal(corpus.labels["item"], [3, np.nan, 0, 3, 2, np.nan])
    ranges = corpus.card["label_ranges"]
    assert ranges["valence"] == {"low": -1.0, "high": 1.0, "source": "given"} and "emotion" not in ranges
    assert any("label:item is -1 of 1 participants" in one["note"] for one in corpus.card["notes"])
    assert "index of a class (0 anger, 1 fear, 2 joy)" in (built / "README.md").read_text()


def test_tasks_take_classes_and_scale_of_the_card(built):
    corpus = open_corpus(built)
    config = run.with_ranges(interviews_config.get_config("emotion=*,valence,valence>=-0.5"), corpus)
    every, valence, screen = config.tasks
    (some,) = run.with_ranges(interviews_config.get_config("emotion=joy/fear"), corpus).tasks
    assert every["classes"] == ("anger", "fear", "joy") and (valence["minimum"], valence["maximum"]) == (-1, 1)
    assert screen["cutoffs"] == (-0.5,) and some["codes"] == (2, 1)
    assert run.with_ranges(config, corpus).to_json() == config.to_json()
    with pytest.raises(InputError, match=r"'emotion' holds classes \(anger, fear, joy\), not scores"):
        run.with_ranges(interviews_config.get_config("emotion>=1"), corpus)


def test_published_folds_are_trained_on(built):
    corpus = open_corpus(built)
    config = interviews_config.get_config("item>=2")
    with config.unlocked():
        config.cv.folds, config.cv.folds_file, config.cv.validation_fraction = 3, splits.PUBLISHED, 0.0
        config.selection.metric = "step"
    outer = plan_runs.folds(config, (), corpus)
    assert [[corpus.participants[i] for i in split["test"]] for split in outer] == [
        ["p0", "p3"],
        ["p1", "p4"],
        ["p2", "p5"],
    ]
    config.cv.folds = 2
    with pytest.raises(InputError, match=r"holds 3 folds of these participants: set config\.cv\.folds=3"):
        plan_runs.folds(config, (), corpus)
