"""Which trainings a config asks for: folds x repeats x seeds, and before them what a sweep has to try.

The settings of an outer fold are chosen without its test part: by the validation part of that fold, or with
`config.cv.inner` by folds of its training and validation participants. The chosen setting is then trained anew, for all
seeds, and only that training looks at the test part.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mmpsy_jax import models, objectives
from mmpsy_jax.data import splits as data_splits
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.data.splits import Split
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import closed_form, privacy, replica_plan, replicas, run_files, sweep
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import identity
from mmpsy_jax.training.config import seeds as seeds_of
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.job import HELD_OUT, TrainJob
from mmpsy_jax.training.loop import train
from mmpsy_jax.training.mesh import wait_for_all


def plan(
    config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus, workdir: Path
) -> tuple[list[TrainJob], dict[str, Any]]:
    """The trainings that are evaluated, after a sweep (trained here) has chosen their settings.

    Returns:
      every fold with every seed, each in its own folder unless there is only one; and the table of the sweep: `points`,
      `metric`, `scores` [folds][points] and `chosen` [folds], empty without a sweep.
    """
    outer = folds(config, tasks, corpus)
    sizes = [len(fold["train"]) for fold in outer]
    config = privacy.calibrated(config, corpus, sizes)
    spec = json.loads(config.sweep or "{}")
    points = sweep.points(spec, config)
    table: dict[str, Any] = {}
    chosen = [0] * len(outer)
    shape = batching.of(config, corpus, meshes.make_mesh(config.mesh.replica))
    if len(points) > 1:
        table = _try(config, tasks, corpus, workdir / "sweep", outer, points, sweep.metric_of(spec, tasks), shape)
        chosen = table["chosen"]
    batches = shape.most([fold["train"] for fold in outer])
    if privacy.is_on(config):
        batches = privacy.batches_of(config, max(sizes))
    single = len(outer) * len(seeds_of(config)) == 1
    jobs = []
    for fold, split in enumerate(outer):
        for seed in seeds_of(config):
            folder = workdir if single else workdir / f"fold_{fold}" / f"seed_{seed}"
            ours, values = _at_point(config, points[chosen[fold]], points)
            jobs.append(TrainJob(ours, corpus, split, folder, seed=seed, fold=fold, batches=batches, values=values))
    return jobs, table


def folds(config: ConfigDict, tasks: Sequence[Task], corpus: Corpus) -> list[Split]:
    """The outer folds: those of each repeat in turn, or the splits of the corpus.

    Raises:
      InputError: a part that is needed has nobody.
    """
    cv = config.cv
    outer = [] if cv.folds else [data_splits.by_name(corpus)]
    if config.data.train_on_validation:
        if cv.folds:
            raise InputError(
                "config.data.train_on_validation is for the splits of a corpus: with config.cv.folds set "
                "--config.cv.validation_fraction=0"
            )
        joined = np.union1d(outer[0]["train"], outer[0]["validation"])
        outer = [{**outer[0], "train": joined, "validation": joined[:0]}]
    if config.data.labelled_fraction < 1:
        if cv.folds or config.data.train_on_validation:
            raise InputError(
                f"config.data.labelled_fraction = {config.data.labelled_fraction:g} hides labels of the training split "
                "of a corpus: set --config.cv.folds=0 and --config.data.train_on_validation=False"
            )
        if not objectives.learns_unlabelled(config.objective.name):
            known = np.isfinite([corpus.labels[task.label] for task in tasks]).any(axis=0)
            outer = [{**outer[0], "train": outer[0]["train"][known[outer[0]["train"]]]}]
    fold_of = data_splits.read_folds(corpus, cv.folds_file, cv.folds) if cv.folds_file else None
    if fold_of is not None and cv.repeats > 1:
        raise InputError("config.cv.folds_file names one division: set config.cv.repeats=1")
    for repeat in range(cv.repeats if cv.folds else 0):
        outer += data_splits.folds(
            corpus, cv.folds, config.seed + repeat, strata(tasks), cv.validation_fraction, fold_of
        )
    needed = ("train", "test") if config.selection.metric == "step" else ("train", "validation", "test")
    for name in needed:
        if any(len(fold.get(name, ())) == 0 for fold in outer):
            raise InputError(
                f"the {name} split of {corpus.path} has no participant: give another split file, or "
                "--config.cv.folds=5; without validation, only --config.selection.metric=step"
            )
    return outer


def strata(tasks: Sequence[Task]) -> list[tuple[str, float]]:
    """(label, cut-off) pairs that folds are stratified by.

    They are those of the binary tasks and all that tell the classes of nominal ones apart; where there are neither, the
    middle of the bands.
    """
    named = [(task.label, task.cutoffs[0]) for task in tasks if task.event]
    named += [(task.label, float(k)) for task in tasks for k in sorted(task.codes or range(len(task.classes)))[1:]]
    return named or [(task.label, task.cutoffs[len(task.cutoffs) // 2]) for task in tasks if task.cutoffs]


def train_all(jobs: Sequence[TrainJob], folder: Path) -> list[Predictions | None]:
    """Predictions of each training, made now or by an earlier start; None for a point of a sweep that diverged.

    A training whose predictions or model are not there, or not as it left them, is taken up again at its last step.
    Those of one config train as replicas of one program where that is possible, otherwise one after another.

    Args:
      jobs: all trainings.
      folder: of the replicas, in the workdir of all trainings.
    """
    file = lambda job: job.workdir / run_files.PREDICTIONS  # noqa: E731
    card = run_files.card_or_none(folder.parent)
    alike: dict[tuple, list[TrainJob]] = {}
    for job in jobs:
        key = (identity(job.config), *sorted(job.values), *job.held_out)
        alike.setdefault(key, []).append(job)
    for number, group in enumerate(alike.values()):
        missing = [job for job in group if not is_finished(job, folder.parent, card)]
        program = folder / f"program_{number}"
        if models.is_closed_form(group[0].config.model.name):
            trained = closed_form.train(missing) if missing else ()
        elif missing and len(group) > 1 and replica_plan.together(program, group):
            trained = zip(group, replicas.train(group, program), strict=True)
        else:
            trained = ((job, train(job)) for job in missing)
        for job, predictions in trained:
            if jax.process_index() == 0 and predictions is not None:
                write_csv(file(job), predictions)
        wait_for_all(f"predictions of group {number}")
    return [read_csv(file(job)) if file(job).exists() else None for job in jobs]


def is_finished(job: TrainJob, workdir: Path, card: Mapping[str, Any] | None) -> bool:
    """Whether predictions and model of a training are there, and those that it left; says what is not.

    Args:
      job: the training.
      workdir, card: of all trainings, and its `model.json` where there is one.
    """
    names = [run_files.PREDICTIONS, *([run_files.WEIGHTS] if job.keeps_model else [])]
    for path in (job.workdir / name for name in names):
        whole = run_files.intact(workdir, card, str(path.relative_to(workdir)))
        if not whole or (path.name == run_files.PREDICTIONS and not _fits(job, path)):
            if path.exists() and jax.process_index() == 0:
                logging.warning("%s: not what this training left, or of other people: predicting again", path)
            return False
    return True


def _fits(job: TrainJob, path: Path) -> bool:
    """Whether a table has one row for each planned participant and task, with the labels of the corpus."""
    try:
        table = read_csv(path)
    except InputError:
        return False
    none_if_nan = lambda values: [None if value != value else value for value in values.tolist()]  # noqa: E731
    corpus, planned = job.corpus, {}
    for split in HELD_OUT:
        for task in job.tasks:
            truth = none_if_nan(np.asarray(task.targets(corpus.labels[task.label][job.splits[split]]), np.float64))
            for i, value in zip(job.splits[split].tolist(), truth, strict=True):
                planned[corpus.participants[i].strip(), split, task.name] = (corpus.cluster[i].strip(), value)
    keys = zip(table.participant_id.tolist(), table.split.tolist(), table.task.tolist(), strict=True)
    rows = dict(zip(keys, zip(table.cluster.tolist(), none_if_nan(table.y_true), strict=True), strict=True))
    of_this = set(table.fold.tolist()) == {job.fold} and set(table.seed.tolist()) == {job.seed}
    return of_this and len(rows) == len(table) and rows == planned


def _at_point(
    config: ConfigDict, point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]
) -> tuple[ConfigDict, dict[str, float]]:
    """The config and the `values` of a training at a point of a sweep."""
    static, dynamic = sweep.parts(point, points)
    return (overlay(config, static) if static else config), dynamic


def _try(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    folder: Path,
    outer: Sequence[Split],
    points: Sequence[Mapping[str, Any]],
    decides: tuple[str, Sequence[Task], str],
    shape: batching.Batching,
) -> dict[str, Any]:
    """Trains every point on every outer fold's own participants, and chooses one per fold."""
    named, deciding, metric = decides
    tried = [(fold, *part) for fold, split in enumerate(outer) for part in _parts_to_try(config, tasks, corpus, split)]
    batches = shape.most([split["train"] for *_, split in tried])
    jobs = []
    for fold, part, seed, split in tried:
        for number, point in enumerate(points):
            ours, values = _at_point(config, point, points)
            jobs.append(
                TrainJob(
                    ours,
                    corpus,
                    split,
                    folder / f"fold_{fold}" / f"point_{number}" / f"part_{part}_seed_{seed}",
                    seed=seed,
                    fold=fold * 1000 + part,
                    batches=batches,
                    values=values,
                    keeps_model=False,
                )
            )
    scores = [sweep.score(predictions, deciding, metric) for predictions in train_all(jobs, folder / "replicas")]
    grid = np.reshape(scores, (len(tried), len(points)))
    of_fold = np.array([fold for fold, *_ in tried])
    table = np.array([grid[of_fold == fold].mean(axis=0) for fold in range(len(outer))])
    content = {
        "metric": named,
        "inner_folds": config.cv.inner,
        "points": [dict(point) for point in points],
        "scores": [[None if np.isnan(v) else float(v) for v in row] for row in table],
        "chosen": [sweep.choose(row) for row in table],
    }
    if jax.process_index() == 0:
        write_json(folder / "sweep.json", content)
    return content


def _parts_to_try(
    config: ConfigDict, tasks: Sequence[Task], corpus: Corpus, split: Split
) -> Iterator[tuple[int, int, Split]]:
    """(part, seed, split without test part) of the trainings on which a point is scored in one outer fold."""
    if config.cv.inner:
        members = np.concatenate([split["train"], split["validation"]])
        for part, inner in enumerate(data_splits.inner(corpus, members, config.cv.inner, config.seed, strata(tasks))):
            yield part, config.seed, inner
        return
    if not len(split["validation"]):
        raise InputError("a sweep chooses on validation: give --config.cv.inner=4, or a validation part")
    for seed in seeds_of(config):
        yield 0, seed, {**split, "test": split["test"][:0]}
