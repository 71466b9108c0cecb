"""`launch.py transfer`: a finished run scored on another built corpus, with all that `evaluate` measures.

Thresholds and calibration come from home: the held-out validation rows of the run stand in the table as its split
"validation", under ids that begin with "home/". The people of the new place are its split "test", predicted by the mean
over all folds and seeds. Nothing is fitted on them, but for the few that `recalibrate` asks for, who are not scored.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.data import splits
from mmpsy_jax.data.audit import audit
from mmpsy_jax.data.pooled import dataset_of, open_corpora
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import flags, recalibrate, report
from mmpsy_jax.evaluation import subgroups as subgroup_tables
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.inference import inputs
from mmpsy_jax.inference.scales import Question, questions
from mmpsy_jax.io import InputError, try_folder
from mmpsy_jax.training import finished_run, plan_runs, results, run_files
from mmpsy_jax.training.config import jsonable
from mmpsy_jax.training.finished_run import FinishedRun
from mmpsy_jax.training.logger import say

HOME = "home"
RECALIBRATED = "recalibrated"
CHUNK = 128  # participants whose windows are in memory together


def transfer(
    workdir: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    labels: Mapping[str, str] | None = None,
    recalibrated_on: int = 0,
    seed: int = 0,
    subgroups: str | Path | None = None,
) -> dict[str, Any]:
    """Scores a finished run on built records of another corpus, and writes report, page, tables and predictions.

    Args:
      workdir: of the run.
      source: folder of the records, or several with commas.
      output: folder for `report.json`, `report.html`, `predictions.csv`, and `recalibrated.csv` where asked for.
      labels: name of a label of the run: name of the label in the records that is to be compared with it.
      recalibrated_on: so many people (of clustered records, clusters) recalibrate the run, drawn at random, stratified;
        their predictions stand as a baseline "recalibrated" beside the run as it is. 0 is nobody.
      seed: of the draw.
      subgroups: a table of subgroups, see `subgroups.read_subgroups`.

    Returns:
      The content of `report.json`, with "transfer": `home`, `corpus`, counts of people and what each task is.

    Raises:
      InputError: no finished run, no records, windows of other settings, none of the labels, nobody whom the run was
        not trained on, or more to recalibrate on than there are.
    """
    if not all(inputs.is_records(Path(part)) for part in str(source).split(",")):
        raise InputError(f"{source}: no built records, whose labels are needed: build them first (launch.py build)")
    try_folder(output)
    named = None if subgroups is None else subgroup_tables.read_subgroups(subgroups)
    run = finished_run.load(workdir)
    corpus = run.select_modalities(open_corpora(source, list(run.modalities)))
    asked, lacking = questions(run, corpus, labels or {})
    home, there = (dataset_of(card) for card in (run.card, corpus.card))
    table = read_csv(Path(workdir) / run_files.PREDICTIONS)
    members, unknown = _new_people(run, corpus, table)
    noticed = [flags.flag("transfer", home=home, there=there)]
    if unknown:
        noticed.append(flags.flag("trained_unknown"))
    if len(members) < len(corpus):
        left_out = len(corpus) - len(members)
        noticed.append(flags.flag("left_out_trained", n=left_out, total=len(corpus), there=there))
    noticed += [flags.flag("no_label", one.name, there=there, label=one.label) for one in lacking]
    for one in asked:
        if one.why:
            about = {"here": one.ours.label, "label": one.task.label, "there": there, "why": one.why}
            noticed.append(flags.flag("other_scale", one.task.name, **about))
    drawn = members[:0]
    if recalibrated_on:
        drawn = splits.draw(corpus, members, recalibrated_on, seed, plan_runs.strata([one.task for one in asked]))
    values = predict(run, corpus, members, asked)
    tested = ~np.isin(members, drawn)
    tasks = [one.task for one in asked]
    rows = [_rows(corpus, one, members[tested], values[one.task.name][tested]) for one in asked]
    predictions = Predictions.concatenate([*(part for one in asked for part in _at_home(table, one)), *rows])
    baselines, of_recalibration = {}, []
    if len(drawn):
        maps = _recalibrate(corpus, asked, members, ~tested, values)
        parts = [part for one in asked if (part := maps[one.task.name][0]) is not None]
        baselines = {RECALIBRATED: Predictions.concatenate(parts)} if parts else {}
        for name, (part, what) in maps.items():
            about = {"n": len(drawn), "there": there, "what": what} if part is not None else {"why": what}
            code = "recalibrated" if part is not None else "not_recalibrated"
            of_recalibration.append(flags.flag(code, name, **about))
    config = run.config
    bootstrap = {"seed": config.seed, "n_bootstrap": config.evaluation.bootstrap}
    synthetic = bool(corpus.card["synthetic"] or run.card["synthetic"])
    rules = {"threshold_rule": config.evaluation.threshold, "synthetic": synthetic}
    rules |= {"as_labels": config.evaluation.multilabel, "within_clusters": corpus.within_clusters}
    content = report.evaluate(predictions, tasks, baselines=baselines, **rules, **bootstrap, progress=say)
    if corpus.pooled:
        named = subgroup_tables.with_column(named, "corpus", corpus.participants, corpus.origin)
    content["subgroups"] = subgroup_tables.evaluate(predictions, tasks, named, **bootstrap)
    # The recalibrated rows are of the new place alone; of home there are none.
    measured = [one for one in content["flags"] if (one["code"], one["split"]) != ("baseline_partial", "validation")]
    content["flags"] = flags.red_first([*noticed, *of_recalibration, *measured])
    content["transfer"] = {
        "home": home,
        "corpus": there,
        "people": len(corpus),
        "left_out": len(corpus) - len(members),
        "recalibrated_on": len(drawn),
        "scored": int(tested.sum()),
        "tasks": {one.task.name: {"run": one.ours.label, "records": one.task.label, "scale": one.why} for one in asked},
    }
    write_csv(Path(output) / run_files.PREDICTIONS, predictions)
    if baselines:
        write_csv(Path(output) / f"{RECALIBRATED}.csv", baselines[RECALIBRATED])
    context = {
        "config": jsonable(config),
        "environment": results.environment(),
        "corpus": corpus.card,
        "audit": audit(corpus, tasks),
    }
    return report.write_report(output, content, predictions, tasks, context=context, baselines=baselines)


def _new_people(run: FinishedRun, corpus: Corpus, table: Predictions) -> tuple[Int[np.ndarray, " m"], bool]:
    """Positions of those whom the run has not seen, and whether it does not say whom it has seen.

    Raises:
      InputError: nobody.
    """
    # Thresholds and checkpoints are chosen on the validation rows.
    trained = run.trained_on_people_of(corpus, np.unique(table.select(split="validation").participant_id).tolist())
    seen = np.zeros(len(corpus), bool) if trained is None else trained
    if seen.all():
        raise InputError(
            f"{corpus.path}: all {len(corpus)} people are in the training data of the run: its own report.html has the "
            "numbers of those who are tested; give records of other people"
        )
    return np.flatnonzero(~seen).astype(np.int32), trained is None


def predict(
    run: FinishedRun, corpus: Corpus, members: Int[np.ndarray, " m"], asked: Sequence[Question]
) -> dict[str, Float[np.ndarray, " m"]]:
    """The mean over all trainings per task, some participants in memory at a time."""
    parts: dict[str, list[np.ndarray]] = {one.task.name: [] for one in asked}
    for start in range(0, len(members), CHUNK):
        values, _ = run.predict(corpus, members[start : start + CHUNK])
        for one in asked:
            parts[one.task.name].append(one.ours.average(values[one.ours.name]))
    return {name: np.concatenate(part) for name, part in parts.items()}


def _rows(
    corpus: Corpus, one: Question, members: Int[np.ndarray, " m"], values: Float[np.ndarray, " m"], split: str = "test"
) -> Predictions:
    return Predictions.build(
        np.array(corpus.participants)[members],
        one.task.name,
        one.truth[members].astype(np.float64),
        split=split,
        cluster=np.array(corpus.cluster)[members],
        **{one.task.column: values},
    )


def _at_home(table: Predictions, one: Question) -> list[Predictions]:
    """The validation rows of a run, one for each person: the mean over the folds in which it was one; of a vote the
    first. None where the labels of the new place are on another scale."""
    rows = table.select(task=one.ours.name, split="validation")
    if one.why or not len(rows):
        return []
    rows = rows.over_seeds(one.ours.kind)
    _, first, person = np.unique(rows.participant_id, return_index=True, return_inverse=True)
    column = getattr(rows, one.ours.column)
    mean = column[first] if one.ours.votes else np.bincount(person, column) / np.bincount(person)
    named = {
        name: np.array([f"{HOME}/{text}" for text in getattr(rows, name)[first].tolist()])
        for name in ("participant_id", "cluster")
    }
    return [
        Predictions.build(
            named["participant_id"],
            one.task.name,
            rows.y_true[first],
            split="validation",
            cluster=named["cluster"],
            **{one.task.column: mean},
        )
    ]


def _recalibrate(
    corpus: Corpus,
    asked: Sequence[Question],
    members: Int[np.ndarray, " m"],
    drawn: np.ndarray,
    values: Mapping[str, Float[np.ndarray, " m"]],
) -> dict[str, tuple[Predictions | None, str]]:
    """Per task the recalibrated rows of everybody and what was fitted, or None and the reason; those drawn are the
    split validation, so that thresholds are chosen on them."""
    fitted: dict[str, tuple[Predictions | None, str]] = {}
    for one in asked:
        prediction, truth = values[one.task.name], one.truth[members]
        known = drawn & np.isfinite(truth)
        change, what = recalibrate.fit(one.task, truth[known].astype(np.float64), prediction[known])
        if change is None:
            fitted[one.task.name] = None, what
            continue
        parts = [
            _rows(corpus, one, members[part], change(prediction[part]), split)
            for part, split in ((drawn, "validation"), (~drawn, "test"))
        ]
        fitted[one.task.name] = Predictions.concatenate(parts), what
    return fitted
