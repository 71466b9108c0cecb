"""`report.html`: what a reader sees of a report: one file, no request leaves it, no participant's id stands in it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mmpsy_jax.evaluation import audit_page, multilabel, plots, split_page, sweep_page, together, tripod, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.split_page import section
from mmpsy_jax.tasks import Task

TEMPLATES = Path(__file__).parent / "templates"

METHODS = (
    "Participants are the unit of resampling; models are compared in pairs on the same resamples.",
    "Thresholds, recalibration and conformal intervals come from validation and are carried to test.",
    "An interval is about the sample of participants; retraining adds variation that folds and seeds show.",
)
# Not known of another tool's predictions.
TRAINING_METHODS = (
    "Participants are the unit of splitting too.",
    "Baselines are fitted on the training split alone, with fixed hyper-parameters.",
)


def template(name: str | Path) -> jinja2.Template:
    """A file of `templates/`, or one elsewhere that may include those; values are escaped."""
    loader = jinja2.FileSystemLoader([Path(TEMPLATES, name).parent, TEMPLATES])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(Path(name).name)


def render(
    report: Mapping[str, Any],
    predictions: Predictions,
    tasks: Sequence[Task],
    *,
    baselines: Mapping[str, Predictions],
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    calls: Mapping[str, str] | None = None,
) -> str:
    """The page as HTML text.

    Args:
      report: content of `report.json`; its "context" holds what may be shown of the configuration, the environment
        and the corpus. A report with "runs" compares them: the first is the model, the others stand as its baselines.
      predictions, tasks, baselines: as given to `scoring.evaluate`.
      curves: by run the rows of its trainings, see `plots.learning_curves`; a single run is called "".
      calls: pictures of long recordings by title, see `calls.pictures`.
    """
    context = report.get("context") or {}
    runs = report.get("runs") or []
    model = wording.model_name(report)
    optimum = (context.get("corpus") or {}).get("optimum") if report["synthetic"] else None
    return template("report.html").render(
        title=f"{len(runs)} runs compared" if runs else wording.title(context),
        synthetic=report["synthetic"],
        disclaimer=wording.disclaimer(report),
        flags=[{**flag, "where": wording.place(flag)} for flag in report["flags"]],
        checks=wording.checks(report),
        split=wording.headline_split(report),
        headline=_headline_of_runs(report) if runs else _headline(report, context),
        runs=_runs(runs),
        optimum=_optimum(optimum) if optimum else None,
        interval_note=f"{wording.interval_note(report)} {wording.spread_note(report)}",
        multilabel=multilabel.sections(report),
        together=together.sections(report),
        calls={title: Markup(svg) for title, svg in (calls or {}).items()},
        curves=_drawn(plots.learning_curves, curves),
        updates=_drawn(plots.label_updates, curves),
        sweep=_sweep(context.get("sweep")),
        tasks=[_task(task, report, predictions, baselines, model) for task in tasks],
        subgroups=_subgroups(report),
        ablations=_ablations(report),
        audit=audit_page.sections(report),
        intended_use=wording.intended_use(report),
        tripod=[] if runs else tripod.items(report),
        methods=(*METHODS, *TRAINING_METHODS) if context.get("config") else METHODS,
        context={
            name: json.dumps(value, indent=1, ensure_ascii=False)
            for name, value in context.items()
            if value and name != "audit"  # has its own section
        },
    )


def _drawn(draw: Callable[..., Mapping[str, str]], curves: Mapping[str, Any]) -> dict[str, Markup]:
    """What a function of `plots` draws of the rows of one run, or of several beside each other."""
    drawn = {run: draw(rows) for run, rows in curves.items()}
    names = dict.fromkeys(name for pictures in drawn.values() for name in pictures)
    return {
        f"{run}: {name}" if run else name: Markup(pictures[name])
        for name in names
        for run, pictures in drawn.items()
        if name in pictures
    }


def _sweep(sweep: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not sweep:
        return None
    made = sweep_page.section(sweep)
    return {**made, "pictures": {name: Markup(svg) for name, svg in made["pictures"].items()}}


def _headline(report, context) -> list[dict[str, Any]]:
    """A row per task and metric, beside the baselines and, on a synthetic corpus, the constructed optimum."""
    split = wording.headline_split(report)
    rows = []
    for name, scored, metric in wording.headline(report, split):
        beside = [scored["baselines"].get(baseline) for baseline in report["baselines"]]
        rows.append(
            [
                name,
                wording.label(metric),
                wording.cell(metric, scored["model"][metric]),
                wording.best_possible(report, context, name, metric, split),
                *(wording.cell(metric, one and one[metric]) for one in beside),
            ]
        )
    columns = ["task", "metric", "model", "best possible (constructed)"]
    if not any(row[3] for row in rows):
        columns.pop(3)
        rows = [row[:3] + row[4:] for row in rows]
    return [section("", [*columns, *(TITLES.get(name, name) for name in report["baselines"])], rows, strong="model")]


def _headline_of_runs(report) -> list[dict[str, Any]]:
    """A table per task with a row per run; the first run stands first and the others on the participants it shares."""
    split, first_run = wording.headline_split(report), wording.model_name(report)
    made = []
    for name, entry in report["tasks"].items():
        scored = entry["splits"].get(split)
        if scored is None:
            continue
        shown = wording.HEADLINE[entry["kind"]]
        own = [wording.cell(metric, scored["model"][metric]) for metric in shown]
        rows = [[first_run, str(scored["n_participants"]), *own, None]]
        for other, values in scored["baselines"].items():
            difference = wording.cell(shown[0], scored["differences"][other][shown[0]], signed=True)
            cells = [wording.cell(metric, values[metric]) for metric in shown]
            rows.append([other, str(scored["baseline_rows"][other]), *cells, difference])
        columns = ["run", "participants", *map(wording.label, shown)]
        made.append(section(name, [*columns, f"{wording.label(shown[0])}: {first_run} - run"], rows))
    return made


def _runs(runs) -> list[dict[str, Any]]:
    """Where the compared runs came from, and the config fields in which they differ."""
    if not runs:
        return []
    about = [
        [run["name"], run["workdir"], run["corpus"] or "not known", run["revision"] or "not known"] for run in runs
    ]
    fields = sorted({field for run in runs for field in run["differs"]})
    differing = [
        [field, *(json.dumps(run["differs"][field]) if field in run["differs"] else "-" for run in runs)]
        for field in fields
    ]
    made = [section("Where the runs came from", ["run", "workdir", "corpus", "revision of the code"], about)]
    if differing:
        made.append(section("Settings that differ", ["field", *(run["name"] for run in runs)], differing, opened=True))
    return made


def _optimum(optimum: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of the nested numbers {where: {label: {modality: {metric: value}}}}; everything else as text."""
    texts, tables = [], []
    for name, value in optimum.items():
        by_label = {k: v for k, v in value.items() if isinstance(v, Mapping)} if isinstance(value, Mapping) else {}
        rows = [(k, m, v) for k, v in by_label.items() for m, v in v.items() if isinstance(v, Mapping)]
        if rows:
            metrics = list(dict.fromkeys(metric for *_, values in rows for metric in values))
            body = [
                [k, m, *(wording.number(c, values[c]) if c in values else "" for c in metrics)] for k, m, values in rows
            ]
            tables.append(section(name, ["label", "from", *map(wording.label, metrics)], body))
        else:
            texts.append(f"{name}: {value}")
    return {"texts": texts, "tables": tables}


