"""`launch.py embed`: interviews and a pretrained network to a folder of embeddings (`features/embeddings.py`).

BERT and RoBERTa read the transcripts; wav2vec 2.0, HuBERT and Whisper's encoder hear the recordings, in pieces of
`PIECE_SECONDS`, and neighbouring frames are averaged.
"""

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from mmpsy_jax import encoders
from mmpsy_jax.encoders import Bert, Encoder, Whisper, processors
from mmpsy_jax.encoders.encode import check, encode
from mmpsy_jax.encoders.text import token_embeddings
from mmpsy_jax.features import embeddings, recording
from mmpsy_jax.features.clip import Clip, as_clips
from mmpsy_jax.features.embeddings import Store, TokenEmbeddings
from mmpsy_jax.features.interview import Speech
from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.features.omissions import read_option
from mmpsy_jax.features.session import Reading
from mmpsy_jax.inference import interviews
from mmpsy_jax.inference.interviews import Failure, Interview
from mmpsy_jax.io import InputError, file_sha256, one_of, try_folder

# Transcripts that are in memory together.
CHUNK = 256
PIECE_SECONDS = 20  # of sound that the network sees at once
EVERY = 10  # frames of 20 ms that are averaged: 5 a second are left
DTYPES = ("float16", "float32")
PRECISIONS = ("float32", "bfloat16")


