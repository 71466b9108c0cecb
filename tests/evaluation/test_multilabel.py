"""Means over labels, the rule argmax and clusters, against direct formulas. All rows are random."""

import numpy as np
import pytest

from mmpsy_jax.evaluation import bootstrap, flags, multilabel
from mmpsy_jax.evaluation.operating_points import choose_thresholds
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError

LABELS = ("fear", "pain", "guilt")
HALF = {name: [{"fold": 0, "value": 0.5}] for name in LABELS}
OPTIONS = {"seed": 0, "resamples": 50, "method": "percentile"}


@pytest.fixture
def table():
    """Five callers with eight segments each."""
    rng = np.random.default_rng(0)
    ids = np.array([f"c{i}/{j}" for i in range(5) for j in range(8)])
    parts = []
    for share, name in zip((0.2, 0.5, 0.7), LABELS, strict=True):
        y = (rng.random(40) < share).astype(float)
        prob = np.clip(0.4 * y + 0.6 * rng.random(40), 0, 1)
        parts.append(Predictions.build(ids, name, y, y_prob=prob, cluster=[i.split("/")[0] for i in ids]))
    return Predictions.concatenate(parts)


def by_label(table):
    return {name: table.select(task=name) for name in LABELS}


def test_the_means_of_a_resample_are_those_of_its_rows(table):
    rows = by_label(table)
    truth, prob = (np.stack([getattr(part, c) for part in rows.values()], axis=1) for c in ("y_true", "y_prob"))
    weights = np.random.default_rng(1).integers(0, 3, (4, 40))
    made = multilabel.statistic(truth, prob >= 0.5)(weights.astype(float))
    for drawn, values in zip(weights, made, strict=True):
        again = np.repeat(np.arange(40), drawn)
        overall, _ = multilabel.scores(truth[again], prob[again], prob[again] >= 0.5)
        assert values.tolist() == pytest.approx([v for name, v in overall.values.items() if name != "auroc_macro"])


def test_an_entry_has_the_point_values_and_intervals_over_callers(table):
    made = multilabel.entry(by_label(table), HALF, OPTIONS)
    truth, prob = (
        np.stack([getattr(part, c) for part in by_label(table).values()], axis=1) for c in ("y_true", "y_prob")
    )
    overall, labels = multilabel.scores(truth, prob, prob >= 0.5)
    assert (made["n_participants"], made["n_clusters"]) == (40, 5)
    assert {name: cell["value"] for name, cell in made["overall"].items()} == pytest.approx(overall.values)
    wanted = bootstrap.bootstrap(np.repeat(np.arange(5), 8), multilabel.statistic(truth, prob >= 0.5), **OPTIONS)
    assert made["overall"]["precision_micro"]["low"] == pytest.approx(wanted.low[0])
    assert made["labels"]["guilt"]["f1"]["value"] == pytest.approx(labels[2].values["f1"])
    assert made["labels"]["fear"]["n_events"] == truth[:, 0].sum()


def test_a_missing_label_is_refused(table):
    rows = by_label(table)
    rows["pain"] = rows["pain"].take(np.arange(39))
    with pytest.raises(InputError, match="pain"):
        multilabel.entry(rows, HALF, OPTIONS)


def test_argmax_looks_at_no_validation_row(table):
    validation = table.select(task="fear")
    rows = Predictions(**{**vars(validation), "split": np.full(40, "validation")})
    assert choose_thresholds(rows, "argmax") == [{"fold": 0, "value": 0.5, "source": "argmax", "n": 40}]
    assert choose_thresholds(rows, "f1")[0]["source"] == "validation"


def test_clusters_travel_with_the_table_and_alone_are_not_written(table, tmp_path):
    write_csv(tmp_path / "with.csv", table)
    assert read_csv(tmp_path / "with.csv").cluster.tolist() == table.cluster.tolist()
    assert table.over_seeds("binary").select(task="fear").cluster.tolist() == table.select(task="fear").cluster.tolist()
    write_csv(tmp_path / "alone.csv", Predictions.build(["a", "b"], "fear", [0, 1], y_prob=0.5))
    assert "cluster" not in (tmp_path / "alone.csv").read_text()
    assert read_csv(tmp_path / "alone.csv").cluster.tolist() == ["a", "b"]


def test_a_caller_in_two_splits_is_a_red_flag(table):
    split = np.where(np.arange(len(table)) % 8 < 4, "validation", "test")
    shared = Predictions(**{**vars(table), "split": split})
    assert "participant_in_two_splits" in [flag["code"] for flag in flags.of_table(shared)]
    apart = Predictions(**{**vars(shared), "cluster": shared.participant_id})
    assert "participant_in_two_splits" not in [flag["code"] for flag in flags.of_table(apart)]