def _task(task: Task, report, predictions, baselines, model: str) -> dict[str, Any]:
    entry = report["tasks"][task.name]
    there = [name for name in wording.SPLIT_ORDER if name in entry["splits"]]
    splits = [split_page.split(task, name, report, predictions, baselines, model) for name in there]
    return {"name": task.name, "description": f"{task.kind}, {wording.target(entry)}", "splits": splits}


def _subgroups(report) -> dict[str, Any] | None:
    """A table per column, task and split."""
    subgroups = report.get("subgroups")
    if subgroups is None:
        return None
    made = []
    for column, tasks in subgroups.get("columns", {}).items():
        for task, splits in tasks.items():
            for split, entries in splits.items():
                kind = report["tasks"][task]["kind"]
                opened = split == wording.headline_split(report)
                made.append(_subgroups_table(f"{column}: {task}, {split}", kind, entries, opened))
    return {"reason": subgroups.get("reason", ""), "sections": made}


def _subgroups_table(title: str, kind: str, subgroups, opened: bool) -> dict[str, Any]:
    shown = [subgroup for subgroup in subgroups if not subgroup.get("suppressed")]
    metrics = list(shown[0]["metrics"]) if shown else []
    rows = []
    for subgroup in subgroups:
        counts = [subgroup["subgroup"], "too few to show" if subgroup.get("suppressed") else str(subgroup["n"])]
        if kind == "binary":
            counts.append("-" if subgroup.get("n_events") is None else str(subgroup["n_events"]))
        cells = subgroup.get("metrics", {})
        rows.append([*counts, *(wording.cell(metric, cells.get(metric)) for metric in metrics)])
    columns = ["subgroup", "participants", *(["events"] if kind == "binary" else [])]
    return section(title, [*columns, *map(wording.label, metrics)], rows, opened=opened)


def _ablations(report) -> list[dict[str, Any]]:
    """A table per task: a row per ablation, its metrics, and its difference to the first by the first metric."""
    ablations = report.get("ablations") or []
    made = []
    for task, entry in report["tasks"].items():
        rows, first = [], next(iter(NAMES[entry["kind"]]))
        those = [one for one in ablations if task in one["tasks"]]
        metrics = [metric for metric in NAMES[entry["kind"]] if those and metric in those[0]["tasks"][task]]
        for one in those:
            difference = one.get("differences", {}).get(task, {}).get(first)
            cells = [wording.cell(metric, one["tasks"][task].get(metric)) for metric in metrics]
            rows.append([one["name"], wording.cell(first, difference, signed=True), *cells])
        if rows:
            columns = ["run", f"{wording.label(first)}: run - {rows[0][0]}", *map(wording.label, metrics)]
            made.append(section(task, columns, rows))
    return made
