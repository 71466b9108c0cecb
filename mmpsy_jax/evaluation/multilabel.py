"""Binary tasks of one run as labels of which any number may hold: means over them with intervals.

The published hotline results are such means (arXiv 2405.04128, code/compute.ipynb): positives only, micro, macro, and
weighted by how often a label holds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mmpsy_jax.evaluation import bootstrap, metrics, wording
from mmpsy_jax.evaluation.bootstrap import with_intervals
from mmpsy_jax.evaluation.operating_points import decide
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.rows import BinaryRows, Statistic, of_labels
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.io import InputError


def entry(
    rows: Mapping[str, Predictions], thresholds: Mapping[str, Sequence[Mapping[str, Any]]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What a report says of one split: `overall` with intervals over clusters, and `labels` by task.

    Args:
      rows: of the split by task, seeds averaged.
      thresholds: of each task, see `operating_points.choose_thresholds`.
      options: of `bootstrap.bootstrap`.

    Raises:
      InputError: not every participant has all labels.
    """
    first = next(iter(rows.values()))
    for name, part in rows.items():
        same = np.array_equal(part.participant_id, first.participant_id) and np.array_equal(part.fold, first.fold)
        if not same or np.isnan(part.y_true).any():
            raise InputError(
                f"multilabel: not every participant has a {name!r} label: turn config.evaluation.multilabel off"
            )
    truth = np.stack([part.y_true for part in rows.values()], axis=1)
    prob = np.stack([part.y_prob for part in rows.values()], axis=1)
    called = np.stack([decide(part, thresholds[name]) for name, part in rows.items()], axis=1)
    overall, labels = scores(truth, prob, called)
    auroc = overall.values.pop("auroc_macro")  # has no interval here
    intervals = bootstrap.bootstrap(first.cluster, statistic(truth, called), **options)
    return {
        "n_participants": len(np.unique(first.participant_id)),
        "n_clusters": len(np.unique(first.cluster)),
        "overall": {**with_intervals(overall, intervals), "auroc_macro": {"value": auroc}},
        "labels": {
            name: {"n_events": int(truth[:, k].sum()), **with_intervals(one, None)}
            for k, (name, one) in enumerate(zip(rows, labels, strict=True))
        },
    }


def scores(
    y_true: Float[np.ndarray, "n k"], y_prob: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]
) -> tuple[metrics.Scores, list[metrics.Scores]]:
    """Metrics of k labels of which any number may hold, overall and of each label.

    A label that neither occurs nor is predicted has no precision, recall or F1, one that holds for nobody or everybody
    no AUROC; the means over labels leave these out.

    Args:
      y_true: 0 or 1.
      y_prob: probability of 1.
      positive: the decisions.

    Returns:
      `precision_micro`, `precision_macro`, `precision_weighted` (by how often a label holds), the same of `recall` and
      `f1`, and `auroc_macro`; then `precision`, `recall`, `f1` and `auroc` of each label.
    """
    true, called = y_true == 1, np.asarray(positive, bool)
    tp, fp, fn = ((a & b).sum(0).astype(float) for a, b in ((true, called), (~true, called), (true, ~called)))
    each, means = of_labels(tp, fp, fn)
    rows = [BinaryRows(t, p) for t, p in zip(y_true.T, y_prob.T, strict=True)]
    each["auroc"] = np.array([metrics.point(one, ["auroc"]).values["auroc"] for one in rows])
    reasons = dict.fromkeys(each, "the label neither occurs nor is predicted") | {"auroc": metrics.ONE_CLASS}
    per_label = []
    for k in range(y_true.shape[1]):
        values = {name: float(column[k]) for name, column in each.items()}
        per_label.append(
            metrics.Scores(values, {name: reasons[name] for name, value in values.items() if math.isnan(value)})
        )
    values = {name: float(value) for name, value in means.items()}
    defined = each["auroc"][np.isfinite(each["auroc"])]
    values["auroc_macro"] = float(defined.mean()) if len(defined) else math.nan
    return metrics.Scores(
        values, {name: "undefined for every label" for name, v in values.items() if math.isnan(v)}
    ), per_label


def statistic(truth: Float[np.ndarray, "n k"], called: Bool[np.ndarray, "n k"]) -> Statistic:
    """The means of `scores` but AUROC for weighted samples of the rows."""
    true = truth == 1
    counts = [(a & b).astype(float) for a, b in ((true, called), (~true, called), (true, ~called))]

    def of(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r m"]:
        _, means = of_labels(*(weights @ count for count in counts))
        return np.stack(list(means.values()), axis=1)

    return of


def sections(report: Mapping[str, Any]) -> list[Table]:
    """Tables of the page: means, then labels, of the split that comes first."""
    scored = (report.get("multilabel") or {}).get(wording.headline_split(report))
    if not scored:
        return []
    means = [
        [name, *(wording.cell(f"{name}_{kind}", scored["overall"][f"{name}_{kind}"]) for kind in _KINDS)]
        for name in _NAMES
    ]
    labels = [
        [task, str(one["n_events"]), *(wording.cell(name, one[name]) for name in (*_NAMES, "auroc"))]
        for task, one in scored["labels"].items()
    ]
    note = f"{scored['n_participants']} participants in {scored['n_clusters']} clusters, which are what is resampled."
    return [
        Table("Means over labels", ["of the positive class", *_KINDS], means, note=note, opened=True),
        Table("Each label", ["label", "events", *_NAMES, "AUROC"], labels, opened=True),
    ]


def summary(report: Mapping[str, Any], split: str) -> str:
    """One line for a terminal; empty where there is nothing to say."""
    scored = (report.get("multilabel") or {}).get(split)
    if not scored:
        return ""
    shown = "   ".join(f"{kind} {wording.estimate('f1', scored['overall'][f'f1_{kind}'])}" for kind in _KINDS)
    return f"F1 over {len(scored['labels'])} labels: {shown}"


_NAMES, _KINDS = ("precision", "recall", "f1"), ("weighted", "macro", "micro")
