"""What the page says in numbers: distributions, effect sizes, a map, how far groups are told apart, who is odd.

The person is the unit: resamples draw persons with all their rows (clips, days, segments), folds divide persons.

An effect is Spearman's rank correlation of a measure with a score, or Cliff's delta (Cliff 1993: the share of pairs in
which the first group has more, less the share in which it has less) between two groups. Intervals are percentiles of
resamples of persons. The p value takes the standard error of Fisher's z from the interval, so that Holm's correction
over all effects is not bounded by the number of resamples: from its half towards 0, since the other may end at 1, which
is infinitely far in z. p is below 0.05 where that half does not reach 0.

Odd is who has a modified z score beyond 3.5 (Iglewicz and Hoaglin 1993): distance from the median over the median
absolute deviation, times 0.6745.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmpsy_jax.evaluation import bootstrap, comparison, metrics
from mmpsy_jax.evaluation.rows import BinaryRows, Rows, ScoreRows, where_drawn
from mmpsy_jax.evaluation.subgroups import suppressed
from mmpsy_jax.exploration.measures import INPUTS, measure_of
from mmpsy_jax.exploration.people import People
from mmpsy_jax.tasks import BANDS

QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
RESAMPLES = 1000
FEWEST = 10  # persons with a measure, and of each group that is told apart
FOLDS = 5
ODD = 3.5
GRID = 48  # cells of the map along an axis
CUTOFFS = dict.fromkeys((*BANDS, "phq8"), 10.0)  # of questionnaires whose usual cut-off is known
_C = 1.0  # rows have a norm of about one per block of features
_BINS = 20


def quantiles(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Of the known ones."""
    known = values[np.isfinite(values)]
    return {name: float(np.quantile(known, share)) for name, share in QUANTILES.items()}


def histogram(values: Float[np.ndarray, " n"]) -> dict[str, list[float]]:
    """Counts of the known values in bins of equal width; a bin per value of a short scale of whole numbers."""
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    if (known % 1 == 0).all() and high - low < 64:
        edges = np.arange(low - 0.5, high + 1)
    else:
        edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    return {"edges": edges.tolist(), "counts": np.histogram(known, edges)[0].tolist()}


def correlations(people: People, seed: int = 0) -> list[dict[str, Any]]:
    """Spearman's correlation of each pair of scores, with the counts of their values together."""
    pairs, parts = [], []
    for names in itertools.combinations((name for name in people.scores if name not in people.classes), 2):
        a, b = (people.scores[name] for name in names)
        known = np.isfinite(a) & np.isfinite(b)
        if _n_persons(people, known) < FEWEST or not (np.ptp(a[known]) and np.ptp(b[known])):
            continue
        parts.append((known, ScoreRows(a[known], b[known]), "spearman"))
        cells, counts = np.unique(np.stack([a[known], b[known]], axis=1), axis=0, return_counts=True)
        joint = {"a": cells[:, 0].tolist(), "b": cells[:, 1].tolist(), "n": counts.tolist()}
        pairs.append({"labels": list(names), "n": int(known.sum()), "cells": joint})
    sizes = _effects(people.persons, parts, seed) if parts else []
    return [{**pair, **size} for pair, size in zip(pairs, sizes, strict=True)]


def questions(people: People, cutoffs: Mapping[str, float]) -> Iterator[tuple[str, str, str, Float[np.ndarray, " n"]]]:
    """What measures are compared with: (label, in words, kind, values), NaN where unknown.

    The kind is "spearman" of scores, and "cliff" of groups, whose values are 1 and 0: at or above a cut-off, of a class
    against all others, or of the higher of two values.
    """
    for label, values in people.scores.items():
        known = np.isfinite(values)
        different = np.unique(values[known])
        if label in people.classes:
            codes = [int(code) for code in different]
            for code in codes[1:] if len(codes) == 2 else codes:
                yield label, f"{label}: {people.classes[label][code]}", "cliff", _event(values, values == code)
        elif len(different) == 2:
            yield (
                label,
                f"{label} {different[1]:g} against {different[0]:g}",
                "cliff",
                _event(values, values > different[0]),
            )
        elif len(different) > 2:
            yield label, f"{label}, score", "spearman", values
            cutoff = cutoffs.get(label)
            if cutoff is not None:
                yield label, f"{label} >= {cutoff:g}", "cliff", _event(values, values >= cutoff)


