"""`report.html`, a function of `report.json` alone: one file, no request leaves it, no participant's id is in it."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from mmpsy_jax import registry
from mmpsy_jax.evaluation import audit_page, membership, multilabel, plots, split_page, together, transfer_page, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

Report = Mapping[str, Any]

PROBES = (
    "Linear models that know only what a model should not need, fitted on the training part of each fold and scored on "
    "the same test people. One that comes within the model's interval is a red flag."
)

MEMBERSHIP = (
    "Whether what a single training says of a participant tells that they were in its training part (the likelihood-"
    "ratio attack of Carlini et al. 2022), by an attacker who has the other trainings of this cross-validation. TPR: "
    "share of those in the training part whom the attack finds while it calls so few others (FPR)."
)


def render(report: Report) -> str:
    """The page as HTML text.

    Args:
      report: content of `report.json`; its "context" holds what may be shown of the configuration, the environment
        and the corpus. A report with "runs" compares them: the first is the model, the others stand as its baselines.
    """
    context = report.get("context") or {}
    runs = report.get("runs") or []
    defined = wording.tasks_of(report)
    items = Table("", ["item", "asks for", "known"], [list(item.values()) for item in wording.tripod(report)])
    return wording.template("report.html").render(
        title=f"{len(runs)} runs compared" if runs else wording.title(context),
        synthetic=report["synthetic"],
        disclaimer=wording.disclaimer(report),
        flags=[{**flag, "where": wording.place(flag)} for flag in report["flags"]],
        checks=wording.checks(report),
        split=wording.headline_split(report),
        unit=wording.unit(report),
        headline=headline(report),
        runs=_runs(report),
        optimum=_optimum(report),
        interval_note=wording.interval_note(report),
        more=_more(report),
        curves=_pictures(plots.learning_curve, report.get("learning_curves") or {}),
        updates=_pictures(plots.label_update, report.get("label_updates") or {}),
        sweep=_sweep(context["sweep"]) if context.get("sweep") else None,
        tasks=[_task(defined[name], report) for name in report["tasks"]],
        subgroups=report.get("subgroups"),
        subgroup_tables=list(subgroups(report)),
        ablations=list(ablations(report, every=True)),
        audit=audit_page.sections(report),
        intended_use=wording.intended_use(report),
        tripod=None if runs else items,
        methods=wording.methods(report),
        context={
            name: json.dumps(value, indent=1, ensure_ascii=False)
            for name, value in context.items()
            if value and name != "audit"  # has its own section
        },
    )


def headline(report: Report) -> list[Table]:
    """What comes first, on the page and in a terminal.

    A row per task and metric with the baselines beside it and, on a synthetic corpus, the constructed optimum. Of runs
    a table per task, with a row per run; the first stands first and the others on the participants it shares.
    """
    split, model = wording.headline_split(report), wording.model_name(report)
    scored = {name: entry["splits"].get(split) for name, entry in report["tasks"].items()}
    if report.get("runs"):
        unit = wording.unit(report)
        return [
            _of_runs(name, report["tasks"][name]["kind"], part, model, unit) for name, part in scored.items() if part
        ]
    best = {(k, m): wording.best_possible(report, k, m, split) for k, _, m in wording.headline(report, split)}
    rows = []
    for (name, metric), optimum in best.items():
        part = scored[name]
        others = [part["baselines"].get(baseline, {}).get(metric) for baseline in report["baselines"]]
        row = [name, _counts(part), wording.label(metric), wording.cell(metric, part["model"][metric])]
        rows.append(row + [optimum] * any(best.values()) + [wording.cell(metric, one) for one in others])
    columns = ["task", wording.unit(report), "metric", "model", *["best possible (constructed)"] * any(best.values())]
    return [Table("", [*columns, *(TITLES.get(name, name) for name in report["baselines"])], rows, strong="model")]


def headline_by_task(report: Report) -> list[Table]:
    """The same for a terminal of 100 columns: a table per task with a row for the model and each baseline."""
    if report.get("runs"):
        return headline(report)
    (table,) = headline(report)
    tall = []
    for (task, participants), rows in itertools.groupby(table.rows, key=lambda row: row[:2]):
        _, _, metrics, *cells = zip(*rows, strict=True)
        named = zip(table.columns[3:], cells, strict=True)
        known = [[name, *row] for name, row in named if any(cell not in (None, "-") for cell in row)]
        tall.append(Table("", [f"{task} ({table.columns[1]}: {participants})", *metrics], known))
    return tall


def _counts(scored: Report) -> str:
    events = "" if scored["n_events"] is None else f", {scored['n_events']} events"
    return f"{scored['n_participants']}{events}"


def _of_runs(name: str, kind: str, scored: Report, first_run: str, unit: str) -> Table:
    shown = wording.HEADLINE[kind]
    rows = [[first_run, _counts(scored), *(wording.cell(m, scored["model"][m]) for m in shown), None]]
    for other, cells in scored["baselines"].items():
        difference = wording.cell(shown[0], scored["differences"][other][shown[0]], signed=True)
        estimates = [wording.cell(metric, cells[metric]) for metric in shown]
        rows.append([other, scored["baseline_rows"][other], *estimates, difference])
    columns = ["run", unit, *map(wording.label, shown), f"{wording.label(shown[0])}: {first_run} - run"]
    return Table(name, columns, rows)


def _runs(report: Report) -> list[Table]:
    """Where the compared runs came from, and the config fields in which they differ."""
    runs = report.get("runs") or []
    about = [
        [one["name"], one["workdir"], *(one[name] or "not known" for name in ("corpus", "revision"))] for one in runs
    ]
    differing = [
        [field, *(json.dumps(run["differs"][field]) if field in run["differs"] else None for run in runs)]
        for field in sorted({field for run in runs for field in run["differs"]})
    ]
    names = [run["name"] for run in runs]
    parts = [
        Table("Where the runs came from", ["run", "workdir", "corpus", "revision of the code"], about),
        Table("Settings that differ", ["field", *names], differing, opened=True),
    ]
    return [part for part in parts if part.rows]


def _optimum(report: Report) -> dict[str, Any] | None:
    """Tables of the nested numbers {where: {label: {modality: {metric: value}}}}; everything else as text."""
    optimum = ((report.get("context") or {}).get("corpus") or {}).get("optimum") if report["synthetic"] else None
    if not optimum:
        return None
    texts, tables = [], []
    for name, value in optimum.items():
        by_label = {k: v for k, v in value.items() if isinstance(v, Mapping)} if isinstance(value, Mapping) else {}
        rows = [(k, m, v) for k, v in by_label.items() for m, v in v.items() if isinstance(v, Mapping)]
        if rows:
            metrics = list(dict.fromkeys(metric for *_, values in rows for metric in values))
            body = [
                [k, m, *(wording.number(c, values[c]) if c in values else "" for c in metrics)] for k, m, values in rows
            ]
            tables.append(Table(name, ["label", "from", *map(wording.label, metrics)], body))
        else:
            texts.append(f"{name}: {value}")
    return {"texts": texts, "tables": tables}


def _more(report: Report) -> list[dict[str, Any]]:
    """Sections that few reports have: tasks as one set, labels, and what the papers of `projects/` add."""
    parts = [
        {"title": "Probes of shortcuts", "text": PROBES, "tables": list(_probes(report))},
        {"title": "Transfer", "tables": transfer_page.sections(report)},
        {"title": "Membership inference", "text": MEMBERSHIP, "tables": membership.sections(report)},
        {"title": "Tasks together", "tables": together.sections(report)},
        {"title": "Labels together", "tables": multilabel.sections(report)},
        *(part for name in registry.names("reports") for part in registry.load("reports", name).sections(report)),
    ]
    for part in parts:
        part["pictures"] = {name: Markup(svg) for name, svg in part.get("pictures", {}).items()}
    return [{"text": "", "tables": [], **part} for part in parts if part.get("tables") or part["pictures"]]


def _probes(report: Report) -> Iterator[Table]:
    """The model and the probes beside it, per task; of pooled corpora how well they are told apart."""
    entries = report.get("probes") or []
    yield from ablations({"tasks": report["tasks"], "ablations": entries})
    yield from told_apart(entries)


def told_apart(entries: list[Report]) -> Iterator[Table]:
    """How well the modalities tell pooled corpora apart, of the entries of `ablations.json`."""
    told = [one for one in entries if "which_corpus" in one["tasks"]]
    if told:
        metrics = [metric for metric in NAMES["nominal"] if metric in told[0]["tasks"]["which_corpus"]]
        rows = [[one["probe"], *(wording.cell(m, one["tasks"]["which_corpus"][m]) for m in metrics)] for one in told]
        yield Table("which corpus is it", ["from", *map(wording.label, metrics)], rows)


def _pictures(draw: Callable[[str, Any], str], by_run: Mapping[str, Mapping[str, Any]]) -> dict[str, Markup]:
    """A picture per quantity of one run, called "", or of several beside each other."""
    names = dict.fromkeys(name for quantities in by_run.values() for name in quantities)
    return {
        f"{run}: {name}" if run else name: Markup(draw(name, quantities[name]))
        for name in names
        for run, quantities in by_run.items()
        if name in quantities
    }


def _sweep(sweep: Report) -> dict[str, Any]:
    """What a sweep tried, best first, and a picture per field.

    Args:
      sweep: `metric`, `inner_folds`, `points` (settings, each {field: value}), `scores` [folds][points] on validation
        (higher is better, None where a training diverged), `chosen` [folds].
    """
    scores = np.ma.masked_invalid(np.array(sweep["scores"], float))  # [folds, points]
    points, fields = sweep["points"], list(sweep["points"][0])
    times = np.bincount(sweep["chosen"], minlength=len(points))
    mean = scores.mean(axis=0).filled(np.nan)
    spread = scores.std(axis=0, ddof=1).filled(np.nan) if len(scores) > 1 else np.full(len(points), np.nan)
    rows = [
        [plots.short(points[i].get(field)) for field in fields]
        + ["diverged" if np.isnan(mean[i]) else f"{mean[i]:.4f}", "" if np.isnan(spread[i]) else f"{spread[i]:.4f}"]
        + [str(times[i] or "")]
        for i in sorted(range(len(points)), key=lambda i: (np.isnan(mean[i]), -np.nan_to_num(mean[i])))
    ]
    drawn = {
        field: Markup(plots.settings(sweep["metric"], field, [point.get(field) for point in points], mean, times > 0))
        for field in fields
    }
    table = Table("", [*fields, "mean of folds", "sd", "chosen"], rows)
    return {"metric": sweep["metric"], "inner_folds": sweep["inner_folds"], "table": table, "pictures": drawn}


def _task(task: Task, report: Report) -> dict[str, Any]:
    entry = report["tasks"][task.name]
    splits = [split_page.split(task, name, report) for name in wording.SPLIT_ORDER if name in entry["splits"]]
    return {"name": task.name, "description": f"{task.kind}, {task.describe()}", "splits": splits}


def subgroups(report: Report) -> Iterator[Table]:
    """A table per column, task and split."""
    for column, tasks in (report.get("subgroups") or {}).get("columns", {}).items():
        for task, splits in tasks.items():
            for split, parts in splits.items():
                events = "thresholds" in report["tasks"][task]
                opened = split == wording.headline_split(report)
                yield _subgroups(f"{column}: {task}, {split}", events, parts, opened, wording.unit(report))


def _subgroups(title: str, events: bool, parts: list[Report], opened: bool, unit: str) -> Table:
    metrics = next((list(part["metrics"]) for part in parts if not part.get("suppressed")), [])
    rows = []
    for part in parts:
        counts = ["too few to show" if part.get("suppressed") else part["n"], *[part.get("n_events")] * events]
        cells = part.get("metrics", {})
        rows.append([wording.subgroup(part), *counts, *(wording.cell(metric, cells.get(metric)) for metric in metrics)])
    columns = ["subgroup", unit, *["events"] * events]
    return Table(title, [*columns, *map(wording.label, metrics)], rows, opened=opened)


def ablations(report: Report, every: bool = False) -> Iterator[Table]:
    """A table per task: a row per ablation, its difference to the first run, and its metrics, or the first alone."""
    for task, entry in report["tasks"].items():
        runs = [one for one in report.get("ablations") or () if task in one["tasks"]]
        names = list(NAMES[entry["kind"]])
        metrics = [metric for metric in (names if every else names[:1]) if runs and metric in runs[0]["tasks"][task]]
        rows = []
        for one in runs:
            difference = one.get("differences", {}).get(task, {}).get(names[0])
            cells = [wording.cell(metric, one["tasks"][task].get(metric)) for metric in metrics]
            rows.append([one["name"], wording.cell(names[0], difference, signed=True), *cells])
        if rows:
            columns = ["run", f"{wording.label(names[0])}: run - {rows[0][0]}", *map(wording.label, metrics)]
            yield Table(task, columns, rows)
