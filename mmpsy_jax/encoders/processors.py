"""Tokenizers and feature extractors of a local Hugging Face folder, by `transformers`; nothing is downloaded."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpsy_jax.errors import InputError

SAMPLE_RATE = 16_000
# `transformers` tells on import that PyTorch is missing, which is as it should be here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def tokenizer(folder: str | os.PathLike) -> Any:
    """The tokenizer of a folder.

    Raises:
      InputError: the folder has none that `transformers` can read.
    """
    from transformers import AutoTokenizer

    return _read(AutoTokenizer, folder, "tokenizer (vocab.txt or tokenizer.json)")


def feature_extractor(folder: str | os.PathLike) -> Any:
    """What turns recordings into inputs of the encoder.

    Raises:
      InputError: the folder has none that `transformers` can read.
    """
    from transformers import AutoFeatureExtractor

    return _read(AutoFeatureExtractor, folder, "feature extractor (preprocessor_config.json)")


def _read(kind: Any, folder: str | os.PathLike, what: str) -> Any:
    try:
        return kind.from_pretrained(os.fspath(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} has no {what}: copy it there ({str(error).splitlines()[0]})") from None


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
    made = []
    for number, waveform in enumerate(waveforms):
        if np.ndim(waveform) != 1 or not len(waveform):
            raise InputError(f"recording {number} has the shape {np.shape(waveform)}: give one channel with samples")
        out = extractor(np.asarray(waveform, np.float32), sampling_rate=SAMPLE_RATE, return_tensors="np")
        made.append(np.asarray(out[extractor.model_input_names[0]][0], np.float32))
    return made