def _event(values: Float[np.ndarray, " n"], is_event: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(np.isfinite(values), is_event.astype(np.float64), np.nan)


def effects(people: People, cutoffs: Mapping[str, float], seed: int = 0) -> list[dict[str, Any]]:
    """Effect sizes of measures of sound and words, Holm's correction over all of them.

    Returns:
      entries of "label", "question", "measure", "kind", "n" rows (of groups also "n_event"), "value", "low", "high",
      "p", "p_holm"; a question with fewer than `FEWEST` persons in a group has none.
    """
    entries: list[dict[str, Any]] = []
    for label, words, kind, values in questions(people, cutoffs):
        asked, parts = [], []
        for name, numbers in people.numbers.items():
            known = np.isfinite(values) & np.isfinite(numbers)
            a, b = values[known], numbers[known]
            groups = [known & (values == code) for code in (0, 1)] if kind == "cliff" else [known]
            few = any(_n_persons(people, group) < FEWEST for group in groups)
            if measure_of(name).family == INPUTS or few or not np.ptp(b) or not np.ptp(a):
                continue
            parts.append(
                (known, BinaryRows(a, b), "auroc") if kind == "cliff" else (known, ScoreRows(a, b), "spearman")
            )
            counts = {"n": len(a), **({"n_event": int(a.sum())} if kind == "cliff" else {})}
            asked.append({"label": label, "question": words, "measure": name, "kind": kind, **counts})
        sizes = _effects(people.persons, parts, seed) if parts else []
        entries += [{**one, **effect} for one, effect in zip(asked, sizes, strict=True)]
    tested = [one for one in entries if one["p"] is not None]
    for one, p in zip(tested, comparison.holm([one["p"] for one in tested]) if tested else (), strict=True):
        one["p_holm"] = p
    return entries


def _effects(persons: Int[np.ndarray, " n"], parts: Sequence[tuple[np.ndarray, Rows, str]], seed: int) -> list[dict]:
    """Value, interval and p value of each correlation or AUROC of some of the rows, on the same resamples."""
    inner = [metrics.statistic(rows, [name]) for _, rows, name in parts]

    def statistic(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
        columns = []
        for (known, _, name), one in zip(parts, inner, strict=True):
            value = where_drawn(one, weights[:, known])
            columns.append(2 * value - 1 if name == "auroc" else value)
        return np.concatenate(columns, axis=1)

    intervals = bootstrap.bootstrap(persons, statistic, resamples=RESAMPLES, seed=seed, method="percentile")
    bounds = zip(intervals.value, intervals.low, intervals.high, strict=True)
    return [{**_plain(value, low, high), "p": p_value(value, low, high)} for value, low, high in bounds]


def p_value(value: float, low: float, high: float) -> float | None:
    """Two-sided p value of no effect, from an effect between -1 and 1 and its interval; None where there is none, or
    where every resample has the same effect."""
    if not np.isfinite([value, low, high]).all():
        return None
    z, near = np.arctanh(np.clip([value, low if value > 0 else high], -1 + 1e-9, 1 - 1e-9))
    error = abs(z - near) / scipy.stats.norm.ppf((1 + bootstrap.LEVEL) / 2)
    return float(2 * scipy.stats.norm.sf(abs(z) / error)) if error > 0 else None


def _plain(value: float, low: float, high: float) -> dict[str, float | None]:
    numbers = {"value": value, "low": low, "high": high}
    return {name: float(number) if math.isfinite(number) else None for name, number in numbers.items()}


def _n_persons(people: People, rows: Bool[np.ndarray, " n"]) -> int:
    return len(np.unique(people.persons[rows]))


def pooled(people: People) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " d"], list[str]]:
    """Pooled features of everybody, the weight of each, and its name.

    Sizes enter by their logarithm. All measures together, and the means of each modality of embeddings, weigh the same
    in a distance between standardised rows.
    """
    blocks = [[np.log1p(x) if measure_of(name).is_size else x for name, x in people.numbers.items()]]
    names = [list(people.numbers)]
    for name, means in people.means.items():
        blocks.append(list(means.T))
        names.append([f"mean of {name}"] * means.shape[1])
    columns = [column for block in blocks for column in block]
    weights = [1 / math.sqrt(len(block)) for block in blocks for _ in block]
    flat = [name for part in names for name in part]
    kept = [
        i for i, column in enumerate(columns) if np.isfinite(column).any() and np.nanmax(column) > np.nanmin(column)
    ]
    matrix = np.stack([columns[i] for i in kept], axis=1) if kept else np.zeros((len(people), 0))
    return np.where(np.isfinite(matrix), matrix, np.nan), np.array([weights[i] for i in kept]), [flat[i] for i in kept]


def map_of(people: People) -> dict[str, Any] | None:
    """First two principal components of the pooled features on a grid of cells, in which people are counted.

    Returns:
      {"explained": shares of variance, "features", "scores": {label: {"x", "y", "n", "mean"}}, "groups": {column:
      {category: {"x", "y", "n"}}}, "all": {"x", "y", "n"}}; small categories are left out. None of fewer than three
      rows or two features.
    """
    matrix, weights, _ = pooled(people)
    if len(matrix) < 3 or matrix.shape[1] < 2:
        return None
    filled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(matrix) * weights
    model = PCA(2, random_state=0).fit(filled)
    x, y = (_on_grid(column) for column in model.transform(filled).T)
    shown = {label: values for label, values in people.scores.items() if label not in people.classes}
    scores = {}
    for label, values in shown.items():
        known = np.isfinite(values)
        if known.any():
            scores[label] = _cells(x[known], y[known], values[known])
    return {
        "explained": model.explained_variance_ratio_.tolist(),
        "features": matrix.shape[1],
        "all": _cells(x, y),
        "scores": scores,
        "groups": {
            column: {name: _cells(x[category == name], y[category == name]) for name in shown_categories(category)}
            for column, category in categories(people).items()
        },
    }


