"""The models of MMSA: packing, sizes, missing modalities, and that participants do not depend on each other."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import models
from mmpsy_jax.models.base import Head, Modality, Rates
from mmpsy_jax.projects.msa import crossmodal, published
from mmpsy_jax.projects.msa.models import mult, tetfn
from mmpsy_jax.projects.msa.recurrent import Lstm, Padded
from mmpsy_jax.projects.msa.sequences import padded
from tests.networks import draw_variables, variable_shapes

MOSI = {"text": (50, 768), "audio": (500, 5), "vision": (375, 20)}
MOSEI = {"text": (50, 768), "audio": (500, 74), "vision": (375, 35)}
SIMS = {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)}
SMALL = {"text": (6, 8), "audio": (9, 3), "vision": (7, 4)}
SCORE = (Head("sentiment", "regression", 0),)
OWN = {f"{name}_head": f"sentiment_{name}" for name in SMALL}
OWN_SCORES = (*SCORE, *(Head(name, "regression", 0) for name in OWN.values()))
SUBNETS = {"text_hidden": 6, "text_out": 5, "audio_hidden": 4, "vision_hidden": 3}
SIZES = {
    "self_mm": {},
    "lf_dnn": SUBNETS | {"fusion_width": 7},
    "tfn": SUBNETS | {"fusion_width": 7},
    "lmf": SUBNETS,
    "ef_lstm": {"hidden": 5, "layers": 2},
    "mfn": {"text_hidden": 5, "audio_hidden": 3, "vision_hidden": 4, "memory": 6, "keep_width": 5, "out_width": 4},
    "mult": {"width": 6, "heads_attention": 2, "layers": 1},
    "misa": {"width": 6},
    "tetfn": {"width": 6, "heads_attention": 2, "audio_hidden": 3, "vision_hidden": 4, "text_kernel": 2},
}


def make(name, shapes=SMALL, heads=SCORE, **sizes):
    modalities = tuple(Modality(one, "features", shape) for one, shape in shapes.items())
    return models.build(name, modalities=modalities, heads=heads, window_seconds=1.0, **sizes)


def random_batch(rng, rows=4, shapes=SMALL, without=()):
    """One piece per participant; `without` lists (modality, row) that are absent. One slot is unused."""
    made = {"valid": np.ones(rows, bool)}
    for name, (steps, size) in shapes.items():
        own = [row for row in range(rows) if (name, row) not in without]
        length = rng.integers(1, steps + 1, len(own))
        values = rng.normal(size=(len(own) + 1, steps, size))
        values[:-1][np.arange(steps) >= length[:, None]] = 0
        values[-1] = 0
        made[name] = np.asarray(values, np.float32)
        made[f"{name}_length"] = np.asarray([*length, 0], np.int32)
        made[f"{name}_row"] = np.asarray([*own, rows], np.int32)
        made[f"{name}_start_s"] = np.zeros(len(own) + 1, np.float32)
    return made


def test_pieces_become_sequences_without_gaps():
    values = np.arange(1, 13, dtype=np.float32).reshape(4, 3, 1)

    @jax.jit
    def pad(*arrays):
        made = padded(*arrays, rows=3, pieces=2)
        return made, made.present

    made, present = jax.device_get(pad(values, np.array([3, 2, 1, 0]), np.array([0, 0, 2, 3])))
    assert made.values[..., 0].tolist() == [[1, 2, 3, 4, 5, 0], [0] * 6, [7, 0, 0, 0, 0, 0]]
    assert made.length.tolist() == [5, 0, 1]
    assert present[:, 0].tolist() == [1, 0, 1]


def test_steps_beyond_the_pieces_are_left_out():
    pad = jax.jit(padded, static_argnames=("rows", "pieces"))
    made = pad(np.ones((3, 2, 1), np.float32), np.array([2, 2, 2]), np.array([0, 0, 0]), rows=1, pieces=2)
    assert made.length.tolist() == [4]
    assert made.values.shape == (1, 4, 1)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_mean_is_that_of_the_sequence_that_is_not_made(pieces):
    rng = np.random.default_rng(0)
    model = make("lf_dnn", **SIZES["lf_dnn"], pieces=pieces)
    steps, size = SMALL["audio"]
    batch = {"valid": np.ones(4, bool), "audio_row": np.array([0, 0, 0, 1, 3, 3, 4], np.int32)}
    batch["audio_length"] = np.array([steps, 2, 1, 3, 1, 2, 0], np.int32)
    batch["audio"] = rng.normal(size=(7, steps, size)).astype(np.float16)
    kept = np.array([True, True, True, False])
    made = jax.jit(model.sequence, static_argnums=1)(batch, "audio", kept)
    mean, present = jax.jit(model.mean, static_argnums=1)(batch, "audio", kept)
    expected = made.values.sum(axis=1) / np.maximum(made.length, 1)[:, None]
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert present[:, 0].tolist() == made.present[:, 0].tolist() == [1, 1, 0, 0] and np.any(mean[0] != 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_reads_valid_steps_alone(reverse):
    rng = np.random.default_rng(0)
    x, length = rng.normal(size=(3, 5, 2)).astype(np.float32), np.array([5, 2, 0])
    net = Lstm(4, reverse=reverse)
    sequence = Padded(jnp.asarray(x), jnp.asarray(length))
    variables = draw_variables(net, sequence)
    states, last = jax.device_get(jax.jit(net.apply)(variables, sequence))
    p = jax.tree.map(np.asarray, variables["params"])
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for row in range(3):
        c, h = np.zeros(4), np.zeros(4)
        for at in range(length[row])[:: -1 if reverse else 1]:
            i, f, g, o = np.split(x[row, at] @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            np.testing.assert_allclose(states[row, at], h, atol=1e-6)
        np.testing.assert_allclose(last[row], h, atol=1e-6)


def more(name, shapes, s):
    """How many parameters MMSA's implementation has more than ours: the notes in docs/msa.md."""
    t, a, v = (shape[1] for shape in shapes.values())
    if name == "mult":
        return 0
    if name == "misa":  # biases of two LSTMs of two directions, and what never reaches its loss
        return 16 * (a + v) + 2 * 2 * 768 + 4 * (s["width"] + 1)
    if name == "ef_lstm":  # its normalisation has two parameters per step, ours two per feature
        return 4 * s["hidden"] * s["layers"] + 2 * shapes["text"][0] - 2 * (t + a + v)
    if name == "self_mm":
        return 4 * (16 + s["vision_hidden"])
    recurrent = {"mfn": ("text", "audio", "vision"), "tetfn": ("audio", "vision")}.get(name, ("text",))
    return 4 * sum(s[f"{modality}_hidden"] for modality in recurrent)


