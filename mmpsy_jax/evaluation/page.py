"""`report.html`: what a reader sees of a report: one file, no request leaves it, no participant's id stands in it."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from mmpsy_jax.evaluation import plots, sweep_page
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task

HEADLINE = {"binary": ("auroc", "auprc"), "ordinal": ("qwk", "macro_mae"), "regression": ("mae", "ccc")}
LABELS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "brier_skill": "Brier skill",
    "log_loss": "log loss",
    "ece": "ECE (10 bins of equal mass)",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1 of the positive class",
    "f1_macro": "macro F1",
    "qwk": "quadratic weighted kappa",
    "macro_mae": "macro MAE (bands)",
    "mae": "MAE",
    "rmse": "RMSE",
    "ccc": "CCC",
    "pearson": "Pearson r",
    "spearman": "Spearman rho",
}
SPLIT_ORDER = ("test", "validation", "train")
_POINTS = ("mae", "rmse")  # in points of the questionnaire: two decimals say enough


def label(metric: str) -> str:
    """A metric's name for people."""
    return LABELS.get(metric, metric.replace("_", " "))


def number(metric: str, value: float | None) -> str:
    """A value as text; "undefined" for None."""
    return "undefined" if value is None else f"{value:.{2 if metric in _POINTS else 3}f}"


def headline_split(report: Mapping[str, Any]) -> str:
    """The split that the first table shows: test where there is one."""
    there = {split for entry in report["tasks"].values() for split in entry["splits"]}
    return next(split for split in SPLIT_ORDER if split in there)


def render(
    report: Mapping[str, Any],
    predictions: Predictions,
    tasks: Sequence[Task],
    *,
    baselines: Mapping[str, Predictions],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    context: Mapping[str, Any],
    disclaimer: str,
) -> str:
    """The page as HTML text; `context` holds what may be shown of the configuration, the environment and the corpus."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    corpus = context.get("corpus") or {}
    optimum = corpus.get("optimum") if report["synthetic"] else None
    return environment.get_template("report.html").render(
        title=_title(context),
        synthetic=report["synthetic"],
        disclaimer=disclaimer,
        flags=[{**flag, "where": _where(flag)} for flag in report["flags"]],
        headline=_headline(report, optimum, context),
        optimum=_optimum(optimum) if optimum else None,
        interval_note=_interval_note(report),
        spread_note=_spread_note(report),
        curves={name: Markup(svg) for name, svg in plots.learning_curves(curves).items()},
        sweep=_sweep(context.get("sweep")),
        tasks=[_task(task, report, predictions, baselines) for task in tasks],
        methods=_methods(report),
        context={name: json.dumps(value, indent=1, ensure_ascii=False) for name, value in context.items() if value},
    )


def _sweep(sweep: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not sweep:
        return None
    section = sweep_page.section(sweep)
    return {**section, "pictures": {name: Markup(svg) for name, svg in section["pictures"].items()}}


def _title(context: Mapping[str, Any]) -> str:
    corpus, config = context.get("corpus") or {}, context.get("config") or {}
    parts = [config.get("name"), "/".join(filter(None, (corpus.get("dataset"), corpus.get("config"))))]
    return " on ".join(filter(None, parts)) or "Evaluation of predictions"


def _where(flag: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (flag["task"], flag["split"])))


def _cell(metric: str, entry: Mapping[str, Any] | None, signed: bool = False) -> dict[str, str] | None:
    """Value, interval and reason as text."""
    if entry is None:
        return None
    sign = "+" if signed and entry["value"] is not None and entry["value"] > 0 else ""
    known = entry["low"] is not None and entry["high"] is not None
    return {
        "value": sign + number(metric, entry["value"]),
        "interval": f"{number(metric, entry['low'])}, {number(metric, entry['high'])}" if known else "",
        "reason": entry.get("reason", ""),
    }


def _headline(report, optimum, context) -> dict[str, Any]:
    split = headline_split(report)
    rows = []
    for name, entry in report["tasks"].items():
        scored = entry["splits"].get(split)
        for metric in HEADLINE[entry["kind"]] if scored else ():
            beside = [scored["baselines"].get(b) for b in report["baselines"]]
            rows.append(
                {
                    "task": name,
                    "metric": label(metric),
                    "model": _cell(metric, scored["model"][metric]),
                    "baselines": [_cell(metric, b and b[metric]) for b in beside],
                    "optimum": best_possible(optimum, entry, metric, split, context) if optimum else None,
                }
            )
    names = [TITLES.get(name, name) for name in report["baselines"]]
    return {"split": split, "rows": rows, "baselines": names, "optimum": optimum is not None}


def best_possible(optimum, entry, metric, split, context) -> str | None:
    """The constructed optimum for the modalities that the model reads, where the corpus card knows it."""
    if entry["kind"] == "binary" and optimum.get("cutoff", entry["cutoffs"][0]) != entry["cutoffs"][0]:
        return None
    where = optimum.get("test" if split == "test" and "test" in optimum else "population") or {}
    modalities = ((context.get("config") or {}).get("data") or {}).get("modalities") or ()
    read = modalities[0] if len(modalities) == 1 else "both"
    value = (where.get(entry["label"]) or {}).get(read, {}).get(metric)
    return None if value is None else f"{number(metric, value)} ({read})"


def _optimum(optimum: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of the nested numbers {where: {label: {modality: {metric: value}}}}; everything else as text."""
    texts, tables = [], []
    for name, value in optimum.items():
        by_label = {k: v for k, v in value.items() if isinstance(v, Mapping)} if isinstance(value, Mapping) else {}
        rows = [(k, m, v) for k, v in by_label.items() for m, v in v.items() if isinstance(v, Mapping)]
        if rows:
            columns = list(rows[0][2])
            body = [[k, m, *(number(c, values.get(c)) for c in columns)] for k, m, values in rows]
            tables.append({"name": name, "columns": [label(c) for c in columns], "rows": body})
        else:
            texts.append(f"{name}: {value}")
    return {"texts": texts, "tables": tables}


