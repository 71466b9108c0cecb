"""What a finished run is asked about: interviews, encoded by the code that the builders use, as a corpus in memory."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.data.records import CARD as CORPUS_CARD
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.features import interview
from mmpsy_jax.features.manifest import CLUSTER, Manifest
from mmpsy_jax.features.session import Reading
from mmpsy_jax.features.windows import Extractor
from mmpsy_jax.inference import embed, interviews
from mmpsy_jax.inference.interviews import Failure, Interview
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.modality import Modality
from mmpsy_jax.training.finished_run import FinishedRun


def is_records(path: Path) -> bool:
    """Whether a folder holds built records."""
    return path.is_dir() and any(any(path.glob("*/" * depth + CORPUS_CARD)) for depth in range(4))


def refuse_modalities(run: FinishedRun, source: Path, modalities: Sequence[str] | None) -> None:
    """Raises InputError for modalities that the run does not read, or that cannot be chosen of built records."""
    for name in modalities or ():
        if name not in run.modalities:
            raise one_of("modality", name, run.modalities)
    if modalities is not None and is_records(source):
        raise InputError("--modalities is for recordings and transcripts; of built records all modalities are read")


def open_records(run: FinishedRun, folder: Path) -> Corpus:
    """Built records with the inputs of a run alone.

    Raises:
      InputError: no records, or of other inputs.
    """
    return run.select_modalities(open_corpus(folder))


def find_interviews(
    run: FinishedRun, source: Path, ignore: Sequence[str] = (), published: Manifest | None = None
) -> tuple[list[Interview], list[Failure]]:
    """Interviews as `interviews.find` finds them; recordings are joined as in the corpus of the run."""
    apart, reading = run.card.get("cluster") not in (None, CLUSTER), Reading.of_card(run.card.get("reading"))
    return interviews.find(source, apart=apart, ignore=ignore, published=published, reading=reading)


def extractors_for(
    run: FinishedRun,
    modalities: Sequence[str] | None,
    people: Sequence[Interview],
    source: Path,
    encoders: Sequence[str | Path],
    workplace: Path,
) -> dict[str, Extractor]:
    """What makes the inputs of a run from the recordings and transcripts that were found.

    Args:
      run: the run.
      modalities: that are read; None for all of the run.
      people, source: the interviews, and where they come from.
      encoders: as of `predict.predict`.
      workplace: an empty folder, for embeddings.

    Raises:
      InputError: the run reads windows that are not made here.
    """
    there = _kinds_of(people)
    entries = {name: run.card["modalities"][name] for name in modalities or run.modalities if there.get(name)}
    for name, entry in entries.items():
        released = name.endswith("text") and entry["kind"] == "features" and "encoder" not in entry
        if "encoder" in entry or (released and encoders):
            speeches = embed.speeches(people, [name.startswith(interview.INTERVIEWERS)])
            entries[name] = embed.entry_for(entry, encoders, speeches, workplace / name)
    extractors = {name: interview.extractor_of(name, entry) for name, entry in entries.items()}
    if "audio" in extractors and extractors["audio"] is None:
        default = interview.make_extractor("audio", None)
        raise InputError(
            f"the run reads audio windows of shape {run.modalities['audio'].shape}, but those of recordings are "
            f"log-mel windows of shape {default.shape}: give built records"
        )
    if "text" in extractors and extractors["text"] is None:
        raise InputError(
            f"{source} holds transcripts, but the run reads text as embeddings of a pretrained network: give its "
            "folder as --encoder, built records, or --modalities=audio to count all text as absent"
        )
    return {name: extractor for name, extractor in extractors.items() if extractor is not None}


def unread_extractors(
    run: FinishedRun, read: Mapping[str, Extractor], people: Sequence[Interview]
) -> dict[str, Extractor]:
    """What makes the modalities of the corpus of a run that are not read, where people have them.

    In a record of that corpus, words lie in the windows of the recording in which they were spoken, whether or not the
    run reads the recording. So that new people have the same windows, it is extracted, too.

    Args:
      run: the run.
      read: as of `extractors_for`.
      people: the interviews.
    """
    there, known = _kinds_of(people), {**run.card["modalities"], **(run.card.get("unread") or {})}
    entries = {
        name: one for name, one in known.items() if name not in read and there.get(name) and "encoder" not in one
    }
    extractors = {name: interview.extractor_of(name, entry) for name, entry in entries.items()}
    return {name: extractor for name, extractor in extractors.items() if extractor is not None}


def _kinds_of(people: Sequence[Interview]) -> dict[str, bool]:
    """Which modalities anybody has."""
    return {
        "audio": any(one.recordings for one in people),
        "text": any(one.transcript.text.strip() for one in people),
        f"{interview.INTERVIEWERS}audio": any(one.interviewer.recordings for one in people),
        f"{interview.INTERVIEWERS}text": any(one.interviewer.transcript.text.strip() for one in people),
    }


def record_of(
    one: Interview,
    modalities: Mapping[str, Modality],
    extractors: Mapping[str, Extractor],
    unread: Mapping[str, Extractor] | None = None,
) -> dict[str, Any]:
    """The inputs of an interview as a record has them.

    Args:
      one: the interview.
      modalities: of the run.
      extractors: as of `extractors_for`.
      unread: as of `unread_extractors`.

    Raises:
      InputError: a recording that cannot be read, or nothing that is of use to the run.
    """
    dtypes, unread = {name: modalities[name].dtype for name in extractors}, unread or {}
    dtypes |= {name: interview.dtype_of(extractor.card(), np.float16) for name, extractor in unread.items()}
    every = {**extractors, **unread}
    record, notes = interview.record(
        one.recordings, one.transcript, every, dtypes, interviewer=one.interviewer, unread=unread.keys()
    )
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return record


class InMemoryReader:
    """The random access of `data.reader.RecordReader`, over records in memory."""

    def __init__(self, records: Sequence[Mapping[str, Any]]):
        self.records = records

    def read(self, i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Record `i`, or some features of it."""
        record = self.records[i]
        return {name: record[name] for name in (names or record)}


def corpus_of(
    participants: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    modalities: Mapping[str, Modality],
    card: Mapping[str, Any],
) -> Corpus:
    """A corpus of records without labels.

    Args:
      participants: ids.
      records: each with `window_start_s` [W], and for the modalities that it has, `<modality>` [W, *shape] and
        `<modality>_length` [W]; the others are absent and will be masked.
      modalities: of the corpus.
      card: with `window_seconds`.
    """
    n_windows = np.array([len(record["window_start_s"]) for record in records], np.int32)
    lengths = {
        name: [record.get(f"{name}_length", np.zeros(len(record["window_start_s"]), np.int32)) for record in records]
        for name in modalities
    }
    return Corpus(
        path=Path("(in memory)"),
        card=dict(card),
        participants=tuple(participants),
        split=("test",) * len(participants),
        cluster=tuple(participants),
        labels={},
        columns={"n_windows": n_windows},
        modalities=dict(modalities),
        has={name: np.array([part.any() for part in parts]) for name, parts in lengths.items()},
        window_lengths={name: np.concatenate(parts).astype(np.int32) for name, parts in lengths.items()},
        reader=InMemoryReader(records),
    )


def empty_record() -> dict[str, Any]:
    """A record of one window in which nothing is."""
    return {"window_start_s": np.zeros(1, np.float32)}
