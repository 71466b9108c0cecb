"""The part of the report about one task on one split: pictures, and the tables below them."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from mmpsy_jax.evaluation import plots, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task

RULES = {
    "youden": "Youden (largest sensitivity + specificity)",
    "f1": "largest F1 of the positive class",
    "sensitivity_80": "sensitivity of at least 0.80",
    "sensitivity_90": "sensitivity of at least 0.90",
}

Section = dict[str, Any]


def section(
    title: str, columns: list[str], rows: list[list[Any]], note: str = "", opened: bool = False, strong: str = ""
) -> Section:
    """A table as the template sets it; each cell is text, or a dictionary as `wording.cell` makes it.

    A titled table is folded in unless it is `opened`; the column called `strong` stands out.
    """
    return {"title": title, "columns": columns, "rows": rows, "note": note, "opened": opened, "strong": strong}


def split(
    task: Task,
    name: str,
    report: Mapping[str, Any],
    predictions: Predictions,
    baselines: Mapping[str, Predictions],
    model: str,
) -> dict[str, Any]:
    """What the template shows of a task on the split `name`; `model` is what the predictor is called."""
    entry = report["tasks"][task.name]
    scored = entry["splits"][name]
    pictures = {} if name == "train" else dict(_pictures(task, name, scored, report, predictions, baselines, model))
    sections = [
        _metrics(task, scored, model, opened=name == wording.headline_split(report)),
        *_comparisons(scored),
        *_operating_points(scored),
        *_recalibration(scored),
        *_bands(task, scored),
        *_classes(task, scored),
        *_spreads(task, scored),
    ]
    return {
        "name": name,
        "sample": _sample(task, name, entry),
        "pictures": {caption: Markup(svg) for caption, svg in pictures.items()},
        "statements": list(_statements(task, scored)),
        "sections": sections,
    }


def verdict(difference: Mapping[str, Any], sign: int) -> str:
    """What the interval of a paired difference says; nothing for a metric whose best value lies in the middle."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None or not sign:
        return ""
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) == (sign > 0) else "worse"


def _sample(task: Task, name: str, entry: Mapping[str, Any]) -> str:
    scored = entry["splits"][name]
    text = f"{scored['n_participants']} participants"
    if task.kind != "binary":
        return text + "."
    text += f", {scored['n_events']} events (prevalence {wording.number('prevalence', scored['prevalence'])})."
    own = entry["thresholds"]["model"]
    shown = ", ".join(_threshold(one, len(own)) for one in own)
    chosen = {one["source"] for one in own}
    origin = (
        f"chosen on validation ({entry['threshold_rule']})" if chosen == {"validation"} else "partly or wholly default"
    )
    text += f" Threshold {shown}, {origin}."
    if name == "validation" and "validation" in chosen:
        text += " It was chosen on these participants, so what depends on it is too good here."
    return text


def _threshold(entry: Mapping[str, Any], n_folds: int) -> str:
    return wording.number("threshold", entry["value"]) + (f" in fold {entry['fold']}" if n_folds > 1 else "")


def _metrics(task: Task, scored, model: str, opened: bool) -> Section:
    columns, names = ["metric", model], list(scored["baselines"])
    for name in names:
        columns += [TITLES.get(name, name), f"{model} - {TITLES.get(name, name)}"]
    rows = []
    for metric, sign in NAMES[task.kind].items():
        row = [wording.label(metric), wording.cell(metric, scored["model"][metric])]
        for name in names:
            difference = scored["differences"][name][metric]
            shown = wording.cell(metric, difference, signed=True)
            shown["reason"] = " ".join(filter(None, (verdict(difference, sign), shown["reason"])))
            row += [wording.cell(metric, scored["baselines"][name][metric]), shown]
        rows.append(row)
    return section("All metrics", columns, rows, opened=opened, strong=model)


