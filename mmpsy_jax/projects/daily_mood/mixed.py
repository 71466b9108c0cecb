"""Random slopes and intercepts of people, in closed form (Laird and Ware 1982).

The ratings of person p are y = m + X (w + v_p) + b_p + e: X the numbers of the days [n k], and w, v_p, b_p and e
independent normal with variances s_w, s_v, s_b and s_e, which all moods share and which are those under which the
ratings are most probable. A day of somebody unknown has v = b = 0. With the covariance S_p = s_v X X' + s_b + s_e I of
a person, G = sum_p X' S_p^-1 X and g = sum_p X' S_p^-1 y (Woodbury, so that nothing is larger than the days of a person
or k x k):

    w = (I / s_w + G)^-1 g,    a_p = S_p^-1 (y - X w),    v_p = s_v X' a_p,    b_p = s_b sum(a_p).

What a day would be predicted without its rating is y - a / diag(C^-1), with C the covariance of all days; what the days
of a person would be predicted without any of them needs w without p: (I / s_w + G - G_p)^-1 (g - g_p).

Departures from the paper on macro-micro personalisation (JMIR e59512): its layers of people are trained by steps.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int

VARIANCES = ("common", "slope", "level", "error")
# Bounds of the logarithms of variances, of targets with variance one.
_LOG_VARIANCES = (-14.0, 3.0)
_STEPS = 60


class Mixed(NamedTuple):
    """A fitted model of q moods and k numbers of a day.

    Attributes:
      variances: `VARIANCES`, in squared units of the ratings.
      mean: m.
      common: w.
      slopes, levels: v and b of each person; zero for a number without rated days.
      shared: m + X w of each day.
      fit: of each day, by the layers of its person.
      without_day: prediction of each rated day from all others, NaN where there is no rating.
      without_person: prediction of each rated day from the days of other people, NaN likewise.
    """

    variances: dict[str, float]
    mean: Float[np.ndarray, " q"]
    common: Float[np.ndarray, "k q"]
    slopes: Float[np.ndarray, "p k q"]
    levels: Float[np.ndarray, "p q"]
    shared: Float[np.ndarray, "n q"]
    fit: Float[np.ndarray, "n q"]
    without_day: Float[np.ndarray, "n q"]
    without_person: Float[np.ndarray, "n q"]


class _Person(NamedTuple):
    """Rated days of a person: numbers and ratings, and S^-1 of both."""

    x: Float[np.ndarray, "d k"]
    y: Float[np.ndarray, "d m"]
    factor: tuple[np.ndarray, bool]
    solved_x: Float[np.ndarray, "d k"]
    solved_y: Float[np.ndarray, "d m"]


class _Moods:
    """Moods that are rated on the same days; `products` are X X' of each person."""

    def __init__(self, x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "n m"], person: Int[np.ndarray, " n"]):
        self.rows = [np.flatnonzero(person == p) for p in np.unique(person)]
        self.numbers = np.unique(person)
        self.x, self.y = x, y
        self.products = [x[rows] @ x[rows].T for rows in self.rows]

    def people(self, s: Float[np.ndarray, " 4"]) -> Iterator[_Person]:
        for rows, product in zip(self.rows, self.products, strict=True):
            x, y = self.x[rows], self.y[rows]
            factor = scipy.linalg.cho_factor(s[1] * product + s[2] + s[3] * np.eye(len(rows)), lower=True)
            solved = scipy.linalg.cho_solve(factor, np.concatenate([x, y], axis=1))
            yield _Person(x, y, factor, solved[:, : x.shape[1]], solved[:, x.shape[1] :])

    def improbability(self, s: Float[np.ndarray, " 4"]) -> float:
        """-2 log of the density of the ratings, but for a constant."""
        moods, k = self.y.shape[1], self.x.shape[1]
        gram, cross, total, log_det = np.zeros((k, k)), np.zeros((k, moods)), 0.0, 0.0
        for one in self.people(s):
            gram += one.x.T @ one.solved_x
            cross += one.x.T @ one.solved_y
            total += (one.y * one.solved_y).sum()
            log_det += 2 * np.log(np.diag(one.factor[0])).sum()
        inner = scipy.linalg.cho_factor(np.eye(k) / s[0] + gram, lower=True)
        total -= (cross * scipy.linalg.cho_solve(inner, cross)).sum()
        return total + moods * (log_det + 2 * np.log(np.diag(inner[0])).sum() + k * np.log(s[0]))


def fit(x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "n q"], person: Int[np.ndarray, " n"], people: int) -> Mixed:
    """Fits the model.

    Args:
      x: numbers of the days, about their mean and of comparable size; 0 where one is missing.
      y: ratings, NaN where there is none.
      person: the number of the person of each day.
      people: how many layers there are; whoever has a larger number has none.
    """
    known = ~np.isnan(y)
    mean = np.where(known, y, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    spread = max(float(np.sqrt(np.nanvar(y - mean))) if known.any() else 1.0, 1e-9)
    parts = []
    for pattern in np.unique(known, axis=1).T:
        rows, columns = np.flatnonzero(pattern), np.flatnonzero((known == pattern[:, None]).all(axis=0))
        if len(rows):
            scaled = ((y - mean) / spread)[np.ix_(rows, columns)]
            parts.append((rows, columns, _Moods(x[rows], scaled, person[rows])))
    start = np.log(np.array([0.3 / max((x**2).sum(axis=1).mean(), 1e-9)] * 2 + [0.3, 0.3]))
    best = scipy.optimize.minimize(
        lambda logs: sum(moods.improbability(np.exp(logs)) for *_, moods in parts),
        np.clip(start, *_LOG_VARIANCES),
        method="L-BFGS-B",
        bounds=[_LOG_VARIANCES] * len(VARIANCES),
        options={"maxiter": _STEPS},
    )
    s, k, q = np.exp(best.x), x.shape[1], y.shape[1]
    common, slopes, levels = np.zeros((k, q)), np.zeros((people, k, q)), np.zeros((people, q))
    without_day, without_person = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    for rows, columns, moods in parts:
        ones = list(moods.people(s))
        gram = np.eye(k) / s[0] + sum(one.x.T @ one.solved_x for one in ones)
        cross = sum(one.x.T @ one.solved_y for one in ones)
        inverse = np.linalg.inv(gram)
        common[:, columns] = weights = inverse @ cross
        for number, places, one in zip(moods.numbers, moods.rows, ones, strict=True):
            at = np.ix_(rows[places], columns)
            a = one.solved_y - one.solved_x @ weights
            if number < people:
                slopes[number][:, columns], levels[number, columns] = s[1] * one.x.T @ a, s[2] * a.sum(axis=0)
            diagonal = np.diag(scipy.linalg.cho_solve(one.factor, np.eye(len(places))))
            diagonal = diagonal - np.einsum("dk,kl,dl->d", one.solved_x, inverse, one.solved_x)
            without_day[at] = one.y - a / diagonal[:, None]
            alone = np.linalg.solve(gram - one.x.T @ one.solved_x, cross - one.x.T @ one.solved_y)
            without_person[at] = one.x @ alone
    shared = x @ common
    fitted = shared.copy()
    for number in np.unique(person[person < people]):
        days = person == number
        fitted[days] += x[days] @ slopes[number] + levels[number]
    back = lambda values: values * spread + mean  # noqa: E731
    variances = dict(zip(VARIANCES, (s * spread**2).tolist(), strict=True))
    layers = (common * spread, slopes * spread, levels * spread)
    return Mixed(variances, mean, *layers, *map(back, (shared, fitted, without_day, without_person)))