def _interval_note(report) -> str:
    boot = report["bootstrap"]
    return (
        f"{boot['level']:.0%} bootstrap intervals over participants ({boot['resamples']} resamples, {boot['method']}, "
        f"seed {boot['seed']})."
    )


def _spread_note(report) -> str:
    parts = []
    if len(report["folds"]) > 1:
        parts.append(f"The out-of-fold predictions of {len(report['folds'])} folds are pooled.")
    if len(report["seeds"]) > 1:
        parts.append(f"The predictions of {len(report['seeds'])} seeds are averaged; their spread is shown apart.")
    return " ".join(parts)


def _task(task: Task, report, predictions, baselines) -> dict[str, Any]:
    entry = report["tasks"][task.name]
    target = {
        "binary": f"screening: {task.label} >= {', '.join(f'{c:g}' for c in task.cutoffs)}",
        "ordinal": f"bands of {task.label} from {', '.join(f'{c:g}' for c in task.cutoffs)}",
        "regression": f"score of {task.label}",
    }[task.kind]
    splits = [
        _split(task, split, entry, report, predictions, baselines) for split in SPLIT_ORDER if split in entry["splits"]
    ]
    return {"name": task.name, "description": f"{task.kind}, {target}", "splits": splits}


def _split(task: Task, split: str, entry, report, predictions, baselines) -> dict[str, Any]:
    scored = entry["splits"][split]
    names = list(scored["baselines"])
    rows = []
    for metric, sign in NAMES[task.kind].items():
        pairs = []
        for name in names:
            difference = scored["differences"][name][metric]
            pairs.append(
                {
                    "baseline": _cell(metric, scored["baselines"][name][metric]),
                    "difference": _cell(metric, difference, signed=True),
                    "verdict": verdict(difference, sign),
                }
            )
        rows.append({"metric": label(metric), "model": _cell(metric, scored["model"][metric]), "pairs": pairs})
    pictures = {} if split == "train" else dict(_pictures(task, split, scored, report, predictions, baselines))
    return {
        "name": split,
        "sample": _sample(task, split, entry),
        "baselines": [TITLES.get(name, name) for name in names],
        "rows": rows,
        "pictures": {name: Markup(svg) for name, svg in pictures.items()},
        "spreads": list(_spreads(task, scored)),
    }


