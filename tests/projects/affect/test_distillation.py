"""Distillation against numpy and scipy on random outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmpsy_jax.io import InputError
from mmpsy_jax.objectives import weighting
from mmpsy_jax.projects.affect.objectives import distillation
from mmpsy_jax.tasks import Task

B = 9
CLASSES = ("a", "b", "c", "d")
TASKS = (
    Task("emotion", "emotion", "nominal", classes=CLASSES),
    Task("valence", "valence", "regression", maximum=2.0, minimum=-2.0),
    Task("arousal", "arousal", "regression", maximum=1.0, minimum=-1.0),
)
WEIGHTS = {"emotion": jnp.ones(4)}


def make(seed=0):
    rng = np.random.default_rng(seed)
    outputs = {}
    for prefix in ("", "teacher_"):
        for name, size in (("emotion", 4), ("valence", 1), ("arousal", 1), ("embedding", 6)):
            outputs[prefix + name] = rng.normal(size=(B, size)).astype(np.float32)
    outputs["face_present"] = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1], np.float32)[:, None]
    outputs["speech_present"] = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1], np.float32)[:, None]
    labels = {"emotion": rng.integers(0, 4, B).astype(np.float32)}
    labels |= {name: rng.uniform(-1, 1, B).astype(np.float32) for name in ("valence", "arousal")}
    labels["emotion"][1] = labels["valence"][4] = np.nan
    valid = np.arange(B) < B - 1  # the last row is padding
    return *(jax.tree.map(jnp.asarray, x) for x in (outputs, labels, valid)), valid & (np.arange(B) // 2 != 1)


def build(tasks, joint=False, temperature=2.0):
    part = {"part": "joint" if joint else "student"}
    return distillation.build(tasks, (), part, ccc=0.5, delta=0.25, temperature=temperature)


def ours(joint=False, temperature=3.0):
    return build(TASKS, joint=joint, temperature=temperature)


def reference(outputs, rows, t):
    """The three losses as their formulas say, of the rows that count."""
    o = {name: np.asarray(value, np.float64)[rows] for name, value in outputs.items()}
    p, q = (scipy.special.softmax(o[k] / t, axis=1) for k in ("teacher_emotion", "emotion"))
    kl = np.mean([scipy.stats.entropy(a, b) for a, b in zip(p, q, strict=True)])
    gaps = []
    for name in ("valence", "arousal"):
        x, y = o[name][:, 0], o[f"teacher_{name}"][:, 0]
        covariance = np.cov(x, y, bias=True)
        gaps.append(1 - 2 * covariance[0, 1] / (np.trace(covariance) + (x.mean() - y.mean()) ** 2))
    a, b = o["embedding"], o["teacher_embedding"]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {"soft_targets": t**2 * kl, "concordance": np.mean(gaps), "alignment": np.mean(1 - cosine)}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_losses_between_teacher_and_student_against_their_formulas(temperature):
    outputs, labels, valid, both = make()
    asked = ours(temperature=temperature)
    run = jax.jit(asked)
    each, (present, sums) = run(outputs, labels, valid, WEIGHTS)
    made = dict(zip(asked.names, each.tolist(), strict=True))
    expected = reference(outputs, both, temperature)
    assert asked.names == ("emotion", "valence", "arousal", *expected) and present.all()
    for name, value in expected.items():
        assert made[name] == pytest.approx(value, rel=1e-4)
        total, count = sums[name]
        assert total / count == pytest.approx(value, rel=1e-4) and count == both.sum()
    supervised, _ = jax.jit(asked.supervised)(outputs, labels, valid, WEIGHTS)
    np.testing.assert_allclose(each[:3], supervised, rtol=1e-6)
    # What the rows without a face or speech say plays no part.
    out = np.isin(np.arange(B), [2, 3, B - 1])[:, None]
    changed = {k: v if "present" in k else np.asarray(v) + out.astype(np.float32) for k, v in outputs.items()}
    np.testing.assert_allclose(run(changed, labels, valid, WEIGHTS)[0][3:], each[3:], rtol=1e-5)


def test_without_both_there_is_no_loss_between_them():
    outputs, labels, valid, _ = make()
    outputs["face_present"] = jnp.zeros((B, 1))
    loss = lambda x: ours()({**outputs, "embedding": x, "emotion": x[:, :4]}, labels, valid, WEIGHTS)[0][3:].sum()  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros((B, 6)))
    assert value == 0 and np.all(np.asarray(gradient) == 0)
    _, (present, _) = jax.jit(ours())(outputs, labels, valid, WEIGHTS)
    assert present.tolist() == [True] * 3 + [False] * 3


def test_no_gradient_reaches_the_teacher_but_that_of_its_labels():
    outputs, labels, valid, _ = make()
    gradient = lambda asked: jax.jit(jax.grad(lambda o: asked(o, labels, valid, WEIGHTS)[0].sum()))(outputs)  # noqa: E731
    frozen, joint = gradient(ours()), gradient(ours(joint=True))
    assert all(not np.any(value) for name, value in frozen.items() if name.startswith("teacher_"))
    assert all(np.any(frozen[name]) for name in ("emotion", "valence", "arousal", "embedding"))
    seen = valid & (outputs["face_present"][:, 0] > 0)
    alone = jax.jit(jax.grad(lambda o: ours().supervised(o, labels, seen, WEIGHTS)[0].sum()))
    theirs = alone({task.name: outputs[f"teacher_{task.name}"] for task in TASKS})
    for name, value in theirs.items():
        np.testing.assert_allclose(joint[f"teacher_{name}"], value, rtol=1e-5, atol=1e-7)


def test_any_weighting_takes_its_losses():
    outputs, labels, valid, _ = make()
    asked = ours(joint=True)
    given = {"weights": {"soft_targets": 0.7, "teacher_emotion": 2.0}, "temperature": 10.0, "alpha": 1.5, "layer": ""}
    fixed = weighting.build("fixed", asked.names, **given)
    each, (present, rest) = jax.jit(asked)(outputs, labels, valid, WEIGHTS)
    total, *_ = fixed.gradients(
        lambda _: (each, (present, rest)), {"network": {}, "objective": {}}, {}, jax.random.key(0)
    )
    factors = [{"soft_targets": 0.7, "teacher_emotion": 2.0}.get(name, 1.0) for name in asked.names]
    assert total == pytest.approx(float(np.dot(factors, each)), rel=1e-5)
    assert rest.keys() == set(asked.names)


def test_scores_alone_have_no_soft_targets():
    asked = build(TASKS[1:], joint=True)
    assert asked.names == ("valence", "arousal", "concordance", "alignment", "teacher_valence", "teacher_arousal")
    assert build(TASKS[:1], joint=False).names == (
        "emotion", "soft_targets", "alignment",
    )  # fmt: skip


def test_what_cannot_be_is_refused():
    outputs, labels, valid, _ = make()
    with pytest.raises(InputError, match="give config"):
        ours()({k: v for k, v in outputs.items() if not k.startswith("teacher_")}, labels, valid, WEIGHTS)
    with pytest.raises(InputError, match="choose others"):
        build([Task("alignment", "valence", "regression", maximum=1.0)])