def _on_grid(column: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    low, high = column.min(), column.max()
    return np.minimum((column - low) / ((high - low) or 1.0) * GRID, GRID - 1).astype(int)


def _cells(x: np.ndarray, y: np.ndarray, values: Float[np.ndarray, " n"] | None = None) -> dict[str, list[float]]:
    cells, where, counts = np.unique(np.stack([x, y], 1), axis=0, return_inverse=True, return_counts=True)
    content = {"x": cells[:, 0].tolist(), "y": cells[:, 1].tolist(), "n": counts.tolist()}
    if values is not None:
        content["mean"] = (np.bincount(where.ravel(), values) / counts).tolist()
    return content


def categories(people: People) -> dict[str, np.ndarray]:
    """Columns of categories, those of labels that are classes among them; "" where unknown."""
    columns = {name: np.array(values, np.str_) for name, values in people.groups.items()}
    for label, names in people.classes.items():
        values = people.scores[label]
        columns[label] = np.array([names[int(v)] if np.isfinite(v) else "" for v in values], np.str_)
    return columns


def shown_categories(category: np.ndarray) -> list[str]:
    """Categories that are large enough to be shown, and known."""
    names, counts = np.unique(category, return_counts=True)
    hidden = suppressed(dict(zip(names.tolist(), counts.tolist(), strict=True)))
    return [name for name in names.tolist() if name and name not in hidden]


def told_apart(people: People, seed: int = 0) -> list[dict[str, Any]]:
    """How well a linear classifier tells corpora and subgroups apart by the pooled features.

    Logistic regression on standardised features, fitted in each of five folds of persons on the others; the AUROC is of
    the out-of-fold probabilities, of more than two categories the mean of each against the rest (Hand and Till 2001
    average over pairs instead). Intervals resample persons, not trainings.

    Returns:
      entries of "column", "categories" {name: rows}, "n", and "value", "low", "high" or a "reason".
    """
    matrix, weights, _ = pooled(people)
    entries = []
    for column, category in categories(people).items():
        if column in people.classes:
            continue
        names = [one for one in shown_categories(category) if _n_persons(people, category == one) >= FEWEST]
        rows = np.isin(category, names)
        entry: dict[str, Any] = {
            "column": column,
            "categories": {name: int((category == name).sum()) for name in names},
            "n": int(rows.sum()),
        }
        if len(names) < 2 or matrix.shape[1] < 1:
            entries.append(entry | {"reason": f"fewer than two categories of {FEWEST} persons"})
            continue
        codes, x, persons = np.searchsorted(names, category[rows]), matrix[rows], people.persons[rows]
        chances = _out_of_fold(x, weights, codes, persons, seed)
        ones = [BinaryRows((codes == k).astype(float), chances[:, k]) for k in range(len(names))]
        ones = ones[1:] if len(names) == 2 else ones
        each = [metrics.statistic(one, ["auroc"]) for one in ones]
        mean = lambda drawn, each=each: np.mean([one(drawn) for one in each], axis=0)  # noqa: E731
        interval = bootstrap.bootstrap(persons, mean, resamples=RESAMPLES, seed=seed, method="percentile")
        entries.append(entry | _plain(interval.value[0], interval.low[0], interval.high[0]))
    return entries


def _out_of_fold(x: np.ndarray, weights: np.ndarray, codes: np.ndarray, persons: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities [n categories] from models that did not see the person."""
    chances = np.zeros((len(x), codes.max() + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(x, codes, persons)
    for train, test in folds:
        scale = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        a, b = scale.fit_transform(x[train]) * weights, scale.transform(x[test]) * weights
        model = LogisticRegression(C=_C, max_iter=1000).fit(a, codes[train])
        chances[test[:, None], model.classes_[None]] = model.predict_proba(b)
    return chances


def odd(people: People) -> list[dict[str, Any]]:
    """Who is odd in what, the oddest first: "row", "measure", "value", "z"."""
    entries = []
    for name, values in people.numbers.items():
        x = np.log1p(values) if measure_of(name).is_size else values
        middle = np.nanmedian(x)
        spread = np.nanmedian(np.abs(x - middle))
        if not spread > 0:
            continue
        z = 0.6745 * (x - middle) / spread
        for row in np.flatnonzero(np.abs(np.nan_to_num(z)) > ODD).tolist():
            entries.append({"row": row, "measure": name, "value": float(values[row]), "z": float(z[row])})
    return sorted(entries, key=lambda one: (-abs(one["z"]), one["row"]))
