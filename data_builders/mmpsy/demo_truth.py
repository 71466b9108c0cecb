"""The people of the demo corpus: latent variables, questionnaire scores, and how well anybody could predict them.

Every participant has eight independent standard normal variables. Four make up the latent severity of each scale,

    z = sqrt(w_S) S + sqrt(w_A) A + sqrt(w_T) T + sqrt(w_E) E        (the weights sum to one)

where S is audible and readable, A only audible, T only readable, and E is neither. PHQ-9 uses (S, A, T, E) as they are;
GAD-7 mixes them with a second quadruple, z_gad = r z_phq + sqrt(1 - r^2) z'. Scores are quantiles of the marginal
distributions counted in the released table (a Gaussian copula). `demo.py` plants S, A, S', A' in the audio and S, T,
S', T' in the text. Given these cues exactly, the distribution of a score is known in closed form, so the best possible
AUROC, AUPRC, CCC and MAE are known too. Derivation: `docs/demo_corpus.md`.
"""

import copy
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy  # its parts are loaded when they are used
from jaxtyping import Float, Int

from mmpsy_jax.io import InputError

# Participants per score in the 1,020 released rows that this project was developed on (aggregate counts only).
# Nobody in the release scores 0 or 1 on the PHQ-9.
HISTOGRAM = {
    "phq9": (0, 0, 85, 139, 118, 129, 100, 79, 87, 77, 45, 44, 28, 24, 10, 13, 12, 7, 7, 4, 4, 4, 1, 2, 1, 0, 0, 0),
    "gad7": (234, 156, 121, 106, 79, 62, 49, 53, 29, 22, 20, 19, 14, 10, 9, 4, 10, 5, 5, 6, 4, 3),
}

# Shares of the latent variance: shared by both modalities, audio only, text only, in neither.
WEIGHTS = {"shared": 0.15, "audio": 0.30, "text": 0.35, "hidden": 0.20}

# Correlation of the two latent severities; after rounding to scores the Pearson correlation is 0.80, as released.
LATENT_CORRELATION = 0.83

CUTOFF = 10
SCALES = ("phq9", "gad7")
_SHARES = {"audio": ("shared", "audio"), "text": ("shared", "text"), "both": ("shared", "audio", "text")}
_COLUMNS = {"shared": 0, "audio": 1, "text": 2, "hidden": 3}
_POPULATION = 400_000


@dataclasses.dataclass(frozen=True)
class People:
    """Latent variables and scores of n participants.

    Attributes:
      latent: [n, 2, 4]; second axis: (S, A, T, E) and (S', A', T', E').
      scores: PHQ-9 and GAD-7 totals.
    """

    latent: Float[np.ndarray, "n 2 4"]
    scores: dict[str, Int[np.ndarray, " n"]]

    def cues(self, modality: str) -> Float[np.ndarray, "n 4"]:
        """What `modality` ("audio" or "text") carries: (S, A, S', A') or (S, T, S', T')."""
        columns = [_COLUMNS["shared"], _COLUMNS[modality]]
        return self.latent[:, :, columns].reshape(len(self.latent), 4)


def participant_id(index: int) -> str:
    """Id of the participant with this index, counted from 0, in the style of the release."""
    return f"user_{index + 1}"


def people(indices: Iterable[int], seed: int) -> People:
    """The participants with these indices; each depends on the seed and its own index only."""
    latent = np.array([np.random.default_rng([seed, index, 0]).standard_normal((2, 4)) for index in indices])
    return _with_scores(latent.reshape(-1, 2, 4))