def _comparisons(scored) -> Iterator[Section]:
    """Tests of the first metric against each baseline."""
    tested = scored.get("comparisons")
    if not tested:
        return
    rows = [
        [
            TITLES.get(name, name),
            wording.label(one["metric"]),
            wording.cell(one["metric"], {**one, "value": one["difference"]}, signed=True),
            wording.p_value(one["p"]),
            wording.p_value(one["p_holm"]),
            {"delong": "DeLong", "bootstrap": "paired bootstrap"}[one["test"]],
        ]
        for name, one in tested.items()
    ]
    columns = ["against", "metric", "difference", "p", "p (Holm)", "test"]
    note = "Two-sided p values; Holm's correction is over all comparisons of this report on the same split."
    left_out = [TITLES.get(name, name) for name in scored.get("constant_baselines", ()) if name not in tested]
    if left_out:
        note += f" Not tested against {', '.join(left_out)}, which says the same of everybody in each fold."
    yield section("Tests against the others", columns, rows, note)


def _operating_points(scored) -> Iterator[Section]:
    points = scored.get("operating_points")
    if not points:
        return
    names = list(next(iter(points.values()))["metrics"])
    rows = []
    for rule, point in points.items():
        thresholds = point["thresholds"]
        shown = ", ".join(_threshold(one, len(thresholds)) for one in thresholds)
        default = any(one["source"] != "validation" for one in thresholds)
        rows.append(
            [
                RULES.get(rule, rule),
                {"value": shown, "interval": "", "reason": "partly or wholly default" if default else ""},
                *(wording.cell(metric, point["metrics"][metric]) for metric in names),
            ]
        )
    columns = ["rule", "threshold", *map(wording.label, names)]
    note = "Each threshold is chosen on the validation participants of its fold and carried to test."
    yield section("Operating points", columns, rows, note)


def _recalibration(scored) -> Iterator[Section]:
    """Calibration in numbers as predicted, and after each map that was fitted on validation."""
    recalibration = scored.get("recalibration")
    if not recalibration:
        return
    maps = {name: values for name, values in recalibration.items() if isinstance(values, Mapping)}
    origin = recalibration.get("fitted_on")
    if not maps:
        note = f"Not recalibrated: {recalibration.get('reason') or 'no validation participants'}."
        yield section("Calibration before and after recalibration", [], [], note)
        return
    metrics = list(next(iter(maps.values())))
    rows = [
        [
            wording.label(metric),
            wording.cell(metric, scored["model"].get(metric)),
            *(wording.cell(metric, values[metric]) for values in maps.values()),
        ]
        for metric in metrics
    ]
    note = f"The maps are fitted on {origin} participants of the same fold. Ideal are slope 1 and intercept 0."
    yield section("Calibration before and after recalibration", ["metric", "as predicted", *maps], rows, note)


def _bands(task: Task, scored) -> Iterator[Section]:
    if scored.get("bands"):
        names = band_names(task)
        rows = [
            [names[one["band"]], str(one["n"]), *(wording.number("mae", one[metric]) for metric in ("recall", "mae"))]
            for one in scored["bands"]
        ]
        note = "Recall: share of the band's participants whose rounded prediction is that band. MAE in bands."
        yield section("Each band", [f"{task.label}", "participants", "recall", "MAE"], rows, note)


def _classes(task: Task, scored) -> Iterator[Section]:
    if each := scored.get("per_class"):
        names = ("precision", "recall", "f1")
        rows = [
            [task.classes[one["class"]], str(one["n"]), *(wording.number(metric, one[metric]) for metric in names)]
            for one in each
        ]
        yield section("Each class", [task.label, "participants", "precision", "recall", "F1"], rows, opened=True)


def _spreads(task: Task, scored) -> Iterator[Section]:
    for unit in ("fold", "seed"):
        spread = scored[f"{unit}s"]
        if spread is None:
            continue
        rows = []
        for metric in NAMES[task.kind]:
            one = spread["model"][metric]
            values = (one["mean"], one["sd"], *one["values"])
            rows.append([wording.label(metric), *(wording.number(metric, value) for value in values)])
        yield section(f"Each {unit} alone", ["metric", "mean", "sd", *(f"{unit} {i}" for i in spread["ids"])], rows)


