"""Small Hugging Face folders with random weights."""

from pathlib import Path

GOLDEN = Path(__file__).parent / "encoders" / "golden"


def write_bert(folder: Path) -> Path:
    """A BERT of width 16 and 24 positions, with a tokenizer of 25 letters."""
    letters = [chr(ord("a") + number) for number in range(25)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]) + "\n")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "bert" / name).read_bytes())
    return folder
