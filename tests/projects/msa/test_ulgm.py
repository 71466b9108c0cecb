"""The unimodal label generation module against a participant-by-participant reference in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.io import InputError
from mmpsy_jax.projects.msa.objectives import ulgm
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import train_statistics

SENTIMENT = Task("sentiment", "sentiment", "regression", maximum=3.0, minimum=-3.0)
PHQ = Task("phq_score", "phq9", "regression", maximum=27.0)
NAMES, WIDTHS = ("text", "audio"), {"fusion": 5, "text": 4, "audio": 3}
N, ABSENT = 12, 4  # participants; one who lacks audio


class Reference:
    """The memory as plain numbers of one participant after another, and the authors' equations on them."""

    def __init__(self, y, low, high):
        self.y, self.low, self.high, self.names = y, low, high, ("fusion", *NAMES)
        self.u = {name: y.copy() for name in NAMES}
        self.features = {name: {} for name in self.names}
        self.seen = {name: np.zeros(len(y), int) for name in self.names}
        self.centres = {name: {} for name in self.names}

    def distance(self, name, feature):
        positive, negative = (np.linalg.norm(feature - self.centres[name][sign]) for sign in (1, -1))
        return (negative - positive) / (positive + 1e-8)

    def step(self, rows, features):
        """`features` [name][position in rows], None where the participant lacks the modality."""
        for name in NAMES:
            for at, i in enumerate(rows):
                feature = features[name][at]
                if feature is None:
                    continue
                n = self.seen[name][i] + 1
                if n == 1 or len(self.centres[name]) < 2 or len(self.centres["fusion"]) < 2:
                    continue
                own, fused = self.distance(name, feature), self.distance("fusion", features["fusion"][at])
                fused = max(abs(fused), 1e-3) * (-1 if fused < 0 else 1)
                ratio, difference = own / fused * self.y[i], self.y[i] + own - fused
                candidate = min(max((ratio + difference) / 2, self.low), self.high)
                self.u[name][i] = (n - 1) / (n + 1) * self.u[name][i] + 2 / (n + 1) * candidate
        for name in self.names:
            for at, i in enumerate(rows):
                if features[name][at] is not None:
                    self.features[name][i] = features[name][at]
                    self.seen[name][i] += 1
            label = self.y if name == "fusion" else self.u[name]
            for sign in (1, -1):
                members = [f for i, f in self.features[name].items() if np.sign(label[i]) == sign]
                if members:
                    self.centres[name][sign] = np.mean(members, axis=0)

    def loss(self, rows, value, values):
        parts = []
        for at, i in enumerate(rows):
            part = abs(value[at] - self.y[i])
            for name in NAMES:
                if not (name == "audio" and i == ABSENT):
                    part += np.tanh(abs(self.u[name][i] - self.y[i])) * abs(values[name][at] - self.u[name][i])
            parts.append(part)
        return np.mean(parts)


def outputs_of(objective, rows, rng):
    """Random outputs of a network, padded by two rows."""
    size = len(rows) + 2
    made = {"fusion_feature": rng.normal(size=(size, WIDTHS["fusion"]))}
    made[objective.task.name] = rng.normal(size=(size, 1))
    for name in NAMES:
        made[f"{name}_feature"] = rng.normal(size=(size, WIDTHS[name]))
        made[f"{name}_value"] = rng.normal(size=(size, 1))
        made[f"{name}_present"] = np.ones((size, 1))
    made["audio_present"][[at for at, i in enumerate(rows) if i == ABSENT]] = 0
    return {name: jnp.asarray(value, jnp.float32) for name, value in made.items()}


def in_units(objective, fraction):
    return (np.asarray(fraction)[:, 0] * objective.task.maximum - objective.cutoff) / objective.scale


def start(objective, scores):
    shapes = {f"{name}_feature": jax.ShapeDtypeStruct((1, width), jnp.float32) for name, width in WIDTHS.items()}
    return objective.memory({objective.task.label: jnp.asarray(scores)}, shapes)


@pytest.mark.parametrize(
    ("objective", "scores"),
    [
        (ulgm.Objective(SENTIMENT, NAMES), np.array([-3, -2, -1.5, -1, -0.2, 0, 0, 0.4, 1, 1.8, 2.4, 3], np.float32)),
        (ulgm.Objective(PHQ, NAMES, cutoff=10.0, scale=4.0), np.linspace(2, 24, N).round().astype(np.float32)),
    ],
)
def test_memory_and_loss_follow_the_reference_over_five_epochs(objective, scores):
    rng = np.random.default_rng(0)
    y = (scores - objective.cutoff) / objective.scale
    reference = Reference(y.astype(np.float64), *objective.limits)
    memory = start(objective, scores)
    remember, loss_of, moved = jax.jit(objective.remember), jax.jit(objective), 0.0
    for _ in range(5):
        order = rng.permutation(N)
        for rows in np.split(order, [5, 9]):
            outputs = outputs_of(objective, rows, rng)
            index = jnp.asarray([*rows, -1, -1])
            labels = {objective.task.label: jnp.asarray([*scores[rows], np.nan, np.nan], jnp.float32)}
            labels |= objective.recall(memory, index)
            (loss,), (_, sums) = loss_of(outputs, labels, index >= 0, {})
            values = {name: in_units(objective, outputs[f"{name}_value"]) for name in NAMES}
            value = in_units(objective, outputs[objective.task.name])
            np.testing.assert_allclose(loss, reference.loss(rows, value, values), rtol=1e-4)
            assert int(sums[objective.task.name][1]) == len(rows)
            memory = remember(memory, outputs, labels, index)
            features = {name: list(np.asarray(outputs[f"{name}_feature"], np.float64)) for name in WIDTHS}
            features["audio"] = [None if i == ABSENT else f for i, f in zip(rows, features["audio"], strict=False)]
            reference.step(rows, features)
        for name in NAMES:
            np.testing.assert_allclose(memory["label"][name], reference.u[name], rtol=1e-3, atol=1e-3)
        for name in WIDTHS:
            np.testing.assert_array_equal(memory["seen"][name], reference.seen[name])
            np.testing.assert_allclose(memory["centre"][name][1], reference.centres[name][-1], rtol=1e-4, atol=1e-5)
        moved = np.abs(np.asarray(memory["label"]["text"]) - y).max()
    assert moved > 0.1
    assert memory["label"]["audio"][ABSENT] == pytest.approx(y[ABSENT])
    low, high = objective.limits
    assert all(np.all((low - 1e-5 <= u) & (u <= high + 1e-5)) for u in memory["label"].values())


