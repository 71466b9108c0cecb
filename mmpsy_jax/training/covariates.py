"""What a run knows of its participants beside the network's inputs: for baselines and for the search for leaks."""

import dataclasses
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Float, Int, UInt64
from ml_collections import ConfigDict

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import flags, near_duplicates
from mmpsy_jax.features import manifest, table
from mmpsy_jax.training.loop import Run

AUDIO = "audio"


@dataclasses.dataclass(frozen=True)
class Sound:
    """Numbers of the recordings of N participants, from one pass over the records.

    Attributes:
      statistics: mean, then standard deviation of each of F mel bands over valid frames; NaN without audio.
      prints, owner: fingerprint and participant of every window that says enough.
    """

    statistics: Float[np.ndarray, "n 2*f"]
    prints: UInt64[np.ndarray, "w 2"]
    owner: Int[np.ndarray, " w"]


def sound(corpus: Corpus) -> Sound | None:
    """Reads every window of audio once, one participant in memory at a time; None where the corpus has no mel windows.

    Windows overlap; frames of the overlap count twice in the statistics.

    Raises:
      InputError: a damaged shard.
    """
    modality = corpus.modalities.get(AUDIO)
    if modality is None or modality.kind != "features" or modality.time_axis != 1:  # samples are no mel windows
        return None
    bands = int(np.delete(modality.shape, modality.time_axis)[0])
    statistics = np.full((len(corpus), 2 * bands), np.nan)
    prints, owner = [np.zeros((0, 2), np.uint64)], []
    for i in np.flatnonzero(corpus.has[AUDIO]).tolist():
        record = corpus.reader.read(i, [AUDIO, f"{AUDIO}_length"])
        windows, lengths = np.moveaxis(record[AUDIO], 1 + modality.time_axis, 2), record[f"{AUDIO}_length"]
        frames = np.concatenate([w[:, :n] for w, n in zip(windows, lengths, strict=True)], axis=1).astype(np.float32)
        if frames.shape[1]:
            statistics[i] = np.concatenate([frames.mean(axis=1), frames.std(axis=1)])
        prints.append(near_duplicates.fingerprints(windows, lengths))
        owner += [i] * len(prints[-1])
    return Sound(statistics, np.concatenate(prints), np.array(owner, np.int64))


def transcripts(config: ConfigDict, corpus: Corpus) -> dict[str, str] | None:
    """Texts of all participants, from the table or manifest that the corpus was built from, where it is at hand.

    They are read into memory for the TF-IDF baselines and the search for near-duplicates, and written nowhere.
    """
    source = config.data.source or corpus.card.get("source", "")
    if not source or not Path(source).exists() or "text" not in corpus.modalities:
        logging.info("no transcripts at hand: the TF-IDF baselines and the search for near-duplicates do without")
        return None
    texts = (manifest.transcripts if manifest.is_manifest(Path(source)) else table.transcripts)(Path(source))
    if not any(texts.values()):
        return None
    missing = set(corpus.participants) - texts.keys()
    if missing:
        logging.warning(
            "%s lacks %d of the corpus's participants (ids may be hashed): the TF-IDF baselines are left out",
            source,
            len(missing),
        )
        return None
    return texts


def split_column(one: Run, n: int) -> np.ndarray:
    """Name of the split of each of `n` participants in one training, "" for nobody's."""
    column = np.full(n, "", dtype="U10")
    for name, members in one.splits.items():
        column[members] = name
    return column


def leaks(
    corpus: Corpus, folds: list[np.ndarray], texts: dict[str, str] | None, heard: Sound | None
) -> list[flags.Flag]:
    """Red flags where a tested participant has a near-duplicate among those of the same fold who are not tested.

    Args:
      folds: `split_column` of each fold.
      texts, heard: from `transcripts` and `sound`.
    """
    groups = {}
    if texts is not None:
        groups["near_duplicate_texts"] = near_duplicates.of_texts([texts[name] for name in corpus.participants])
    if heard is not None:
        groups["near_duplicate_windows"] = near_duplicates.of_windows(heard.prints, heard.owner, len(corpus))
    found = []
    for code, group in groups.items():
        n = int(np.any([near_duplicates.tested_and_known(group, split) for split in folds], axis=0).sum())
        if n:
            found.append(flags.flag(code, n=n))
    return found
