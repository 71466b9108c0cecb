"""`launch.py predict`: a finished run and new interviews (or built records) to a csv of predictions."""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation.predictions import COLUMNS, SYNTHETIC
from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.inference import abstention, confidence, inputs
from mmpsy_jax.inference.abstention import Usual
from mmpsy_jax.inference.interviews import Failure, Interview
from mmpsy_jax.io import InputError, try_file, write_table
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run, run_files
from mmpsy_jax.training.finished_run import FinishedRun

# Participants, and bytes of windows, that are in memory together.
CHUNK, CHUNK_BYTES = 128, 1 << 28
HEADER = (*COLUMNS, *confidence.COLUMNS, "abstained")
TRAINED_ON = "people whom a generator made"  # in the column `SYNTHETIC`, which runs on real people do not write


def predict(
    workdir: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    modalities: Sequence[str] | None = None,
    encoders: Sequence[str | Path] = (),
    ignore: Sequence[str] = (),
    published: Manifest | None = None,
    abstain: bool = True,
) -> list[Failure]:
    """Writes a table of predictions, the mean over all folds and seeds of a run.

    Args:
      workdir: of a finished run.
      source: a folder or file of interviews (`interviews.py`), or a folder of built records.
      output: csv to write, with the columns of `predictions.csv`, those of `confidence.py` and `abstained`, and
        `synthetic` where the run was trained on synthetic people. `split` is "train" for who the run was trained on.
      modalities: those that are read; the others count as absent. None for all of the run.
      encoders: Hugging Face folders of the networks that embed transcripts or recordings, of a run that reads
        embeddings; those that the corpus was built with need not be named where they still are.
      ignore: columns of a manifest that are not read.
      published: who lies in `source`, where it is in the layout of a published corpus.
      abstain: leave the number out where an interview is unlike the training data.

    Returns:
      What could not be used; everything else is in the table.

    Raises:
      InputError: no finished run, nothing to predict on, inputs that the run cannot take, or no place for the output.
    """
    try_file(output)
    source = Path(source)
    if Path(output).resolve() == source.resolve():
        raise InputError(f"{output}: is the input, which would be replaced: give another --output")
    run = finished_run.load(workdir)
    inputs.refuse_modalities(run, source, modalities)
    usual, sure = Usual(run, modalities or tuple(run.modalities)), confidence.Confidence(run)
    for line in sure.statements(run.tasks):
        print(line, file=sys.stderr)
    failures: list[Failure] = []
    if inputs.is_records(source):
        chunks = _record_chunks(inputs.open_records(run, source))
    else:
        people, failures = inputs.find_interviews(run, source, ignore, published)
        chunks = _interview_chunks(run, source, people, modalities, encoders, failures)
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}  # against a number, by participant
    began, done = time.monotonic(), 0
    for corpus, members, total in chunks:
        values, distances = run.predict(corpus, members)
        cells = {task.name: _cells(sure, task, values[task.name]) for task in run.tasks}
        ids = [corpus.participants[i] for i in members.tolist()]
        learned = run.trained_on(ids)
        for at, far in enumerate(distances.mean(axis=0).tolist()):
            reason = usual.reason(corpus, int(members[at]), far)
            reasons |= {ids[at]: reason} if reason else {}
            for task in run.tasks:
                row = _row(ids[at], task.name, reason, learned is not None and bool(learned[at]))
                rows.append({**row, **({} if reason and abstain else cells[task.name][at])})
        done += len(ids)
        speed = done / max(time.monotonic() - began, 1e-9)
        print(f"predicted {done}/{total} participants  {speed:.1f} participants/s", file=sys.stderr, flush=True)
    if not rows:
        listed = "; ".join(f"{one.what}: {one.reason}" for one in failures)
        raise InputError(f"{source}: nobody to predict on is left: {listed}")
    for line in _remarks(run, Path(workdir), rows, reasons, abstain):
        print(line, file=sys.stderr)
    _write(Path(output), rows, synthetic=bool(run.card["synthetic"]))
    return failures


def _remarks(
    run: FinishedRun, workdir: Path, rows: Sequence[Mapping[str, Any]], reasons: Mapping[str, str], abstain: bool
) -> Iterator[str]:
    """What must be known of all the numbers together: which are missing, and which say nothing about new people."""
    people = len({row["participant_id"] for row in rows})
    if reasons:
        numbers = sum(bool(row["abstained"]) for row in rows)
        what = "withheld" if abstain else "not to be relied on"
        why = abstention.in_plain_words(list(reasons.values()))
        yield (
            f"{numbers} of {len(rows)} numbers are {what}, those of {len(reasons)} of {people} participants, who are "
            f"unlike the training data ({why}): see the column abstained"
        )
    learned = len({row["participant_id"] for row in rows if row["split"] == "train"})
    where = workdir / run_files.PREDICTIONS
    if learned and len({one.fold for one in run.trainings}) > 1:
        yield f"{learned} of {people} participants are in its training data: use {where}, out of fold"
    elif learned:
        yield (
            f"{learned} of {people} participants are in its training data: their numbers say nothing about new people; "
            f"those of held-out ones are in {where}"
        )
    elif "members" not in run.card:
        yield f"whom the run was trained on is not known, it is of an earlier version: {run_files.AGAIN}"


def _record_chunks(corpus: Corpus) -> Iterator[tuple[Corpus, np.ndarray, int]]:
    for start in range(0, len(corpus), CHUNK):
        yield corpus, np.arange(start, min(start + CHUNK, len(corpus))), len(corpus)


def _interview_chunks(
    run: FinishedRun,
    source: Path,
    people: Sequence[Interview],
    modalities: Sequence[str] | None,
    encoders: Sequence[str | Path],
    failures: list[Failure],
) -> Iterator[tuple[Corpus, np.ndarray, int]]:
    """Encodes interviews, some at a time; what is wrong with one of them is added to `failures`."""
    with tempfile.TemporaryDirectory() as workplace:
        extractors = inputs.extractors_for(run, modalities, people, source, encoders, Path(workplace))
        unread = inputs.unread_extractors(run, extractors, people)
        ids, records = [], []
        for number, one in enumerate(people, 1):
            try:
                records.append(inputs.record_of(one, run.modalities, extractors, unread))
                ids.append(one.participant)
            except InputError as error:
                failures.append(Failure(one.participant, str(error)))
            size = sum(value.nbytes for record in records for value in record.values() if isinstance(value, np.ndarray))
            if ids and (number == len(people) or len(ids) == CHUNK or size > CHUNK_BYTES):
                yield inputs.corpus_of(ids, records, run.modalities, run.card), np.arange(len(ids)), len(people)
                ids, records = [], []


def _cells(sure: confidence.Confidence, task: Task, values: Float[np.ndarray, "t m ..."]) -> list[dict[str, Any]]:
    """Per participant, the cells that hold numbers."""
    means = task.average(values).tolist()
    return [{task.column: mean, **more} for mean, more in zip(means, sure.cells(task, values), strict=True)]


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
