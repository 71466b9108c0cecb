"""`launch.py explain`: one interview and a finished run to a page, a table and a JSON file of what mattered.

Everything written is about one person: it belongs into the user's folder, and nothing of it is printed.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

import mmpsy_jax
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.inference import explain_page, inputs
from mmpsy_jax.inference.abstention import Usual
from mmpsy_jax.inference.explain_methods import Explained, Unit, View, deletion
from mmpsy_jax.io import InputError, one_of, try_folder, write_atomically, write_json, write_table
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run
from mmpsy_jax.training.finished_run import FinishedRun

PAGE, TABLE, REPORT = "explanation.html", "attributions.csv", "explanation.json"
COLUMNS = ("participant_id", "modality", "start_s", "end_s", "start_token", "end_token", "method", "value")
# Ids of more participants are not listed in an error.
LISTED = 10
MODELS = ("mental_perceiver", "linear")


def explain(
    workdir: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    participant: str | None = None,
    task: str | None = None,
    modalities: Sequence[str] | None = None,
    encoders: Sequence[str | Path] = (),
    ignore: Sequence[str] = (),
    published: Manifest | None = None,
    show_text: bool = False,
) -> None:
    """Explains what a run says about one interview, in the mean over its folds and seeds.

    Args:
      workdir: of a finished run.
      source: a folder or file of interviews, or a folder of built records, as `predict` reads them.
      output: folder for the page, the table and the JSON file.
      participant: id; None where there is one only.
      task: name; None for the first of the run.
      modalities: those that are read; None for all of the run.
      encoders, ignore, published: as of `predict`.
      show_text: the page shows the transcript; without it, numbers of characters alone.

    Raises:
      InputError: no finished run, or one of another network; an unknown participant, task or modality; a nominal task;
        several participants to choose from; an interview that cannot be read; words asked for where there are none.
    """
    try_folder(output)
    run, folder, source = finished_run.load(workdir), Path(output), Path(source)
    inputs.refuse_modalities(run, source, modalities)
    for one in run.trainings:
        if one.config.model.name not in MODELS:
            raise InputError(
                f"{workdir}: a run of {one.config.model.name!r}, which cannot be explained: give one of: "
                f"{', '.join(MODELS)}"
            )
    chosen = {one.name: one for one in run.tasks}.get(task) if task else run.tasks[0]
    if chosen is None:
        raise one_of("task", task, [one.name for one in run.tasks])
    if chosen.votes:
        raise InputError(f"task {chosen.name!r} is nominal, which cannot be explained: name another task")
    corpus, answers = read_one(run, source, participant, modalities, encoders, ignore, published)
    if show_text and not answers:
        raise InputError(f"{source}: no transcript is read from it: leave --show_text out, or give a transcript")
    report, units, attributions = report_of(run, corpus, chosen, modalities or tuple(run.modalities))
    spectra = {
        name: explain_page.spectrum(corpus.reader.read(0), name, modality.steps / corpus.card["window_seconds"])
        for name, modality in corpus.modalities.items()
        if modality.kind == "frames" and corpus.has[name][0]
    }
    words = "\n".join(answers) if show_text else None
    page = explain_page.render(report, units, attributions, spectra=spectra, words=words)
    write_atomically(folder / PAGE, page, private=True)
    write_table(folder / TABLE, COLUMNS, table(corpus.participants[0], units, attributions), private=True)
    write_json(folder / REPORT, report, private=True)


def read_one(
    run: FinishedRun,
    source: Path,
    participant: str | None,
    modalities: Sequence[str] | None,
    encoders: Sequence[str | Path] = (),
    ignore: Sequence[str] = (),
    published: Manifest | None = None,
) -> tuple[Corpus, list[str]]:
    """One interview as a corpus of its own, and the answers of its transcript where that is what is read.

    Raises:
      InputError: as of `explain`.
    """
    if inputs.is_records(source):
        corpus = inputs.open_records(run, source)
        i = choose(source, participant, corpus.participants)
        return inputs.corpus_of([corpus.participants[i]], [corpus.read(i)], run.modalities, run.card), []
    people, failures = inputs.find_interviews(run, source, ignore, published)
    if not people:
        raise InputError(f"{source}: {'; '.join(f'{one.what}: {one.reason}' for one in failures[:LISTED])}")
    one = people[choose(source, participant, [one.participant for one in people])]
    with tempfile.TemporaryDirectory() as workplace:
        extractors = inputs.extractors_for(run, modalities, [one], source, encoders, Path(workplace))
        unread = inputs.unread_extractors(run, extractors, [one])
        record = inputs.record_of(one, run.modalities, extractors, unread)
    corpus = inputs.corpus_of([one.participant], [record], run.modalities, run.card)
    return corpus, list(one.transcript.answers) if "text" in record else []


def choose(source: Path, participant: str | None, participants: Sequence[str]) -> int:
    """The position of a participant.

    Raises:
      InputError: not there, or nobody is named and there are several.
    """
    few = f": choose one of: {', '.join(participants)}" if len(participants) <= LISTED else ""
    if participant is None and len(participants) > 1:
        raise InputError(
            f"{source} holds {len(participants)} participants, one is explained: give --participant=ID{few}"
        )
    if participant is not None and participant not in participants:
        raise InputError(
            f"{source}: no participant {participant!r} among the {len(participants)} that can be read{few}"
        )
    return 0 if participant is None else list(participants).index(participant)


def views(run: FinishedRun, corpus: Corpus) -> list[View]:
    """How each training of a run sees the only participant of a corpus."""
    views = []
    for one in run.trainings:
        shape = one.batching(corpus, rows=1)
        slots = {name: max(1, int(counts[0])) for name, counts in shape.pieces.counts.items()}  # no unused ones
        (pack,) = one.packs(corpus, np.arange(1), shape._replace(sizes={**shape.sizes, "slots": slots}))
        views.append(View(one.network(shape), one.variables, {k: v for k, v in pack.items() if k != "index"}))
    return views


def report_of(
    run: FinishedRun, corpus: Corpus, task: Task, modalities: Sequence[str]
) -> tuple[dict[str, Any], list[Unit], dict[str, Float[np.ndarray, " u"]]]:
    """What `explanation.json` says, the units of the interview, and what each method gives them.

    Raises:
      InputError: nothing that the run reads is in the interview.
    """
    if not any(has[0] for has in corpus.has.values()):
        raise InputError(f"the interview holds nothing of what the run reads ({', '.join(modalities)}): give another")
    interview = Explained(views(run, corpus), task)
    attributions = interview.attributions()
    curve = deletion(interview, attributions)
    of = {name: np.array([unit.modality == name for unit in interview.units]) for name in corpus.modalities}
    _, distances = run.predict(corpus, np.arange(1))
    report = {
        "what": mmpsy_jax.DISCLAIMER,
        "mmpsy_jax": mmpsy_jax.__version__,
        "synthetic": run.card["synthetic"],
        "participant": corpus.participants[0],
        "task": task.name,
        "explained": explain_page.meaning(task),
        "trainings": len(run.trainings),
        "value": interview.whole,
        "value_of_nothing": interview.nothing,
        "abstained": Usual(run, modalities).reason(corpus, 0, float(distances.mean())),
        "units": {name: int(units.sum()) for name, units in of.items()},
        "sums": {
            method: {name: float(values[units].sum()) for name, units in of.items()}
            for method, values in attributions.items()
        },
        "completeness": {
            "sum": float(attributions["integrated_gradients"].sum()),
            "difference": interview.from_zero(),
        },
        "deletion": jax.tree.map(lambda x: x.tolist() if isinstance(x, np.ndarray) else x, curve._asdict()),
    }
    return report, interview.units, attributions


def table(
    participant: str, units: Sequence[Unit], attributions: Mapping[str, Float[np.ndarray, " u"]]
) -> Iterator[tuple]:
    """Rows of `attributions.csv`, one per method and unit; a unit has seconds or tokens, `end` excluded."""
    for method, values in attributions.items():
        for unit, value in zip(units, values.tolist(), strict=True):
            place = (unit.start, unit.end, "", "") if unit.in_seconds else ("", "", int(unit.start), int(unit.end))
            yield participant, unit.modality, *place, method, value
