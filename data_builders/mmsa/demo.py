"""Writes synthetic clips in the layout that `source.py` reads, with a sentiment planted in three modalities. SYNTHETIC.

A clip has four independent standard normal variables: T can be read, A heard, V seen, E is in nothing. Its sentiment is

    y = clip(1.5 (sqrt(.35) T + sqrt(.25) A + sqrt(.20) V + sqrt(.20) E), -3, 3)

and what a modality alone would say, the labels of SIMS, is clip(1.5 x, -3, 3) of its own variable x. A step of a
modality is its variable times one direction, plus noise; the first step of the text, which stands for [CLS], has less.
Its tokens are numbers of bins: each of T plus noise, 1 for the first step, 0 behind the text.
Who knows T, A and V exactly does best in absolute error with the median of y, the clipped sum of the known part, since
clipping keeps medians. `optimum.json` says how good that is.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data_builders.mmsa.unpickle import SPLITS
from mmpsy_jax.io import InputError, write_json

SHARES = {"text": 0.35, "audio": 0.25, "vision": 0.20}
SCALE, HIGHEST, CLIPS = 1.5, 3.0, 800
# Steps and features of each modality.
SHAPES = {"text": (12, 32), "audio": (40, 8), "vision": (24, 12)}
# Strength of the planted direction, where the noise of a step has standard deviation 1.
_CUE, _FIRST_NOISE = 1.0, 0.2
_LETTER = {"text": "T", "audio": "A", "vision": "V"}
# Words, whose ids follow 0 (padding) and 1 (the first step): bins of T plus noise between these ends.
_WORDS, _ENDS = 32, (-4.0, 4.0)
_FRACTIONS = (0.45, 0.15, 0.40)
_WORLD = 2021  # the planted directions, the same for all seeds
_POPULATION = 200_000


def write(folder: Path, *, participants: int = CLIPS, seed: int = 0) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Writes the clips as `Config.demo` does."""
    write_corpus(folder, participants, seed)
    return lambda test: json.loads((folder / "optimum.json").read_text())


def write_corpus(folder: Path, participants: int, seed: int) -> None:
    """Writes `participants` clips and `optimum.json`; the files depend on the arguments only.

    Raises:
      InputError: fewer than ten clips, or a negative seed.
    """
    if participants < 10 or seed < 0:
        raise InputError(f"mmsa/demo: participants={participants} must be at least 10 and seed={seed} at least 0")
    rng = np.random.default_rng([_WORLD, seed])
    ends = np.cumsum(np.round(np.multiply(_FRACTIONS[:2], participants)).astype(int))
    test = {}
    for split, rows in zip(SPLITS, np.split(np.arange(participants), ends), strict=True):
        test = _draw(rng, len(rows))
        _write_split(folder / split, rng, test, rows)
    population = _draw(np.random.default_rng(0), _POPULATION)
    optimum = {
        "how": (
            "Synthetic corpus: the sentiment is a clipped sum of one normal variable per modality and one that is in "
            "nothing. The values are those of the median given the planted variables exactly. population: "
            f"{_POPULATION:,} drawn clips; test: the test split. See data_builders/mmsa/demo.py."
        ),
        "seed": seed,
        "cutoff": 0,
        "population": {"sentiment": _best(population)},
        "test": {"sentiment": _best(test)},
    }
    write_json(folder / "optimum.json", optimum)


def _draw(rng: np.random.Generator, n: int) -> dict[str, Float[np.ndarray, " n"]]:
    """The variables of n clips by modality, and "hidden"."""
    return {name: rng.standard_normal(n) for name in (*SHARES, "hidden")}


def _sum(cues: dict[str, Float[np.ndarray, " n"]], names: tuple[str, ...]) -> Float[np.ndarray, " n"]:
    shares = SHARES | {"hidden": 1 - sum(SHARES.values())}
    return np.clip(SCALE * sum(np.sqrt(shares[name]) * cues[name] for name in names), -HIGHEST, HIGHEST)


def _best(cues: dict[str, Float[np.ndarray, " n"]]) -> dict[str, dict[str, float]]:
    """Best possible metrics from each modality and from all; AUROC and AUPRC are of a sentiment of at least 0."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # takes seconds to import

    y = _sum(cues, (*SHARES, "hidden"))
    best = {}
    for name, known in {**{one: (one,) for one in SHARES}, "both": tuple(SHARES)}.items():
        cue_sum = _sum(cues, known)
        scaled = (
            y.mean() + (cue_sum - cue_sum.mean()) * y.std() / cue_sum.std()
        )  # no CCC is larger than the correlation
        best[name] = {
            "auroc": float(roc_auc_score(y >= 0, cue_sum)),
            "auprc": float(average_precision_score(y >= 0, cue_sum)),
            "ccc": float(2 * np.mean((y - y.mean()) * (scaled - y.mean())) / (2 * y.var())),
            "mae": float(np.abs(y - cue_sum).mean()),
        }
    return best


def _words(rng: np.random.Generator, cue: Float[np.ndarray, " n"], steps: int) -> Int[np.ndarray, "n t"]:
    """Ids of tokens; drawn apart, so that nothing else of the corpus depends on them."""
    heard = cue[:, None] + rng.spawn(1)[0].standard_normal((len(cue), steps))
    words = 2 + np.digitize(heard, np.linspace(*_ENDS, _WORDS + 1)[1:-1])
    words[:, 0] = 1
    return words


def _write_split(home: Path, rng: np.random.Generator, cues: dict[str, Any], rows: np.ndarray) -> None:
    home.mkdir(parents=True)
    n = len(rows)
    directions = np.random.default_rng(_WORLD)
    arrays = {"regression_labels": _sum(cues, (*SHARES, "hidden"))}
    for name, (steps, size) in SHAPES.items():
        direction = directions.standard_normal(size)
        direction *= _CUE / np.linalg.norm(direction)
        noise = rng.standard_normal((n, steps, size))
        if name == "text":
            noise[:, 0] *= _FIRST_NOISE
        lengths = rng.integers(steps // 2, steps + 1, n)
        valid = np.arange(steps) < lengths[:, None]
        values = noise + cues[name][:, None, None] * direction
        arrays[name] = np.where(valid[..., None], values, 0).astype(np.float32)
        arrays[f"regression_labels_{_LETTER[name]}"] = np.clip(SCALE * cues[name], -HIGHEST, HIGHEST)
        if name == "text":
            ids = np.where(valid, _words(rng, cues[name], steps), 0)
            arrays["text_bert"] = np.stack([ids, valid, 0 * valid], axis=1).astype(np.float32)
        else:
            arrays[f"{name}_lengths"] = lengths
    for name, array in arrays.items():
        np.save(home / f"{name}.npy", array, allow_pickle=False)
    (home / "id.json").write_text(json.dumps([f"clip_{row}" for row in rows.tolist()]))
    (home / "raw_text.json").write_text(json.dumps([""] * n))
