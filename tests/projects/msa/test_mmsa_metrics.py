"""MMSA's metrics against their definitions, written out one prediction at a time."""

import math

import numpy as np
import pytest

from mmpsy_jax.projects.msa.reports import mmsa


def weighted_f1(true, said):
    total = 0.0
    for label in set(true):
        tp = sum(t == label and s == label for t, s in zip(true, said, strict=True))
        fp = sum(t != label and s == label for t, s in zip(true, said, strict=True))
        fn = sum(t == label and s != label for t, s in zip(true, said, strict=True))
        total += (tp + fn) / len(true) * (2 * tp / (2 * tp + fp + fn) if tp else 0.0)
    return total


def accuracy(true, said):
    return sum(t == s for t, s in zip(true, said, strict=True)) / len(true)


def correlation(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return top / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def cut(value, end):
    return min(max(value, -end), end)


def by_definition_mosi(true, said):
    pairs = [(t, s) for t, s in zip(true, said, strict=True) if t != 0]
    made = {
        "Has0_acc_2": accuracy([t >= 0 for t in true], [s >= 0 for s in said]),
        "Has0_F1_score": weighted_f1([t >= 0 for t in true], [s >= 0 for s in said]),
        "Non0_acc_2": accuracy([t > 0 for t, _ in pairs], [s > 0 for _, s in pairs]),
        "Non0_F1_score": weighted_f1([t > 0 for t, _ in pairs], [s > 0 for _, s in pairs]),
    }
    for end in (1, 2, 3):
        bins = [[round(cut(value, end)) for value in values] for values in (true, said)]  # halves to even, as numpy
        made[f"Mult_acc_{2 * end + 1}"] = accuracy(*bins)
    made["MAE"] = sum(abs(t - s) for t, s in zip(true, said, strict=True)) / len(true)
    return made | {"Corr": correlation(true, said)}


def by_definition_sims(true, said):
    true, said = ([cut(value, 1) for value in values] for values in (true, said))

    def classes(values, edges):
        return [sum(value > edge for edge in edges) for value in values]  # a class includes its right end

    made = {}
    for k, edges in ((2, (0,)), (3, (-0.1, 0.1)), (5, (-0.7, -0.1, 0.1, 0.7))):
        made[f"Mult_acc_{k}"] = accuracy(classes(true, edges), classes(said, edges))
    made["F1_score"] = weighted_f1(classes(true, (0,)), classes(said, (0,)))
    made["MAE"] = sum(abs(t - s) for t, s in zip(true, said, strict=True)) / len(true)
    return made | {"Corr": correlation(true, said)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("highest", "definition"), [(3.0, by_definition_mosi), (1.0, by_definition_sims)], ids=["mosi", "sims"]
)
def test_random_predictions(seed, highest, definition):
    rng = np.random.default_rng(seed)
    true = (rng.integers(-15, 16, 200) / 15 * highest).round(1)  # ratings are means of a few raters: many are equal
    said = (true + rng.normal(size=200) * highest / 2).round(1)  # some beyond the ends, on an edge, or 0
    found = mmsa.scores(true, said, highest)
    wanted = definition(true.tolist(), said.tolist())
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted)


def test_undefined_values_are_nan():
    found = mmsa.mosi(np.zeros(4), np.array([0.1, -0.2, 0.3, 0.1]))
    assert {name for name, value in found.items() if math.isnan(value)} == {"Non0_acc_2", "Non0_F1_score", "Corr"}
    assert mmsa.scores(np.zeros(0), np.zeros(0), 1.0) == {}
