"""Frozen encoders over many inputs: order, padding, layers, transcripts, recordings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers

from mmpsy_jax import encoders
from mmpsy_jax.encoders import encode as encoding
from mmpsy_jax.encoders import processors, text
from mmpsy_jax.encoders.encode import encode
from mmpsy_jax.io import InputError
from tests.hugging_face import GOLDEN, write_bert


@pytest.fixture(scope="module")
def bert():
    return encoders.load(GOLDEN / "bert")


def alone(encoder, values, **named):
    apply = jax.jit(lambda x: encoder.module.apply({"params": encoder.params}, x, output_hidden_states=True, **named))
    return apply(jnp.asarray(values)[None])


def test_every_input_gets_what_it_gets_alone_whatever_the_order(bert, monkeypatch):
    generator = np.random.default_rng(0)
    inputs = [generator.integers(4, 30, length).astype(np.int32) for length in (3, 17, 24, 9, 8, 1, 16)]
    shapes = set()
    apply = type(bert.module).apply
    monkeypatch.setattr(
        type(bert.module), "apply", lambda self, p, x, *a, **k: shapes.add(x.shape) or apply(self, p, x, *a, **k)
    )
    made = encode(bert, inputs, batch_size=3, step=8)
    assert shapes == {(3, 8), (3, 16), (3, 24)}
    monkeypatch.undo()
    for number in (1, 5):
        wanted = alone(bert, inputs[number])["last_hidden_state"][0]
        np.testing.assert_allclose(made[number], wanted, atol=1e-5)
    assert [len(states) for states in made] == [len(ids) for ids in inputs]
    assert encode(bert, []) == []


def test_neighbours_in_length_share_a_batch_that_is_not_full_of_padding(bert, monkeypatch):
    """5 inputs of three widths are two batches of 3, not three."""
    shapes = []
    apply = encoding._states
    monkeypatch.setattr(encoding, "_states", lambda m, p, x, *a: shapes.append(x.shape) or apply(m, p, x, *a))
    inputs = [np.full(length, 5, np.int32) for length in (3, 24, 17, 9, 8)]
    made = encode(bert, inputs, batch_size=3, step=8)
    assert shapes == [(3, 24), (3, 8)]
    assert [len(states) for states in made] == [3, 24, 17, 9, 8]


def test_layers(bert):
    ids = np.arange(4, 12, dtype=np.int32)
    hidden = alone(bert, ids)["hidden_states"]
    np.testing.assert_allclose(encode(bert, [ids], layers=1, batch_size=1)[0], hidden[1][0], atol=1e-5)
    mean = (hidden[0] + hidden[-1] + hidden[-2])[0] / 3
    np.testing.assert_allclose(encode(bert, [ids], layers=[0, -1, -2], batch_size=1)[0], mean, atol=1e-5)
    for layers in (3, -4, []):
        with pytest.raises(InputError, match="choose among 0 to 2"):
            encode(bert, [ids], layers=layers)


def test_recordings_of_a_group_norm_encoder_do_not_depend_on_their_neighbours():
    encoder = encoders.load(GOLDEN / "wav2vec2_base")
    with np.load(GOLDEN / "wav2vec2_base" / "golden.npz", allow_pickle=False) as file:
        waveforms, wanted = file["waveforms"], file["alone_last"][0]
    made = encode(encoder, [waveforms[2, :130], waveforms[1, :251], waveforms[0]], batch_size=4, step=400)
    assert [len(states) for states in made] == [6, 12, 19]
    np.testing.assert_allclose(made[1], wanted, atol=1e-4)
    with pytest.raises(InputError, match="input 1 has 3 values: give at least 30"):
        encode(encoder, [waveforms[0], waveforms[0, :3]])


def test_whisper_features():
    encoder = encoders.load(GOLDEN / "whisper")
    with np.load(GOLDEN / "whisper" / "golden.npz", allow_pickle=False) as file:
        features, wanted = file["features"], file["start_encoder_last"]
    made = encode(encoder, [features[1], features[0], features[1]], batch_size=2)
    np.testing.assert_allclose(made, wanted[[1, 0, 1]], atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_transcripts_become_token_embeddings(folder):
    encoder, tokenizer = encoders.load(folder), processors.tokenizer(folder)
    short, long = "a b c", " ".join("abcdefghij" * 5)
    made, places = zip(*text.token_embeddings(encoder, tokenizer, [short, long, ""]), strict=True)
    assert [states.shape for states in made] == [(5, 16), (24, 16), (2, 16)]
    np.testing.assert_allclose(made[0], alone(encoder, np.array([2, 5, 6, 7, 3]))["last_hidden_state"][0], atol=1e-5)
    assert [one.tolist() for one in places] == [[0, 0, 2, 4, 4], [0, *range(0, 44, 2), 42], [0, 0]]
    cut = tokenizer(long, truncation=True, max_length=24)["input_ids"]
    np.testing.assert_allclose(made[1], alone(encoder, np.array(cut))["last_hidden_state"][0], atol=1e-5)


def test_windows_over_the_whole_text_take_every_token_once(folder):
    encoder, tokenizer = encoders.load(folder), processors.tokenizer(folder)
    texts = [" ".join("abcdefghijklmnopqrstuvwxy"[:length]) for length in (3, 22, 23)]
    texts.append(" ".join("abcdefghij" * 6))
    made, places = zip(*text.token_embeddings(encoder, tokenizer, texts, whole=True), strict=True)
    assert [len(states) for states in made] == [len(one) for one in places] == [5, 24, 25, 62]
    assert places[3].tolist() == [0, *range(0, 120, 2), 118]
    cut = text.token_embeddings(encoder, tokenizer, texts[:2])
    for ours, (wanted, _) in zip(made, cut, strict=False):
        np.testing.assert_array_equal(ours, wanted)
    # 22 tokens fit between [CLS] and [SEP], windows share 11: the second begins at token 11, and from token 17 on
    # (5 shared tokens in) its states are taken.
    ids = tokenizer(texts[3], add_special_tokens=False)["input_ids"]
    windows = [alone(encoder, np.array([2, *ids[start : start + 22], 3]))["last_hidden_state"][0] for start in (0, 11)]
    np.testing.assert_allclose(made[3][:17], windows[0][:17], atol=1e-5)
    np.testing.assert_allclose(made[3][17:28], windows[1][6:17], atol=1e-5)


def test_a_folder_without_tokenizer_or_extractor_is_named(tmp_path):
    with pytest.raises(InputError, match="tokenizer"):
        processors.tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        processors.feature_extractor(tmp_path)


def test_recordings_become_inputs(tmp_path):
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(tmp_path)
    generator = np.random.default_rng(0)
    waveforms = [generator.normal(1, 3, length) for length in (500, 900)]
    made = processors.recordings(processors.feature_extractor(tmp_path), waveforms)
    for ours, waveform in zip(made, waveforms, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, (waveform - waveform.mean()) / waveform.std(), atol=1e-4)
    with pytest.raises(InputError, match="recording 1"):
        processors.recordings(processors.feature_extractor(tmp_path), [waveforms[0], np.zeros((2, 500))])


def test_recordings_become_log_mel_for_whisper(tmp_path):
    transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["feature_size"] == 8
    made = processors.recordings(processors.feature_extractor(tmp_path), [np.sin(np.arange(8000)), np.zeros(20_000)])
    assert [mel.shape for mel in made] == [(8, 100), (8, 100)]
