"""The speech-emotion network against its parts by themselves. All inputs are random."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from mmpsy_jax import encoders, models
from mmpsy_jax.encoders import processors
from mmpsy_jax.encoders.config import build as build_encoder
from mmpsy_jax.encoders.encode import encode
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import Head, Modality, Rates
from mmpsy_jax.projects.hotline.models import speech_emotion
from tests.hugging_face import edit, write_hubert, write_whisper
from tests.networks import draw_variables, variable_shapes

GOLDEN = Path(__file__).parents[2] / "encoders" / "golden"
SAMPLES, ROWS = 4800, 3
HEADS = (Head("fear", "binary", 2), Head("pain", "binary", 2))
AUDIO = Modality("audio", "features", (SAMPLES, 1))


def build(encoder="hubert", modalities=(AUDIO,), heads=HEADS, **changes):
    arguments = {"modalities": modalities, "heads": heads, "window_seconds": 0.3, "encoder": encoder}
    return models.build("speech_emotion", **arguments, **changes)


# Each network is compiled once for all tests.
apply = jax.jit(lambda model, variables, inputs: model.apply(variables, inputs), static_argnums=0)


@pytest.fixture
def inputs():
    """Segment 0 has two windows, segment 1 a short one, segment 2 none; the last slot is unused."""
    rng = np.random.default_rng(0)
    length = np.array([4800, 3000, 2100, 0], np.int32)
    samples = rng.integers(-9000, 9000, (4, SAMPLES, 1)).astype(np.int16)
    samples[np.arange(SAMPLES) >= length[:, None]] = 0
    return {
        "audio": samples,
        "audio_length": length,
        "audio_start_s": np.array([0, 0.3, 7, 0], np.float32),
        "audio_row": np.array([0, 0, 1, ROWS], np.int32),
        "valid": np.array([True] * ROWS),
    }


def started(model, inputs, seed=1, **arguments):
    """Variables with a pretrained encoder and random heads without zeros."""
    params = draw_variables(model, inputs, scale=0.3, seed=seed)["params"]
    given = {"encoder": model.encoder, "folder": "", "train": ".*", "freeze": "", "lora_rank": 0} | arguments
    trained, frozen = models.pretrained("speech_emotion", given)
    return {"params": params | trained, "fitted": frozen}


def heads_of(pooled, params):
    """The published head in numpy, without dropout."""
    made = {}
    for head in HEADS:
        dense, out = params[f"{head.name}_dense"], params[f"{head.name}_out"]
        hidden = np.tanh(pooled @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))
        made[head.name] = hidden @ np.asarray(out["kernel"]) + np.asarray(params[f"{head.name}_bias"])
    return made


def test_a_segment_is_the_mean_over_the_frames_of_its_windows_each_heard_alone(inputs):
    model = build()
    variables = started(model, inputs)
    made = apply(model, variables, inputs)
    module = build_encoder(speech_emotion.TINY["hubert"])
    states = []
    for slot in range(3):
        alone = np.asarray(inputs["audio"][slot, : int(inputs["audio_length"][slot]), 0], np.float64) / 32768
        alone = (alone - alone.mean()) / np.sqrt(alone.var() + 1e-7)
        out = jax.jit(module.apply)({"params": variables["params"]["encoder"]}, alone[None].astype(np.float32))
        states.append(np.asarray(out["last_hidden_state"][0]))
    pooled = np.stack([np.concatenate(states[:2]).mean(0), states[2].mean(0), np.zeros(32)])
    for name, wanted in heads_of(pooled, variables["params"]).items():
        np.testing.assert_allclose(made[name], wanted, atol=2e-4)


def test_whisper_is_heard_through_the_decoder_with_one_start_token(inputs):
    model = build("whisper")
    variables = started(model, inputs)
    made = apply(model, variables, inputs)
    module = build_encoder(speech_emotion.TINY["whisper"])
    waves = [np.asarray(inputs["audio"][i, : int(inputs["audio_length"][i]), 0], np.float32) / 32768 for i in range(3)]
    extractor = WhisperFeatureExtractor(feature_size=module.mels, chunk_length=3)
    mel = extractor(waves, sampling_rate=16000, return_tensors="np")["input_features"]
    ids = jnp.full((3, 1), module.start_id, jnp.int32)
    heard = jax.jit(lambda params: module.apply({"params": params}, jnp.asarray(mel), decoder_ids=ids))
    states = heard(variables["params"]["encoder"])
    states = np.asarray(states["last_hidden_state"][:, 0])
    pooled = np.stack([states[:2].mean(0), states[2], np.zeros(32)])
    for name, wanted in heads_of(pooled, variables["params"]).items():
        np.testing.assert_allclose(made[name], wanted, atol=2e-4)


def test_log_mel_is_that_of_whispers_feature_extractor():
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (48000, 20000, 60000)]  # whole, padded, cut off
    wanted = WhisperFeatureExtractor(feature_size=80, chunk_length=3)(waves, sampling_rate=16000, return_tensors="np")
    for wave, one in zip(waves, wanted["input_features"], strict=True):
        made = speech_emotion.log_mel(jnp.asarray(wave)[None], bands=80, frames=300)[0]
        np.testing.assert_allclose(made, one, atol=1e-4)


def test_what_is_behind_a_recording_does_not_count(inputs):
    model = build()
    variables = started(model, inputs)
    noisy = inputs["audio"].copy()
    noisy[2, 2100:], noisy[3] = 77, -5
    wanted, made = (apply(model, variables, inputs | {"audio": audio}) for audio in (inputs["audio"], noisy))
    for name in wanted:
        np.testing.assert_allclose(made[name], wanted[name], atol=1e-5)


def test_frozen_parts_get_no_gradient_and_are_no_parameters(inputs):
    arguments = {"freeze": "front_end/.*"}
    model = build(**arguments)
    variables = started(model, inputs, **arguments)
    assert set(variables["fitted"]["encoder"]) == {"front_end"}
    assert "front_end" not in variables["params"]["encoder"]
    shapes = variable_shapes(model, inputs)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    joined = variables["params"] | {"encoder": variables["params"]["encoder"] | variables["fitted"]["encoder"]}
    wanted = apply(build(), {"params": joined}, inputs)
    np.testing.assert_allclose(apply(model, variables, inputs)["fear"], wanted["fear"], atol=1e-6)


def test_lora_starts_as_the_frozen_network_and_trains_its_updates_alone(inputs):
    arguments = {"lora_rank": 2}
    model = build(**arguments)
    variables = started(model, inputs, **arguments)
    whole = encoders.make(speech_emotion.TINY["hubert"]).params
    wanted = apply(build(), {"params": variables["params"] | {"encoder": whole}}, inputs)

    @jax.jit
    @jax.value_and_grad
    def output(params, inputs):
        return model.apply({**variables, "params": params}, inputs)["pain"].sum()

    value, gradient = output(variables["params"], inputs)
    np.testing.assert_allclose(value, wanted["pain"].sum(), rtol=1e-5)  # two programs, each rounds in its way
    gradient = gradient["encoder"]
    query = gradient["layer_0"]["attention"]["query"]["kernel"]
    assert query["up"].shape == (2, 32) and np.abs(query["up"]).max() > 0 and np.abs(query["down"]).max() == 0
    assert set(gradient) == {"layer_0", "layer_1"}
    assert jax.tree.map(jnp.shape, variables["fitted"]["encoder"]) == jax.tree.map(jnp.shape, whole)


def test_dropout_needs_a_key_and_changes_the_outputs(inputs):
    model = build()
    variables = started(model, inputs)
    inputs, rates = jax.device_put(inputs), Rates(dropout=0.5)
    noisy = jax.jit(lambda key: model.apply(variables, inputs, rates, rngs={"dropout": key})["fear"])
    assert not np.allclose(noisy(jax.random.key(0)), noisy(jax.random.key(1)))


def test_pretrained_weights_are_those_of_the_folder(tmp_path):
    given = {"encoder": "hubert", "folder": str(write_hubert(tmp_path)), "train": ".*", "freeze": "", "lora_rank": 0}
    trained, frozen = models.pretrained("speech_emotion", given)
    wanted = encoders.load(GOLDEN / "hubert_base").params
    assert not frozen and jax.tree.all(jax.tree.map(np.array_equal, trained["encoder"], wanted))
    with pytest.raises(InputError, match="'hubert'"):
        models.pretrained("speech_emotion", given | {"encoder": "wav2vec2"})
    with pytest.raises(InputError, match="hubert, wav2vec2, whisper"):
        models.pretrained("speech_emotion", given | {"encoder": "bert"})
    with pytest.raises(InputError, match="matches no parameter"):
        models.pretrained("speech_emotion", given | {"freeze": "nothing"})
    assert models.pretrained("mental_perceiver", {}) == ({}, {})


def test_recordings_stay_as_they_are_where_the_folder_says_so(inputs, tmp_path):
    """As the feature extractor of `transformers`, which `embed` uses, leaves them."""
    write_hubert(tmp_path)
    config = speech_emotion.config_of("hubert", str(tmp_path))
    assert speech_emotion.standardises(config, str(tmp_path)) is True
    edit(tmp_path, "preprocessor_config.json", do_normalize=False)
    assert speech_emotion.standardises(config, str(tmp_path)) is False
    model = build(folder=str(tmp_path))
    variables = started(model, inputs, folder=str(tmp_path))
    network = encoders.load(tmp_path)
    extractor = processors.feature_extractor(tmp_path, network.module)
    waves = [np.asarray(inputs["audio"][i, : int(inputs["audio_length"][i]), 0], np.float32) / 32768 for i in range(3)]
    states = encode(network, processors.recordings(extractor, waves), batch_size=3, step=SAMPLES)
    pooled = np.stack([np.concatenate(states[:2]).mean(0), states[2].mean(0), np.zeros(16)])
    made = apply(model, variables, inputs)
    for name, wanted in heads_of(pooled, variables["params"]).items():
        np.testing.assert_allclose(made[name], wanted, atol=2e-4)


def test_an_extractor_that_does_not_fit_is_refused_before_training(tmp_path):
    given = {"encoder": "hubert", "folder": str(write_hubert(tmp_path)), "train": ".*", "freeze": "", "lora_rank": 0}
    edit(tmp_path, "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(InputError, match="sampling_rate = 8000, must be 16000"):
        models.pretrained("speech_emotion", given)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"no feature extractor \(preprocessor_config\.json\)"):
        models.pretrained("speech_emotion", given)
    given |= {"encoder": "whisper", "folder": str(write_whisper(tmp_path))}
    with pytest.raises(InputError, match="n_fft = 400 and hop_length = 400, must be 400 and 160"):
        models.pretrained("speech_emotion", given)
    config = speech_emotion.config_of("whisper", str(tmp_path))
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(tmp_path)
    assert not speech_emotion.standardises(config | {"max_source_positions": 50}, str(tmp_path))


def test_what_it_cannot_hear_or_predict_is_refused(inputs):
    mel = Modality("audio", "frames", (30, 8))
    for changes in ({"modalities": (AUDIO, mel)}, {"modalities": (mel,)}, {"heads": (Head("score", "regression", 0),)}):
        with pytest.raises(InputError):
            build(**changes).init(jax.random.key(0), jax.device_put(inputs))