def embed(
    source: str | Path,
    encoder: str | Path,
    output: str | Path,
    *,
    whole: bool = False,
    every: int = EVERY,
    channel: int = 0,
    layers: Sequence[int] | None = None,
    dtype: str = "float16",
    precision: str = "float32",
    batch_size: int = 16,
    published: Manifest | None = None,
    interviewer: bool = False,
    speaker: str = "",
    omit: str = "",
) -> list[Failure]:
    """Embeds whatever of all interviews is not in the folder yet: transcripts, or recordings.

    Args:
      source: a folder or file of interviews (`interviews.py`), a manifest or `wav_select.json`.
      encoder: Hugging Face folder, with its tokenizer or feature extractor; its network decides what is embedded.
      output: folder; one that was left half-done is completed.
      whole: of transcripts: all tokens, not the first 512 alone.
      every: of recordings: frames that are averaged.
      channel: of recordings: the only one that is heard, from 1; 0 averages them.
      layers, batch_size: as `encoders.encode.encode` takes them.
      dtype: of the stored states.
      precision: of the computation.
      published: who lies in `source`, where it is in the layout of a published corpus.
      interviewer: embed what the interviewer says, too.
      speaker, omit: options of that name, as at `build`.

    Returns:
      what could not be read.

    Raises:
      InputError: an option that cannot be, no such encoder, nothing to read, a folder of embeddings that were made in
        another way, or states that are not finite in `dtype`.
    """
    options = {"layers": layers, "dtype": dtype, "precision": precision}
    for name, value, known in (("dtype", dtype, DTYPES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise one_of(name, value, known)
    if every < 1:
        raise InputError(f"every = {every}: must be a whole number of frames above 0")
    recording.require_channel("embed", channel)
    try_folder(output)
    gone = read_option(omit)
    reading = Reading(speaker, gone.omit, gone.stretches)
    people, failures = interviews.find(source, published=published, reading=reading)
    network = encoders.load(encoder, decoder=False, dtype=jnp.dtype(precision))
    check(network.module, layers, batch_size)
    way: dict[str, Any] = {"of": "text", "whole": whole}
    if not isinstance(network.module, Bert):
        way = {"of": "audio", "every": every, **({"channel": channel} if channel else {})}
    both = speeches(people, [False, True] if interviewer else [False])
    return failures + fill(both, network, Path(encoder), Path(output), {**way, **options}, batch_size)


def speeches(people: Iterable[Interview], sides: Sequence[bool]) -> list[tuple[str, Speech]]:
    """What is said in interviews, with the name of the participant.

    Args:
      people: the interviews.
      sides: False for the participant, True for the interviewer.
    """
    return [
        (one.participant, one.interviewer if theirs else Speech(one.recordings, one.transcript))
        for theirs in sides
        for one in people
    ]


def entry_for(
    entry: Mapping[str, Any], folders: Sequence[str | Path], people: Sequence[tuple[str, Speech]], workplace: Path
) -> Mapping[str, Any]:
    """The entry of a modality, so that its extractor reads embeddings of these interviews, which are made now.

    Args:
      entry: of the modality in the card of a run. Of embeddings that were not made here, which are the release's
        tokens, the way of the release is taken: the first 512 tokens, placed in equal steps.
      folders: Hugging Face folders, besides that which the corpus was built with.
      people: as `speeches` gives them, whatever will be asked for. Recordings that cannot be embedded are missed when
        they are.
      workplace: an empty folder.

    Raises:
      InputError: the encoder that the corpus was built with is in none of the folders.
    """
    released = {"of": "text", "whole": False, "layers": None, "dtype": "float32", "precision": "float32"}
    way = entry.get("encoder", released)
    places = [Path(one) for one in (*folders, *([way["encoder"]] if "encoder" in way else []))]
    there = (one for one in places if (one / "config.json").is_file())
    folder = next((one for one in there if way.get("encoder_sha256") in (None, digest(one))), None)
    if folder is None:
        raise InputError(
            f"the encoder of the run's {way['of']} is not in {', '.join(map(str, places))}: give its folder as "
            "--encoder (a digest of its files tells it from others)"
        )
    network = encoders.load(folder, decoder=False, dtype=jnp.dtype(way["precision"]))
    names = ("of", "whole", "every", "channel", "layers", "dtype", "precision")
    fill(people, network, folder, workplace, {name: way[name] for name in names if name in way})
    release = {"name": TokenEmbeddings.name, "positions": entry["shape"][0], "placement": "corpus"}
    return {**entry, "extractor": {**entry.get("extractor", release), "folder": str(workplace)}}


def fill(
    people: Sequence[tuple[str, Speech]],
    network: Encoder,
    encoder: Path,
    output: Path,
    how: Mapping[str, Any],
    batch_size: int = 16,
) -> list[Failure]:
    """Embeds what is not in the folder yet.

    Args:
      people: as `speeches` gives them.
      network, encoder: a network, and its folder.
      output: folder to fill.
      how: "of", "whole" or "every" and "channel", "layers", "dtype" and "precision", as of `embed`.
      batch_size: rows per call.

    Returns:
      recordings that cannot be used.

    Raises:
      InputError: as of `embed`.
    """
    if isinstance(network.module, Bert) != (how["of"] == "text"):
        kind = "a BERT or RoBERTa" if how["of"] == "text" else "a wav2vec 2.0, HuBERT or Whisper"
        raise InputError(f"{encoder}: {network.config['model_type']!r} does not take {how['of']}: give {kind}")
    info = {"encoder": str(encoder.absolute()), "encoder_sha256": digest(encoder), "width": network.module.width, **how}
    if how["of"] == "text":
        what, run, reader = "transcripts", embed_texts, processors.tokenizer(encoder, network.module.vocabulary)
        texts = {one.transcript.text: f"transcript of {name}" for name, one in reversed(people)}
        sources = {text: name for text, name in reversed(texts.items()) if text.strip()}
    else:
        what, run, reader = "recordings", embed_recordings, processors.feature_extractor(encoder, network.module)
        sources = {clip: str(clip) for _, one in people for clip in as_clips(one.recordings)}
        info["frames_per_second"] = frame_rate(network) / how["every"]
    if not sources:
        raise InputError(f"nothing to embed: the interviews have no {what}")
    store = Store.start(output, info)
    network = network._replace(params=jax.device_put(network.params))
    began, failures = time.monotonic(), []
    for done, failed in run(sources, network, reader, store, batch_size):
        failures += failed
        speed = done / (time.monotonic() - began)
        print(f"embedded {done}/{len(sources)} {what}  {speed:.1f} a second", file=sys.stderr, flush=True)
    return failures


def embed_texts(
    texts: Mapping[str, str], network: Encoder, tokenizer: Any, store: Store, batch_size: int
) -> Iterator[tuple[int, list[Failure]]]:
    """Embeds texts (with a name for each) that are not there yet; gives how many are, and no failures."""
    waiting = [text for text, name in texts.items() if _is_missing(store, embeddings.key_of_text(text), name)]
    options = {"whole": store.info["whole"], "layers": store.info["layers"], "batch_size": batch_size}
    for start in range(0, len(waiting), CHUNK):
        part = waiting[start : start + CHUNK]
        for text, one in zip(part, token_embeddings(network, tokenizer, part, **options), strict=True):
            characters = one.characters.astype(np.int32)
            store.write(embeddings.key_of_text(text), texts[text], one.states, characters=characters)
        yield len(texts) - len(waiting) + start + len(part), []


def embed_recordings(
    clips: Mapping[Clip, str], network: Encoder, extractor: Any, store: Store, batch_size: int
) -> Iterator[tuple[int, list[Failure]]]:
    """Embeds recordings that are not there yet; gives how many are done, and what is wrong with the last of them."""
    layers, every, channel = store.info["layers"], store.info["every"], store.info.get("channel", 0)
    for number, (clip, name) in enumerate(clips.items(), 1):
        level = recording.Level()
        try:
            key = clip.sha256()
            missing = _is_missing(store, key, name)
            blocks = list(clip.samples(processors.SAMPLE_RATE, level, channel)) if missing else []
            note = level.note(clip.path) if missing else ""
        except InputError as error:
            yield number, [Failure(name, str(error).removeprefix(f"{clip}: "))]
            continue
        if missing:
            states = hear(np.concatenate(blocks), network, extractor, layers, every, batch_size)
            store.write(key, name, states, seconds=level.seconds, note=note)
        yield number, []


def _is_missing(store: Store, key: str, name: str) -> bool:
    """Whether something is not in the store; a file of it that is damaged or of something else is told of."""
    fault = store.fault(key)
    if fault:
        print(f"made again: {name}: {key}.npz {fault}", file=sys.stderr, flush=True)
    return fault != ""


def hear(
    samples: Float32[np.ndarray, " n"],
    network: Encoder,
    extractor: Any,
    layers: Sequence[int] | None,
    every: int,
    batch_size: int,
) -> Float[np.ndarray, "frames d"]:
    """States of a recording, `frame_rate(network) / every` a second whatever its length.

    The convolutions of wav2vec 2.0 leave out the last incomplete frame of a piece; the frame before stands for it, so
    that time does not drift over hours.

    Args:
      samples: mono, 16 kHz.
      network, extractor: of a speech encoder.
      layers, batch_size: as of `encode`.
      every: frames that are averaged; the last of them may be fewer.
    """
    size, rate = round(PIECE_SECONDS * processors.SAMPLE_RATE), frame_rate(network)
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    shortest = 1 if isinstance(network.module, Whisper) else network.module.shortest
    padded = [np.pad(piece, (0, max(0, shortest - len(piece)))) for piece in pieces]
    # Few shapes, and a short recording does not pay for a whole batch.
    rows = min(batch_size, 1 << (len(pieces) - 1).bit_length())
    encoded = encode(network, processors.recordings(extractor, padded), layers=layers, batch_size=rows)
    frames = []
    for piece, states in zip(pieces, encoded, strict=True):
        count = max(1, round(len(piece) / processors.SAMPLE_RATE * rate))
        frames.append(np.pad(states[:count], ((0, max(0, count - len(states))), (0, 0)), mode="edge"))
    joined = np.concatenate(frames)
    starts = np.arange(0, len(joined), every)
    with np.errstate(over="ignore", invalid="ignore"):  # refused where it is stored
        return np.add.reduceat(joined, starts) / np.diff(np.append(starts, len(joined)))[:, None]


def frame_rate(network: Encoder) -> float:
    """Frames that a speech encoder makes of a second."""
    if isinstance(network.module, Whisper):
        return network.module.positions / 30  # its input is always 30 s
    return processors.SAMPLE_RATE / float(np.prod(network.module.strides))


def digest(folder: Path) -> str:
    """Changes with the weights, the configuration or the vocabulary of a Hugging Face folder."""
    sha256 = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt") and path.is_file():
            sha256.update(path.name.encode() + bytes.fromhex(file_sha256(path)))
    return sha256.hexdigest()
