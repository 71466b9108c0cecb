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
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.features.manifest import CLUSTER
from mmpsy_jax.inference import explain_page, interviews
from mmpsy_jax.inference.abstention import Usual
from mmpsy_jax.inference.ensemble import Ensemble
from mmpsy_jax.inference.explain_methods import Explained, Unit, View, deletion
from mmpsy_jax.inference.in_memory import corpus_of
from mmpsy_jax.inference.predict import extractors_for, is_records, record_of
from mmpsy_jax.io import InputError, one_of, try_folder, write_atomically, write_json, write_table
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run, programs

PAGE, TABLE, REPORT = "explanation.html", "attributions.csv", "explanation.json"
COLUMNS = ("participant_id", "modality", "start_s", "end_s", "start_token", "end_token", "method", "value")
# Ids of more participants are not listed in an error.
LISTED = 10
MODEL = "mental_perceiver"


def explain(
    workdir: str | Path,
    given: str | Path,
    output: str | Path,
    *,
    participant: str | None = None,
    task: str | None = None,
    modalities: Sequence[str] | None = None,
    encoders: Sequence[str | Path] = (),
    show_text: bool = False,
) -> None:
    """Explains what a run says about one interview, in the mean over its folds and seeds.

    Args:
      workdir: of a finished run.
      given: a folder or file of interviews, or a folder of built records, as `predict` reads them.
      output: folder for the page, the table and the JSON file.
      participant: id; None where there is one only.
      task: name; None for the first of the run.
      modalities: those that are read; None for all of the run.
      encoders: as of `predict`.
      show_text: the page shows the transcript; without it, numbers of characters alone.

    Raises:
      InputError: no finished run, or one of another network; an unknown participant, task or modality; a nominal task;
        several participants to choose from; an interview that cannot be read; words asked for where there are none.
    """
    try_folder(output)
    model, folder = finished_run.load(workdir), Path(output)
    for name in modalities or ():
        if name not in model.modalities:
            raise one_of("modality", name, model.modalities)
    for one in model.trainings:
        if one.config.model.name != MODEL:
            raise InputError(f"{workdir}: a run of {one.config.model.name!r}: only {MODEL!r} can be explained")
    ensemble = Ensemble(model, rows=1)
    chosen = {one.name: one for one in ensemble.tasks}.get(task) if task else ensemble.tasks[0]
    if chosen is None:
        raise one_of("task", task, [one.name for one in ensemble.tasks])
    if chosen.kind == "nominal":
        raise InputError(f"task {chosen.name!r} is nominal, which cannot be explained: name another task")
    corpus, answers = read_one(ensemble, Path(given), participant, modalities, encoders)
    if show_text and not answers:
        raise InputError(f"{given}: no transcript is read from it: leave --show_text out, or give a transcript")
    report, units, attributions = report_of(ensemble, corpus, chosen, modalities or tuple(model.modalities))
    spectra = {
        name: explain_page.spectrum(corpus.reader.read(0), name, modality.steps / corpus.card["window_seconds"])
        for name, modality in corpus.modalities.items()
        if modality.time_axis == 1 and corpus.has[name][0]
    }
    words = "\n".join(answers) if show_text else None
    page = explain_page.render(report, units, attributions, spectra=spectra, words=words)
    write_atomically(folder / PAGE, page, private=True)
    write_table(folder / TABLE, COLUMNS, table(corpus.participants[0], units, attributions), private=True)
    write_json(folder / REPORT, report, private=True)


def read_one(
    ensemble: Ensemble,
    given: Path,
    participant: str | None,
    modalities: Sequence[str] | None,
    encoders: Sequence[str | Path] = (),
) -> tuple[Corpus, list[str]]:
    """One interview as a corpus of its own, and the answers of its transcript where that is what is read.

    Raises:
      InputError: as of `explain`.
    """
    model = ensemble.trained
    if is_records(given):
        if modalities is not None:
            raise InputError("--modalities is for recordings and transcripts; of built records all modalities are read")
        corpus = ensemble.fitting(open_corpus(given))
        i = choose(given, participant, corpus.participants)
        return corpus_of([corpus.participants[i]], [corpus.read(i)], model.modalities, model.card), []
    wanted = tuple(modalities or model.modalities)
    found, failures = interviews.find(given, apart=model.card.get("cluster") not in (None, CLUSTER))
    if not found:
        raise InputError(f"{given}: {'; '.join(f'{one.what}: {one.reason}' for one in failures[:LISTED])}")
    one = found[choose(given, participant, [one.participant for one in found])]
    with tempfile.TemporaryDirectory() as workplace:
        extractors = extractors_for(model, wanted, [one], given, encoders, Path(workplace))
        record = record_of(one, model.modalities, extractors)
    return corpus_of([one.participant], [record], model.modalities, model.card), one.answers if "text" in record else []


