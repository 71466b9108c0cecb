"""The models of MMSA: packing, sizes, missing modalities, and that participants do not depend on each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import msa
from mmpsy_jax import models
from mmpsy_jax.models.mental_perceiver import Head, Modality, Rates
from mmpsy_jax.models.sequences import Padded, lstm, padded

MOSI = {"text": (50, 768), "audio": (500, 5), "vision": (375, 20)}
SIMS = {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)}
SMALL = {"text": (6, 8), "audio": (9, 3), "vision": (7, 4)}
SCORE = (Head("sentiment", "regression", 0),)
SIZES = {
    "self_mm": {},
    "lf_dnn": {"text_hidden": 6, "text_out": 5, "audio_hidden": 4, "vision_hidden": 3, "fusion_width": 7},
    "tfn": {"text_hidden": 6, "text_out": 5, "audio_hidden": 4, "vision_hidden": 3, "fusion_width": 7},
    "lmf": {"text_hidden": 6, "text_out": 5, "audio_hidden": 4, "vision_hidden": 3},
    "ef_lstm": {"hidden": 5, "layers": 2},
    "mfn": {"text_hidden": 5, "audio_hidden": 3, "vision_hidden": 4, "memory": 6, "keep_width": 5, "out_width": 4},
}


def make(name, shapes=SMALL, heads=SCORE, **sizes):
    modalities = tuple(Modality(one, "features", shape) for one, shape in shapes.items())
    return models.build(name, modalities=modalities, heads=heads, window_seconds=1.0, **sizes)


def random_batch(rng, rows=4, shapes=SMALL, without=()):
    """One piece per participant; `without` lists (modality, row) that are absent. One slot is unused."""
    made = {"valid": jnp.ones(rows, bool)}
    for name, (steps, size) in shapes.items():
        own = [row for row in range(rows) if (name, row) not in without]
        length = rng.integers(1, steps + 1, len(own))
        values = rng.normal(size=(len(own) + 1, steps, size))
        values[:-1][np.arange(steps) >= length[:, None]] = 0
        values[-1] = 0
        made[name] = jnp.asarray(values, jnp.float32)
        made[f"{name}_length"] = jnp.asarray([*length, 0], jnp.int32)
        made[f"{name}_row"] = jnp.asarray([*own, rows], jnp.int32)
        made[f"{name}_start_s"] = jnp.zeros(len(own) + 1)
    return made


def test_pieces_become_sequences_without_gaps():
    values = jnp.arange(1.0, 13.0).reshape(4, 3, 1)
    made = padded(values, jnp.array([3, 2, 1, 0]), jnp.array([0, 0, 2, 3]), rows=3, pieces=2)
    assert made.values[..., 0].tolist() == [[1, 2, 3, 4, 5, 0], [0] * 6, [7, 0, 0, 0, 0, 0]]
    assert made.length.tolist() == [5, 0, 1]
    assert made.present[:, 0].tolist() == [1, 0, 1]
    np.testing.assert_allclose(made.mean()[:, 0], [3, 0, 7])


def test_steps_beyond_the_pieces_are_left_out():
    made = padded(jnp.ones((3, 2, 1)), jnp.array([2, 2, 2]), jnp.array([0, 0, 0]), rows=1, pieces=2)
    assert made.length.tolist() == [4]
    assert made.values.shape == (1, 4, 1)


def test_lstm_ends_with_the_last_valid_step():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, sequence):
            return lstm(4, sequence, "cell")[1]

    rng = np.random.default_rng(0)
    x, length = rng.normal(size=(3, 5, 2)).astype(np.float32), np.array([5, 2, 0])
    net = Net()
    variables = jax.jit(net.init)(jax.random.key(0), Padded(jnp.asarray(x), jnp.asarray(length)))
    found = jax.jit(net.apply)(variables, Padded(jnp.asarray(x), jnp.asarray(length)))
    p = jax.tree.map(np.asarray, variables["params"]["cell"])
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for row in range(3):
        c, h = np.zeros(4), np.zeros(4)
        for step in x[row, : length[row]]:
            gate = {g: step @ p[f"i{g}"]["kernel"] + h @ p[f"h{g}"]["kernel"] + p[f"h{g}"]["bias"] for g in "ifgo"}
            c = sigmoid(gate["f"]) * c + sigmoid(gate["i"]) * np.tanh(gate["g"])
            h = sigmoid(gate["o"]) * np.tanh(c)
        np.testing.assert_allclose(found[row], h, atol=1e-6)


def torch_lstm(inputs, hidden):
    return 4 * hidden * (inputs + hidden) + 8 * hidden


def linear(inputs, outputs):
    return inputs * outputs + outputs


def torch_subnet(inputs, hidden):
    return 2 * inputs + linear(inputs, hidden) + 2 * linear(hidden, hidden)


def published(name, shapes, s):
    """Parameters by the layers of MMSA's code, and how many more it has than ours."""
    t, a, v = (shape[1] for shape in shapes.values())
    steps = shapes["text"][0]
    if name == "self_mm":
        heads = sum(
            linear(i, o) + linear(o, o) + linear(o, 1)
            for i, o in ((t, s["text_width"]), (16, s["audio_width"]), (32, 32))
        )
        fusion = linear(t + 48, 128) + linear(128, 128) + linear(128, 1)
        encoders = (
            torch_lstm(a, 16) + linear(16, 16) + torch_lstm(v, s["vision_hidden"]) + linear(s["vision_hidden"], 32)
        )
        return heads + fusion + encoders, 4 * (16 + s["vision_hidden"])
    if name == "ef_lstm":
        h, layers = s["hidden"], s["layers"]
        stack = torch_lstm(t + a + v, h) + (layers - 1) * torch_lstm(h, h)
        # Its normalisation has two parameters per step, ours two per feature.
        return 2 * steps + stack + linear(h, h) + linear(h, 1), 4 * h * layers + 2 * steps - 2 * (t + a + v)
    if name == "mfn":
        hidden, m = [s[f"{modality}_hidden"] for modality in MOSI], s["memory"]
        cells = sum(torch_lstm(i, h) for i, h in zip((t, a, v), hidden, strict=True))
        both = 2 * sum(hidden)
        layers = {"attention": (both, both), "candidate": (both, m), "keep": (both + m, m), "write": (both + m, m)}
        parts = sum(linear(i, s[f"{k}_width"]) + linear(s[f"{k}_width"], o) for k, (i, o) in layers.items())
        return cells + parts + linear(sum(hidden) + m, s["out_width"]) + linear(s["out_width"], 1), 4 * sum(hidden)
    th, to, ah, vh = (s[field] for field in ("text_hidden", "text_out", "audio_hidden", "vision_hidden"))
    before = torch_lstm(t, th) + linear(th, to) + torch_subnet(a, ah) + torch_subnet(v, vh)
    if name == "lmf":
        return before + s["rank"] * (to + ah + vh + 3) + s["rank"] + 1, 4 * th
    joined = to + ah + vh if name == "lf_dnn" else (to + 1) * (ah + 1) * (vh + 1)
    w = s["fusion_width"]
    return before + linear(joined, w) + linear(w, w) + linear(w, 1), 4 * th


