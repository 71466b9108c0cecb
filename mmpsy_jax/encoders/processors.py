"""Tokenizers and feature extractors of a local Hugging Face folder, by `transformers`; nothing is downloaded."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpsy_jax.encoders.wav2vec2 import Wav2Vec2
from mmpsy_jax.encoders.whisper import Whisper
from mmpsy_jax.io import InputError

SAMPLE_RATE = 16_000
EXTRACTOR = "preprocessor_config.json"
# `transformers` tells on import that PyTorch is missing, which is as it should be here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def tokenizer(folder: str | os.PathLike, rows: int | None = None) -> Any:
    """The tokenizer of a folder.

    Args:
      folder: of Hugging Face.
      rows: of the encoder's table of words; None where there is no encoder to compare with.

    Raises:
      InputError: the folder has none that `transformers` can read, it has no words or no [CLS] and [SEP], or ids for
        which the table has no row.
    """
    from transformers import AutoTokenizer

    tokens = _read(AutoTokenizer, folder, "tokenizer (vocab.txt or tokenizer.json)")
    words = tokens.get_vocab()
    # Where the file of the words is missing, `transformers` makes a tokenizer that knows the special tokens alone.
    if not set(words) - set(tokens.all_special_tokens):
        raise InputError(f"{folder} has a tokenizer without words: copy vocab.txt or tokenizer.json there")
    if not tokens.is_fast or tokens.cls_token_id is None or tokens.sep_token_id is None:
        raise InputError(
            f"{folder} has a {type(tokens).__name__} without [CLS], [SEP] or the places of tokens: copy the tokenizer "
            "of a BERT or RoBERTa there"
        )
    largest = max(words.values())
    if rows is not None and largest >= rows:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {largest}, the table of words only rows up to {rows - 1}: copy "
            "the tokenizer of the same model there"
        )
    return tokens


def feature_extractor(folder: str | os.PathLike, module: Wav2Vec2 | Whisper | None = None) -> Any:
    """What turns recordings into inputs of the encoder.

    Args:
      folder: of Hugging Face.
      module: the encoder; None where there is none to compare with.

    Raises:
      InputError: the folder has none that `transformers` can read, it is for another sampling rate than
        `SAMPLE_RATE`, or it does not make what the encoder takes.
    """
    from transformers import AutoFeatureExtractor

    extractor = _read(AutoFeatureExtractor, folder, f"feature extractor ({EXTRACTOR})")
    whisper = extractor.model_input_names[0] == "input_features"

    def rule(name: str, value: Any, expected: Any, why: str) -> None:
        if value != expected:
            raise InputError(
                f"{folder}: {EXTRACTOR} has {name} = {repr(value)[:60]}, must be {expected!r}, {why}: take the "
                f"{EXTRACTOR} of the same model, or a model that was trained so"
            )

    rule("sampling_rate", extractor.sampling_rate, SAMPLE_RATE, "the rate at which recordings are read here")
    if module is None:
        return extractor
    kind, network = type(extractor).__name__, "Whisper" if isinstance(module, Whisper) else "wav2vec 2.0 or HuBERT"
    if whisper != isinstance(module, Whisper):
        raise InputError(
            f"{folder}: {EXTRACTOR} is of a {kind}, which does not fit a {network}: copy that of the model"
        )
    if whisper:
        rule("feature_size", extractor.feature_size, module.mels, "as num_mel_bins of config.json")
        frames = extractor.chunk_length * extractor.sampling_rate // extractor.hop_length
        rule("frames in chunk_length", frames, 2 * module.positions, "twice max_source_positions of config.json")
    else:
        rule("feature_size", extractor.feature_size, 1, "one number a sample")
        rule("do_normalize", extractor.do_normalize, extractor.do_normalize is True, "true or false")
    return extractor


def _read(kind: Any, folder: str | os.PathLike, what: str) -> Any:
    try:
        return kind.from_pretrained(os.fspath(folder), local_files_only=True)
    except Exception as error:  # of a damaged file the libraries below raise the bare class, too
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"{folder} has no {what} that can be read: copy it there ({reason[:200]})") from None


def recordings(extractor: Any, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Inputs of a speech encoder, one by one, so that no recording depends on the others.

    Args:
      extractor: of `feature_extractor`.
      waveforms: mono, 16 kHz, f32 [samples].

    Returns:
      waveforms as wav2vec 2.0 and HuBERT want them (standardised where the extractor says so) or Whisper's log-mel
      f32 [mels, 3000], of which what follows 30 s is cut off.

    Raises:
      InputError: a recording is empty or not one channel.
    """
    inputs = []
    for number, waveform in enumerate(waveforms):
        if np.ndim(waveform) != 1 or not len(waveform):
            raise InputError(f"recording {number} has the shape {np.shape(waveform)}: give one channel with samples")
        out = extractor(np.asarray(waveform, np.float32), sampling_rate=SAMPLE_RATE, return_tensors="np")
        inputs.append(np.asarray(out[extractor.model_input_names[0]][0], np.float32))
    return inputs
