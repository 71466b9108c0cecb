"""Several runs beside each other: one page, one `report.json`, paired differences to the first run."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.evaluation import bootstrap, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.predictions import SPLITS, Predictions, read_csv
from mmpsy_jax.evaluation.report import read_report, write_report
from mmpsy_jax.evaluation.scoring import evaluate
from mmpsy_jax.io import InputError, flatten, read_json, read_rows, try_folder
from mmpsy_jax.tasks import Task, from_config


class _Run:
    """What a workdir holds.

    Raises:
      InputError: no readable `predictions.csv` or no `report.json` of ours.
    """

    def __init__(self, name: str, workdir: Path):
        self.name, self.workdir = name, workdir
        self.predictions = read_csv(workdir / "predictions.csv")
        self.report = read_report(workdir / "report.json")
        if not self.report:
            raise InputError(
                f"{workdir}: no report.json of ours beside predictions.csv, so the tasks are not known: let the run "
                "finish, or write one with launch.py evaluate --predictions=FILE.csv --output=FOLDER"
            )
        self.tasks = {task.name: task for task in from_config(self.report["task_definitions"])}
        self.context: Mapping[str, Any] = self.report.get("context") or {}
        self.settings = flatten(self.context.get("config") or {})

    @property
    def corpus(self) -> str:
        """Name, version and sum of the corpus; empty where the report does not know it."""
        about = self.context.get("corpus") or {}
        parts = (wording.dataset(about), about.get("version"), (about.get("source_sha256") or "")[:12])
        return " ".join(filter(None, parts))

    def trainings(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of every training's `metrics.jsonl` by its folder below the workdir."""
        files = sorted([*self.workdir.glob("metrics.jsonl"), *self.workdir.glob("fold_*/seed_*/metrics.jsonl")])
        return {str(file.parent.relative_to(self.workdir)): read_rows(file) for file in files}


def compare_runs(
    workdirs: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    seed: int = 0,
    n_bootstrap: int = bootstrap.RESAMPLES,
) -> dict[str, Any]:
    """Compares runs in pairs with the first one: `python launch.py report --workdirs a b c`.

    Each run is compared on the participants and folds that it shares with the first, and by its own thresholds.

    Args:
      workdirs: two or more folders with `predictions.csv` and `report.json`.
      output: folder for `report.json`, `report.html` and `tables/`.
      seed, n_bootstrap: see `scoring.evaluate`.

    Returns:
      The content of `report.json`: that of `report.write_report` with the other runs as baselines, and "runs".

    Raises:
      InputError: fewer than two runs, the same one twice, an output that is one of them, real beside synthetic data,
        tasks that are defined differently, no task, participant or fold in common, or truths that differ.
    """
    try_folder(output)
    runs = [_Run(*named) for named in _name([Path(workdir) for workdir in workdirs], Path(output))]
    first, others = runs[0], runs[1:]
    _check_synthetic(runs)
    tasks = _common_tasks(runs)
    notes = [note for other in others for note in _differences(first, other, tasks)]
    baselines = {run.name: run.predictions for run in others}
    report = evaluate(
        first.predictions,
        tasks,
        baselines=baselines,
        seed=seed,
        n_bootstrap=n_bootstrap,
        synthetic=bool(first.report["synthetic"]),
        within_clusters=bool(first.report.get("within_clusters")),
    )
    # The notes say the same about runs, with the numbers of both sides.
    flags = [flag for flag in report["flags"] if flag["code"] != "baseline_partial"]
    report |= {"flags": [*flags, *notes], "runs": [_about(run, runs) for run in runs], **_ablations(first.workdir)}
    trainings = {run.name: run.trainings() for run in runs}
    return write_report(output, report, first.predictions, tasks, trainings=trainings, baselines=baselines)


def _name(workdirs: list[Path], output: Path) -> list[tuple[str, Path]]:
    """Runs are called by their folders, or by the whole path where such a name is not unique or that of a baseline."""
    if len(workdirs) < 2:
        raise InputError(f"report: {len(workdirs)} workdir given: give two or more runs to compare")
    places = [workdir.resolve() for workdir in workdirs]
    if len(set(places)) < len(places):
        raise InputError("report: the same workdir is given twice: give each run once")
    if output.resolve() in places:
        raise InputError(f"report: --output={output} is one of the runs, whose report it would replace: give another")
    names = [place.name for place in places]
    if len(set(names)) < len(names) or not TITLES.keys().isdisjoint(names):
        names = [str(place) for place in places]
    return list(zip(names, workdirs, strict=True))


