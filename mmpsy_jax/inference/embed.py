"""`launch.py embed`: transcripts and a pretrained network to a folder of embeddings (`features/embeddings.py`)."""

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from mmpsy_jax import encoders
from mmpsy_jax.encoders import Bert, processors
from mmpsy_jax.encoders.text import token_embeddings
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.features import embeddings
from mmpsy_jax.features.embeddings import TokenEmbeddings
from mmpsy_jax.inference import interviews
from mmpsy_jax.inference.interviews import Failure

# Texts that are in memory together.
CHUNK = 128
DTYPES = ("float16", "float32")
PRECISIONS = ("float32", "bfloat16")


def embed(
    given: str | Path,
    encoder: str | Path,
    output: str | Path,
    *,
    whole: bool = False,
    layers: Sequence[int] | None = None,
    dtype: str = "float16",
    precision: str = "float32",
    batch_size: int = 16,
) -> list[Failure]:
    """Embeds the transcript of every interview that is not in the folder yet.

    Args:
      given: a folder or file of interviews (`interviews.py`), a manifest or `wav_select.json`.
      encoder: Hugging Face folder of a BERT or RoBERTa, with its tokenizer.
      output: folder; one that was left half-done is completed.
      whole, layers, batch_size: as `encoders.text.token_embeddings` takes them.
      dtype: of the stored states.
      precision: of the computation.

    Returns:
      what could not be read.

    Raises:
      InputError: no such encoder, nothing to read, or a folder of embeddings that were made in another way.
    """
    found, failures = interviews.find(given)
    texts = [one.transcript.text for one in found if one.transcript.text.strip()]
    if not texts:
        raise InputError(f"{given}: holds no transcript: there is nothing to embed")
    options = {"whole": whole, "layers": layers, "dtype": dtype, "precision": precision, "batch_size": batch_size}
    fill(texts, encoder, output, **options)
    return failures


def fill(
    texts: Iterable[str],
    encoder: str | Path,
    output: str | Path,
    *,
    whole: bool,
    layers: Sequence[int] | None,
    dtype: str,
    precision: str,
    batch_size: int = 16,
) -> None:
    """Embeds the texts that are not in the folder yet; arguments as of `embed`."""
    for name, value, known in (("dtype", dtype, DTYPES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise one_of(name, value, known)
    folder, output = Path(encoder).absolute(), Path(output)
    network = encoders.load(folder, dtype=jnp.dtype(precision))
    if not isinstance(network.module, Bert):
        raise InputError(f"{folder}: {network.config['model_type']!r} does not read text: give a BERT or RoBERTa")
    tokenizer = processors.tokenizer(folder)
    embeddings.write_info(output, info(folder, network.module.width, whole, layers, dtype, precision))
    waiting = [text for text in dict.fromkeys(texts) if not embeddings.has(output, text)]
    began = time.monotonic()
    for start in range(0, len(waiting), CHUNK):
        part = waiting[start : start + CHUNK]
        for text, one in zip(
            part,
            token_embeddings(network, tokenizer, part, whole=whole, layers=layers, batch_size=batch_size),
            strict=True,
        ):
            embeddings.write(output, text, one.states.astype(dtype), one.characters)
        done = start + len(part)
        speed = done / (time.monotonic() - began)
        print(f"embedded {done}/{len(waiting)} transcripts  {speed:.1f} a second", file=sys.stderr, flush=True)


def entry_for(
    entry: Mapping[str, Any], encoder: str | Path | None, texts: Sequence[str], workplace: Path
) -> Mapping[str, Any]:
    """The entry of a corpus's text, so that its extractor reads embeddings of these texts, which are made now.

    Args:
      entry: of the modality in the card of a run. Of embeddings that were not made here, such as the release's, the
        way of the release is taken: the first 512 tokens, placed in equal steps.
      encoder: Hugging Face folder; None is the one that the corpus was built with.
      texts: all that will be asked for.
      workplace: an empty folder.

    Raises:
      InputError: the encoder is not there, or another one than the corpus was built with.
    """
    made = entry.get("encoder", {"whole": False, "layers": None, "dtype": "float32", "precision": "float32"})
    folder = Path(encoder or made["encoder"])
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: the encoder of the run's text is not there: give its folder as --encoder")
    if "encoder_sha256" in made and digest(folder) != made["encoder_sha256"]:
        raise InputError(f"{folder}: not the encoder that the run's text was embedded with: give that one as --encoder")
    fill(texts, folder, workplace, **{name: made[name] for name in ("whole", "layers", "dtype", "precision")})
    release = {"name": TokenEmbeddings.name, "positions": entry["shape"][0], "placement": "corpus"}
    return {**entry, "extractor": {**entry.get("extractor", release), "folder": str(workplace)}}


def info(
    folder: Path, width: int, whole: bool, layers: Sequence[int] | None, dtype: str, precision: str
) -> dict[str, Any]:
    """What `embeddings.json` says, so that the same can be done again."""
    return {
        "encoder": str(folder),
        "encoder_sha256": digest(folder),
        "width": width,
        "whole": whole,
        "layers": None if layers is None else list(layers),
        "dtype": dtype,
        "precision": precision,
    }


def digest(folder: Path) -> str:
    """Changes with the weights, the configuration or the vocabulary of a Hugging Face folder."""
    made = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt") and path.is_file():
            with path.open("rb") as file:
                made.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return made.hexdigest()
