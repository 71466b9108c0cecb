"""Writes `golden/peers.json`: what MLstatkit 0.1.91 (DeLong) and dcurves 1.1.7 (net benefit) say on random data.

Both need lifelines or statsmodels and an older pandas, so they are no dependency of the tests. In an environment of
their own: `pip install MLstatkit==0.1.91 dcurves==1.1.7`, then `python tests/evaluation/make_golden.py`.
"""

import importlib.metadata
import json
from pathlib import Path

import dcurves
import numpy as np
import pandas
from MLstatkit import Delong_test

FILE = Path(__file__).parent / "golden" / "peers.json"
THRESHOLDS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]


def drawn(seed: int) -> dict[str, np.ndarray]:
    """Outcomes and two related predictions, coarse so that some are equal, none of them equal to a threshold."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(-1, 1, 60 + 20 * seed)
    probability = lambda noise: 1 / (1 + np.exp(-(shared + rng.normal(0, noise, len(shared)))))  # noqa: E731
    coarse = lambda p: np.clip(np.round(p, 2), 0, 0.99) + 0.0025  # noqa: E731
    y = (rng.random(len(shared)) < 1 / (1 + np.exp(-shared))).astype(float)
    return {"y_true": y, "first": coarse(probability(0.5)), "second": coarse(probability(1.0 + seed))}


def asked(seed: int) -> dict:
    """The data of a seed and what the peers make of them."""
    data = drawn(seed)
    z, p, *_ = Delong_test(data["y_true"], data["first"], data["second"])
    table = dcurves.dca(
        data=pandas.DataFrame(data), outcome="y_true", modelnames=["first", "second"], thresholds=THRESHOLDS
    )
    benefits = {name: table[table.model == name].net_benefit.tolist() for name in ("first", "second", "all")}
    listed = {name: np.round(column, 4).tolist() for name, column in data.items()}
    return {"seed": seed, **listed, "z": float(z), "p": float(p), "thresholds": THRESHOLDS, "net_benefit": benefits}


if __name__ == "__main__":
    versions = {name: importlib.metadata.version(name) for name in ("MLstatkit", "dcurves")}
    content = {"versions": versions, "cases": [asked(seed) for seed in range(5)]}
    FILE.write_text(json.dumps(content) + "\n")