def test_without_negative_participants_no_label_moves_and_nothing_is_nan():
    objective, rng = ulgm.Objective(SENTIMENT, NAMES), np.random.default_rng(1)
    scores = np.linspace(0.5, 3, N).astype(np.float32)
    memory, index = start(objective, scores), jnp.asarray([*range(N), -1, -1])
    labels = {"sentiment": jnp.asarray([*scores, np.nan, np.nan])}
    for _ in range(3):
        memory = jax.jit(objective.remember)(memory, outputs_of(objective, range(N), rng), labels, index)
    np.testing.assert_array_equal(memory["label"]["text"], scores)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(memory))
    assert memory["known"]["fusion"].tolist() == [True, False]


def test_fused_features_midway_between_the_centres_give_finite_labels_within_the_limits():
    objective, rng = ulgm.Objective(SENTIMENT, NAMES), np.random.default_rng(2)
    scores = np.linspace(-3, 3, N).astype(np.float32)
    memory, index = start(objective, scores), jnp.asarray([*range(N), -1, -1])
    labels = {"sentiment": jnp.asarray([*scores, np.nan, np.nan])}
    memory = jax.jit(objective.remember)(memory, outputs_of(objective, range(N), rng), labels, index)
    outputs = outputs_of(objective, range(N), rng)
    outputs["fusion_feature"] = jnp.broadcast_to(memory["centre"]["fusion"].mean(axis=0), (N + 2, WIDTHS["fusion"]))
    memory = jax.jit(objective.remember)(memory, outputs, labels, index)
    for name in NAMES:
        assert np.isfinite(memory["label"][name]).all()
        assert np.abs(memory["label"][name]).max() <= 3


def test_who_is_not_trained_on_has_no_label_and_no_part_in_the_centres():
    members = np.array([0, 3, 5])
    made = train_statistics.training_scores({"sentiment": np.arange(8, dtype=np.float32)}, members)["sentiment"]
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(made)), members)
    objective = ulgm.Objective(SENTIMENT, NAMES)
    memory = start(objective, made)
    assert np.isnan(memory["label"]["text"]).sum() == 5


def test_histograms_are_of_those_who_were_seen():
    rng = np.random.default_rng(7)
    y = rng.uniform(-3, 3, N).astype(np.float32)
    y[2] = np.nan
    memory = start(ulgm.Objective(SENTIMENT, NAMES), y)
    moved = np.clip(y + rng.normal(size=N), -3, 3).astype(np.float32)
    seen = np.arange(N) % 3
    memory["label"]["audio"], memory["seen"]["audio"] = jnp.asarray(moved), jnp.asarray(seen)
    made = jax.jit(ulgm.Objective(SENTIMENT, NAMES).histograms)(memory)
    known = (seen > 0) & ~np.isnan(y)
    np.testing.assert_array_equal(made["labels/audio"], np.histogram(moved[known], ulgm.BINS, (-3, 3))[0])
    np.testing.assert_array_equal(made["changes/audio"], np.histogram((moved - y)[known], ulgm.BINS, (-6, 6))[0])
    assert made["labels/text"].sum() == 0
    assert made["labels/limits"].tolist() == [-3, 3]


@pytest.mark.parametrize(
    ("tasks", "options", "said"),
    [
        ([SENTIMENT, PHQ], {"cutoff": 0.0, "scale": 1.0}, "one task"),
        ([Task("screen", "phq9", "binary", (10.0,))], {"cutoff": 0.0, "scale": 1.0}, "one task"),
        ([PHQ], {"cutoff": 0.0, "scale": 1.0}, "must lie between"),
    ],
)
def test_bad_settings(tasks, options, said):
    with pytest.raises(InputError, match=said):
        ulgm.build(tasks, NAMES, **options)


def test_a_network_without_heads_of_modalities():
    with pytest.raises(InputError, match="self_mm"):
        ulgm.Objective(SENTIMENT, NAMES).memory(
            {"sentiment": jnp.zeros(3)}, {"sentiment": jax.ShapeDtypeStruct((1, 1), float)}
        )
