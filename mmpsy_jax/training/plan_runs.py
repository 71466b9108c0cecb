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

from mmpsy_jax.data import splits as data_splits
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.data.splits import Split
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import finished_run, replica_plan, replicas, run_files, sweep
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import seeds as seeds_of
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.loop import TrainJob, train
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
    spec = json.loads(config.sweep or "{}")
    points = sweep.points(spec, config)
    table: dict[str, Any] = {}
    chosen = [0] * len(outer)
    shape = batching.of(config, corpus, meshes.make_mesh(config.mesh.replica))
    if len(points) > 1:
        table = _try(config, tasks, corpus, workdir / "sweep", outer, points, sweep.metric_of(spec, tasks), shape)
        chosen = table["chosen"]
    batches = shape.most([fold["train"] for fold in outer])
    seeds = seeds_of(config)
    single = len(outer) * len(seeds) == 1
    made = [
        _run(
            config, corpus, split, workdir if single else workdir / f"fold_{fold}" / f"seed_{seed}",
            points[chosen[fold]], points, seed=seed, fold=fold, batches=batches,
        )
        for fold, split in enumerate(outer)
        for seed in seeds
    ]  # fmt: skip
    return made, table


def folds(config: ConfigDict, tasks: Sequence[Task], corpus: Corpus) -> list[Split]:
    """The outer folds: those of each repeat in turn, or the splits of the corpus.

    Raises:
      InputError: a part that is needed has nobody.
    """
    if config.cv.folds:
        made = [
            fold
            for repeat in range(config.cv.repeats)
            for fold in data_splits.folds(
                corpus, config.cv.folds, config.seed + repeat, strata(tasks), config.cv.validation_fraction
            )
        ]
    else:
        made = [data_splits.by_name(corpus)]
    needed = ("train", "test") if config.selection.metric == "step" else ("train", "validation", "test")
    for name in needed:
        if any(len(fold.get(name, ())) == 0 for fold in made):
            raise InputError(
                f"the {name} split of {corpus.path} has no participant: give another split file, or "
                "--config.cv.folds=5; without validation, only --config.selection.metric=step"
            )
    return made


def strata(tasks: Sequence[Task]) -> list[tuple[str, float]]:
    """(label, cut-off) pairs that folds are stratified by.

    They are those of the binary tasks and all that tell the classes of nominal ones apart; where there are neither, the
    middle of the bands.
    """
    named = [(task.label, task.cutoffs[0]) for task in tasks if task.kind == "binary"]
    named += [(task.label, float(k)) for task in tasks for k in range(1, len(task.classes))]
    return named or [(task.label, task.cutoffs[len(task.cutoffs) // 2]) for task in tasks if task.cutoffs]


def train_all(runs: Sequence[TrainJob], folder: Path) -> list[Predictions | None]:
    """Predictions of each run, made now or by an earlier start; None for a point of a sweep that diverged.

    A run whose predictions or model are not there, or not as it left them, is taken up again at its last step.

    Runs of one config train as replicas of one program where that is possible, otherwise one after another.

    Args:
      folder: of the replicas, in the workdir of all runs.
    """
    file = lambda one: one.workdir / finished_run.PREDICTIONS  # noqa: E731
    card = run_files.card_or_none(folder.parent)
    grouped: dict[str, list[TrainJob]] = {}
    for one in runs:
        shape = {name: len(one.splits[name]) > 0 for name in one.splits}
        grouped.setdefault(json.dumps([one.config.to_dict(), sorted(one.values), shape], default=str), []).append(one)
    for number, group in enumerate(grouped.values()):
        missing = [one for one in group if not is_finished(one, folder.parent, card)]
        program = folder / f"program_{number}"
        if missing and len(group) > 1 and replica_plan.together(program, group):
            trained_now = zip(group, replicas.train(group, program), strict=True)
        else:
            trained_now = ((one, train(one)) for one in missing)
        for one, predictions in trained_now:
            if jax.process_index() == 0 and predictions is not None:
                write_csv(file(one), predictions)
        wait_for_all(f"predictions of group {number}")
    return [read_csv(file(one)) if file(one).exists() else None for one in runs]


def is_finished(one: TrainJob, workdir: Path, card: Mapping[str, Any] | None) -> bool:
    """Whether predictions and model of a training are there, and those that it left; says what is not.

    Args:
      workdir, card: of all runs, and its `model.json` where there is one.
    """
    names = [finished_run.PREDICTIONS, *([finished_run.WEIGHTS] if one.keeps_model else [])]
    for path in (one.workdir / name for name in names):
        whole = run_files.intact(workdir, card, str(path.relative_to(workdir)))
        if not whole or (path.name == finished_run.PREDICTIONS and not _fits(one, path)):
            if path.exists() and jax.process_index() == 0:
                logging.warning("%s: not what this training left, or of other people: predicting again", path)
            return False
    return True


def _fits(one: TrainJob, path: Path) -> bool:
    """Whether a table has one row for each planned participant and task, with the labels of the corpus."""
    try:
        table = read_csv(path)
    except InputError:
        return False
    corpus, wanted = one.corpus, {}
    for split in data_splits.SPLITS[1:]:
        for task in from_config(one.config.tasks):
            truth = np.asarray(task.targets(corpus.labels[task.label][one.splits[split]]), np.float64)
            for i, value in zip(one.splits[split].tolist(), truth.tolist(), strict=True):
                wanted[corpus.participants[i].strip(), split, task.name] = (
                    corpus.cluster[i].strip(),
                    None if value != value else value,
                )
    keys = zip(table.participant_id.tolist(), table.split.tolist(), table.task.tolist(), strict=True)
    truths = [None if value != value else value for value in table.y_true.tolist()]
    found = dict(zip(keys, zip(table.cluster.tolist(), truths, strict=True), strict=True))
    of_this = set(table.fold.tolist()) == {one.fold} and set(table.seed.tolist()) == {one.seed}
    return of_this and len(found) == len(table) and found == wanted


def _run(
    config: ConfigDict, corpus: Corpus, split: Split, folder: Path, point: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]], **more: Any,
) -> TrainJob:  # fmt: skip
    static, dynamic = sweep.parts(point, points)
    return TrainJob(overlay(config, static) if static else config, corpus, split, folder, values=dynamic, **more)


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
    runs = [
        _run(
            config, corpus, split, folder / f"fold_{fold}" / f"point_{p}" / f"part_{part}_seed_{seed}", point, points,
            seed=seed, fold=fold * 1000 + part, batches=batches, keeps_model=False,
        )
        for fold, part, seed, split in tried
        for p, point in enumerate(points)
    ]  # fmt: skip
    scores = [sweep.score(made, deciding, metric) for made in train_all(runs, folder / "replicas")]
    table = np.full((len(outer), len(points)), np.nan)
    grid = np.reshape(scores, (len(tried), len(points)))
    for fold in range(len(outer)):
        table[fold] = grid[[i for i, one in enumerate(tried) if one[0] == fold]].mean(axis=0)
    made = {
        "metric": named,
        "inner_folds": config.cv.inner,
        "points": [dict(point) for point in points],
        "scores": [[None if np.isnan(v) else float(v) for v in row] for row in table],
        "chosen": [sweep.choose(row) for row in table],
    }
    if jax.process_index() == 0:
        write_json(folder / "sweep.json", made)
    return made


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
