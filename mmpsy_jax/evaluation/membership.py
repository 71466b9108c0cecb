"""Membership inference: whether what trained models say of a participant tells in whose training part they were.

The attack is the likelihood-ratio attack of Carlini et al. 2022 (LiRA, arXiv 2112.03570), in its online form with
Gaussian fits and one variance for all participants, as they advise for few models. Its shadow models are the trainings
of the cross-validation itself: in every repeat a participant is in the test part of one fold and in the training part
of most others. Let c be the confidence of a training about a participant. The score of the pair is

    ln N(c; mean of c over other trainings with them, variance) - the same over other trainings without them.

All trainings of the repeat that is attacked are left out of both means. In the others everybody is without exactly once
per seed, whether or not they are in the training part that is attacked, so that no count of models tells who is in. The
variances are those of a new model: (1 + 1 / n) times the variance within participants.

A participant in the validation part of a training is on neither side there: they chose its epoch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mmpsy_jax.evaluation import bootstrap, wording
from mmpsy_jax.evaluation.logistic import logit, ratio
from mmpsy_jax.evaluation.metrics import Scores, auroc
from mmpsy_jax.evaluation.rows import BinaryRows, BinarySums
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.tasks import Task

IN, NEITHER, OUT = 1, 0, -1
# A Gaussian needs so many models without each participant.
FEWEST = 2
FALSE_RATES = {"tpr_at_0.001": 0.001, "tpr_at_0.01": 0.01}
LABELS = {"auc": "AUC", "tpr_at_0.001": "TPR at 0.1 % FPR", "tpr_at_0.01": "TPR at 1 % FPR"}
ATTACKS = {
    "likelihood_ratio": "likelihood ratio",
    "threshold": "threshold on the error",
    "exchanged": "control: memberships exchanged",
}
CHANCE = "By chance the AUC is 0.5 and the TPR is the FPR."


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Who was in which part of t trainings of n participants.

    Attributes:
      role: `IN`, `OUT` or `NEITHER`.
      repeat: whole cross-validation that each training belongs to.
      seed: of each training; those of one fold have the same roles.
      owner: cluster of each participant, the unit of resampling.
    """

    role: Int[np.ndarray, "t n"]
    repeat: Int[np.ndarray, " t"]
    seed: Int[np.ndarray, " t"]
    owner: Shaped[np.ndarray, " n"]

    @property
    def fewest_out(self) -> int:
        """Models without a participant, outside of the repeat that is attacked: the least of all participants."""
        outs = [(self.role[self.repeat != one] == OUT).sum(axis=0).min() for one in np.unique(self.repeat)]
        return int(min(outs))

    def exchanged(self, seed: int) -> "Trainings":
        """The same with the folds of each participant exchanged at random within each repeat: nobody's true ones.

        Args:
          seed: of the exchange.
        """
        rng, role = np.random.default_rng(seed), self.role.copy()
        for one in np.unique(self.repeat):
            rows = np.flatnonzero(self.repeat == one)
            order = np.argsort(self.seed[rows], kind="stable")
            folds = len(rows) // len(np.unique(self.seed[rows]))
            of_seeds = rows[order].reshape(-1, folds)  # [seeds folds]
            shuffled = rng.permuted(np.tile(np.arange(folds)[:, None], self.role.shape[1]), axis=0)  # [folds n]
            for trainings in of_seeds:
                role[trainings] = np.take_along_axis(self.role[trainings], shuffled, axis=0)
        return dataclasses.replace(self, role=role)


def confidence(
    task: Task, values: Float[np.ndarray, "t n ..."], targets: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "t n"], Float[np.ndarray, "t n"]]:
    """What a model's prediction says about a participant whose truth is known: for the two attacks.

    Args:
      task: that is predicted.
      values: `Task.averageable` of each training: probabilities of the event, of the classes [t n c], or numbers.
      targets: truths; NaN where unknown, and then the confidences are NaN too.

    Returns:
      For the likelihood ratio, where any distance counts: the log odds of the true class, or the signed error. For one
      threshold over all, where more must mean better: the log odds again, or minus the absolute error.
    """
    if task.event:
        sign = np.where(np.isnan(targets), np.nan, np.where(targets == 1, 1.0, -1.0))
        odds = sign * logit(np.asarray(values, np.float64))
        return odds, odds
    if values.ndim == 3:
        known = np.nan_to_num(targets).astype(int)
        odds = logit(np.take_along_axis(values, known[None, :, None], axis=2)[..., 0].astype(np.float64))
        odds = np.where(np.isnan(targets), np.nan, odds)
        return odds, odds
    error = values - targets
    return error, -np.abs(error)


def likelihood_ratio(confidences: Float[np.ndarray, "t n"], trainings: Trainings) -> Float[np.ndarray, "t n"]:
    """Scores of the attack, higher where membership is likelier; NaN where the truth or the model's part is."""
    scores = np.full(confidences.shape, np.nan)
    for one in np.unique(trainings.repeat):
        attacked, others = trainings.repeat == one, trainings.repeat != one
        known, roles = confidences[others], trainings.role[others]
        parts = [_log_density(confidences[attacked], known, roles == side) for side in (IN, OUT)]
        scores[attacked] = parts[0] - parts[1]
    return np.where(trainings.role == NEITHER, np.nan, scores)


