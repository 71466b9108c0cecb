"""The report of a run: `report.json`, `report.html`, and a few lines for the terminal."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.evaluation import bootstrap, flags, multilabel, page, tables, together, wording
from mmpsy_jax.evaluation import subgroups as subgroup_tables
from mmpsy_jax.evaluation.infer_tasks import Kinds, infer_tasks
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, says_synthetic
from mmpsy_jax.evaluation.scoring import FORMAT, evaluate, finite
from mmpsy_jax.io import public, read_json, try_folder, write_atomically, write_json
from mmpsy_jax.tasks import Task, from_config

__all__ = ["evaluate", "evaluate_file", "infer_tasks", "summary", "write_report"]

# What of a corpus card a report may show: the card also lists participants by id.
CORPUS_FIELDS = (
    "dataset",
    "config",
    "version",
    "synthetic",
    "source",
    "source_sha256",
    "labels",
    "modalities",
    "window_seconds",
    "participants",
    "optimum",
)


def write_report(
    workdir: str | os.PathLike,
    report: Mapping[str, Any],
    predictions: Predictions,
    tasks: Sequence[Task],
    *,
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    context: Mapping[str, Any] | None = None,
    baselines: Mapping[str, Predictions] | None = None,
    calls: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Writes `report.json`, the self-contained page `report.html`, and `tables/` into `workdir`.

    Args:
      workdir: folder of the run.
      report: what `evaluate` returned.
      predictions: the model's, as given to `evaluate`.
      tasks: as given to `evaluate`.
      curves: rows of `metrics.jsonl` by run, see `plots.learning_curves`.
      context: "config", "environment" (versions, git revision), "corpus" (the card), "audit" (of `data/audit.py`) and
        whatever else JSON can hold. A corpus card that says synthetic makes the report say so, whatever `evaluate` was
        told.
      baselines: as given to `evaluate`; their ROC and PR curves are then drawn beside the model's.

      calls: pictures of long recordings by title, see `calls.pictures`.

    Returns:
      The content of `report.json`.
    """
    shown = _presentable(context or {})
    synthetic = bool(report["synthetic"] or (shown.get("corpus") or {}).get("synthetic"))
    content = {**report, "synthetic": synthetic, "context": shown, "disclaimer": wording.disclaimer(report)}
    html = page.render(content, predictions, tasks, baselines=baselines or {}, curves={"": curves or {}}, calls=calls)
    write_content(workdir, content, html)
    return content


def write_content(folder: str | os.PathLike, content: Mapping[str, Any], html: str) -> None:
    """The three forms of one report: for programs, for a browser, and for a paper."""
    folder = Path(folder)
    write_json(folder / "report.json", content)
    write_atomically(folder / "report.html", html)
    tables.write_tables(folder / "tables", content)