def count(model, shapes):
    made = variable_shapes(model, random_batch(np.random.default_rng(0), 1, shapes))["params"]
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made))


PUBLISHED = json.loads((Path(__file__).parent / "golden" / "parameters.json").read_text())
# Not in that release: counted by the class of MMSA's repository at 80995e4.
PUBLISHED["tetfn"] = {"mosi": 1_254_224, "mosei": 1_257_360, "sims": 1_529_968}
READ_FEATURES = [name for name in published.MODELS if name != "bert_mag"]  # that one: test_bert_mag.py
SIZED = [(name, corpus) for name in READ_FEATURES for corpus in PUBLISHED[name]]


@pytest.mark.parametrize(("name", "corpus"), SIZED)
def test_as_many_parameters_as_published(name, corpus):
    shapes = {"mosi": MOSI, "mosei": MOSEI, "sims": SIMS}[corpus]
    settings = published.settings(name, corpus).items()
    sizes = {field[6:]: value for field, value in settings if field.startswith("model.") and field != "model.dropout"}
    heads = OWN_SCORES if name in published.UNIMODAL_LABELS else SCORE
    model = make(name, shapes, heads, **sizes, **(OWN if name in published.UNIMODAL_LABELS else {}))
    assert count(model, shapes) == PUBLISHED[name][corpus] - more(name, shapes, sizes)


@pytest.fixture
def few_layers(monkeypatch):
    """Of MulT and TETFN, which otherwise take long to compile."""
    monkeypatch.setattr(mult, "LEAST_MEMORY_LAYERS", 1)
    monkeypatch.setattr(tetfn, "LAYERS", 1)


@pytest.mark.parametrize("name", SIZES)
def test_participants_do_not_depend_on_each_other_and_may_lack_modalities(name, few_layers):
    assert set(SIZES) == set(READ_FEATURES) - set(published.UNIMODAL_LABELS)  # these are made of others
    heads = (*SCORE, Head("screen", "binary", 2), Head("bands", "ordinal", 4))
    model = make(name, heads=heads, **SIZES[name])
    lacks = {("audio", 1), ("text", 2), *((modality, 3) for modality in SMALL)}
    batch = random_batch(np.random.default_rng(1), without=lacks)
    variables = draw_variables(model, batch)
    apply = jax.jit(model.apply)
    outputs = jax.device_get(apply(variables, batch))
    assert {head.name: outputs[head.name].shape for head in heads} == {
        "sentiment": (4, 1), "screen": (4, 2), "bands": (4, 3),
    }  # fmt: skip
    assert all(np.isfinite(value).all() for value in outputs.values())
    vision = batch["vision"].copy()
    vision[0] += vision[0] != 0  # the first row's alone
    changed = jax.device_get(apply(variables, {**batch, "vision": vision}))
    for head in heads:
        assert not np.allclose(changed[head.name][0], outputs[head.name][0])
        np.testing.assert_allclose(changed[head.name][1:], outputs[head.name][1:], atol=1e-6)