def optimum(participants: Iterable[str], seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Best possible metrics on these participants of the demo corpus with this seed.

    Args:
      participants: ids as `write_corpus` made them, for example those of the test split.
      seed: the corpus' seed.

    Returns:
      {scale: {"audio" | "text" | "both": {"auroc", "auprc", "ccc", "mae"}}}.

    Raises:
      InputError: an id is not one of the generator's, or one class at the cut-off of 10 is empty.
    """
    return _metrics(people([_index(participant) for participant in participants], seed), "the given participants")


def population_optimum() -> dict[str, dict[str, dict[str, float]]]:
    """Best possible metrics in the population, from 400,000 simulated people (standard error about 0.001)."""
    return copy.deepcopy(_population_optimum())


@functools.cache  # takes two seconds
def _population_optimum() -> dict[str, dict[str, dict[str, float]]]:
    return _metrics(_with_scores(np.random.default_rng(0).standard_normal((_POPULATION, 2, 4))), "the population")


def describe(participants: Iterable[str], seed: int) -> dict[str, Any]:
    """The `optimum` entry of `corpus.json`: population values, values on all participants, and how they came about."""
    participants = list(participants)
    entry = {
        "how": (
            "Synthetic corpus: scores are drawn from a Gaussian copula whose latent variables are planted in audio and "
            "text. The values are those of the exact Bayes posterior given the planted cues (posterior probability of "
            "score >= cut-off for auroc and auprc, posterior median for mae, posterior mean rescaled to the scores' "
            "mean and variance for ccc). population: 400,000 simulated people; corpus: all participants of this "
            "corpus; test: its test split. See docs/demo_corpus.md."
        ),
        "seed": seed,
        "cutoff": CUTOFF,
        "weights": dict(WEIGHTS),
        "latent_correlation": LATENT_CORRELATION,
        "population": population_optimum(),
    }
    try:
        entry["corpus"] = optimum(participants, seed)
    except InputError as error:
        entry["corpus_note"] = str(error)  # tiny corpora may lack positives; the card says so instead of a number
    return entry


def with_test(described: Mapping[str, Any], test: Iterable[str]) -> dict[str, Any]:
    """Adds the values on the corpus' own test participants to a dictionary made by `describe`."""
    test = list(test)
    entry = dict(described)
    try:
        entry["test"] = {"participants": len(test), **optimum(test, described["seed"])}
    except InputError as error:
        entry["test_note"] = str(error)
    return entry


def _index(participant: str) -> int:
    prefix, _, number = participant.partition("_")
    if prefix != "user" or not number.isdecimal() or int(number) < 1:
        raise InputError(
            f"participant {participant!r} is not of the demo corpus: ids there are user_1, user_2, ...; "
            "give ids as the generator made them, not hashed ones"
        )
    return int(number) - 1


def _with_scores(latent: Float[np.ndarray, "n 2 4"]) -> People:
    weights = np.sqrt([WEIGHTS[name] for name in _COLUMNS])
    severities = latent @ weights
    severity = {"phq9": severities[:, 0], "gad7": _mix(severities)}
    return People(latent, {scale: _quantile(scale, severity[scale]) for scale in SCALES})


def _mix(severities: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """z_gad from (z_phq, z'), or its conditional mean from theirs: the same linear map."""
    return LATENT_CORRELATION * severities[:, 0] + np.sqrt(1 - LATENT_CORRELATION**2) * severities[:, 1]


def _cumulative(scale: str) -> Float[np.ndarray, " scores"]:
    """P(score <= s) for s = 0, 1, ..., maximum - 1 where the last entries may be 1."""
    counts = np.array(HISTOGRAM[scale], np.float64)
    return np.minimum(np.cumsum(counts) / counts.sum(), 1.0)[:-1]


def _quantile(scale: str, latent: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.searchsorted(_cumulative(scale), scipy.special.ndtr(latent), side="right").astype(np.int64)


def _metrics(drawn_people: People, whom: str) -> dict[str, dict[str, dict[str, float]]]:
    from sklearn.metrics import average_precision_score, mean_absolute_error, roc_auc_score

    result: dict[str, dict[str, dict[str, float]]] = {}
    for scale in SCALES:
        score = drawn_people.scores[scale]
        positive = score >= CUTOFF
        if not 0 < positive.sum() < len(score):
            raise InputError(
                f"{scale}: {whom} do not fall on both sides of the cut-off {CUTOFF}, so no AUROC exists: "
                "make the demo corpus larger"
            )
        result[scale] = {}
        for modality in _SHARES:
            mean, deviation = _posterior(drawn_people, scale, modality)
            edges = scipy.special.ndtri(_cumulative(scale))
            at_least = 1 - scipy.special.ndtr((edges[None] - mean[:, None]) / deviation)  # P(score > s | cues)
            probability, expected = at_least[:, CUTOFF - 1], at_least.sum(axis=1)
            result[scale][modality] = {
                "auroc": float(roc_auc_score(positive, probability)),
                "auprc": float(average_precision_score(positive, probability)),
                "ccc": float(np.corrcoef(expected, score)[0, 1]),  # CCC <= Pearson; equal after rescaling
                "mae": float(mean_absolute_error(score, _quantile(scale, mean))),
            }
    return result


def _posterior(drawn_people: People, scale: str, modality: str) -> tuple[Float[np.ndarray, " n"], float]:
    """Mean and standard deviation of the latent severity of `scale` given the cues of `modality`."""
    known = [name in _SHARES[modality] for name in _COLUMNS]
    weights = np.array([WEIGHTS[name] for name in _COLUMNS])
    severities = drawn_people.latent @ (np.sqrt(weights) * known)
    mean = severities[:, 0] if scale == "phq9" else _mix(severities)
    # Both quadruples lose the same share, hence r^2 v + (1 - r^2) v = v for either scale.
    return mean, float(np.sqrt(weights[~np.array(known)].sum()))
