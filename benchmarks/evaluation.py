"""Time and memory of `evaluate` over the number of participants, with the exponent of the growth.

    python benchmarks/evaluation.py [--participants=12500,25000,50000,100000] [--resamples=2000]

Predictions are SYNTHETIC: random scores, and predictions of all three kinds with noise, on a validation split of 2,000
participants and a test split of as many as asked for. Every point is measured in a separate process.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
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
    """Seconds of one evaluation, without building the table."""
    predictions = Predictions.concatenate([table(VALIDATION, "validation", 0), table(participants, "test", 1)])
    before, began = time.process_time(), time.monotonic()
    evaluate(predictions, TASKS, n_bootstrap=resamples, synthetic=True)
    return {"wall s": time.monotonic() - began, "CPU s": time.process_time() - before}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", default="12500,25000,50000,100000")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--point", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        return harness.print_point(point(options.point, options.resamples))
    print(f"SYNTHETIC predictions; {len(TASKS)} tasks, {options.resamples} resamples\n{harness.machine('numpy')}\n")
    counts = [int(count) for count in options.participants.split(",")]
    harness.grow("participants", counts, [__file__, "--point={count}", f"--resamples={options.resamples}"])


if __name__ == "__main__":
    main()
