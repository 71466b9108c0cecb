"""The part of the page about one task on one split: pictures, and the tables below them."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from mmpsy_jax.evaluation import plots, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.out_of_fold import CHOSEN
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

RULES = {
    "youden": "Youden (largest sensitivity + specificity)",
    "f1": "largest F1 of the positive class",
    "sensitivity_80": "sensitivity of at least 0.80",
    "sensitivity_90": "sensitivity of at least 0.90",
}
Numbers = Mapping[str, Any]  # an entry of `report.json`


def split(task: Task, name: str, report: Numbers) -> dict[str, Any]:
    """What `split.html` shows of a task on the split `name`."""
    entry, model = report["tasks"][task.name], wording.model_name(report)
    scored = entry["splits"][name]
    curves = report.get("curves", {}).get(task.name, {}).get(name, {})
    drawn = name != "train" and scored["n_rows"]
    pictures = dict(_pictures(task, scored, curves, model, wording.unit(report))) if drawn else {}
    tested = scored.get("comparisons") or {}
    thresholds = entry["thresholds"]["model"] if task.event else []
    unit = wording.unit(report)
    return {
        "name": name,
        "unit": unit,
        "entry": entry,
        "scored": scored,
        "thresholds": _thresholds(thresholds),
        "sources": sorted({one["source"] for one in thresholds}),
        "pictures": {caption: Markup(svg) for caption, svg in pictures.items()},
        "metrics": _metrics(task, scored, model, opened=name == wording.headline_split(report)),
        "comparisons": _comparisons(scored),
        "not_tested": [TITLES.get(k, k) for k in scored.get("constant_baselines", ()) if k not in tested],
        "operating_points": _operating_points(scored),
        "recalibration": _recalibration(scored),
        "bands": _bands(task, scored, unit),
        "classes": _classes(task, scored, unit),
        "spreads": [_spread(task, unit, scored[f"{unit}s"]) for unit in ("fold", "seed")],
    }


def verdict(difference: Numbers, sign: int) -> str:
    """What the interval of a paired difference says; nothing for a metric whose best value lies in the middle."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None or not sign:
        return ""
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) == (sign > 0) else "worse"


def _thresholds(chosen: list[Numbers]) -> str:
    """Thresholds, each with its fold where there are several."""
    return ", ".join(
        wording.number("threshold", one["value"]) + (f" in fold {one['fold']}" if len(chosen) > 1 else "")
        for one in chosen
    )


def _metrics(task: Task, scored: Numbers, model: str, opened: bool) -> Table:
    baselines = scored["baselines"]
    columns = ["metric", model]
    for name in baselines:
        columns += [TITLES.get(name, name), f"{model} - {TITLES.get(name, name)}"]
    rows = []
    for metric, sign in NAMES[task.kind].items():
        row = [wording.label(metric), wording.cell(metric, scored["model"][metric])]
        for name in baselines:
            difference = scored["differences"][name][metric]
            shown = wording.cell(metric, difference, signed=True)
            shown["reason"] = " ".join(filter(None, (verdict(difference, sign), shown["reason"])))
            row += [wording.cell(metric, baselines[name][metric]), shown]
        rows.append(row)
    return Table("All metrics", columns, rows, opened=opened, strong=model)


def _comparisons(scored: Numbers) -> Table:
    """Tests of the first metric against each baseline."""
    rows = []
    for name, one in (scored.get("comparisons") or {}).items():
        difference = wording.cell(one["metric"], {**one, "value": one["difference"]}, signed=True)
        test = {"delong": "DeLong", "bootstrap": "paired bootstrap"}[one["test"]]
        p = [wording.p_value(one[name]) for name in ("p", "p_holm")]
        rows.append([TITLES.get(name, name), wording.label(one["metric"]), difference, *p, test])
    return Table("Tests against the others", ["against", "metric", "difference", "p", "p (Holm)", "test"], rows)


def _operating_points(scored: Numbers) -> Table:
    rows, columns = [], ["rule", "threshold"]
    for rule, point in (scored.get("operating_points") or {}).items():
        default = any(one["source"] not in CHOSEN for one in point["thresholds"])
        shown = {"value": _thresholds(point["thresholds"]), "interval": ""}
        shown["reason"] = "partly or wholly default" if default else ""
        columns[2:] = map(wording.label, point["metrics"])
        rows.append([RULES.get(rule, rule), shown, *itertools.starmap(wording.cell, point["metrics"].items())])
    return Table("Operating points", columns, rows)


