"""Corpora of a few SYNTHETIC interviews from manifests of texts: seconds to build and to train on."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import interviews
from data_builders.common import cli
from tests import corpora

WORDS = ("sun", "rain", "tree", "road", "cup", "lamp", "door", "hill")
SPLITS = ("train", "train", "train", "validation", "test", "test")


def people(n: int, seed: int = 0, label: str = "phq9", high: int = 20, first: int = 1) -> list[dict[str, Any]]:
    """Rows of a manifest: whoever scores higher says "night" more often; the splits take turns."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(first, first + n):
        score = int(rng.integers(0, high + 1))
        words = [*rng.choice(WORDS, 12), *["night"] * round(8 * score / high)]
        rows.append(
            {
                "participant": f"p{number}",
                "text": " ".join(rng.permutation(words)),
                f"label:{label}": score,
                "split": SPLITS[number % len(SPLITS)],
            }
        )
    return rows


def build(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    """The built corpus `interviews/<name>` of a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(cli.build(f"interviews/{name}", folder / "data", source=path, workers=0, **options))


def config_of(folder: str | Path, tasks: str = "phq9>=10,phq9<=27") -> ConfigDict:
    """Two folds of a tiny network on such a corpus, or on several."""
    config = corpora.shrink(interviews.get_config(tasks), folder)
    config.cv.folds, config.total, config.data.parts = 2, "2 epochs", 1
    config.log.tensorboard = False
    return config