def _presentable(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context without ids of participants and as plain JSON values."""
    shown = {name: public(value) for name, value in context.items() if name != "disclaimer"}
    card = shown.get("corpus")
    if card:
        kept = {name: card[name] for name in CORPUS_FIELDS if name in card}
        shown["corpus"] = {**kept, "n_skipped": len(card.get("skipped") or ())}
    return finite(json.loads(json.dumps(shown, default=str)))


def summary(report: Mapping[str, Any]) -> str:
    """Red flags and the headline of every task as text for a terminal."""
    split = wording.headline_split(report)
    model = wording.model_name(report)
    lines = ["SYNTHETIC DATA: no number below says anything about real people."] if report["synthetic"] else []
    lines += [
        ": ".join(filter(None, (flag["level"], wording.place(flag), flag["message"]))) for flag in report["flags"]
    ]
    lines += wording.checks(report)
    boot, context = report["bootstrap"], report.get("context") or {}
    lines.append(f"{split} split, {boot['level']:.0%} bootstrap intervals over {boot['unit']}:")
    for name, entry in report["tasks"].items():
        scored = entry["splits"].get(split)
        if scored is None:
            continue
        events = "" if scored["n_events"] is None else f", {scored['n_events']} events"
        lines.append(f"{name} ({scored['n_participants']} participants{events})")
        for metric in wording.HEADLINE[entry["kind"]]:
            cells = [(model, scored["model"][metric])]
            cells += [(baseline, values[metric]) for baseline, values in scored["baselines"].items()]
            texts = [f"{who} {wording.estimate(metric, cell)}" for who, cell in cells]
            best = wording.best_possible(report, context, name, metric, split)
            texts += [f"best possible {best}"] if best else []
            lines.append(f"  {wording.label(metric):<26}" + "   ".join(texts))
    return "\n".join(filter(None, [*lines, together.summary(report, split), multilabel.summary(report, split)]))


def read_report(path: Path) -> dict[str, Any]:
    """Content of our own `report.json`; empty where there is none or another tool wrote it.

    Raises:
      InputError: not JSON.
    """
    if not path.exists():
        return {}
    content = read_json(path, "remove it, or move the predictions elsewhere", object)
    ours = isinstance(content, dict) and content.get("format") == FORMAT and "task_definitions" in content
    return content if ours else {}


def evaluate_file(
    predictions_csv: str | os.PathLike,
    tasks: Sequence[Task] | None = None,
    output: str | os.PathLike | None = None,
    *,
    compare: str | os.PathLike | None = None,
    subgroups: str | os.PathLike | None = None,
    kinds: Kinds | None = None,
    seed: int = 0,
    n_bootstrap: int = bootstrap.RESAMPLES,
    synthetic: bool = False,
) -> dict[str, Any]:
    """Scores a `predictions.csv` of any tool: `python launch.py evaluate --predictions=FILE.csv`.

    Args:
      predictions_csv: the table, see `predictions.read_csv`.
      tasks: what to score. When not given: as a `report.json` of ours next to the table defines them (it also says
        whether the data are synthetic, and whether clusters are divided), else inferred from the columns.
      output: folder for `report.json`, `report.html` and `tables/`; nothing is written when not given.
      compare: another table on the same participants, compared like a baseline, in pairs.
      subgroups: a table of subgroups, see `subgroups.read_subgroups`.
      kinds: what is known of tasks that nobody else defines, or defines otherwise.
      seed, n_bootstrap, synthetic: see `scoring.evaluate`.

    Returns:
      The content of `report.json`, without context.

    Raises:
      InputError: a malformed table, tasks that do not fit it, or two tables that do not belong together.
    """
    if output is not None:
        try_folder(output)
    notes: list[str] = []
    predictions = read_csv(predictions_csv, notes)
    synthetic = synthetic or says_synthetic(predictions_csv)
    named = None if subgroups is None else subgroup_tables.read_subgroups(subgroups, notes)
    baselines = {} if compare is None else {Path(compare).stem: read_csv(compare, notes)}
    for path in filter(None, (predictions_csv, compare, subgroups)):  # a report names no folder of this machine
        notes = [note.replace(str(path), Path(path).name) for note in notes]
    context: dict[str, Any] = {"predictions": Path(predictions_csv).name}
    within_clusters = False
    if tasks is None:
        beside = read_report(Path(predictions_csv).with_name("report.json"))
        synthetic = synthetic or bool(beside.get("synthetic"))
        within_clusters = bool(beside.get("within_clusters"))
        defined = {task.name: task for task in from_config(beside["task_definitions"])} if beside else {}
        tasks = infer_tasks(predictions, kinds, defined, notes)
        known = all(task.name in defined for task in tasks)
        context["tasks"] = "of report.json beside the table" if known else "inferred from the columns"
    options = {"seed": seed, "n_bootstrap": n_bootstrap}
    marks = {"synthetic": synthetic, "within_clusters": within_clusters}
    report = evaluate(predictions, tasks, baselines=baselines, **marks, **options)
    report["subgroups"] = subgroup_tables.evaluate(predictions, tasks, named, **options)
    if not within_clusters:
        report["flags"] = flags.red_first([*report["flags"], *subgroup_tables.flags_of(predictions, named)])
    report["flags"] += [flags.flag("table", text=note) for note in notes]
    if output is not None:
        write_report(output, report, predictions, tasks, context=context, baselines=baselines)
    return report
