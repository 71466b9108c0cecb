"""Time and memory of `evaluate` over the number of participants, with the exponent of the growth.

    python benchmarks/evaluation.py [--participants=12500,25000,50000,100000] [--resamples=2000]

Predictions are SYNTHETIC: random scores, and predictions of all three kinds with noise, on a validation split of 2,000
participants and a test split of as many as asked for. Every point is measured in a process of its own. An exponent of 1
is linear growth: the slope of a straight line through the logarithms.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.scoring import evaluate
from mmpsy_jax.tasks import questionnaire

TASKS = questionnaire("phq9", "phq")
VALIDATION = 2000


def table(participants: int, split: str, seed: int) -> Predictions:
    """Predictions of one screening, one ordinal and one regression task."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 28, participants).astype(float)
    guess = scores + rng.normal(0, 5, participants)
    ids = np.char.add(f"{split}_", np.arange(participants).astype(str))
    predicted = (
        {"y_prob": 1 / (1 + np.exp(-(guess - 12) / 3))},
        {"y_pred": np.clip(guess / 5, 0, 4)},
        {"y_pred": guess},
    )
    return Predictions.concatenate(
        Predictions.build(ids, task.name, task.targets(scores), split=split, **columns)
        for task, columns in zip(TASKS, predicted, strict=True)
    )


def point(participants: int, resamples: int) -> dict[str, float]:
    """Seconds and peak memory of one evaluation, without building the table."""
    predictions = Predictions.concatenate([table(VALIDATION, "validation", 0), table(participants, "test", 1)])
    before, began = time.process_time(), time.monotonic()
    evaluate(predictions, TASKS, n_bootstrap=resamples, synthetic=True)
    return {
        "wall s": time.monotonic() - began,
        "CPU s": time.process_time() - before,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", default="12500,25000,50000,100000")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--point", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(point(options.point, options.resamples)))
        return
    print(f"SYNTHETIC predictions; {len(TASKS)} tasks, {options.resamples} resamples")
    print(f"{os.cpu_count()} cores of {platform.machine()}, numpy {np.__version__}\n")
    counts, rows = [int(n) for n in options.participants.split(",")], []
    for count in counts:
        command = [sys.executable, __file__, f"--point={count}", f"--resamples={options.resamples}"]
        rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print(f"| participants | {' | '.join(rows[0])} |\n|---{'|---' * len(rows[0])}|")
    for count, row in zip(counts, rows, strict=True):
        print(f"| {count:,} | {' | '.join(f'{value:.3g}' for value in row.values())} |")
    slopes = [np.polyfit(np.log(counts), np.log([row[name] for row in rows]), 1)[0] for name in rows[0]]
    print(f"| exponent | {' | '.join(f'{slope:.2f}' for slope in slopes)} |")


if __name__ == "__main__":
    main()
