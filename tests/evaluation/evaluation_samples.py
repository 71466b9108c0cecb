"""Made-up predictions with known noise, and learning curves; shared by the tests of this room."""

import numpy as np

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import questionnaire

TASKS = questionnaire("phq9", "phq")


def people(n, seed=0):
    return np.random.default_rng(seed).integers(0, 28, n).astype(float)


def run(scores, noise=5.0, *, split="test", fold=0, seed=0, first=0, rng_seed=0):
    """Predictions of all three kinds for participants `first`... with these scores."""
    rng = np.random.default_rng([rng_seed, seed, fold])
    guess = scores + rng.normal(0, noise, len(scores))
    ids = [f"p{first + i}" for i in range(len(scores))]
    place = {"split": split, "fold": fold, "seed": seed}
    return Predictions.concatenate(
        [
            Predictions.build(
                ids, "phq_screen", TASKS[0].targets(scores), y_prob=1 / (1 + np.exp(-(guess - 12) / 3)), **place
            ),
            Predictions.build(ids, "phq_bands", TASKS[1].targets(scores), y_pred=np.clip(guess / 5, 0, 4), **place),
            Predictions.build(ids, "phq_score", scores, y_pred=guess, **place),
        ]
    )


def one_run(noise=5.0, rng_seed=0, seed=0):
    """Validation (80 participants) and test (120) of a single split."""
    return Predictions.concatenate(
        [
            run(people(80, 1), noise, split="validation", rng_seed=rng_seed, seed=seed),
            run(people(120, 2), noise, split="test", first=80, rng_seed=rng_seed, seed=seed),
        ]
    )


def cross_validation(folds=3, seeds=2, noise=5.0):
    scores = people(150, 3)
    parts = []
    for fold in range(folds):
        for seed in range(seeds):
            test = slice(fold * 50, fold * 50 + 50)
            other = slice((fold + 1) % folds * 50, (fold + 1) % folds * 50 + 50)
            parts.append(run(scores[test], noise, fold=fold, seed=seed, first=test.start))
            parts.append(run(scores[other], noise, split="validation", fold=fold, seed=seed, first=other.start))
    return Predictions.concatenate(parts)


CURVES = {
    f"fold {fold}": [
        {"step": 1, "train/loss": 0.7, "train/learning_rate": 0.1},
        {"step": 2, "train/loss": 0.6, "validation/loss": 0.8, "validation/screen/auroc": None},
        {"step": 4, "train/loss": 0.5, "validation/loss": 0.7, "validation/screen/auroc": 0.8},
    ]
    for fold in range(2)
}