def _statements(task: Task, scored) -> Iterator[str]:
    """Results that are one sentence."""
    if agreement := scored.get("agreement"):
        bias, low, high = (wording.number("mae", agreement[name]) for name in ("bias", "low", "high"))
        yield f"Bland-Altman: bias {bias} points, 95 % limits of agreement {low} to {high}."
    if mmsa := scored.get("mmsa"):
        values = ", ".join(
            f"{name} {'undefined' if value is None else format(value, '.4f')}" for name, value in mmsa.items()
        )
        yield f"Under the names and by the definitions of MMSA: {values}."
    if conformal := scored.get("conformal"):
        if conformal["coverage"] is None:
            yield f"No conformal {'intervals' if task.kind == 'regression' else 'sets'}: {_why(conformal)}."
            return
        size = (
            f"intervals: coverage measured {conformal['coverage']:.1%}, mean width {conformal['mean_width']:.1f} points"
            if task.kind == "regression"
            else f"sets of bands: coverage measured {conformal['coverage']:.1%}, mean size {conformal['mean_size']:.1f}"
        )
        yield f"{conformal['level']:.0%} conformal {size} ({conformal['n_calibration']} validation participants)."


def _why(entry: Mapping[str, Any]) -> str:
    return entry.get("reason") or f"{entry['n_calibration']} validation participants"


def _pictures(task: Task, name: str, scored, report, predictions, baselines, model: str) -> Iterator[tuple[str, str]]:
    rows = predictions.select(task=task.name, split=name).known().over_seeds(task.kind)
    if not len(rows):
        return
    seed = report["bootstrap"]["seed"]
    if task.kind == "regression":
        yield "Scores", plots.scatter(rows.y_true, rows.y_pred, task.maximum)
        yield "Bland-Altman", plots.bland_altman(rows.y_true, rows.y_pred)
    elif task.kind == "ordinal":
        yield "Bands", plots.confusion(np.array(scored["confusion"]), band_names(task))
    elif task.kind == "nominal":
        yield "Confusion matrix", plots.confusion(np.array(scored["confusion"]), task.classes)
    else:
        if len(np.unique(rows.y_true)) == 2:
            drawn = {"baselines": dict(_baseline_columns(task, name, baselines)), "seed": seed, "model": model}
            yield "ROC", plots.roc(rows.y_true, rows.y_prob, rows.cluster, **drawn)
            yield (
                "Precision and recall",
                plots.precision_recall(rows.y_true, rows.y_prob, rows.cluster, **drawn),
            )
        yield "Reliability", plots.reliability(rows.y_true, rows.y_prob)
        if curve := scored.get("decision_curve"):
            yield "Decision curve", plots.decision_curve(curve, model)
        names = (f"< {task.cutoffs[0]:g}", f">= {task.cutoffs[0]:g}")
        yield "Confusion matrix at the threshold", plots.confusion(np.array(scored["confusion"]), names)
    metric = next(iter(NAMES[task.kind]))
    pairs = {TITLES.get(k, k): (scored["differences"][k][metric], _tested(scored, k)) for k in scored["differences"]}
    if any(difference["low"] is not None for difference, _ in pairs.values()):
        yield f"{wording.label(metric)} against the others", plots.forest(pairs, wording.label(metric), model)


def _tested(scored, name: str) -> str:
    """p values of a comparison as a picture shows them; empty where it was not tested."""
    one = (scored.get("comparisons") or {}).get(name)
    return f"p {wording.p_value(one['p'])}, Holm {wording.p_value(one['p_holm'])}" if one else ""


def _baseline_columns(task: Task, name: str, baselines) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Truth and probability of the baselines that rank participants: a constant has no curve."""
    for baseline, table in baselines.items():
        rows = table.select(task=task.name, split=name).known().over_seeds(task.kind)
        if baseline != "prior" and len(np.unique(rows.y_true)) == 2:
            yield baseline, (rows.y_true, rows.y_prob)


def band_names(task: Task) -> list[str]:
    """Names of the bands: "0-4", "5-9", ..., "20+"."""
    edges = [0, *task.cutoffs]
    inner = [f"{low:g}" if high == low + 1 else f"{low:g}-{high - 1:g}" for low, high in itertools.pairwise(edges)]
    return [*inner, f"{edges[-1]:g}+"]