def _check_synthetic(runs: Sequence[_Run]) -> None:
    marks = {bool(run.report["synthetic"]) for run in runs}
    if len(marks) > 1:
        named = ", ".join(run.name for run in runs if run.report["synthetic"])
        raise InputError(f"report: {named} ran on synthetic data and the others did not: compare like with like")


def _common_tasks(runs: Sequence[_Run]) -> list[Task]:
    """Tasks that every run has, in the order of the first; they must be defined alike."""
    first = runs[0]
    names = [name for name in first.tasks if all(name in run.tasks for run in runs)]
    if not names:
        there = "; ".join(f"{run.name}: {', '.join(run.tasks)}" for run in runs)
        raise InputError(
            f"report: the runs have no task in common ({there}): compare runs that answer the same question"
        )
    for run in runs[1:]:
        for name in names:
            if run.tasks[name] != first.tasks[name]:
                raise InputError(
                    f"report: task {name!r} is {first.tasks[name]} in {first.name}, but {run.tasks[name]} in "
                    f"{run.name}: compare runs with the same label, kind and cut-offs"
                )
    return [first.tasks[name] for name in names]


def _differences(first: _Run, other: _Run, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Notes on what the two runs do not share.

    Raises:
      InputError: a split of a task in which they share nobody, or with other truths.
    """
    notes, both = [], f"{first.name} and {other.name}"
    if first.corpus != other.corpus:
        message = f"{first.name} ran on {first.corpus or '?'}, {other.name} on {other.corpus or '?'}."
        notes.append(_note(None, None, message))
    for name in [name for name in first.tasks | other.tasks if name not in {task.name for task in tasks}]:
        notes.append(_note(name, None, f"only some of {both} have this task: not compared."))
    for task in tasks:
        for split in SPLITS:
            ours, theirs = (_truths(run.predictions, task, split) for run in (first, other))
            common = ours.keys() & theirs.keys()
            if not ours:
                continue
            if not common:
                raise InputError(
                    f"report: {both} have no participant of the same fold in common in {split} "
                    f"of task {task.name!r} ({len(ours)} and {len(theirs)} rows): compare runs on the same corpus with "
                    "the same splits (--config.cv.* and --config.seed, or data.split_file)"
                )
            if any(ours[key] != theirs[key] for key in common):
                raise InputError(
                    f"report: {both} disagree on y_true of task {task.name!r} in {split}: "
                    "compare runs on the same labels"
                )
            if len(common) < max(len(ours), len(theirs)):
                counts = f"{first.name} has {len(ours)} rows with a label, {other.name} {len(theirs)}"
                notes.append(_note(task.name, split, f"{counts}; compared on the {len(common)} that both have."))
    return notes


def _truths(predictions: Predictions, task: Task, split: str) -> dict[tuple[str, int], float]:
    """Truth by participant and fold, of those whose label is known."""
    rows = predictions.select(task=task.name, split=split).known()
    keys = zip(rows.participant_id.tolist(), rows.fold.tolist(), strict=True)
    return dict(zip(keys, rows.y_true.tolist(), strict=True))


def _note(task: str | None, split: str | None, message: str) -> dict[str, Any]:
    return {"level": "note", "code": "runs_differ", "task": task, "split": split, "message": message}


def _about(run: _Run, runs: Sequence[_Run]) -> dict[str, Any]:
    """Where a run came from, and its settings that are not the same in all."""
    fields = {field for one in runs for field in one.settings}
    differing = [field for field in fields if len({json.dumps(one.settings.get(field)) for one in runs}) > 1]
    return {
        "name": run.name,
        "workdir": str(run.workdir),
        "corpus": run.corpus,
        "revision": (run.context.get("environment") or {}).get("revision"),
        "differs": {field: run.settings[field] for field in sorted(differing) if field in run.settings},
    }


def _ablations(workdir: Path) -> dict[str, Any]:
    """The table that a command of ablations left beside its runs, where the first run is one of those."""
    path = workdir.resolve().parent / "ablations.json"
    remedy = "run the ablations again, or remove it"
    return {"ablations": read_json(path, remedy, list)} if path.exists() else {}