def count(model, shapes):
    batch = jax.eval_shape(lambda: random_batch(np.random.default_rng(0), 1, shapes))
    made = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made))


@pytest.mark.parametrize("name", msa.MODELS)
@pytest.mark.parametrize(("corpus", "shapes"), [("mosi", MOSI), ("sims", SIMS)])
def test_as_many_parameters_as_published(name, corpus, shapes):
    at = msa.CORPORA.index(corpus)
    sizes = {field: values[at] for field, values in msa.SIZES[name].items() if field != "dropout"}
    theirs, more = published(name, shapes, sizes)
    assert count(make(name, shapes, **sizes), shapes) == theirs - more
    known = {("self_mm", "mosi"): 159_332, ("self_mm", "sims"): 381_380}  # ../shared/reference/mmsa.md
    assert theirs == known.get((name, corpus), theirs)


@pytest.mark.parametrize("name", msa.MODELS)
def test_participants_do_not_depend_on_each_other_and_may_lack_modalities(name):
    assert set(SIZES) == set(msa.MODELS)
    heads = (*SCORE, Head("screen", "binary", 2), Head("bands", "ordinal", 4))
    model = make(name, heads=heads, **SIZES[name])
    lacks = {("audio", 1), ("text", 2), *((modality, 3) for modality in SMALL)}
    batch = random_batch(np.random.default_rng(1), without=lacks)
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    outputs = jax.jit(model.apply)(variables, batch)
    assert {head.name: outputs[head.name].shape for head in heads} == {
        "sentiment": (4, 1), "screen": (4, 2), "bands": (4, 3),
    }  # fmt: skip
    assert all(np.isfinite(value).all() for value in outputs.values())
    other = {**batch, "vision": batch["vision"].at[0].add(batch["vision"][0] != 0)}  # the first row's alone
    changed = jax.jit(model.apply)(variables, other)
    for head in heads:
        assert not np.allclose(changed[head.name][0], outputs[head.name][0])
        np.testing.assert_allclose(changed[head.name][1:], outputs[head.name][1:], atol=1e-6)


@pytest.mark.parametrize("name", msa.MODELS)
def test_two_modalities_and_dropout(name):
    shapes = {modality: SMALL[modality] for modality in ("audio", "text")}
    model = make(name, shapes, **SIZES[name])
    batch = random_batch(np.random.default_rng(2), shapes=shapes)
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    plain = jax.jit(model.apply)(variables, batch)["sentiment"]
    rates = Rates(dropout=0.5, modality=0.5)
    noisy = jax.jit(lambda v, b: model.apply(v, b, rates, rngs={"dropout": jax.random.key(1)}))(variables, batch)[
        "sentiment"
    ]
    assert plain.shape == (4, 1)
    assert not np.allclose(plain, noisy)


def test_tfn_stays_within_the_range():
    model = make("tfn", **SIZES["tfn"])
    batch = random_batch(np.random.default_rng(3))
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    large = jax.tree.map(lambda x: 50 * x, variables["params"])
    assert np.abs(jax.jit(model.apply)({**variables, "params": large}, batch)["sentiment"]).max() <= 1


def test_inputs_that_cannot_be_read():
    ids = (Modality("text", "ids", (5, 4), vocabulary=9),)
    with pytest.raises(ValueError, match="features named text, audio, vision"):
        models.build("lmf", modalities=ids, heads=SCORE, window_seconds=1.0)
