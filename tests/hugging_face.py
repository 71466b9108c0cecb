"""Small Hugging Face folders with random weights."""

from pathlib import Path

import transformers

GOLDEN = Path(__file__).parent / "encoders" / "golden"


def write_bert(folder: Path) -> Path:
    """A BERT of width 16 and 24 positions, with a tokenizer of 25 letters."""
    letters = [chr(ord("a") + number) for number in range(25)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]) + "\n")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "bert" / name).read_bytes())
    return folder


def write_hubert(folder: Path) -> Path:
    """A HuBERT of width 16 that makes 800 frames a second, with its feature extractor."""
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "hubert_base" / name).read_bytes())
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    return folder
