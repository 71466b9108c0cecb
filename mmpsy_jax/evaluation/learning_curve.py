"""Learning curves over participants: metrics of predictors that were trained on more and more people, and what more of
them would be expected to bring.

A metric at n participants is described by the power law a + b n^-c, which can only improve with n and whose limit a is
a value that the metric can have; where the measured values get worse with n it is flat. Least squares: a and b in
closed form for each c of a grid, the best of which counts. What lies beyond the largest n is extrapolation.

All sizes are resampled together by test participants (or clusters), so that the intervals of the law are those of the
same people. They do not hold that other people might have been drawn to train on; `folds_sd` shows that in part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmpsy_jax.evaluation import bootstrap, metrics, plots, wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.metrics import HEADLINE, METRICS, Scores
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

# Three numbers are fitted: with fewer sizes there is no law.
FEWEST_SIZES = 4
EXPONENTS = np.geomspace(0.05, 2.0, 30)
GRID = 15  # points at which the law is drawn
CORRELATIONS = ("ccc", "pearson", "spearman")  # no larger than the square root of the reliability
MODEL = "model"


def power_law(
    n: Float[np.ndarray, " s"], values: Float[np.ndarray, "r s"], at: Float[np.ndarray, " p"], better: int
) -> Float[np.ndarray, "r p"]:
    """The power law fitted to r curves, at some numbers of participants; NaN for a curve that holds one.

    Args:
      n: numbers of participants, three or more different ones.
      values: a metric at each of them.
      at: where the law is asked for.
      better: 1 where more is better, with a limit of at most 1; -1 where less is, with one of at least 0.
    """
    whole = np.isfinite(values).all(axis=1)
    y = np.where(whole[:, None], values, 0.0)
    mean = y.mean(axis=1)
    best, error = np.repeat(mean[:, None], len(at), axis=1), ((y - mean[:, None]) ** 2).sum(axis=1)
    for c in EXPONENTS:
        x = n**-c
        slope = (y - mean[:, None]) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        limit = mean - slope * x.mean()
        residual = ((y - limit[:, None] - slope[:, None] * x) ** 2).sum(axis=1)
        possible = (slope * better < 0) & (limit <= 1 if better > 0 else limit >= 0)
        better_fit = possible & (residual < error)
        best[better_fit] = (limit[:, None] + slope[:, None] * at**-c)[better_fit]
        error[better_fit] = residual[better_fit]
    best[~whole] = np.nan
    return best


def measure(
    task: Task,
    tables: Sequence[Mapping[str, Predictions]],
    sizes: Sequence[float],
    more: int,
    *,
    reliability: float | None = None,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The entry of a task.

    Args:
      task: that was predicted.
      tables: per size the predictions of each predictor, "model" first.
      sizes: mean number of training participants of each.
      more: participants beyond the largest size, for which the law is extrapolated.
      reliability: of the questionnaire, which bounds correlations.

    Returns:
      {"kind", "label", "metrics": {METRIC: {"better", "ceiling", "predictors": {NAME: {"sizes": [CELL], "folds_sd":
      [x], "law": {"at", "value", "low", "high"} | None, "gain": CELL | None}}}}}; `gain` is the law at the largest size
      and `more`, less the law at the largest size.
    """
    names = [*HEADLINE[task.kind], *(["pearson"] if task.kind == "regression" and reliability else [])]
    shown = {name: METRICS[task.kind][name] for name in names}
    n = np.asarray(sizes, np.float64)
    at = np.append(np.geomspace(n[0], n[-1] + more, GRID), n[-1])
    fitted = len(sizes) >= FEWEST_SIZES
    entries: dict[str, Any] = {
        name: {
            "better": one.better,
            "ceiling": float(np.sqrt(reliability)) if reliability and name in CORRELATIONS else None,
            "predictors": {},
        }
        for name, one in shown.items()
    }
    for predictor in tables[0]:
        parts = [_tested(task, table[predictor]) for table in tables]
        ends = np.cumsum([len(part) for part in parts])
        statistics = [metrics.statistic(_rows(task, part), names) for part in parts]

        def statistic(weights: Float[np.ndarray, "r n"], ends=ends, statistics=statistics) -> Float[np.ndarray, "r k"]:
            of_sizes = np.split(weights, ends[:-1], axis=1)
            values = np.stack([one(w) for one, w in zip(statistics, of_sizes, strict=True)], axis=2)  # [r metrics s]
            columns = [values[:, i] for i in range(len(names))]
            if fitted:
                laws = [power_law(n, values[:, i], at, one.better) for i, one in enumerate(shown.values())]
                gains = [law[:, [-2]] - law[:, [-1]] for law in laws]
                columns = [np.hstack(three) for three in zip(columns, laws, gains, strict=True)]
            return np.hstack(columns)

        owners = np.concatenate([part.cluster for part in parts])
        intervals = bootstrap.bootstrap(owners, statistic, resamples=resamples, seed=seed)
        width = len(intervals.value) // len(names)
        for i, name in enumerate(names):
            cells = _cells(intervals.part(slice(i * width, (i + 1) * width)))
            entries[name]["predictors"][predictor] = {
                "sizes": cells[: len(sizes)],
                "folds_sd": [_spread(task, part, name) for part in parts],
                "law": _law(at[:-1], cells[len(sizes) : len(sizes) + GRID]) if fitted else None,
                "gain": cells[-1] if fitted else None,
            }
    return {"kind": task.kind, "label": task.label, "metrics": entries}


