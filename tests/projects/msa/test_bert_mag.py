"""MAG-BERT: outputs and sizes of MMSA's implementation, words alone, missing modalities, what is refused."""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import msa
from data_builders.mmsa import demo
from mmpsy_jax import encoders, models
from mmpsy_jax.encoders.config import build as build_encoder
from mmpsy_jax.encoders.convert import our_parameters
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import Modality, Rates
from mmpsy_jax.projects.msa import published
from mmpsy_jax.projects.msa.models import bert_mag
from tests.hugging_face import edit
from tests.networks import draw_variables, variable_shapes
from tests.projects.msa.test_mmsa_parity import GOLDEN, of
from tests.projects.msa.test_sequences import SCORE

BERT = Path(__file__).parents[2] / "encoders" / "golden" / "bert"
STEPS = 7
SIZES = {"mosi": (5, 20), "mosei": (74, 35), "sims": (33, 709)}  # of audio and vision


def build(audio=3, vision=4, vocabulary=64, leave_out=(), heads=SCORE, **sizes):
    shapes = {"audio": audio, "vision": vision}
    modalities = [Modality(name, "features", (STEPS, size)) for name, size in shapes.items() if name not in leave_out]
    modalities.append(Modality("tokens", "ids", (STEPS, 2), vocabulary=vocabulary))
    return models.build("bert_mag", modalities=tuple(modalities), heads=heads, window_seconds=1.0, **sizes)


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, batch):
    """Compiled once for all tests."""
    return model.apply({"params": params}, batch)


def golden():
    """The batch of MMSA's inputs, all its parameters under our names, and its outputs."""
    batch, params, expected = _golden()
    return dict(batch), params, expected


@functools.cache
def _golden():
    with np.load(GOLDEN / "bert_mag.npz") as arrays:
        arrays = dict(arrays)
    inputs = of(arrays, "input")
    length = inputs.pop("length")
    batch = {"valid": np.ones(len(length), bool)}
    for name, values in inputs.items():
        batch |= {name: values, f"{name}_length": length, f"{name}_row": np.arange(len(length))}
    params = variable_shapes(build(), batch)["params"]
    tensors = {key.removeprefix("bert/"): value for key, value in arrays.items() if key.startswith("bert/")}
    made = of(arrays, "params") | {"encoder": our_parameters("bert", tensors, params["encoder"])}
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)
    return batch, made, arrays["output/M"]


def test_outputs_are_those_of_mmsa():
    batch, params, expected = golden()
    found = apply(build(), params, batch)["sentiment"]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("corpus", SIZES)
def test_as_many_parameters_as_published(corpus):
    audio, vision = SIZES[corpus]
    width = 768
    gate = bert_mag.Gate(published.settings("bert_mag", corpus)["model.beta_shift"])
    frames = {name: (jnp.zeros((1, 2, size)), jnp.ones((1, 1))) for name, size in (("a", audio), ("v", vision))}
    made = jax.eval_shape(gate.init, jax.random.key(0), jnp.zeros((1, 2, width)), frames)
    expected = json.loads((GOLDEN / "parameters.json").read_text())["bert_mag"][corpus]
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made)) + width + 1 == expected


def test_the_gate_moves_no_further_than_its_share():
    rng = np.random.default_rng(0)
    z, audio, vision = (jnp.asarray(rng.normal(size=(2, 3, size)), jnp.float32) for size in (6, 3, 4))
    gate = bert_mag.Gate(0.5)
    frames = {"audio": (audio, jnp.array([[1.0], [0.0]])), "vision": (vision, jnp.array([[1.0], [0.0]]))}
    shapes = variable_shapes(gate, z, frames)["params"]
    p = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    wanted = []
    for row, present in ((0, 1.0), (1, 0.0)):
        for t in range(3):
            word, m = np.asarray(z[row, t]), np.zeros(6)
            for name, x in (("audio", audio[row, t]), ("vision", vision[row, t])):
                dense = lambda part, value: value @ p[part]["kernel"] + p[part]["bias"]  # noqa: E731
                weight = np.maximum(dense(f"{name}_weight", np.concatenate([x, word])), 0)
                m += present * weight * dense(f"{name}_shift", np.asarray(x))
            x = word + min(0.5 * np.linalg.norm(word) / (np.linalg.norm(m) + 1e-6), 1.0) * m
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
            wanted.append(x * p["norm"]["scale"] + p["norm"]["bias"])
    value, gradient = jax.jit(jax.value_and_grad(lambda p: (gate.apply({"params": p}, z, frames) ** 2).sum()))(p)
    np.testing.assert_allclose(value, np.square(wanted).sum(), rtol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))  # one row is not moved at all


def test_participants_do_not_depend_on_each_other_and_may_lack_modalities():
    batch, params, _ = golden()
    for name, row in (("audio", 1), ("tokens", 2), *((name, 3) for name in ("audio", "vision", "tokens"))):
        batch |= {key: batch[key].copy() for key in (name, f"{name}_length")}
        batch[name][row] = batch[f"{name}_length"][row] = 0
    plain = np.asarray(apply(build(), params, batch)["sentiment"])
    assert np.isfinite(plain).all()
    moved = batch["vision"] + np.eye(len(plain), dtype=np.float32)[2, :, None, None]
    changed = np.asarray(apply(build(), params, batch | {"vision": moved})["sentiment"])
    assert abs(changed[2] - plain[2]) > 1e-4  # also of who has no words
    np.testing.assert_allclose(np.delete(changed, 2, 0), np.delete(plain, 2, 0), atol=1e-6)


