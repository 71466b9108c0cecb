"""What `embed.py` measures against: embeddings by a plain script of transformers and PyTorch.

    python benchmarks/embed_peer.py text|audio MANIFEST ENCODER OUTPUT BATCH_SIZE

Batches in the order of the manifest, padded to their longest row, texts cut after 512 tokens, sound in pieces of 20 s,
ten frames averaged; float16 files.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

RATE, SECONDS, EVERY = 16_000, 20, 10


def texts(rows: list[dict[str, str]], encoder: str, output: Path, size: int) -> None:
    """Token embeddings of all texts."""
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        inputs = tokenizer(
            [row["text"] for row in part], padding=True, truncation=True, max_length=512, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state
        for row, mask, one in zip(part, inputs["attention_mask"], states, strict=True):
            np.savez(output / f"{row['participant']}.npz", states=one[mask.bool()].numpy().astype(np.float16))


def sound(rows: list[dict[str, str]], encoder: str, output: Path, size: int, folder: Path) -> None:
    """States of all recordings."""
    extractor, model = AutoFeatureExtractor.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    for row in rows:
        samples, _ = soundfile.read(folder / row["recording"], dtype="float32")
        pieces = [samples[start : start + SECONDS * RATE] for start in range(0, len(samples), SECONDS * RATE)]
        states = []
        for start in range(0, len(pieces), size):
            part = pieces[start : start + size]
            inputs = extractor(part, sampling_rate=RATE, padding=True, return_tensors="pt")
            with torch.inference_mode():
                out = model(**inputs).last_hidden_state
            for piece, one in zip(part, out.numpy(), strict=True):
                count = round(len(piece) / RATE * 50)  # the last frame is incomplete: it is that before it
                states.append(np.pad(one[:count], ((0, max(0, count - len(one))), (0, 0)), mode="edge"))
        joined = np.concatenate(states)
        starts = np.arange(0, len(joined), EVERY)
        means = np.add.reduceat(joined, starts) / np.diff(np.append(starts, len(joined)))[:, None]
        np.savez(output / f"{row['participant']}.npz", states=means.astype(np.float16))


def main() -> None:
    what, manifest, encoder, output, size = sys.argv[1:]
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    Path(output).mkdir(parents=True)
    if what == "text":
        texts(rows, encoder, Path(output), int(size))
    else:
        sound(rows, encoder, Path(output), int(size), Path(manifest).parent)


if __name__ == "__main__":
    main()
