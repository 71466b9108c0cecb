"""`launch.py predict`: a finished run and new interviews (or built records) to a csv of predictions."""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.data.records import CARD as CORPUS_CARD
from mmpsy_jax.data.records import Corpus, Modality, open_corpus
from mmpsy_jax.evaluation.predictions import COLUMNS, SYNTHETIC
from mmpsy_jax.features import interview
from mmpsy_jax.features.interview import Extractor
from mmpsy_jax.features.manifest import CLUSTER
from mmpsy_jax.inference import abstention, confidence, embed, interviews
from mmpsy_jax.inference.abstention import Usual
from mmpsy_jax.inference.ensemble import Ensemble
from mmpsy_jax.inference.in_memory import corpus_of
from mmpsy_jax.inference.interviews import Failure, Interview
from mmpsy_jax.io import InputError, one_of, try_file, write_table
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run, run_files

# Participants, and bytes of windows, that are in memory together.
CHUNK, CHUNK_BYTES = 128, 1 << 28
HEADER = (*COLUMNS, *confidence.COLUMNS, "abstained")
TRAINED_ON = "people whom a generator made"  # in the column `SYNTHETIC`, which runs on real people do not write


def predict(
    workdir: str | Path,
    given: str | Path,
    output: str | Path,
    *,
    modalities: Sequence[str] | None = None,
    encoders: Sequence[str | Path] = (),
    abstain: bool = True,
) -> list[Failure]:
    """Writes a table of predictions, the mean over all folds and seeds of a run.

    Args:
      workdir: of a finished run.
      given: a folder or file of interviews (`interviews.py`), or a folder of built records.
      output: csv to write, with the columns of `predictions.csv`, those of `confidence.py` and `abstained`, and
        `synthetic` where the run was trained on synthetic people. `split` is "train" for who the run was trained on.
      modalities: those that are read; the others count as absent. None for all of the run.
      encoders: Hugging Face folders of the networks that embed transcripts or recordings, of a run that reads
        embeddings; those that the corpus was built with need not be named where they still are.
      abstain: leave the number out where an interview is unlike the training data.

    Returns:
      What could not be used; everything else is in the table.

    Raises:
      InputError: no finished run, nothing to predict on, inputs that the run cannot take, or no place for the output.
    """
    try_file(output)
    if Path(output).resolve() == Path(given).resolve():
        raise InputError(f"{output}: is the input, which would be replaced: give another --output")
    model = finished_run.load(workdir)
    for name in modalities or ():
        if name not in model.modalities:
            raise one_of("modality", name, model.modalities)
    ensemble = Ensemble(model)
    usual = Usual(model, modalities or tuple(model.modalities))
    sure = confidence.Confidence(model)
    for line in sure.statements(ensemble.tasks):
        print(line, file=sys.stderr)
    failures: list[Failure] = []
    if is_records(Path(given)):
        chunks = _record_chunks(ensemble.fitting(open_corpus(given)), modalities)
    else:
        chunks = _interview_chunks(model, Path(given), modalities, encoders, failures)
    rows: list[dict[str, Any]] = []
    against: dict[str, str] = {}
    began, done = time.monotonic(), 0
    for corpus, members, total in chunks:
        said, distances = ensemble.predict(corpus, members)
        far = distances.mean(axis=0).tolist()
        reasons = [usual.reason(corpus, i, far[at]) for at, i in enumerate(members.tolist())]
        ids = [corpus.participants[i] for i in members.tolist()]
        learned = model.trained_on(ids)
        against |= {name: reason for name, reason in zip(ids, reasons, strict=True) if reason}
        cells = {task.name: _cells(sure, task, said[task.name]) for task in ensemble.tasks}
        rows += [
            {
                **_row(ids[i], task.name, reasons[i], learned is not None and bool(learned[i])),
                **({} if reasons[i] and abstain else cells[task.name][i]),
            }
            for i in range(len(ids))
            for task in ensemble.tasks
        ]
        done += len(ids)
        speed = done / max(time.monotonic() - began, 1e-9)
        print(f"predicted {done}/{total} participants  {speed:.1f} participants/s", file=sys.stderr, flush=True)
    if not rows:
        listed = "; ".join(f"{one.what}: {one.reason}" for one in failures)
        raise InputError(f"{given}: nobody to predict on is left: {listed}")
    for line in _remarks(model, Path(workdir), rows, against, abstain):
        print(line, file=sys.stderr)
    _write(Path(output), rows, synthetic=bool(model.card["synthetic"]))
    return failures


def _remarks(
    model: finished_run.FinishedRun,
    workdir: Path,
    rows: Sequence[Mapping[str, Any]],
    against: Mapping[str, str],
    abstain: bool,
) -> Iterator[str]:
    """What must be known of all the numbers together: which are missing, and which say nothing about new people."""
    people = len({row["participant_id"] for row in rows})
    if against:
        numbers = sum(bool(row["abstained"]) for row in rows)
        what = "withheld" if abstain else "not to be relied on"
        why = abstention.in_plain_words(list(against.values()))
        yield (
            f"{numbers} of {len(rows)} numbers are {what}, those of {len(against)} of {people} participants, who are "
            f"unlike the training data ({why}): see the column abstained"
        )
    learned = len({row["participant_id"] for row in rows if row["split"] == "train"})
    where = workdir / finished_run.PREDICTIONS
    if learned and len({one.fold for one in model.trainings}) > 1:
        yield f"{learned} of {people} participants are in its training data: use {where}, out of fold"
    elif learned:
        yield (
            f"{learned} of {people} participants are in its training data: their numbers say nothing about new people; "
            f"those of held-out ones are in {where}"
        )
    elif "members" not in model.card:
        yield f"whom the run was trained on is not known, it is of an earlier version: {run_files.AGAIN}"


