"""Pictures: well-formed SVG that follows the page's colours, with the right content drawn."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from evaluation_samples import CURVES

from mmpsy_jax.evaluation import plots
from mmpsy_jax.evaluation.bootstrap import resample

RNG = np.random.default_rng(0)
Y = (RNG.random(80) < 0.3).astype(float)
PROB = np.round(1 / (1 + np.exp(-(2 * Y - 1 + RNG.normal(size=80)))), 2)
IDS = np.array([f"secret{i}" for i in range(80)])
SCORE = RNG.integers(0, 28, 80).astype(float)


def pictures():
    beside = {"length": (Y, 1 - PROB)}
    return {
        "roc": plots.roc(Y, PROB, IDS, baselines=beside),
        "pr": plots.precision_recall(Y, PROB, IDS, baselines=beside),
        "reliability": plots.reliability(Y, PROB),
        "confusion": plots.confusion(np.array([[5, 1], [2, 3]]), ["< 10", ">= 10"]),
        "scatter": plots.scatter(SCORE, SCORE * 0.5 + 3, 27),
        "bland": plots.bland_altman(SCORE, SCORE * 0.5 + 3),
        **plots.label_updates({"": [{"step": 1, "labels/limits": [0, 1], "labels/u": [1, 2], "changes/u": [3, 0]}]}),
        **{f"curve {name}": svg for name, svg in plots.learning_curves(CURVES).items()},
    }


@pytest.fixture(scope="module")
def drawn():
    return pictures()


def test_svg_is_well_formed_self_contained_and_themed(drawn):
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg") and root.get("viewBox") and root.get("aria-label"), name
        assert root.get("width") is None, "it scales with the page"
        assert "currentColor" in svg and plots._INK not in svg, name
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
    assert "length" in drawn["roc"] and "prevalence" in drawn["pr"]
    assert "62%" not in drawn["confusion"] and "83%" in drawn["confusion"] and "60%" in drawn["confusion"]
    assert "slope 0.50" in drawn["scatter"]


def test_learning_curves_choose_what_matters():
    assert list(plots.learning_curves(CURVES)) == ["loss", "screen/auroc"]
    assert plots.learning_curves({}) == {}
    assert "mean of 2" in plots.learning_curves(CURVES)["loss"]
    one = {"run": CURVES["fold 0"]}
    assert "mean of" not in plots.learning_curves(one)["loss"]


def test_label_updates_are_summed_over_runs_and_few_steps_are_shown():
    row = lambda step, counts: {  # noqa: E731
        "step": step, "labels/limits": [-3.0, 3.0], "labels/text": counts, "changes/text": counts[::-1],
    }  # fmt: skip
    rows = [row(step, [step, 1.0, 0.0]) for step in range(1, 12)]
    made = plots.label_updates({"a": [*CURVES["fold 0"], *rows], "b": [row(1, [1.0, 1.0, 4.0])]})
    assert list(made) == ["text"]
    assert re.findall(r"step \d+", made["text"]) == [f"step {step}" for step in (1, 3, 6, 9, 11)]
    assert plots.label_updates(CURVES) == {}


def test_bands_hold_the_curve_and_shrink_with_more_people():
    low, high = plots._band(Y, PROB, IDS, 0, plots._tpr_on_grid)
    ties = plots.Ties(PROB)
    hits = np.cumsum(ties.sums(Y[None])[0, ::-1])
    alarms = np.cumsum(ties.sums(1 - Y[None])[0, ::-1])
    curve = plots._tpr_on_grid(hits, alarms)
    assert np.mean((low <= curve) & (curve <= high)) > 0.95
    many = np.tile(Y, 10), np.tile(PROB, 10), np.arange(800)
    narrow_low, narrow_high = plots._band(*many, 0, plots._tpr_on_grid)
    assert np.mean(narrow_high - narrow_low) < 0.5 * np.mean(high - low)


def test_precision_on_the_grid_follows_scikit_learn():
    from sklearn.metrics import precision_recall_curve

    ties = plots.Ties(PROB)
    weights = next(resample(np.arange(80), 1, 3))
    hits = np.cumsum(ties.sums(weights * Y)[0, ::-1])
    alarms = np.cumsum(ties.sums(weights * (1 - Y))[0, ::-1])
    precision, recall, _ = precision_recall_curve(Y, PROB, sample_weight=weights[0])
    # At each recall: the precision of the highest threshold that reaches it.
    expected = [precision[np.flatnonzero(recall >= r - 1e-12)[-1]] for r in plots._GRID[1:]]
    np.testing.assert_allclose(plots._precision_on_grid(hits, alarms)[1:], expected)


def test_extreme_inputs_are_drawn():
    ones = np.ones(3)
    plots.reliability(ones, ones)
    plots.reliability(np.zeros(1), np.zeros(1))
    plots.scatter(ones, ones, 27)
    plots.bland_altman(ones[:1], ones[:1])
    plots.confusion(np.zeros((5, 5), int), list("abcde"))
    big = np.random.default_rng(1).normal(10, 3, 5000)
    assert len(plots.scatter(big, big, 27)) < 400_000, "many points are one embedded picture"


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
    drawn = plots.forest({"length": (known, "p 0.020, Holm 0.040"), "prior": (unknown, "")}, "AUROC", "mine")
    for text in ("length", "prior", "p 0.020, Holm 0.040", "difference in AUROC: mine - other"):
        assert text in drawn, text
    ElementTree.fromstring(svg)
    ElementTree.fromstring(drawn)


def test_curves_are_called_by_their_model():
    assert "the_first_run" in plots.roc(Y, PROB, IDS, model="the_first_run")
    assert "the_first_run" in plots.precision_recall(Y, PROB, IDS, model="the_first_run")
