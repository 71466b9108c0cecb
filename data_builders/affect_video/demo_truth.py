"""What is planted in the demo's clips, and how well anybody can find it. SYNTHETIC.

A clip has an emotion e, uniform over the seven, and ratings (v, a) = centre_e + d with d ~ N(0, s^2 I). Its face shows
six cues and its voice five,

    f = F_e + A d + N(0, s_f^2 I),    w = W_e + B d + N(0, s_w^2 I),

each drawn once per clip. In a planted mismatch (so many of the clips of validation and of test, chosen at random) the
voice is drawn from another emotion, uniform over the other six, with a deviation d of its own; the labels are those of
the face. All constants are our choice.

The arrays of a record are made from (f, w), the speaker and noise, and these know nothing else of the emotion. So
whatever can be said of a clip from its arrays can be said at least as well from (f, w): the values of `optimum` are
those of the posterior given (f, w), which is a finite mixture of Gaussians and therefore exact. No classifier has a
higher expected accuracy than the largest posterior, and no detector a higher ROC curve than the likelihood ratio of
mismatch against none (Neyman and Pearson), whatever the labels that it was trained on. On a small test
split a worse detector may be luckier.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from data_builders.affect_video.clips import EMOTIONS

MISMATCH_RATE = 0.15  # of the clips of validation and test
FACE_CUES = ("brow_height", "brow_slant", "eye_opening", "mouth_curve", "mouth_opening", "nose_wrinkle")
VOICE_CUES = ("pitch", "pitch_range", "tempo", "energy", "brightness")
# Rows in the order of EMOTIONS.
_FACES = np.array(
    [
        [-0.9, -1.0, 0.1, -0.4, 0.0, 0.3],  # angry
        [-0.4, -0.2, -0.6, -0.5, 0.3, 1.2],  # disgust
        [0.6, 1.0, 0.9, -0.4, 0.4, 0.0],  # fear
        [0.2, 0.0, -0.3, 1.3, 0.4, 0.1],  # happy
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # neutral
        [0.0, 0.9, -0.6, -0.9, 0.0, 0.0],  # sad
        [1.1, 0.1, 1.0, 0.1, 1.2, 0.0],  # surprise
    ]
)
_VOICES = np.array(
    [
        [0.4, 0.5, 0.6, 1.2, 1.0],
        [-0.6, 0.1, -0.8, 0.3, 0.4],
        [1.1, -0.2, 1.1, -0.3, 0.1],
        [0.7, 1.0, 0.4, 0.6, 0.3],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [-0.6, -0.8, -0.8, -0.9, -0.8],
        [1.3, 1.3, -0.3, 0.4, 0.0],
    ]
)
# Valence and arousal.
_CENTRES = np.array([[-0.5, 0.5], [-0.5, 0.1], [-0.6, 0.5], [0.6, 0.3], [0.0, 0.0], [-0.6, -0.5], [0.2, 0.6]])
_DEVIATION = 0.1  # s; a rating beyond 1 is four deviations from its centre
_FACE_SLOPES = np.array([[0, 0], [0, 0], [0, 1.5], [2.5, 0], [0, 1.5], [0, 0]])
_VOICE_SLOPES = np.array([[0, 1.5], [1.0, 0], [0, 1.5], [0, 2.0], [0, 1.0]])
_FACE_NOISE, _VOICE_NOISE = 0.42, 0.45
_POPULATION = 100_000


@dataclasses.dataclass(frozen=True, eq=False)
class Clips:
    """What is planted in n clips.

    Attributes:
      emotion: of face and label, index into `EMOTIONS`.
      ratings: valence and arousal of the label, clipped to [-1, 1].
      mismatch: whether the voice is of another emotion.
      face, voice: cues, in the order of `FACE_CUES` and `VOICE_CUES`.
    """

    emotion: Int[np.ndarray, " n"]
    ratings: Float[np.ndarray, "n 2"]
    mismatch: Bool[np.ndarray, " n"]
    face: Float[np.ndarray, "n 6"]
    voice: Float[np.ndarray, "n 5"]


def draw(rng: np.random.Generator, n: int, rate: float) -> Clips:
    """Draws n clips; face and labels are the same for every rate.

    Args:
      rng: source of everything.
      n: number of clips.
      rate: share of planted mismatches.
    """
    classes = len(EMOTIONS)
    emotion = rng.integers(classes, size=n)
    shared, of_voice = _DEVIATION * rng.normal(size=(2, n, 2))
    noise = rng.normal(size=(n, len(FACE_CUES) + len(VOICE_CUES)))
    mismatch = rng.permutation(n) < round(rate * n)
    heard = np.where(mismatch, (emotion + rng.integers(1, classes, size=n)) % classes, emotion)
    spoken = np.where(mismatch[:, None], of_voice, shared)
    return Clips(
        emotion=emotion,
        ratings=np.clip(_CENTRES[emotion] + shared, -1, 1),
        mismatch=mismatch,
        face=_FACES[emotion] + shared @ _FACE_SLOPES.T + _FACE_NOISE * noise[:, : len(FACE_CUES)],
        voice=_VOICES[heard] + spoken @ _VOICE_SLOPES.T + _VOICE_NOISE * noise[:, len(FACE_CUES) :],
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihoods:
    """Logarithms of densities of n clips.

    Attributes:
      face: of the face's cues given its emotion.
      voice: of the voice's cues given its emotion.
      same: of both given one emotion that they share.
      differ: of both given the emotion of the face (first axis) and another one of the voice; -inf on the diagonal.
    """

    face: Float[np.ndarray, "n 7"]
    voice: Float[np.ndarray, "n 7"]
    same: Float[np.ndarray, "n 7"]
    differ: Float[np.ndarray, "n 7 7"]


def likelihoods(clips: Clips) -> Likelihoods:
    """Densities of the cues, which are Gaussian given the emotions."""
    from scipy.stats import multivariate_normal

    split = len(FACE_CUES)
    slopes = np.concatenate([_FACE_SLOPES, _VOICE_SLOPES])
    noise = np.repeat([_FACE_NOISE**2, _VOICE_NOISE**2], [split, len(VOICE_CUES)])
    covariance = _DEVIATION**2 * slopes @ slopes.T + np.diag(noise)
    residual = np.concatenate([clips.face[:, None] - _FACES, clips.voice[:, None] - _VOICES], axis=-1)
    face = multivariate_normal(cov=covariance[:split, :split]).logpdf(residual[..., :split])
    voice = multivariate_normal(cov=covariance[split:, split:]).logpdf(residual[..., split:])
    differ = np.where(np.eye(len(EMOTIONS), dtype=bool), -np.inf, face[:, :, None] + voice[:, None, :])
    return Likelihoods(face, voice, multivariate_normal(cov=covariance).logpdf(residual), differ)


def mismatch_score(likelihood: Likelihoods) -> Float[np.ndarray, " n"]:
    """Logarithm of the likelihood ratio of mismatch against none: no detector has a higher ROC curve."""
    from scipy.special import logsumexp

    return logsumexp(likelihood.differ, axis=(1, 2)) - logsumexp(likelihood.same, axis=1)


def emotion_scores(likelihood: Likelihoods, rate: float) -> dict[str, Float[np.ndarray, "n 7"]]:
    """Logarithm of the posterior of the label given face, voice or both, but for a constant of each clip."""
    from scipy.special import logsumexp

    others = len(EMOTIONS) - 1
    unlike = np.log(rate / others) + logsumexp(likelihood.differ, axis=2)
    # A voice says its own emotion; the label's is that one, or with equal chance any other.
    heard = np.exp(likelihood.voice - logsumexp(likelihood.voice, axis=1, keepdims=True))
    return {
        "face": likelihood.face,
        "audio": np.log((1 - rate) * heard + rate * (1 - heard) / others),
        "both": np.logaddexp(np.log(1 - rate) + likelihood.same, unlike),
    }


def expected_ratings(clips: Clips, likelihood: Likelihoods) -> Float[np.ndarray, "n 2"]:
    """Expectation of valence and arousal given the face (before they are clipped, which happens to 1 in 10,000)."""
    from scipy.special import softmax

    covariance = _DEVIATION**2 * _FACE_SLOPES @ _FACE_SLOPES.T + _FACE_NOISE**2 * np.eye(len(FACE_CUES))
    gain = _DEVIATION**2 * np.linalg.solve(covariance, _FACE_SLOPES)
    each = _CENTRES + (clips.face[:, None] - _FACES) @ gain
    return (softmax(likelihood.face, axis=1)[..., None] * each).sum(axis=1)


def optimum(tested: Clips, seed: int) -> dict[str, Any]:
    """The entry `optimum` of `corpus.json`.

    Args:
      tested: the clips of the test split.
      seed: of the corpus.
    """
    population = draw(np.random.default_rng(0), _POPULATION, MISMATCH_RATE)
    return {
        "how": (
            "Synthetic clips. The values are those of the exact posterior given the cues that face and voice were "
            "drawn from and that all arrays are made of: nobody can expect more. emotion: accuracy of the largest "
            "posterior; mismatch: AUROC of the likelihood ratio; valence and arousal: correlation with their "
            "expectation, which no CCC exceeds. population: "
            f"{_POPULATION:,} drawn clips as in validation and test; test: the test split, where chance may do better. "
            "See data_builders/affect_video/demo_truth.py."
        ),
        "seed": seed,
        "mismatch_rate": MISMATCH_RATE,
        "population": _best(population),
        "test": _best(tested),
    }


def _best(clips: Clips) -> dict[str, dict[str, dict[str, float]]]:
    from sklearn.metrics import roc_auc_score  # takes seconds to import

    likelihood = likelihoods(clips)
    scores = emotion_scores(likelihood, MISMATCH_RATE)
    best: dict[str, dict[str, dict[str, float]]] = {
        "emotion": {
            name: {"accuracy": float((score.argmax(axis=1) == clips.emotion).mean())} for name, score in scores.items()
        }
    }
    expected = expected_ratings(clips, likelihood)
    for i, name in enumerate(("valence", "arousal")):
        best[name] = {"face": {"ccc": float(np.corrcoef(expected[:, i], clips.ratings[:, i])[0, 1])}}
    if 0 < clips.mismatch.sum() < len(clips.mismatch):
        best["mismatch"] = {"both": {"auroc": float(roc_auc_score(clips.mismatch, mismatch_score(likelihood)))}}
    return best