def is_records(path: Path) -> bool:
    return path.is_dir() and any(any(path.glob("*/" * depth + CORPUS_CARD)) for depth in range(4))


def _record_chunks(corpus: Corpus, modalities: Sequence[str] | None) -> Iterator[tuple[Corpus, np.ndarray, int]]:
    if modalities is not None:
        raise InputError("--modalities is for recordings and transcripts; of built records all modalities are read")
    for start in range(0, len(corpus), CHUNK):
        yield corpus, np.arange(start, min(start + CHUNK, len(corpus))), len(corpus)


def _interview_chunks(
    model: finished_run.FinishedRun,
    given: Path,
    modalities: Sequence[str] | None,
    encoders: Sequence[str | Path],
    failures: list[Failure],
) -> Iterator[tuple[Corpus, np.ndarray, int]]:
    """Encodes interviews, some at a time; what is wrong with one of them is added to `failures`."""
    wanted = tuple(modalities or model.modalities)
    found, failed = interviews.find(given, apart=model.card.get("cluster") not in (None, CLUSTER))
    failures += failed
    with tempfile.TemporaryDirectory() as workplace:
        extractors = extractors_for(model, wanted, found, given, encoders, Path(workplace))
        ids, records = [], []
        for number, one in enumerate(found, 1):
            try:
                records.append(record_of(one, model.modalities, extractors))
                ids.append(one.participant)
            except InputError as error:
                failures.append(Failure(one.participant, str(error)))
            held = sum(value.nbytes for record in records for value in record.values() if isinstance(value, np.ndarray))
            if ids and (number == len(found) or len(ids) == CHUNK or held > CHUNK_BYTES):
                yield corpus_of(ids, records, model.modalities, model.card), np.arange(len(ids)), len(found)
                ids, records = [], []


def extractors_for(
    model: finished_run.FinishedRun,
    wanted: Sequence[str],
    found: Sequence[Interview],
    given: Path,
    encoders: Sequence[str | Path],
    workplace: Path,
) -> dict[str, Extractor]:
    """What makes the inputs of a run from the recordings and transcripts that were found.

    Args:
      model: the run.
      wanted: modalities that are read.
      found, given: the interviews, and where they come from.
      encoders: as of `predict`.
      workplace: an empty folder, for embeddings.

    Raises:
      InputError: the run reads windows that are not made here.
    """
    there = {
        "audio": any(one.recordings for one in found),
        "text": any(one.transcript.text.strip() for one in found),
    }
    entries = {name: model.card["modalities"][name] for name in wanted if there.get(name)}
    for name, entry in entries.items():
        released = name == "text" and entry["kind"] == "features" and "encoder" not in entry
        if "encoder" in entry or (released and encoders):
            entries[name] = embed.entry_for(entry, encoders, found, workplace / name)
    made = {name: interview.extractor_of(name, entry) for name, entry in entries.items()}
    if "audio" in made and made["audio"] is None:
        default = interview.make_extractor("audio", None)
        raise InputError(
            f"the run reads audio windows of shape {model.modalities['audio'].shape}, but those of recordings are "
            f"log-mel windows of shape {default.shape}: give built records"
        )
    if "text" in made and made["text"] is None:
        raise InputError(
            f"{given} holds transcripts, but the run reads text as embeddings of a pretrained network: give its folder "
            "as --encoder, built records, or --modalities=audio to count all text as absent"
        )
    return {name: extractor for name, extractor in made.items() if extractor is not None}


def record_of(
    one: Interview, modalities: Mapping[str, Modality], extractors: Mapping[str, Extractor]
) -> dict[str, Any]:
    """The inputs of an interview as a record has them, made by the code that the builders use.

    Args:
      one: the interview.
      modalities: of the run.
      extractors: of those that are read.

    Raises:
      InputError: a recording that cannot be read, or nothing that is of use to the run.
    """
    dtypes = {name: modalities[name].dtype for name in extractors}
    record, notes = interview.record(one.recordings, one.transcript, extractors, dtypes)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return record


def _cells(sure: confidence.Confidence, task: Task, said: Float[np.ndarray, "t m ..."]) -> list[dict[str, Any]]:
    """Per participant, the cells that hold numbers."""
    column = "y_prob" if task.kind == "binary" else "y_pred"
    means = said.mean(axis=0)
    if task.kind == "nominal":
        means = means.argmax(axis=1).astype(float)
    return [{column: mean, **more} for mean, more in zip(means.tolist(), sure.cells(task, said), strict=True)]


def _row(participant: str, task: str, reason: str, learned: bool) -> dict[str, Any]:
    """The cells of a row but for its numbers; `learned`: the run was trained on the participant."""
    return {
        "participant_id": participant,
        "split": "train" if learned else "test",
        "fold": -1,  # as seed: the mean over all of them
        "seed": -1,
        "task": task,
        "abstained": reason,
    }


def _write(path: Path, rows: Sequence[Mapping[str, Any]], synthetic: bool) -> None:
    names = (*HEADER, SYNTHETIC) if synthetic else HEADER
    write_table(path, names, ([({SYNTHETIC: TRAINED_ON} | row).get(name) for name in names] for row in rows))
