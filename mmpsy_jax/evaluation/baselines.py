"""What a model has to beat: predictors fitted on the training split only, with fixed hyper-parameters.

| name | binary task | band or score |
|---|---|---|
| `prior` | share of positives in the training split | mean of the training split |
| `length` | logistic regression on log characters | linear regression on log characters |
| `answers` | logistic regression on the number of answers | linear regression on it |
| `mel_linear` | logistic regression on mean and deviation of each mel band | ridge regression on them |
| `egemaps` or `functionals` | logistic regression on functionals of the recording | ridge regression on them |
| `tfidf_logistic` | logistic regression on character n-grams | - |
| `tfidf_ridge` | ridge regression of the score, as a probability | ridge regression on character n-grams |

Predictions of bands are cut at the shares of the bands in the training split (`kinds/ordinal.py`); rounded, those of a
shrunk regression would be the same band for nearly everybody.

Of a nominal task `prior` says the most frequent class of the training split, and the logistic regressions, which are
multinomial, the most probable one; `tfidf_ridge` is left out.

Character 1-3-grams need no word segmentation, which suits Chinese transcripts. The hyper-parameters below are fixed, so
that a baseline cannot profit from a validation or test split of the run that it stands beside. They were chosen once,
by cross-validation on the 1,020 released transcripts, to be hard to beat there (`docs/evaluation.md`); there the choice
favours the baselines slightly.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import scipy.stats
import threadpoolctl
from jaxtyping import Float, Int, Shaped
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from mmpsy_jax.evaluation.predictions import SPLITS, Predictions
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task

NGRAMS = (1, 3)
MINIMUM_DOCUMENTS = 2  # an n-gram of a single transcript teaches nothing about others
SINGLE_C = 1.0  # of a logistic regression on one number
# Bands and functionals are many and correlated, recordings are few: shrunk hard. Both mean the same penalty.
MEL_C = 0.01
MEL_ALPHA = 100.0
FEW_NUMBERS = 8  # so few are shrunk no more than one
LOGISTIC_C = 10.0
RIDGE_ALPHA = 1.0
MAX_ITERATIONS = 1000

TITLES = {
    "prior": "prior only (training mean)",
    "length": "transcript length only",
    "answers": "number of answers only",
    "mel_linear": "mel statistics + linear model",
    "functionals": "functionals of the recording + linear model",
    "egemaps": "eGeMAPS functionals + linear model",
    "tfidf_logistic": "character TF-IDF + logistic regression",
    "tfidf_ridge": "character TF-IDF + ridge regression",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Covariates:
    """What the baselines know of the participants of one fold.

    Attributes:
      participant_id: ids, each once.
      split: "train", "validation" or "test" of each; "" for a participant that is in no split and stays unused.
      scores: score per label name; NaN (or a number below the task's scale, as the -1 of records) where missing.
      n_characters: length of each transcript, or None; then `length` is left out.
      texts: transcript per participant id, or None where text is not at hand; then the TF-IDF baselines are left out.
      n_answers: number of answers of each, or None; then `answers` is left out.
      mel: statistics of the recording of each, NaN where there is none, or None without audio; then `mel_linear` is
        left out.
      functionals: further numbers of the recording of each by name (`egemaps`, `functionals`), NaN where there are
        none.
      probes: of shortcuts (`probes.py`): numbers of each by name, NaN where there are none, or a sparse matrix of which
        n-grams each uses.

    Raises:
      InputError: lengths that differ, a repeated participant, an unknown split, a participant without text.
    """

    participant_id: Shaped[np.ndarray, " n"]
    split: Shaped[np.ndarray, " n"]
    scores: Mapping[str, Float[np.ndarray, " n"]]
    n_characters: Float[np.ndarray, " n"] | None
    texts: Mapping[str, str] | None = None
    n_answers: Float[np.ndarray, " n"] | None = None
    mel: Float[np.ndarray, "n f"] | None = None
    functionals: Mapping[str, Float[np.ndarray, "n k"]] = dataclasses.field(default_factory=dict)
    probes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        ids = np.asarray(self.participant_id, np.str_)
        scores = {label: np.asarray(values, np.float64) for label, values in self.scores.items()}
        n_characters = None if self.n_characters is None else np.asarray(self.n_characters, np.float64)
        object.__setattr__(self, "participant_id", ids)
        object.__setattr__(self, "split", np.asarray(self.split, np.str_))
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "n_characters", n_characters)
        columns = {"split": self.split, "n_characters": n_characters, "n_answers": self.n_answers, "mel": self.mel}
        lengths = {k: len(v) for k, v in (columns | scores | {**self.functionals}).items() if v is not None}
        if any(length != len(ids) for length in lengths.values()):
            raise InputError(f"baselines: {len(ids)} participants but {lengths}: give one value per participant")
        if len(np.unique(ids)) != len(ids):
            raise InputError("baselines: a participant occurs twice: give each once, in one split")
        unknown = sorted(set(self.split.tolist()) - {*SPLITS, ""})
        if unknown:
            raise InputError(f"baselines: unknown split {unknown[0]!r}: use {', '.join(SPLITS)}")
        if n_characters is not None and not np.all(n_characters >= 0):
            raise InputError("baselines: n_characters must be 0 or more for every participant")
        without = 0 if self.texts is None else sum(name not in self.texts for name in ids.tolist())
        if without:
            raise InputError(
                f"baselines: {without} of {len(ids)} participants have no text: give one for all (it may be empty) or "
                "texts=None"
            )


def fit_predict(
    covariates: Covariates,
    tasks: Sequence[Task],
    *,
    fold: int = 0,
    seed: int = 0,
    splits: Sequence[str] = ("validation", "test"),
) -> dict[str, Predictions]:
    """Fits every baseline on the training split and predicts the other splits.

    Args:
      covariates: participants of one fold; for a cross-validation call once per fold and concatenate the results.
      tasks: what is predicted.
      fold, seed: written into the predictions, so that they pair with the model's.
      splits: the splits to predict.

    Returns:
      Predictions by baseline name, in the order of `TITLES`.

    Raises:
      InputError: a task whose label is not among the scores, or with no label in the training split.
    """
    texts = _Texts(covariates) if covariates.texts is not None else None
    parts: dict[str, list[Predictions]] = {}
    for task in tasks:
        if task.label not in covariates.scores:
            labels = ", ".join(sorted(covariates.scores))
            raise InputError(f"baselines: task {task.name!r} needs label {task.label!r}: the scores given are {labels}")
        scores = covariates.scores[task.label]
        scores = np.where((scores == -1) & (task.minimum >= 0), np.nan, scores)
        truth = np.asarray(task.targets(scores), np.float64)
        fit_on = np.flatnonzero((covariates.split == "train") & ~np.isnan(truth))
        if not len(fit_on):
            raise InputError(f"baselines: no participant of the training split has a label {task.label!r}")
        out = np.isin(covariates.split, list(splits))
        with threadpoolctl.threadpool_limits(1, "blas"):  # on many cores its threads wait longer than they compute
            predicted = _predict(task, covariates, truth, scores, fit_on, texts)
        for name, values in predicted.items():
            column = {task.column: values[out]}
            parts.setdefault(name, []).append(
                Predictions.build(
                    covariates.participant_id[out],
                    task.name,
                    truth[out],
                    split=covariates.split[out],
                    fold=fold,
                    seed=seed,
                    **column,
                )
            )
    return {name: Predictions.concatenate(parts[name]) for name in (*TITLES, *covariates.probes) if name in parts}


def _predict(task, covariates, truth, scores, fit_on, texts) -> dict[str, Float[np.ndarray, " n"]]:
    """Predictions of every baseline for every participant, fitted on the rows `fit_on`."""
    target = truth[fit_on]
    predicted = {"prior": np.full(len(truth), task.constant(target))}
    numbers = _numbers(covariates, fit_on)
    if task.logits:
        inputs = {name: (x, c) for name, (x, c, _) in numbers.items()}
        if texts is not None:
            inputs["tfidf_logistic"] = (texts.matrix(fit_on), LOGISTIC_C)
        one_class = len(np.unique(target)) == 1  # nothing but the prior can be fitted to it
        for name, (x, c) in inputs.items():
            predicted[name] = predicted["prior"] if one_class else _logistic(task, x, fit_on, target, c)
        if texts is not None and task.event:
            predicted["tfidf_ridge"] = texts.ridge_probability(fit_on, scores[fit_on], task)
    else:
        for name, (x, _, alpha) in numbers.items():
            predicted[name] = task.linear_model(alpha, len(fit_on)).fit(x[fit_on], target).predict(x)
        if texts is not None:
            predicted["tfidf_ridge"] = texts.ridge(task, fit_on, target)[0]
    return predicted


def _numbers(covariates, fit_on) -> dict[str, tuple[Float[np.ndarray, "n f"], float, float]]:
    """Standardised numbers of each baseline that has some, its C, and its ridge penalty."""
    numbers = {}
    if covariates.n_characters is not None:
        numbers["length"] = (np.log1p(covariates.n_characters)[:, None], SINGLE_C, 0.0)
    if covariates.n_answers is not None:
        numbers["answers"] = (np.asarray(covariates.n_answers, np.float64)[:, None], SINGLE_C, 0.0)
    further = {"mel_linear": covariates.mel, **covariates.functionals}
    further |= {name: x for name, x in covariates.probes.items() if not scipy.sparse.issparse(x)}
    for name, x in further.items():
        # What nobody knows in training, such as the pitch of whispers, is left out.
        known = np.zeros(0, bool) if x is None else np.isfinite(x[fit_on]).any(axis=0)
        if known.any():
            few = name in covariates.probes and known.sum() <= FEW_NUMBERS
            numbers[name] = (x[:, known], SINGLE_C if few else MEL_C, RIDGE_ALPHA if few else MEL_ALPHA)
    numbers = {name: (_standardised(x, fit_on), c, alpha) for name, (x, c, alpha) in numbers.items()}
    ngrams = {name: x for name, x in covariates.probes.items() if scipy.sparse.issparse(x)}
    return numbers | {name: (_weighted(x, fit_on), LOGISTIC_C, RIDGE_ALPHA) for name, x in ngrams.items()}


def _weighted(used: Any, fit_on: Int[np.ndarray, " m"]) -> Any:
    """TF-IDF of which n-grams each uses; those of too few of the rows `fit_on` are left out.

    Where that leaves none, such as of a first minute in which hardly anybody speaks, nothing tells two rows apart.
    """
    users = np.asarray(used[fit_on].sum(axis=0, dtype=np.int64)).ravel()
    kept = used[:, users >= min(MINIMUM_DOCUMENTS, len(fit_on))].astype(np.float64)
    if not kept.shape[1]:
        return np.zeros((used.shape[0], 1))
    return TfidfTransformer().fit(kept[fit_on]).transform(kept)


def _standardised(x: Float[np.ndarray, "n f"], fit_on: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n f"]:
    """Mean 0 and deviation 1 over the rows `fit_on`; who lacks the numbers gets the mean of those who have them."""
    mean, deviation = np.nanmean(x[fit_on], axis=0), np.nanstd(x[fit_on], axis=0)
    return np.nan_to_num((x - mean) / np.where(deviation > 0, deviation, 1.0))


def _logistic(task, x, fit_on, target, c) -> Float[np.ndarray, " n"]:
    """Of every row, the probability of the event, or the most probable class."""
    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(x[fit_on], target)
    return model.predict_proba(x)[:, 1] if task.event else model.predict(x)


class _Texts:
    """TF-IDF of the transcripts; the vocabulary and its weights come from the rows that a predictor is fitted on."""

    def __init__(self, covariates: Covariates):
        self._texts = [covariates.texts[name] for name in covariates.participant_id.tolist()]
        self._matrices = {}
        self._ridges = {}

    def matrix(self, fit_on):
        """Of all transcripts [n v]."""
        key = fit_on.tobytes()
        if key not in self._matrices:
            minimum = min(MINIMUM_DOCUMENTS, len(fit_on))
            vectorizer = TfidfVectorizer(analyzer="char", ngram_range=NGRAMS, sublinear_tf=True, min_df=minimum)
            try:
                vectorizer.fit([self._texts[i] for i in fit_on])
            except ValueError as error:  # no n-gram is left
                raise InputError(
                    f"baselines: no character n-gram occurs in {minimum} transcripts of the training split (are they "
                    "empty?): give texts=None"
                ) from error
            self._matrices[key] = vectorizer.transform(self._texts)
        return self._matrices[key]

    def ridge(self, task: Task, fit_on, target) -> tuple[Float[np.ndarray, " n"], float]:
        """Predicted targets, and the root mean square of the leave-one-out residuals on the training rows."""
        key = (type(task).linear_model, fit_on.tobytes(), target.tobytes())
        if key not in self._ridges:
            matrix = self.matrix(fit_on)
            model = task.linear_model(RIDGE_ALPHA, len(fit_on)).fit(matrix[fit_on], target)
            error = float(np.sqrt(np.mean(getattr(model, "cv_results_", np.nan))))
            self._ridges[key] = model.predict(matrix), error
        return self._ridges[key]

    def ridge_probability(self, fit_on, scores, task: Task) -> Float[np.ndarray, " n"]:
        """Probability that the score reaches the cut-off, from the predicted score and a normal error.

        The error's size is that of the leave-one-out residuals, so that the ranking is exactly the ranking of the
        predicted scores. Scores are whole numbers: reaching 10 means more than 9.5.
        """
        predicted, error = self.ridge(task, fit_on, scores)
        return scipy.stats.norm.cdf((predicted - (task.cutoffs[0] - 0.5)) / max(error, 1e-6))