def verdict(difference: Mapping[str, Any], sign: int) -> str:
    """What the interval of a paired difference says."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return ""
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) == (sign > 0) else "worse"


def _sample(task: Task, split: str, entry) -> str:
    scored = entry["splits"][split]
    text = f"{scored['n_participants']} participants"
    if task.kind != "binary":
        return text + "."
    text += f", {scored['n_events']} events (prevalence {number('prevalence', scored['prevalence'])})."
    own = entry["thresholds"]["model"]
    shown = ", ".join(f"{t['value']:.3f}" + (f" in fold {t['fold']}" if len(own) > 1 else "") for t in own)
    chosen = {t["source"] for t in own}
    origin = (
        f"chosen on validation ({entry['threshold_rule']})" if chosen == {"validation"} else "partly or wholly default"
    )
    text += f" Threshold {shown}, {origin}."
    if split == "validation" and "validation" in chosen:
        text += " It was chosen on these participants, so what depends on it is too good here."
    return text


def _pictures(task: Task, split: str, scored, report, predictions, baselines) -> Iterator[tuple[str, str]]:
    rows = predictions.select(task=task.name, split=split).known().mean_over_seeds()
    if not len(rows):
        return
    if task.kind == "regression":
        yield "Scores", plots.scatter(rows.y_true, rows.y_pred, task.maximum)
        yield "Bland-Altman", plots.bland_altman(rows.y_true, rows.y_pred)
        return
    if task.kind == "ordinal":
        yield "Bands", plots.confusion(np.array(scored["confusion"]), _bands(task))
        return
    if len(np.unique(rows.y_true)) == 2:
        beside = dict(_baseline_columns(task, split, baselines))
        seed = report["bootstrap"]["seed"]
        yield "ROC", plots.roc(rows.y_true, rows.y_prob, rows.participant_id, baselines=beside, seed=seed)
        yield (
            "Precision and recall",
            plots.precision_recall(rows.y_true, rows.y_prob, rows.participant_id, baselines=beside, seed=seed),
        )
    yield "Reliability", plots.reliability(rows.y_true, rows.y_prob)
    names = (f"< {task.cutoffs[0]:g}", f">= {task.cutoffs[0]:g}")
    yield "Confusion matrix at the threshold", plots.confusion(np.array(scored["confusion"]), names)


def _baseline_columns(task: Task, split: str, baselines) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Truth and probability of the baselines that rank participants: a constant has no curve."""
    for name, table in baselines.items():
        rows = table.select(task=task.name, split=split).known().mean_over_seeds()
        if name != "prior" and len(np.unique(rows.y_true)) == 2:
            yield name, (rows.y_true, rows.y_prob)


def _bands(task: Task) -> list[str]:
    """Names of the bands: "0-4", "5-9", ..., "20+"."""
    edges = [0, *task.cutoffs]
    inner = [f"{low:g}-{high - 1:g}" for low, high in itertools.pairwise(edges)]
    return [*inner, f"{edges[-1]:g}+"]


def _spreads(task: Task, scored) -> Iterator[dict[str, Any]]:
    for unit, title in (("fold", "Each fold alone"), ("seed", "Each seed alone")):
        spread = scored[f"{unit}s"]
        if spread is None:
            continue
        rows = []
        for metric in NAMES[task.kind]:
            one = spread["model"][metric]
            rows.append([label(metric), *(number(metric, v) for v in (one["mean"], one["sd"], *one["values"]))])
        yield {"title": title, "unit": unit, "ids": spread["ids"], "rows": rows}


def _methods(report) -> list[str]:
    return [
        "Baselines are fitted on the training split alone, with fixed hyper-parameters.",
        "Participants are the unit of splitting and of resampling; models are compared in pairs on the same resamples.",
        "Thresholds are chosen on validation and carried to test.",
        "An interval is about the sample of participants; retraining adds variation that folds and seeds show.",
    ]