def _log_density(
    observed: Float[np.ndarray, "a n"], shadows: Float[np.ndarray, "t n"], chosen: Bool[np.ndarray, "t n"]
) -> Float[np.ndarray, "a n"]:
    """Log density of observations under the Gaussian that fits the chosen shadow models of each participant."""
    n = chosen.sum(axis=0)
    mean = np.where(chosen, shadows, 0.0).sum(axis=0) / np.maximum(n, 1)
    residuals = np.where(chosen, shadows - mean, 0.0)[:, np.isfinite(mean)]
    freedom = np.maximum(n - 1, 0)[np.isfinite(mean)].sum()
    variance = max((residuals**2).sum() / max(freedom, 1), 1e-12) * (1 + 1 / np.maximum(n, 1))
    density = -0.5 * (observed - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    return np.where(n > 0, density, np.nan)


def power(
    scores: Float[np.ndarray, "t n"], trainings: Trainings, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """How well scores tell members from others: `auc`, and the true positive rate at each of `FALSE_RATES`.

    Pairs of a training and a participant are pooled; intervals resample participants, or clusters.

    Returns:
      cells of a report by name.
    """
    used = np.isfinite(scores) & (trainings.role != NEITHER)
    at = np.nonzero(used)
    rows = BinaryRows((trainings.role[at] == IN).astype(np.float64), scores[at])

    def statistic(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r k"]:
        sums = rows.sums(weights)
        return np.stack([auroc(sums), *(_true_rate(sums, limit) for limit in FALSE_RATES.values())], axis=1)

    intervals = bootstrap.bootstrap(trainings.owner[at[1]], statistic, resamples=resamples, seed=seed)
    values = dict(zip(LABELS, intervals.value.tolist(), strict=True))
    return bootstrap.with_intervals(Scores(values, {}), intervals)


def _true_rate(sums: BinarySums, limit: float) -> Float[np.ndarray, " r"]:
    """The largest share of members that a threshold calls with at most this share of others."""
    (to_positive, to_negative), totals = sums.to, (sums.positives[:, None], sums.negatives[:, None])
    called, alarms = ratio(totals[0] - to_positive, totals[0]), ratio(totals[1] - to_negative, totals[1])
    rate = np.where(alarms <= limit + 1e-12, called, 0.0).max(axis=1)
    return np.where(sums.both, rate, np.nan)


def attack(
    task: Task,
    values: Float[np.ndarray, "t n ..."],
    targets: Float[np.ndarray, " n"],
    trainings: Trainings,
    *,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """All `ATTACKS` on the predictions of some trainings; arguments as of `confidence` and `power`.

    Returns:
      cells by attack, the numbers of pairs `n_in` and `n_out`, and the least number of shadow models `shadows_out`; or
      `reason` where there are too few of them.
    """
    fewest = trainings.fewest_out
    if fewest < FEWEST:
        return {"reason": f"only {fewest} shadow model without each participant, {FEWEST} are needed"}
    signed, ordered = confidence(task, values, targets)
    control, options = trainings.exchanged(seed), {"resamples": resamples, "seed": seed}
    known = np.isfinite(targets)
    return {
        "n_in": int((trainings.role[:, known] == IN).sum()),
        "n_out": int((trainings.role[:, known] == OUT).sum()),
        "shadows_out": fewest,
        "likelihood_ratio": power(likelihood_ratio(signed, trainings), trainings, **options),
        "threshold": power(ordered, trainings, **options),
        "exchanged": power(likelihood_ratio(signed, control), control, **options),
    }


def sections(report: Mapping[str, Any]) -> list[Table]:
    """A table per task from `report["membership"]`; nothing where a report has none."""
    tables = []
    for task, predictors in (report.get("membership") or {}).get("tasks", {}).items():
        rows, notes = [], []
        for name, entry in predictors.items():
            if "reason" in entry:
                notes.append(f"{name}: {entry['reason']}.")
                continue
            for attack_name, title in ATTACKS.items():
                cells = [wording.cell("auroc", entry[attack_name][key]) for key in LABELS]
                rows.append([name, title, f"{entry['n_in']} / {entry['n_out']}", *cells])
        columns = ["predictor", "attack", "pairs in / out", *LABELS.values()]
        tables.append(Table(task, columns, rows, note=" ".join([CHANCE, *notes]), opened=True))
    return tables


def sentence(report: Mapping[str, Any], task: str) -> str:
    """What the attack on the model comes to for a task, for a model card; "" where it was not audited."""
    entry = (report.get("membership") or {}).get("tasks", {}).get(task, {}).get("model", {})
    cells = entry.get("likelihood_ratio")
    if not cells:
        return ""
    return ", ".join(f"{title} {wording.estimate('auroc', cells[key])}" for key, title in LABELS.items())