def _tested(task: Task, table: Predictions) -> Predictions:
    """Rows of the test split with a known label, seeds averaged."""
    return table.select(task=task.name, split="test").known().over_seeds(task.kind)


def _rows(task: Task, part: Predictions) -> metrics.Rows:
    return metrics.rows_of(task, part.y_true, part.y_prob if task.event else part.y_pred)


def _cells(intervals: bootstrap.Intervals) -> list[dict[str, Any]]:
    values = {str(i): value for i, value in enumerate(intervals.value.tolist())}
    return list(bootstrap.with_intervals(Scores(values, {}), intervals).values())


def _law(at: Float[np.ndarray, " g"], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"at": at.tolist(), **{key: [cell[key] for cell in cells] for key in ("value", "low", "high")}}


def _spread(task: Task, part: Predictions, name: str) -> float | None:
    """Standard deviation over folds of the metric of each alone; None of a single one."""
    folds = np.unique(part.fold)
    values = [metrics.point(_rows(task, part.select(fold=fold)), [name]).values[name] for fold in folds]
    return float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None


def sections(content: Mapping[str, Any]) -> list[Table]:
    """A table per task and metric of the content of `curve.json`: predictors by numbers of participants."""
    more, sizes, parts = content["more"], content["sizes"], []
    for task, entry in content["tasks"].items():
        for metric, one in entry["metrics"].items():
            rows = []
            for name, about in one["predictors"].items():
                rows.append([TITLES.get(name, name), *(wording.cell(metric, cell) for cell in about["sizes"])])
                rows[-1].append(wording.cell(metric, about["gain"], signed=True))
            beyond = f"{more} more people (extrapolation)"
            ceiling = one["ceiling"]
            limit = f"No correlation with this questionnaire can be above {ceiling:.3f}." if ceiling else ""
            columns = ["trained on", *(f"{size:g} people" for size in sizes), beyond]
            parts.append(Table(f"{task}: {wording.label(metric)}", columns, rows, note=limit, strong=columns[-2]))
    return parts


def pictures(content: Mapping[str, Any]) -> dict[str, str]:
    """A picture per task and metric as SVG text."""
    sizes = content["sizes"]
    return {
        f"{task}: {wording.label(metric)}": plots.participants(
            sizes, {TITLES.get(name, name): about for name, about in one["predictors"].items()}, one["ceiling"], metric
        )
        for task, entry in content["tasks"].items()
        for metric, one in entry["metrics"].items()
    }
