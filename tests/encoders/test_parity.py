"""Every hidden state of every layout beside transformers' PyTorch models (make_golden.py), in float32."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import encoders

GOLDEN = Path(__file__).parent / "golden"
TEXT = ("bert", "roberta")
AUDIO = ("wav2vec2_base", "wav2vec2_large", "hubert_base", "hubert_large")
TOLERANCE = 1e-4


@functools.cache
def golden(name):
    """The encoder of a golden folder, and the arrays beside it."""
    with np.load(GOLDEN / name / "golden.npz", allow_pickle=False) as file:
        return encoders.load(GOLDEN / name), {key: jnp.asarray(file[key]) for key in file.files}


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, *inputs, **named):
    return module.apply({"params": params}, *inputs, output_hidden_states=True, **named)


def run(encoder, *inputs, **named):
    return apply(encoder.module, encoder.params, *inputs, **named)


def difference(out, arrays, prefix=""):
    """The largest absolute difference over all hidden states; every one must be there."""
    wanted = sorted(key for key in arrays if key.startswith(f"{prefix}hidden_"))
    assert len(wanted) == len(out["hidden_states"])
    pairs = [(arrays[key], state) for key, state in zip(wanted, out["hidden_states"], strict=True)]
    pairs.append((arrays[f"{prefix}last"], out["last_hidden_state"]))
    worst = max(float(jnp.abs(theirs - ours).max()) for theirs, ours in pairs)
    print(f"{prefix}{len(wanted)} states, largest difference {worst:.1e}")
    return worst


@pytest.mark.parametrize("name", TEXT)
def test_text_encoders(name):
    encoder, arrays = golden(name)
    out = run(encoder, arrays["ids"], arrays["mask"], token_types=arrays["types"])
    assert difference(out, arrays) < TOLERANCE
    np.testing.assert_array_equal(out["mask"], arrays["mask"])


@pytest.mark.parametrize("name", AUDIO)
@pytest.mark.parametrize("masked", [False, True])
def test_speech_encoders(name, masked):
    encoder, arrays = golden(name)
    out = run(encoder, arrays["waveforms"], arrays["mask"] if masked else None)
    assert difference(out, arrays, "masked_" if masked else "plain_") < TOLERANCE
    # 400, 251 and 130 samples through kernels of 10, 3 and 2 with strides of 5, 2 and 2
    assert out["mask"].sum(1).tolist() == ([19, 12, 6] if masked else [19, 19, 19])


def test_padding_changes_nothing_with_statistics_of_the_valid_samples():
    encoder, arrays = golden("wav2vec2_base")
    encoder = encoder._replace(module=encoder.module.clone(valid_statistics=True))
    out = run(encoder, arrays["waveforms"], arrays["mask"])
    count = arrays["alone_last"].shape[1]
    out["hidden_states"] = [state[1:2, :count] for state in out["hidden_states"]]
    out["last_hidden_state"] = out["last_hidden_state"][1:2, :count]
    assert difference(out, arrays, "alone_") < TOLERANCE


@pytest.mark.parametrize("start", ["start_", "several_"])
def test_whisper(start):
    encoder, arrays = golden("whisper")
    mask = arrays["mask"] if start == "several_" else None
    out = run(encoder, arrays["features"], decoder_ids=arrays[f"{start}ids"], decoder_mask=mask)
    assert difference(out, arrays, f"{start}decoder_") < TOLERANCE
    assert difference(out["encoder"], arrays, f"{start}encoder_") < TOLERANCE


def test_whispers_encoder_alone_gives_the_same():
    encoder, arrays = golden("whisper")
    frames = jnp.arange(40) < jnp.array([40, 11])[:, None]
    out = run(encoder, arrays["features"], frames)
    assert difference(out, arrays, "start_encoder_") < TOLERANCE
    assert out["mask"].sum(1).tolist() == [20, 6]


@pytest.mark.parametrize("name", ["bert", "wav2vec2_large"])
def test_rows_of_padding_are_finite_and_change_no_other(name):
    encoder, arrays = golden(name)
    inputs = arrays["ids" if name == "bert" else "waveforms"]
    wanted = arrays["last" if name == "bert" else "masked_last"]
    mask = arrays["mask"].at[1:].set(False)
    out = run(encoder, inputs, mask, **({"token_types": arrays["types"]} if name == "bert" else {}))
    assert jnp.isfinite(out["last_hidden_state"]).all()
    assert not out["mask"][1:].any()
    np.testing.assert_allclose(out["last_hidden_state"][0], wanted[0], atol=TOLERANCE)
