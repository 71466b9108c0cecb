"""Membership inference: the attack finds what is planted, and nothing where nothing is. SYNTHETIC confidences."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from mmpsy_jax.evaluation import membership
from mmpsy_jax.evaluation.membership import IN, NEITHER, OUT, Trainings
from mmpsy_jax.tasks import Task

K = 4
SCREEN, SCORE = Task("screen", "phq9", "binary", (10,)), Task("score", "phq9", "regression", maximum=27)


def trainings(n, repeats, seeds, validation=0.0, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    roles, of_repeat, of_seed = [], [], []
    for repeat in range(repeats):
        fold_of = rng.permutation(np.arange(n) % K)
        for fold in range(K):
            role = np.where(fold_of == fold, OUT, np.where(rng.random(n) < validation, NEITHER, IN))
            for seed in range(seeds):
                roles.append(role)
                of_repeat.append(repeat)
                of_seed.append(seed)
    return Trainings(np.stack(roles), np.array(of_repeat), np.array(of_seed), np.arange(n))


def confidences(about, effect, of_training=0.0, rng_seed=1):
    """Normal confidences with a level of each participant, and one of each training part (shared by its seeds)."""
    rng = np.random.default_rng(rng_seed)
    t, n = about.role.shape
    parts = np.unique(about.role, axis=0, return_inverse=True)[1].ravel()
    shared = of_training * rng.standard_normal((parts.max() + 1, n))[parts]
    level = 5 * rng.standard_normal(n)
    return level + shared + rng.standard_normal((t, n)) + effect * (about.role == IN)


@pytest.mark.parametrize("effect", [1.0, 3.0])
def test_a_planted_shift_is_found_as_often_as_it_can_be(effect):
    about = trainings(400, repeats=6, seeds=2)
    cells = membership.power(
        membership.likelihood_ratio(confidences(about, effect), about), about, resamples=100, seed=0
    )
    best = norm.cdf(effect / np.sqrt(2))  # of two normals whose means and variance are known
    assert best - 0.05 < cells["auc"]["value"] < best + 0.01
    best = norm.sf(norm.isf(0.01) - effect)
    assert 0.6 * best < cells["tpr_at_0.01"]["value"] < 1.1 * best + 0.01
    assert cells["auc"]["low"] < cells["auc"]["value"] < cells["auc"]["high"]


@pytest.mark.parametrize("of_training", [0.0, 2.0])
@pytest.mark.parametrize(("repeats", "seeds"), [(2, 2), (3, 1), (4, 3)])
def test_where_nothing_is_remembered_nothing_is_found(repeats, seeds, of_training):
    """Neither the number of shadow models nor what the seeds of one training part share tells who was in it."""
    about = trainings(1200, repeats, seeds, validation=0.1)
    scores = membership.likelihood_ratio(confidences(about, 0.0, of_training), about)
    cell = membership.power(scores, about, resamples=200, seed=0)["auc"]
    assert cell["low"] - 0.01 < 0.5 < cell["high"] + 0.01


def test_power_is_that_of_scikit_learn():
    about = trainings(60, repeats=3, seeds=1, validation=0.2)
    scores = np.round(confidences(about, 1.0), 1)  # with ties
    used = about.role != NEITHER
    cells = membership.power(scores, about, resamples=20, seed=0)
    truth, values = about.role[used] == IN, scores[used]
    assert cells["auc"]["value"] == pytest.approx(roc_auc_score(truth, values))
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    for name, limit in membership.FALSE_RATES.items():
        assert cells[name]["value"] == pytest.approx(true[false <= limit + 1e-12].max())


def test_only_a_participant_s_other_repeats_are_shadow_models():
    about = trainings(50, repeats=3, seeds=2)
    values = confidences(about, 1.0)
    before = membership.likelihood_ratio(values, about)
    changed = values.copy()
    changed[about.repeat == 1] += np.where(about.role == IN, 7.0, -3.0)[about.repeat == 1]
    after = membership.likelihood_ratio(changed, about)
    assert not np.allclose(after[about.repeat == 0], before[about.repeat == 0])
    one = values.copy()
    one[about.repeat == 1, 5] += 4.0  # of the repeat that is attacked: the others' scores there stay
    kept = np.delete(np.arange(50), 5)
    np.testing.assert_array_equal(
        membership.likelihood_ratio(one, about)[about.repeat == 1][:, kept], before[about.repeat == 1][:, kept]
    )


def test_the_control_has_the_same_counts_and_other_memberships():
    about = trainings(300, repeats=4, seeds=2, validation=0.1)
    control = about.exchanged(seed=0)
    for one in range(4):
        for side in (IN, OUT, NEITHER):
            before, after = ((x.role[about.repeat == one] == side).sum(axis=0) for x in (about, control))
            np.testing.assert_array_equal(before, after)
    pairs = control.role.reshape(4, K, 2, -1)
    np.testing.assert_array_equal(pairs[:, :, 0], pairs[:, :, 1])  # seeds of a fold share it
    agree = (about.role == OUT)[control.role == OUT].mean()
    assert abs(agree - 1 / K) < 0.05
    truths = np.random.default_rng(0).integers(0, 20, 300).astype(float)
    attacked = membership.attack(SCORE, truths + confidences(about, 3.0), truths, about, resamples=100)
    assert attacked["likelihood_ratio"]["auc"]["value"] > 0.95
    assert abs(attacked["exchanged"]["auc"]["value"] - 0.5) < 0.05


def test_the_confidence_of_each_kind_of_task():
    truth = np.array([1.0, 0.0, np.nan])
    signed, ordered = membership.confidence(SCREEN, np.array([[0.9, 0.9, 0.9]]), truth)
    np.testing.assert_allclose(signed, [[np.log(9), -np.log(9), np.nan]])
    np.testing.assert_array_equal(signed, ordered)
    signed, ordered = membership.confidence(SCORE, np.array([[4.0, 4.0, 4.0]]), np.array([6.0, 1.0, np.nan]))
    np.testing.assert_array_equal(signed, [[-2, 3, np.nan]])
    np.testing.assert_array_equal(ordered, [[-2, -3, np.nan]])
    classes = Task("feeling", "emotion", "nominal", classes=("sad", "calm"))
    odds, _ = membership.confidence(classes, np.array([[[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]]]), truth)
    np.testing.assert_allclose(odds, [[np.log(4), 0.0, np.nan]], atol=1e-12)


def test_too_few_shadow_models_are_a_reason_and_unknown_truths_are_left_out():
    about = trainings(40, repeats=2, seeds=1)
    truths = np.arange(40.0) % 20
    assert "only 1 shadow model" in membership.attack(SCORE, np.zeros((8, 40)), truths, about)["reason"]
    about = trainings(40, repeats=3, seeds=1)
    truths[:10] = np.nan
    values = np.random.default_rng(0).standard_normal(about.role.shape)
    attacked = membership.attack(SCORE, values, truths, about, resamples=20)
    assert (attacked["n_out"], attacked["n_in"]) == (3 * 30, 9 * 30)
    families = dataclasses.replace(about, owner=np.arange(40) // 2)
    wider = membership.attack(SCORE, values, truths, families, resamples=20)
    assert wider["threshold"]["auc"]["low"] != attacked["threshold"]["auc"]["low"]  # clusters are drawn whole