def choose(given: Path, wanted: str | None, participants: Sequence[str]) -> int:
    """The position of a participant.

    Raises:
      InputError: not there, or nobody is named and there are several.
    """
    few = f": choose one of: {', '.join(participants)}" if len(participants) <= LISTED else ""
    if wanted is None and len(participants) > 1:
        raise InputError(
            f"{given} holds {len(participants)} participants, one is explained: give --participant=ID{few}"
        )
    if wanted is not None and wanted not in participants:
        raise InputError(f"{given}: no participant {wanted!r} among the {len(participants)} that can be read{few}")
    return 0 if wanted is None else list(participants).index(wanted)


def views(ensemble: Ensemble, corpus: Corpus) -> list[View]:
    """How each training of a run sees the only participant of a corpus."""
    made = []
    for one in ensemble.trained.trainings:
        shape = ensemble.shape(one.config, corpus)
        slots = {name: max(1, int(counts[0])) for name, counts in shape.pieces.counts.items()}  # no unused ones
        shape = shape._replace(sizes={**shape.sizes, "slots": slots})
        (batch,) = ensemble.batches(corpus, np.arange(1), shape, one.config.data.max_windows or None)
        pack = jax.tree.map(lambda x: x[0], {k: v for k, v in batch.items() if k not in ("labels", "index")})
        network = programs.network(
            one.config, ensemble.tasks, modalities=shape.modalities, window_seconds=shape.pieces.seconds
        )
        made.append(View(network, one.inference_params, pack))
    return made


def report_of(
    ensemble: Ensemble, corpus: Corpus, task: Task, modalities: Sequence[str]
) -> tuple[dict[str, Any], list[Unit], dict[str, Float[np.ndarray, " u"]]]:
    """What `explanation.json` says, the units of the interview, and what each method gives them.

    Raises:
      InputError: nothing that the run reads is in the interview.
    """
    if not any(has[0] for has in corpus.has.values()):
        raise InputError(f"the interview holds nothing of what the run reads ({', '.join(modalities)}): give another")
    interview = Explained(views(ensemble, corpus), task)
    attributions = interview.attributions()
    curve = deletion(interview, attributions)
    of = {name: np.array([unit.modality == name for unit in interview.units]) for name in corpus.modalities}
    _, distances = ensemble.predict(corpus, np.arange(1))
    report = {
        "what": mmpsy_jax.DISCLAIMER,
        "mmpsy_jax": mmpsy_jax.__version__,
        "synthetic": ensemble.trained.card["synthetic"],
        "participant": corpus.participants[0],
        "task": task.name,
        "explained": explain_page.meaning(task),
        "trainings": len(ensemble.trained.trainings),
        "value": interview.whole,
        "value_of_nothing": interview.nothing,
        "abstained": Usual(ensemble.trained, modalities).reason(corpus, 0, float(distances.mean())),
        "units": {name: int(own.sum()) for name, own in of.items()},
        "sums": {
            method: {name: float(made[own].sum()) for name, own in of.items()} for method, made in attributions.items()
        },
        "completeness": {
            "sum": float(attributions["integrated_gradients"].sum()),
            "difference": interview.from_zero(),
        },
        "deletion": {
            "fractions": curve.fractions.tolist(),
            "curves": {name: values.tolist() for name, values in curve.curves.items()},
            "random": curve.random.tolist(),
            "gain": curve.gain,
            "p": curve.p,
        },
    }
    return report, interview.units, attributions


def table(
    participant: str, units: Sequence[Unit], attributions: Mapping[str, Float[np.ndarray, " u"]]
) -> Iterator[tuple]:
    """Rows of `attributions.csv`, one per method and unit; a unit has seconds or tokens, `end` excluded."""
    for method, made in attributions.items():
        for unit, value in zip(units, made.tolist(), strict=True):
            place = (unit.start, unit.end, "", "") if unit.in_seconds else ("", "", int(unit.start), int(unit.end))
            yield participant, unit.modality, *place, method, value