def test_it_learns_from_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(bert_mag, "TINY", bert_mag.TINY | {"num_hidden_layers": 1})
    demo.write_corpus(tmp_path / "demo", participants=60, seed=0)
    read = lambda field: np.load(tmp_path / "demo" / "train" / f"{field}.npy", allow_pickle=False)  # noqa: E731
    words, scores = read("text_bert"), read("regression_labels") / 3
    given = {"audio": (read("audio"), read("audio_lengths")), "vision": (read("vision"), read("vision_lengths"))}
    given["tokens"] = (np.moveaxis(words[:, [0, 2]], 1, 2).astype(np.int32), words[:, 1].sum(-1).astype(np.int32))
    batch = {"valid": np.ones(len(scores), bool)}
    for name, (values, length) in given.items():
        batch |= {name: values, f"{name}_length": length, f"{name}_row": np.arange(len(scores))}
    batch, model = jax.device_put(batch), build(8, 12)
    params = draw_variables(model, batch, scale=0.05, seed=0)["params"]
    params |= models.pretrained("bert_mag", {"folder": ""})[0]
    optimizer = optax.adam(2e-3)

    @jax.jit
    def step(params, state):
        off = lambda p: jnp.abs(model.apply({"params": p}, batch)["sentiment"][:, 0] - scores).mean()  # noqa: E731
        loss, gradient = jax.value_and_grad(off)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses = jax.jit(optimizer.init)(params), []
    for _ in range(40):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]


def test_without_sound_and_image_it_is_bert():
    batch, params, _ = golden()
    model = build(leave_out=("audio", "vision"))
    params = {name: value for name, value in params.items() if name != "gate"}
    found = apply(model, params, batch)
    mask = np.arange(STEPS) < batch["tokens_length"][:, None]
    ids, types = (batch["tokens"][..., i] for i in (0, 1))
    bert = build_encoder(bert_mag.TINY)
    encoder = {name: value for name, value in params["encoder"].items() if name != "pooler"}
    hear = jax.jit(lambda p, ids, mask, types: bert.apply({"params": p}, ids, mask, token_types=types))
    states = hear(encoder, ids, mask, types)["last_hidden_state"]
    pooler = params["encoder"]["pooler"]
    pooled = np.tanh(np.asarray(states[:, 0]) @ pooler["kernel"] + pooler["bias"])
    np.testing.assert_allclose(found["embedding"], pooled, atol=1e-5)


def test_dropout_needs_a_key_and_changes_the_outputs():
    batch, params, _ = golden()
    rates = Rates(dropout=0.5)
    batch = jax.device_put(batch)
    noisy = jax.jit(lambda key: build().apply({"params": params}, batch, rates, rngs={"dropout": key})["sentiment"])
    assert not np.allclose(noisy(jax.random.key(0)), noisy(jax.random.key(1)))


def test_weights_and_pooler_are_those_of_the_folder():
    trained, frozen = models.pretrained("bert_mag", {"folder": str(BERT)})
    wanted = encoders.load(BERT).params
    pooler = trained["encoder"].pop("pooler")
    assert not frozen and jax.tree.all(jax.tree.map(np.array_equal, trained["encoder"], wanted))
    width = len(wanted["embedding_norm"]["bias"])
    assert pooler["kernel"].shape == (width, width) and np.std(pooler["kernel"]) > 0
    with pytest.raises(InputError, match=r"must be of a 'bert'"):
        models.pretrained("bert_mag", {"folder": str(BERT.with_name("roberta"))})


def test_what_cannot_be_read_is_refused(tmp_path):
    batch, _, _ = golden()
    features = (Modality("tokens", "features", (STEPS, 2)),)
    for modalities in (features, (Modality("audio", "features", (STEPS, 3)),)):
        with pytest.raises(ValueError, match="ids named 'tokens'"):
            models.build("bert_mag", modalities=modalities, heads=SCORE, window_seconds=1.0)
    with pytest.raises(InputError, match=r"go up to 64, but BERT has 64 words: set config\.model\.folder"):
        jax.eval_shape(build(vocabulary=65).init, jax.random.key(0), batch)
    folder = tmp_path / "bert"
    shutil.copytree(BERT, folder)
    edit(folder, type_vocab_size=1)
    with pytest.raises(InputError, match=r"types 0 and 1, but BERT has one: set config\.model\.folder"):
        jax.eval_shape(build(vocabulary=30, folder=str(folder)).init, jax.random.key(0), batch)
    edit(folder, type_vocab_size=2, max_position_embeddings=STEPS - 1)
    with pytest.raises(InputError, match=f"{STEPS} tokens in a row, the encoder has {STEPS - 1} positions"):
        jax.eval_shape(build(vocabulary=30, folder=str(folder)).init, jax.random.key(0), batch)


def test_settings_that_are_not_published():
    with pytest.raises(InputError, match="choose one of: demo, mosei, mosi, sims"):
        msa.get_config("simsv2,bert_mag")
