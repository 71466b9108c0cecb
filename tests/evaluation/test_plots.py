"""Pictures and what is kept for them: well-formed SVG that follows the page's colours, with the right content drawn."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from evaluation_samples import CURVES
from sklearn.metrics import precision_recall_curve, roc_auc_score

from mmpsy_jax.evaluation import curves, plots
from mmpsy_jax.evaluation.bootstrap import resample
from mmpsy_jax.evaluation.curves import MOST_POINTS, label_updates, learning_curves, of_tasks
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task

RNG = np.random.default_rng(0)
Y = (RNG.random(80) < 0.3).astype(float)
PROB = np.round(1 / (1 + np.exp(-(2 * Y - 1 + RNG.normal(size=80)))), 2)
IDS = np.array([f"secret{i}" for i in range(80)])
SCORE = RNG.integers(0, 28, 80).astype(float)


TABLE = Predictions.build(IDS, "screen", Y, y_prob=PROB)
SCREEN, TOTAL = Task("screen", "phq9", "binary", (10,)), Task("total", "phq9", "regression", maximum=27.0)


def screening(**changed):
    beside = {"length": Predictions.build(IDS, "screen", Y, y_prob=1 - PROB)}
    return of_tasks(Predictions(**{**vars(TABLE), **changed}), [SCREEN], beside, 0)["screen"]["test"]


def scores(y_true, y_pred):
    ids = [f"secret{i}" for i in range(len(y_true))]
    return of_tasks(Predictions.build(ids, "total", y_true, y_pred=y_pred), [TOTAL], {}, 0)["total"]["test"]


def pictures():
    curve, score = screening(), scores(SCORE, SCORE * 0.5 + 3)
    updates = {"": [{"step": 1, "labels/limits": [0, 1], "labels/u": [1, 2], "changes/u": [3, 0]}]}
    return {
        "roc": plots.roc(curve["roc"], "the_first_run"),
        "pr": plots.precision_recall(curve["precision_recall"], 0.3, "the_first_run"),
        "reliability": plots.reliability(curve["reliability"], curve["histogram"]),
        "confusion": plots.confusion([[5, 1], [2, 3]], ["< 10", ">= 10"]),
        "scatter": plots.scatter(score["cells"], score["fit"], 27),
        "bland": plots.bland_altman(score["cells"], {"bias": -1.0, "low": -3.0, "high": 1.0}),
        "settings": plots.settings("auroc", "rate", [0.001, 0.1], [0.6, np.nan], [True, False]),
        **{name: plots.label_update(name, one) for name, one in label_updates(updates).items()},
        **{f"curve {name}": plots.learning_curve(name, one) for name, one in learning_curves(CURVES).items()},
    }


@pytest.fixture(scope="module")
def drawn():
    return pictures()


def test_svg_is_well_formed_self_contained_and_themed(drawn):
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg") and root.get("viewBox") and root.get("aria-label"), name
        assert root.get("width") is None, "it scales with the page"
        assert "currentColor" in svg and plots.INK not in svg, name
        assert "secret" not in svg
        for element in root.iter():
            for attribute, value in element.attrib.items():
                if attribute.endswith("href"):
                    assert value.startswith(("#", "data:image/")), name


def test_ids_are_unique_within_and_between_pictures(drawn):
    ids = [i for svg in drawn.values() for i in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in drawn.values():
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert {a or b for a, b in used} <= own


def test_same_input_same_picture(drawn):
    assert pictures() == drawn


def test_texts_say_what_is_drawn(drawn):
    assert "the_first_run" in drawn["roc"] and "the_first_run" in drawn["pr"]
    assert "length" in drawn["roc"] and "prevalence" in drawn["pr"]
    assert "62%" not in drawn["confusion"] and "83%" in drawn["confusion"] and "60%" in drawn["confusion"]
    assert "slope 0.50" in drawn["scatter"]


def test_learning_curves_choose_what_matters():
    content = learning_curves(CURVES)
    assert list(content) == ["loss", "screen/auroc"] and learning_curves({}) == {}
    assert content["loss"]["validation"]["mean"] == {"x": [2.0, 4.0], "y": [0.8, 0.7]}
    assert "mean of 2" in plots.learning_curve("loss", content["loss"])
    one = learning_curves({"run": CURVES["fold 0"]})["loss"]
    assert "mean of" not in plots.learning_curve("loss", one) and "mean" not in one["train"]
    long = learning_curves({"": [{"step": i, "train/loss": i / 7} for i in range(5000)]})["loss"]["train"]["lines"][0]
    assert len(long["x"]) == MOST_POINTS and (long["x"][0], long["x"][-1]) == (0, 4999)


def test_label_updates_are_summed_over_runs_and_few_steps_are_shown():
    row = lambda step, counts: {  # noqa: E731
        "step": step, "labels/limits": [-3.0, 3.0], "labels/text": counts, "changes/text": counts[::-1],
    }  # fmt: skip
    rows = [row(step, [step, 1.0, 0.0]) for step in range(1, 12)]
    content = label_updates({"a": [*CURVES["fold 0"], *rows], "b": [row(1, [1.0, 1.0, 4.0])]})
    assert list(content) == ["text"] and content["text"]["steps"]["1"]["labels"] == [0.25, 0.25, 0.5]
    drawn = plots.label_update("text", content["text"])
    assert re.findall(r"step \d+", drawn) == [f"step {step}" for step in (1, 3, 6, 9, 11)]
    assert label_updates(CURVES) == {}


def test_bands_hold_the_curve_and_shrink_with_more_people():
    low, high = curves.band(Y, PROB, IDS, 0)["roc"]
    ties = curves.Ties(PROB)
    hits = np.cumsum(ties.sums(Y[None])[0, ::-1])
    alarms = np.cumsum(ties.sums(1 - Y[None])[0, ::-1])
    curve = curves.sensitivity_on_grid(hits, alarms)
    assert np.mean((low <= curve) & (curve <= high)) > 0.95
    narrow_low, narrow_high = curves.band(np.tile(Y, 10), np.tile(PROB, 10), np.arange(800), 0)["roc"]
    assert np.mean(narrow_high - narrow_low) < 0.5 * np.mean(high - low)


def test_precision_on_the_grid_follows_scikit_learn():
    ties = curves.Ties(PROB)
    weights = next(resample(np.arange(80), 1, 3))
    hits = np.cumsum(ties.sums(weights * Y)[0, ::-1])
    alarms = np.cumsum(ties.sums(weights * (1 - Y))[0, ::-1])
    precision, recall, _ = precision_recall_curve(Y, PROB, sample_weight=weights[0])
    # At each recall: the precision of the highest threshold that reaches it.
    expected = [precision[np.flatnonzero(recall >= r - 1e-12)[-1]] for r in curves.GRID[1:]]
    np.testing.assert_allclose(curves.precision_on_grid(hits, alarms)[1:], expected)


def test_what_is_kept_of_a_screening_are_bins_and_lines():
    content = screening()
    assert np.sum(content["histogram"], axis=1).tolist() == [np.sum(Y == 0), np.sum(Y == 1)]
    assert sum(content["reliability"]["n"]) == 80
    assert content["roc"]["model"]["area"] == roc_auc_score(Y, PROB)
    assert content["roc"]["baselines"]["length"]["area"] == pytest.approx(1 - roc_auc_score(Y, PROB))
    assert list(screening(y_true=np.zeros(80))) == ["reliability", "histogram"], "one class has no curve"


def test_scores_are_counted_on_a_grid_that_loses_nothing_a_picture_shows():
    noisy = SCORE * 0.5 + 3 + RNG.normal(size=80)
    content = scores(SCORE, noisy)
    cells = content["cells"]
    assert sum(cells["n"]) == 80 and set(cells["true"]) == set(SCORE)
    assert set(np.mod(np.array(cells["predicted"]) * 4, 1)) == {0.0}, "quarters of a point"
    expected = np.round(noisy[np.lexsort([noisy, SCORE])] * 4) / 4
    np.testing.assert_allclose(np.repeat(cells["predicted"], cells["n"]), expected)
    assert content["fit"]["slope"] == pytest.approx(np.polyfit(SCORE, noisy, 1)[0])


def test_extreme_inputs_are_drawn():
    for y, prob in ((np.ones(80), np.ones(80)), (np.zeros(80), np.zeros(80))):
        content = screening(y_true=y, y_prob=prob)
        plots.reliability(content["reliability"], content["histogram"])
    content = scores(np.ones(1), np.ones(1))
    assert content["fit"] is None
    plots.scatter(content["cells"], None, 27)
    plots.bland_altman(content["cells"], {"bias": 0.0, "low": None, "high": None})
    plots.confusion(np.zeros((5, 5), int), list("abcde"))
    big = np.random.default_rng(1).normal(10, 3, 5000)
    content = scores(big, big + np.random.default_rng(2).normal(0, 9, 5000))
    drawn = plots.scatter(content["cells"], content["fit"], 27)
    assert len(drawn) < 400_000, "many points are one embedded picture"


def test_decision_curve_and_forest_draw_what_is_defined_and_say_the_rest():
    grid = [0.1, 0.2, 0.3]
    curve = {"thresholds": grid, "model": [0.2, None, 0.1], "low": [0.1, None, 0.0], "high": [0.3, None, 0.2]}
    svg = plots.decision_curve(
        {**curve, "treat_all": [0.2, 0.1, -3.0], "baselines": {"length": [0.1, 0.1, None]}}, "mine"
    )
    for text in ("mine", "length", "everybody", "nobody", "net benefit"):
        assert text in svg, text
    known = {"value": 0.1, "low": -0.05, "high": 0.25}
    unknown = dict.fromkeys(known)
    drawn = plots.forest(
        {"length": (known, "p 0.020, Holm 0.040"), "prior": (unknown, "")}, "difference in AUROC: mine - other"
    )
    for text in ("length", "prior", "p 0.020, Holm 0.040", "difference in AUROC: mine - other"):
        assert text in drawn, text
    ElementTree.fromstring(svg)
    ElementTree.fromstring(drawn)
