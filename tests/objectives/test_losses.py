"""Losses against independent formulas on random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmpsy_jax import tasks
from mmpsy_jax.io import InputError
from mmpsy_jax.objectives import multitask
from mmpsy_jax.training import train_statistics

NAN = float("nan")
TASKS = tasks.questionnaire("phq9", "phq")
FOUR = tasks.Task("gad", "gad7", "ordinal", tasks.BANDS["gad7"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def losses(task, outputs, targets, delta=1.0):
    """Of each row, compiled as a whole: operation by operation takes ten times as long."""
    return jax.jit(lambda o, t: task.losses(o, t, delta))(jnp.asarray(outputs), jnp.asarray(targets))


def test_binary_is_cross_entropy(rng):
    logits, targets = rng.normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 1, 0, 1], np.float32)
    each = losses(TASKS[0], logits, targets)
    log_p = scipy.special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(each, -log_p[np.arange(5), targets.astype(int)], rtol=1e-5)


def test_ordinal_is_the_proportional_odds_likelihood(rng):
    cuts = np.array([-1.0, 0.3, 2.0])
    place = rng.normal(size=5) * 2
    cumulative = (place[:, None] - cuts).astype(np.float32)
    above = np.concatenate([np.ones((5, 1)), scipy.special.expit(cumulative), np.zeros((5, 1))], axis=1)
    p = above[:, :-1] - above[:, 1:]
    np.testing.assert_allclose(p.sum(1), 1)
    for k in range(4):
        each = losses(FOUR, cumulative, np.full(5, float(k)))
        np.testing.assert_allclose(each, -np.log(p[:, k]), rtol=2e-4)


def test_ordinal_stays_finite_far_out():
    cumulative = jnp.array([[100.0, 99.0, -300.0], [-100.0, -150.0, -151.0]])
    loss = jax.jit(jax.value_and_grad(lambda c, targets: FOUR.losses(c, targets, 1.0).sum()))
    for k in range(4):
        value, gradient = loss(cumulative, np.full(2, k, np.float32))
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_regression_is_huber_in_points():
    each = losses(TASKS[2], [[0.5], [0.5]], [12.0, 3.5], delta=4.0)
    # Errors 1.5 points (quadratic: (1.5/4)^2/2) and 10 points (linear: 10/4 - 1/2).
    np.testing.assert_allclose(each, [0.5 * 0.375**2, 2.0], rtol=1e-6)


def test_a_count_is_poisson_regression(rng):
    task = tasks.Task("calls", "calls", "count")
    counts, output = rng.poisson(3.0, 9).astype(np.float32), rng.normal(1, 0.5, (9, 1)).astype(np.float32)
    each = losses(task, output, counts)
    likelihood = scipy.stats.poisson.logpmf(counts, np.exp(output[:, 0]))
    np.testing.assert_allclose(each, scipy.stats.poisson.logpmf(counts, counts) - likelihood, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(task.predictions(output), np.exp(output[:, 0].astype(np.float64)))
    np.testing.assert_allclose(np.exp(train_statistics.start(task, counts)), counts.mean() + 1 / 9, rtol=1e-6)


def test_concordance_against_the_definition(rng):
    x, y = rng.normal(size=(2, 50))
    y = x + 0.5 * y + 0.2
    expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    weights = np.r_[np.ones(50), np.zeros(3)]
    x, y = np.r_[x, [9.0, 9.0, 9.0]], np.r_[y, [NAN, NAN, -9.0]]
    np.testing.assert_allclose(jax.jit(multitask.concordance)(x, y, weights), expected, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_concordance_of_too_few_is_zero_with_finite_gradient(n):
    truth, weights = jnp.array([1.0, NAN, NAN, NAN]), jnp.asarray(np.float32(np.arange(4) < n))
    loss = jax.jit(jax.value_and_grad(lambda v: multitask.concordance(v, truth, weights)))
    value, gradient = loss(np.arange(4, dtype=np.float32))
    assert value == 0 and np.all(np.isfinite(gradient))


def build(**changes):
    return multitask.build(TASKS, **{"ccc": 0.0, "delta": 4.0, **changes})


ONES = {"phq_screen": jnp.ones(2), "phq_bands": jnp.ones(5)}


def batch(rng):
    outputs = {
        "phq_screen": rng.normal(size=(5, 2)).astype(np.float32),
        "phq_bands": np.sort(rng.normal(size=(5, 4)))[:, ::-1].astype(np.float32),
        "phq_score": rng.uniform(size=(5, 1)).astype(np.float32),
    }
    labels = {"phq9": np.array([2.0, 12.0, 7.0, NAN, 20.0], np.float32)}
    return jax.tree.map(jnp.asarray, (outputs, labels, np.array([True, True, True, True, False])))


def test_padding_rows_and_missing_labels_do_not_count(rng):
    outputs, labels, valid = batch(rng)
    objective = build(ccc=0.5)
    run = jax.jit(objective)
    each, (present, sums) = run(outputs, labels, valid, ONES)
    changed = jax.tree.map(lambda x: np.where(np.arange(5)[:, None] < 3, x, np.float32(50.0)), outputs)
    again, _ = run(changed, {"phq9": np.array([2.0, 12.0, 7.0, NAN, 1.0], np.float32)}, valid, ONES)
    np.testing.assert_allclose(each, again, rtol=1e-5)
    assert np.all(present)
    assert {name: float(weight) for name, (_, weight) in sums.items()} == dict.fromkeys(sums, 3.0)
    gradient = jax.jit(jax.grad(lambda o: objective(o, labels, valid, ONES)[0].sum()))(outputs)
    assert all(np.all(np.isfinite(g)) and np.all(g[3:] == 0) for g in gradient.values())


def test_a_batch_without_any_label_has_zero_gradient(rng):
    outputs, _, valid = batch(rng)
    objective = build(ccc=0.5)
    unlabelled = {"phq9": jnp.full(5, NAN)}
    each, (present, _) = jax.jit(objective)(outputs, unlabelled, valid, ONES)
    gradient = jax.jit(jax.grad(lambda o: objective(o, unlabelled, valid, ONES)[0].sum()))(outputs)
    assert not np.any(each) and not np.any(present) and all(np.all(g == 0) for g in gradient.values())


def test_the_losses_are_in_the_order_of_the_tasks(rng):
    each, (_, sums) = jax.jit(build())(*batch(rng), ONES)
    np.testing.assert_allclose(each, [np.divide(*sums[t.name]) for t in TASKS], rtol=1e-6)


def test_balanced_class_weights_come_from_the_scores_given():
    weights = multitask.class_weights(TASKS[0], np.array([2, 3, 12, NAN, 4], np.float32), "balanced")
    np.testing.assert_allclose(weights, [4 / (2 * 3), 4 / (2 * 1)])
    one = jax.jit(build(ccc=0.5))
    outputs, labels, valid = batch(np.random.default_rng(1))
    _, (_, plain) = one(outputs, labels, valid, ONES)
    _, (_, weighted) = one(outputs, labels, valid, {**ONES, "phq_screen": jnp.array([1.0, 3.0])})
    assert float(plain["phq_screen"][1]) == 3 and float(weighted["phq_screen"][1]) == 5  # one of three is a case
    # A band that nobody is in gets weight one, not infinity.
    assert multitask.class_weights(TASKS[1], np.array([2, 12], np.float32), "balanced")[4] == 1.0


def test_probabilities(rng):
    logits = rng.normal(size=(4, 2))
    np.testing.assert_allclose(TASKS[0].predictions(logits), scipy.special.softmax(logits, axis=1)[:, 1])
    cumulative = np.array([[2.0, 1.0, -1.0, -3.0]])
    above = scipy.special.expit(cumulative[0])
    p = -np.diff(np.r_[1, above, 0])
    np.testing.assert_allclose(TASKS[1].predictions(cumulative), p @ np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(TASKS[2].predictions(np.array([[0.5], [1.2], [-1]])), [13.5, 27, 0])


def test_a_nominal_task_is_a_weighted_softmax_over_its_classes(rng):
    task = tasks.Task("emotion", "emotion", "nominal", classes=tuple("abcd"))
    logits = rng.normal(size=(7, 4)).astype(np.float32)
    scores = np.array([0, 3, 3, 1, NAN, 2, 0], np.float32)
    valid = np.arange(7) < 6
    weights = multitask.class_weights(task, scores[:6], "balanced")
    np.testing.assert_allclose(weights, 5 / (4 * np.array([1, 1, 1, 2])))
    given = {"emotion": jnp.asarray(logits)}, {"emotion": jnp.asarray(scores)}, jnp.asarray(valid)
    (each,), (_, sums) = jax.jit(multitask.build([task], ccc=0.0, delta=1.0))(*given, {"emotion": jnp.array(weights)})
    rows = np.flatnonzero(valid & ~np.isnan(scores))
    classes = scores[rows].astype(int)
    weight = np.array(weights)[classes]
    losses_of_rows = -scipy.special.log_softmax(logits, axis=1)[rows, classes]
    np.testing.assert_allclose(each, (losses_of_rows * weight).sum() / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["emotion"][1], weight.sum(), rtol=1e-6)
    np.testing.assert_array_equal(task.predictions(logits), logits.argmax(axis=1))
    np.testing.assert_allclose(task.averageable(logits), scipy.special.softmax(logits, axis=1), rtol=1e-5)
    started = train_statistics.start(task, scores)
    np.testing.assert_allclose(scipy.special.softmax(started), np.array([3, 2, 2, 3]) / 10)


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="balanced, none"):
        multitask.class_weights(TASKS[0], np.array([2.0, 12.0], np.float32), "inverse")


def test_two_way_softmax_with_positive_weights_is_binary_cross_entropy_with_them(rng):
    scores = np.array([0, 0, 1, 0, 1, 0, 0, NAN], np.float32)
    task = tasks.Task("fear", "fear", "binary", (1.0,))
    weights = multitask.class_weights(task, scores, "positive")
    assert weights == (1.0, 5 / 2)
    logits = rng.normal(size=(8, 2)).astype(np.float32)
    given = (
        {"fear": jnp.asarray(logits)},
        {"fear": jnp.asarray(scores)},
        jnp.ones(8, bool),
        {"fear": jnp.array(weights)},
    )
    _, (_, sums) = jax.jit(multitask.build([task]))(*given)
    p = scipy.special.expit(logits[:7, 1] - logits[:7, 0])
    wanted = -(2.5 * scores[:7] * np.log(p) + (1 - scores[:7]) * np.log(1 - p))
    np.testing.assert_allclose(sums["fear"], (wanted.sum(), 5 + 2 * 2.5), rtol=1e-5)
    assert multitask.class_weights(task, np.zeros(3, np.float32), "positive") == (1.0, 1.0)


def test_the_losses_of_several_binary_tasks_are_their_cross_entropies(rng):
    several = [tasks.Task(name, name, "binary", (1.0,)) for name in ("fear", "pain", "guilt")]
    objective = multitask.build(several, ccc=0.0, delta=1.0)
    outputs = {task.name: rng.normal(size=(5, 2)).astype(np.float32) for task in several}
    labels = {task.name: rng.integers(0, 2, 5).astype(np.float32) for task in several}
    ones = {task.name: jnp.ones(2) for task in several}
    made, _ = jax.jit(objective)(*jax.tree.map(jnp.asarray, (outputs, labels, np.ones(5, bool), ones)))
    wanted = [
        -scipy.special.log_softmax(outputs[k], axis=1)[np.arange(5), labels[k].astype(int)].mean() for k in outputs
    ]
    np.testing.assert_allclose(made, wanted, rtol=1e-5)
