"""Small Hugging Face folders with random weights."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import transformers
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parent / "encoders" / "golden"


def write_bert(folder: Path) -> Path:
    """A BERT of width 16 and 24 positions, with a tokenizer of 25 letters."""
    letters = [chr(ord("a") + number) for number in range(25)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]) + "\n")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "bert" / name).read_bytes())
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], **metadata: str) -> None:
    """Replaces the tensors of a folder by `change(tensors)`."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt", **metadata})


def edit(folder: Path, name: str = "config.json", **fields: object) -> None:
    """Changes fields of a JSON file of a folder."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write_hubert(folder: Path) -> Path:
    """A HuBERT of width 16 that makes 800 frames a second, with its feature extractor."""
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "hubert_base" / name).read_bytes())
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    return folder


def write_whisper(folder: Path) -> Path:
    """A Whisper of width 16 that takes 40 frames of 8 bands, with a feature extractor that makes them of a second."""
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "whisper" / name).read_bytes())
    transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1, hop_length=400).save_pretrained(folder)
    return folder
