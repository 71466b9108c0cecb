"""What a run knows of its participants beside the network's inputs: for baselines and for the search for leaks."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging
from jaxtyping import Float, Int, Shaped, UInt64
from ml_collections import ConfigDict

from mmpsy_jax.data.pooled import pooled_name
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import flags, near_duplicates
from mmpsy_jax.features import functionals, kept_entries, manifest, session, table
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.mel import SCALE
from mmpsy_jax.features.session import Reading
from mmpsy_jax.features.waveform import Waveform
from mmpsy_jax.io import InputError
from mmpsy_jax.training import one_pass
from mmpsy_jax.training.fields import NO_SUBGROUPS
from mmpsy_jax.training.job import TrainJob

if TYPE_CHECKING:
    from mmpsy_jax.evaluation.subgroups import Subgroups

AUDIO = "audio"


@dataclasses.dataclass(frozen=True)
class Sound:
    """Numbers of the recordings of N participants, from one pass over the records.

    Attributes:
      statistics: mean, then standard deviation of each of F mel bands over valid frames, NaN without audio; None where
        the records hold samples.
      prints, owner: fingerprint and participant of every window that says enough; None where the records hold samples.
      functionals: numbers by the name of their set, see `features/functionals.py`: eGeMAPS where the records hold
        samples and openSMILE is installed, else our own; NaN without audio. Empty where nobody asked for them.
    """

    statistics: Float[np.ndarray, "n 2*f"] | None
    prints: UInt64[np.ndarray, "w 2"] | None
    owner: Int[np.ndarray, " w"] | None
    functionals: dict[str, Float[np.ndarray, "n k"]]


class Listener:
    """Sees every window of audio (`one_pass.visit`); what it heard is None where that is neither mel nor samples.

    Windows of mel overlap; frames of the overlap count twice in the statistics.
    """

    def __init__(self, corpus: Corpus, with_functionals: bool = True):
        modality, extractor = corpus.modalities.get(AUDIO), {}
        if modality is not None:
            extractor = corpus.card["modalities"][AUDIO].get("extractor") or {}
        self._corpus, self._modality, self._with_functionals = corpus, modality, with_functionals
        self._rate = extractor["sample_rate"] if extractor.get("name") == Waveform.name else None
        # Else embeddings, or somebody else's features.
        self._mel = modality is not None and modality.kind == "frames" and self._rate is None
        self._described: list[dict[Any, float] | None] = [None] * len(corpus)
        self._prints, self._owner = [np.zeros((0, 2), np.uint64)], []
        if self._mel:
            bands = int(np.delete(modality.shape, modality.time_axis)[0])
            self._statistics = np.full((len(corpus), 2 * bands), np.nan)
        self._use_opensmile = self._rate is not None and with_functionals and functionals.has_opensmile()

    def wants(self, i: int) -> Sequence[str]:
        """See `one_pass.Visitor`."""
        hears = self._mel or (self._rate is not None and self._with_functionals)
        return (AUDIO,) if hears and self._corpus.has[AUDIO][i] else ()

    def see(self, i: int, record: Mapping[str, Any]) -> None:
        """See `one_pass.Visitor`."""
        lengths = record[f"{AUDIO}_length"]
        if not self._mel:
            self._described[i] = self._of_samples(record[AUDIO], lengths)
            return
        windows = np.moveaxis(record[AUDIO], 1 + self._modality.time_axis, 2)
        frames = _valid_frames(windows, lengths)
        if frames.shape[1]:
            self._statistics[i] = np.concatenate([frames.mean(axis=1), frames.std(axis=1)])
            per_second = self._modality.shape[1] / self._corpus.card["window_seconds"]
            self._described[i] = functionals.of_mel(frames, per_second) if self._with_functionals else None
        self._prints.append(near_duplicates.fingerprints(windows, lengths))
        self._owner += [i] * len(self._prints[-1])

    def _of_samples(self, windows: np.ndarray, lengths: np.ndarray) -> dict[Any, float] | None:
        """Functionals from windows of 16-bit samples, which do not overlap."""
        samples = np.concatenate([w[:n, 0] for w, n in zip(windows, lengths, strict=True)]).astype(np.float32) / SCALE
        if self._use_opensmile:
            return dict(enumerate(functionals.egemaps(samples, self._rate).tolist()))
        return functionals.of_samples(samples, self._rate) if len(samples) else None

    def heard(self) -> Sound | None:
        """What all windows say."""
        name = functionals.EGEMAPS if self._use_opensmile else functionals.OWN
        described = {name: _stack(self._described)} if any(self._described) else {}
        if self._mel:
            return Sound(self._statistics, np.concatenate(self._prints), np.array(self._owner, np.int64), described)
        return None if self._rate is None else Sound(None, None, None, described)


def sound(corpus: Corpus, with_functionals: bool = True) -> Sound | None:
    """What a `Listener` heard in the whole corpus.

    Raises:
      InputError: a damaged shard.
    """
    listener = Listener(corpus, with_functionals)
    one_pass.visit(corpus, [listener])
    return listener.heard()


@functools.lru_cache(maxsize=8)  # folds and seeds ask for the same corpus and its few modalities
def frame_statistics(corpus: Corpus, name: str, max_windows: int | None) -> Float[np.ndarray, "n 2*f"]:
    """Mean, then standard deviation of each band over the valid frames of each participant, NaN without any.

    Args:
      name: of a modality of kind "frames".
      max_windows: of each participant, from the start; None for all.
    """
    modality = corpus.modalities[name]
    bands = int(np.delete(modality.shape, modality.time_axis)[0])
    statistics = np.full((len(corpus), 2 * bands), np.nan)
    for i in np.flatnonzero(corpus.has[name]).tolist():
        record = corpus.reader.read(i, [name, f"{name}_length"])
        windows, lengths = record[name][:max_windows], record[f"{name}_length"][:max_windows]
        frames = _valid_frames(np.moveaxis(windows, 1 + modality.time_axis, 2), lengths)
        if frames.shape[1]:
            statistics[i] = np.concatenate([frames.mean(axis=1), frames.std(axis=1)])
    return statistics


def _valid_frames(windows: np.ndarray, lengths: np.ndarray) -> Float[np.ndarray, "f t"]:
    """The valid frames of windows [w f t], one window behind the other."""
    return np.concatenate([w[:, :n] for w, n in zip(windows, lengths, strict=True)], axis=1).astype(np.float32)


def _stack(rows: Sequence[Mapping[Any, float] | None]) -> Float[np.ndarray, "n k"]:
    """The numbers of each row, all of which have the same names; NaN where there are none."""
    columns = list(next(row for row in rows if row))
    return np.array([[row[name] for name in columns] if row else [np.nan] * len(columns) for row in rows])


def varied(numbers: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"] | None:
    """Counts, or None where they say nothing of how much was said: all are equal, or none is above 1.

    Corpora without transcripts count no characters, and one answer for a recording.
    """
    return numbers if np.max(numbers, initial=0) > 1 and np.ptp(numbers) > 0 else None


def leak_checks(texts: Mapping[str, str] | None, heard: Sound | None) -> dict[str, str | None]:
    """What `leaks` had nothing to look for in, as `flags.checks` has it."""
    windows = heard is not None and heard.prints is not None
    return {
        "near_duplicate_texts": None if texts is not None else "no transcripts are at hand",
        "near_duplicate_windows": None if windows else "the records hold no mel windows",
    }


def transcripts(config: ConfigDict, corpus: Corpus) -> dict[str, str] | None:
    """Texts of all participants, from what each corpus was built from, where it is at hand.

    That is a table, a manifest, or the files of a published corpus, of which the build kept where they lie.

    They are read into memory for the TF-IDF baselines and the search for near-duplicates, and written nowhere.
    """
    return transcripts_of(corpus, config.data.source)


def transcripts_of(corpus: Corpus, source: str = "") -> dict[str, str] | None:
    """The same without a config.

    Args:
      corpus: opened.
      source: where a single corpus was built from, if not where its card says.
    """
    if not corpus.pooled:
        return _transcripts_of(corpus, source or corpus.card.get("source", ""))
    texts: dict[str, str] = {}
    for corpus_name, part in corpus.pooled.items():
        of_part = _transcripts_of(part, part.card.get("source", ""))
        if of_part is None:
            return None
        texts |= {pooled_name(corpus_name, name): text for name, text in of_part.items()}
    return texts


def _transcripts_of(corpus: Corpus, source: str) -> dict[str, str] | None:
    kept = kept_entries.path_of(corpus.path)
    listed = bool(source) and Path(source).exists()
    if not (listed or kept.exists()) or "text" not in corpus.modalities:
        logging.info("no transcripts at hand: the TF-IDF baselines and the search for near-duplicates do without")
        return None
    source = source if listed else kept
    if listed and not manifest.is_manifest(Path(source)):
        texts = table.transcripts(Path(source))
    else:
        texts = _words(corpus, _entries(corpus, Path(source)) if listed else kept_entries.read(corpus.path))
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


def _entries(corpus: Corpus, path: Path) -> Sequence[Entry]:
    ignore = corpus.card.get("options", {}).get("ignore", ())
    return manifest.read(path, scored=False, ignore=ignore).entries


def _words(corpus: Corpus, entries: Iterable[Entry]) -> dict[str, str]:
    """What each participant says, as the build read it; without those whose transcript cannot be read."""
    reading, texts = Reading.of_card(corpus.card.get("reading")), {}
    for entry in entries:
        with contextlib.suppress(InputError):
            texts[entry.participant] = session.words(entry, reading)
    return texts


def subgroups(config: ConfigDict, corpus: Corpus) -> "Subgroups | None":
    """Categories of the participants: of the table that the config names, else of the manifests of the corpora.

    Raises:
      InputError: no such table, or one that cannot be read so.
    """
    parts = {part.path: part.participants for part in corpus.pooled.values() or [corpus]}
    named = config.evaluation.subgroups
    if named == NO_SUBGROUPS or not (named or any((folder / "subgroups.csv").exists() for folder in parts)):
        return None
    from mmpsy_jax.evaluation import subgroups  # takes seconds, and is seldom asked for

    return subgroups.read_subgroups(named) if named else subgroups.beside(parts, corpus.participants)


def split_column(one: TrainJob, n: int) -> np.ndarray:
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
    if heard is not None and heard.prints is not None:
        groups["near_duplicate_windows"] = near_duplicates.of_windows(heard.prints, heard.owner, len(corpus))
    flagged = []
    for code, group in groups.items():
        n = int(np.any([near_duplicates.tested_and_known(group, split) for split in folds], axis=0).sum())
        if n:
            flagged.append(flags.flag(code, n=n))
    return flagged