def _recalibration(scored: Numbers) -> Table:
    """Calibration in numbers as predicted, and after each map that was fitted on validation."""
    maps = {k: cells for k, cells in (scored.get("recalibration") or {}).items() if isinstance(cells, Mapping)}
    rows = []
    for metric in next(iter(maps.values()), ()):
        cells = [scored["model"].get(metric), *(values[metric] for values in maps.values())]
        rows.append([wording.label(metric), *(wording.cell(metric, cell) for cell in cells)])
    return Table("Calibration before and after recalibration", ["metric", "as predicted", *maps], rows)


def _bands(task: Task, scored: Numbers, unit: str) -> Table:
    rows = [
        [band_names(task)[one["band"]], one["n"], *(wording.number("mae", one[metric]) for metric in ("recall", "mae"))]
        for one in scored.get("bands") or ()
    ]
    return Table("Each band", [task.label, unit, "recall", "MAE"], rows)


def _classes(task: Task, scored: Numbers, unit: str) -> Table:
    names = ("precision", "recall", "f1")
    rows = [
        [task.classes[one["class"]], one["n"], *(wording.number(metric, one[metric]) for metric in names)]
        for one in scored.get("per_class") or ()
    ]
    return Table("Each class", [task.label, unit, "precision", "recall", "F1"], rows, opened=True)


def _spread(task: Task, unit: str, spread: Numbers | None) -> Table:
    """Metrics of each fold, or seed, alone."""
    rows = []
    for metric in NAMES[task.kind] if spread else ():
        one = spread["model"][metric]
        values = (one["mean"], one["sd"], *one["values"])
        rows.append([wording.label(metric), *(wording.number(metric, value) for value in values)])
    ids = spread["ids"] if spread else ()
    return Table(f"Each {unit} alone", ["metric", "mean", "sd", *(f"{unit} {i}" for i in ids)], rows)


def _pictures(task: Task, scored: Numbers, curves: Numbers, model: str, unit: str) -> Iterator[tuple[str, str]]:
    if "cells" in curves:
        yield "Scores", plots.scatter(curves["cells"], curves["fit"], max(task.maximum, *curves["cells"]["true"]))
        if scored.get("agreement"):
            yield "Bland-Altman", plots.bland_altman(curves["cells"], scored["agreement"])
    if "roc" in curves:
        yield "ROC", plots.roc(curves["roc"], model)
        yield "Precision and recall", plots.precision_recall(curves["precision_recall"], scored["prevalence"], model)
    if "reliability" in curves:
        yield "Reliability", plots.reliability(curves["reliability"], curves["histogram"], unit)
    if curve := scored.get("decision_curve"):
        yield "Decision curve", plots.decision_curve(curve, model)
    if task.event:
        names = (f"< {task.cutoffs[0]:g}", f">= {task.cutoffs[0]:g}")
        yield "Confusion matrix at the threshold", plots.confusion(scored["confusion"], names)
    elif task.n_classes:
        names = task.classes or band_names(task)
        yield "Confusion matrix" if task.named else "Bands", plots.confusion(scored["confusion"], names)
    metric = next(iter(NAMES[task.kind]))
    pairs = {TITLES.get(k, k): (cells[metric], _tested(scored, k)) for k, cells in scored["differences"].items()}
    if any(difference["low"] is not None for difference, _ in pairs.values()):
        axis = f"difference in {wording.label(metric)}: {model} - other"
        yield f"{wording.label(metric)} against the others", plots.forest(pairs, axis)


def _tested(scored: Numbers, name: str) -> str:
    """p values of a comparison as a picture shows them; empty where it was not tested."""
    one = (scored.get("comparisons") or {}).get(name)
    return f"p {wording.p_value(one['p'])}, Holm {wording.p_value(one['p_holm'])}" if one else ""


def band_names(task: Task) -> list[str]:
    """Names of the bands: "0-4", "5-9", ..., "20+"."""
    edges = [0, *task.cutoffs]
    inner = [f"{low:g}" if high == low + 1 else f"{low:g}-{high - 1:g}" for low, high in itertools.pairwise(edges)]
    return [*inner, f"{edges[-1]:g}+"]
