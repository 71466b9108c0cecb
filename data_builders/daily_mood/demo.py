"""A synthetic table in the layout of `source.py`, with effects of persons. No person stands behind it.

A day has six independent standard normal cues c, two of each modality. The k-th mood of person p on day t is

    z = (u_k + v_pk) c + b_pk + e,    u_k a direction, v_pk, b_pk, e independent normal,

with shares of its variance `SHARES`: u c is common to all people, v_pk c and b_pk belong to the person, e to nobody.
The rating is 50 + 18 z, rounded and cut to 0 ... 100. Cues lie in the columns of their modality along fixed directions
under noise; counts are exponentials of that. One day in ten lacks speech. All constants are our choice.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_builders.daily_mood.columns import COLUMNS, COUNTS, LABELS, RATINGS
from mmpsy_jax import io
from mmpsy_jax.io import InputError

PEOPLE, DAYS = 60, 30
SIZES = {"zcm": 24, "pim": 24, "speech": 32}
SHARES = {"common": 0.35, "slope": 0.15, "level": 0.25, "chance": 0.25}
_CUES, _NOISE, _LACKS_SPEECH = 2, 0.4, 0.1
HIGHEST = 100.0
FILE = "demo.csv"
_MEAN, _DEVIATION = 50.0, 18.0
_WORLD = 20_241_018


def write(
    folder: Path, *, participants: int = PEOPLE, days: int = DAYS, seed: int = 0
) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Writes the table as `Config.demo` does."""
    truth = write_table(folder / FILE, participants, days, seed)
    return lambda test: optimum(truth, test, seed)


def write_table(path: Path, people: int = PEOPLE, days: int = DAYS, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Writes a table and returns what could be known of each day.

    Args:
      path: of the CSV file.
      people: how many, at least 5.
      days: of each person, at least 5.
      seed: of persons and days; a person's depend on its number and the seed only.

    Returns:
      by name of the day: `known` and `new`, the expectation of z of each mood [9] for somebody who knows the person
      and for somebody who does not, from the cues of the modalities that are there; and `ratings` [9].

    Raises:
      InputError: too few people or days.
    """
    if min(people, days) < 5:
        raise InputError(f"daily_mood demo: {people} people of {days} days: give at least 5 of each")
    world = np.random.default_rng(_WORLD)
    cues, moods = _CUES * len(SIZES), len(LABELS)
    common = world.normal(size=(moods, cues))
    common *= np.sqrt(SHARES["common"]) / np.linalg.norm(common, axis=1, keepdims=True)
    directions = {name: world.normal(size=(_CUES, size)) for name, size in SIZES.items()}
    rows, truth = [], {}
    columns = [f"{COLUMNS[name]}_{i}" for name, size in SIZES.items() for i in range(size)]
    for number in range(1, people + 1):
        rng = np.random.default_rng([seed, number])
        slope = common + np.sqrt(SHARES["slope"] / cues) * rng.normal(size=(moods, cues))
        level = np.sqrt(SHARES["level"]) * rng.normal(size=moods)
        for day in range(1, days + 1):
            cue = rng.normal(size=(len(SIZES), _CUES))
            lacks_speech = rng.uniform() < _LACKS_SPEECH
            z = slope @ cue.ravel() + level + np.sqrt(SHARES["chance"]) * rng.normal(size=moods)
            ratings = np.clip(np.rint(_MEAN + _DEVIATION * z), 0, HIGHEST).astype(int)
            cells: list[Any] = []
            for of_sensor, (name, size) in zip(cue, SIZES.items(), strict=True):
                values = of_sensor @ directions[name] + _NOISE * rng.normal(size=size)
                values = np.rint(np.exp(4.0 + 0.5 * values)) if name in COUNTS else np.round(values, 4)
                cells += [""] * size if name == "speech" and lacks_speech else values.tolist()
            rows.append([f"person_{number}", day, *cells, *ratings])
            seen = cue.copy()
            seen[-1] *= not lacks_speech
            known, new = slope @ seen.ravel() + level, common @ seen.ravel()
            truth[f"person_{number}/{day}"] = {"known": known, "new": new, "ratings": ratings}
    io.write_table(path, ["person", "day", *columns, *RATINGS], rows)
    return truth


def optimum(truth: dict[str, dict[str, Any]], names: Sequence[str], seed: int) -> dict[str, Any]:
    """The entry `optimum` of `corpus.json`: best possible CCC on some days."""
    moods: dict[str, dict[str, dict[str, float]]] = {label: {} for label in (*LABELS, "mean")}
    for who in ("known", "new"):
        expected, ratings = (np.array([truth[name][what] for name in names]) for what in (who, "ratings"))
        each = [best_ccc(e, r) for e, r in zip(expected.T, ratings.T, strict=True)]
        for label, value in zip(moods, (*each, float(np.mean(each))), strict=True):
            moods[label][f"{who} person"] = {"ccc": value}
    return {
        "how": (
            "Synthetic ratings. The values are those of the expectation of the latent mood given the planted cues of "
            "the modalities that a day has, rescaled to mean and variance of the ratings, on the test days. "
            "known person: whoever also knows the person's level and slopes exactly; new person: whoever knows "
            "nothing of the person. See docs/daily_mood.md."
        ),
        "seed": seed,
        "shares": dict(SHARES),
        "test": {"days": len(names), **moods},
    }


def best_ccc(expected: Float[np.ndarray, " n"], ratings: Float[np.ndarray, " n"]) -> float:
    """CCC after rescaling to mean and variance of the ratings: the Pearson correlation, which no CCC exceeds."""
    return float(np.corrcoef(expected, ratings)[0, 1])