@pytest.mark.parametrize("name", SIZES)
def test_two_modalities_and_dropout(name, few_layers):
    shapes = {modality: SMALL[modality] for modality in ("audio", "text")}
    model = make(name, shapes, **SIZES[name])
    batch = random_batch(np.random.default_rng(2), shapes=shapes)
    variables = draw_variables(model, batch)
    plain = jax.eval_shape(model.apply, variables, batch)["sentiment"]  # without dropout no key is asked for
    assert plain.shape == (4, 1)
    rates = Rates(dropout=0.5, modality=0.5)
    noisy = jax.jit(lambda key: model.apply(variables, arrays, rates, rngs={"dropout": key})["sentiment"])
    arrays = jax.device_put(batch)
    one, other = noisy(jax.random.key(1)), noisy(jax.random.key(2))
    assert np.isfinite(one).all() and not np.allclose(one, other)


def test_tfn_stays_within_the_range():
    model = make("tfn", **SIZES["tfn"])
    batch = random_batch(np.random.default_rng(3))
    variables = draw_variables(model, batch)
    large = jax.tree.map(lambda x: 50 * np.asarray(x), variables["params"])
    assert np.abs(jax.jit(model.apply)({**variables, "params": large}, batch)["sentiment"]).max() <= 1


def test_inputs_that_cannot_be_read():
    ids = (Modality("text", "ids", (5, 4), vocabulary=9),)
    with pytest.raises(ValueError, match="features named text, audio, vision"):
        models.build("lmf", modalities=ids, heads=SCORE, window_seconds=1.0)


def test_a_head_of_one_modality_reads_nothing_else():
    model = make("mlf_dnn", heads=OWN_SCORES, **SIZES["lf_dnn"], **OWN)
    batch = random_batch(np.random.default_rng(4))
    variables = draw_variables(model, batch)
    apply = jax.jit(model.apply)
    outputs = apply(variables, batch)
    changed = apply(variables, {**batch, "text": batch["text"] + 1})
    same = {name: np.allclose(outputs[name], changed[name]) for name in ("sentiment", *OWN.values())}
    assert same == {
        "sentiment": False, "sentiment_text": False, "sentiment_audio": True, "sentiment_vision": True,
    }  # fmt: skip


def test_heads_of_one_modality_that_cannot_be():
    with pytest.raises(ValueError, match="text_head = 'mood' is none of the tasks: sentiment"):
        make("mlmf", text_head="mood")
    with pytest.raises(ValueError, match="every task is of one modality alone"):
        make("mtfn", text_head="sentiment")


def test_attention_reads_valid_steps_up_to_the_same_place():
    queries, inputs = (Padded(jnp.ones((2, t, 1)), jnp.array(n)) for t, n in ((4, [4, 2]), (3, [1, 3])))
    reachable = jax.jit(crossmodal.reachable)
    seen = np.asarray(reachable(queries, inputs))
    for row, (n, m) in enumerate(((4, 1), (2, 3))):
        for i in range(4):
            assert seen[row, i].tolist() == [j < m and j <= i + abs(n - m) for j in range(3)]
    assert np.asarray(reachable(queries, queries))[1].tolist() == [
        [j <= i and j < 2 for j in range(4)] for i in range(4)
    ]


def test_a_convolution_leaves_a_step_of_what_is_shorter_than_its_kernel():
    sequence = Padded(jnp.ones((3, 4, 2)), jnp.array([4, 2, 0]))
    model = crossmodal.Convolution(5, 3)
    made, _ = jax.device_get(jax.jit(model.init_with_output)(jax.random.key(0), sequence))
    assert made.length.tolist() == [2, 1, 0]
    assert made.values.shape == (3, 2, 5)
    assert np.abs(made.values).sum(axis=-1).astype(bool).tolist() == [[True, True], [True, False], [False, False]]
    longer = crossmodal.Convolution(5, 6)
    made, _ = jax.eval_shape(longer.init_with_output, jax.random.key(0), sequence)
    assert made.values.shape == (3, 1, 5)


def test_places_are_sines_and_cosines():
    made = jax.jit(crossmodal.places, static_argnums=(0, 1))(4, 7)
    for at in range(4):
        angles = [(at + 1) * 10_000 ** (-i / 2) for i in range(3)]
        np.testing.assert_allclose(made[at], [*np.sin(angles), *np.cos(angles), 0], atol=1e-5)


def test_tetfn_needs_the_text():
    with pytest.raises(ValueError, match="put 'text' into the modalities"):
        make("tetfn", {"audio": (4, 3)})
