"""How far apart are what a teacher sees in a face and what a student hears in the voice?

The gap of a segment is -ln sum_e p_T(e) p_S(e), in nats: how unlikely it is that the two name the same emotion. Of
emotions that are equally frequent it is, but for a constant, the logarithm of the likelihood ratio of two unrelated
emotions against one (Neyman and Pearson 1933), where the probabilities p_T of the teacher and p_S of the student are
calibrated. Beside it stand the Jensen-Shannon divergence of the two (Lin 1991), at most ln 2, and the Euclidean
distance of the ratings, such as valence and arousal. Of a clip they are the same of the outputs for all segments
together that have both, and the share of segments with a gap above a limit: the 95th percentile over the segments of
held-out clips that are taken to be normal.

Departures from the paper: it asks for a threshold and names none, nor a measure; all of this was chosen here.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import distance
from scipy.special import softmax
from scipy.stats import rankdata

from mmpsy_jax.evaluation import metrics
from mmpsy_jax.evaluation.bootstrap import bootstrap
from mmpsy_jax.evaluation.rows import BinaryRows
from mmpsy_jax.io import InputError, write_table

PERCENTILE = 95.0
SEGMENTS, CLIPS, EMOTIONS, BY_LABEL = "segments.csv", "clips.csv", "emotions.csv", "emotions_by_label.csv"
TINY = 1e-12  # a smaller probability counts as this one
# Numbers of a clip by which mismatches are looked for; the first is what the page speaks of.
SCORES = ("gap", "share_above", "divergence", "distance")


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """Outputs of the teacher for the frames of a clip that show a face.

    Attributes:
      seconds: into the clip.
      emotions: probabilities.
      ratings: such as valence and arousal.
    """

    seconds: Float[np.ndarray, " n"]
    emotions: Float[np.ndarray, "n c"]
    ratings: Float[np.ndarray, "n r"]

    def changes(self) -> float:
        """Share of steps from frame to frame at which the most probable emotion is another one; NaN without a step."""
        top = self.emotions.argmax(axis=1)
        return float((top[1:] != top[:-1]).mean()) if len(top) > 1 else float("nan")


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """Outputs of teacher and student for a held-out clip.

    Attributes:
      participant, cluster: ids of clip and speaker.
      split: "validation" or "test".
      fold: in which it is held out.
      emotion: index of the labelled one; NaN where there is none.
      mismatch: 1 where voice and face are known to disagree, else 0; NaN where nothing is known.
      start_s: of the segments that have both face and speech.
      seen, heard: probabilities of the emotions in these, by teacher and student.
      seen_ratings, heard_ratings: the ratings.
      seen_frames, heard_frames: how many frames show a face, and how many there are of speech.
      after: frames of the chosen speaker's face.
      before: frames of the largest face, whoever it is; None where the corpus has none.
    """

    participant: str
    cluster: str
    split: str
    fold: int
    emotion: float
    mismatch: float
    start_s: Float[np.ndarray, " w"]
    seen: Float[np.ndarray, "w c"]
    heard: Float[np.ndarray, "w c"]
    seen_ratings: Float[np.ndarray, "w r"]
    heard_ratings: Float[np.ndarray, "w r"]
    seen_frames: Float[np.ndarray, " w"]
    heard_frames: Float[np.ndarray, " w"]
    after: Frames
    before: Frames | None = None

    def as_one_segment(self) -> "Clip":
        """The clip with the outputs for all of its segments together.

        Outputs are linear in the embeddings, and the embedding of a clip is the mean over the frames of its segments
        (`models/audio_visual.py`): so are its ratings, and the logarithms of its probabilities but for a constant.
        """
        whole = {}
        for side in ("seen", "heard"):
            frames = getattr(self, f"{side}_frames")
            mean = functools.partial(np.average, axis=0, weights=frames, keepdims=True)
            logits = mean(np.log(np.maximum(getattr(self, side), TINY)))
            whole |= {side: softmax(logits, axis=1), f"{side}_ratings": mean(getattr(self, f"{side}_ratings"))}
            whole[f"{side}_frames"] = frames.sum(keepdims=True)
        return dataclasses.replace(self, start_s=self.start_s[:1], **whole)

    @property
    def divergence(self) -> Float[np.ndarray, " w"]:
        """Jensen-Shannon divergence of each segment in nats."""
        return distance.jensenshannon(self.seen, self.heard, axis=1) ** 2

    @property
    def distance(self) -> Float[np.ndarray, " w"]:
        """Euclidean distance of the ratings of each segment."""
        return np.linalg.norm(self.seen_ratings - self.heard_ratings, axis=1)

    @property
    def gap(self) -> Float[np.ndarray, " w"]:
        """Minus the logarithm of the probability that both name the same emotion, in nats."""
        return -np.log(np.maximum((self.seen * self.heard).sum(axis=1), TINY))


def limits(clips: Sequence[Clip], percentile: float = PERCENTILE) -> dict[int, float]:
    """Per fold the percentile of the gaps of its validation segments; clips that are known to disagree are left out.

    Raises:
      InputError: a fold without such a segment.
    """
    by_fold = {}
    for fold in dict.fromkeys(clip.fold for clip in clips):
        normal = [c.gap for c in clips if c.fold == fold and c.split == "validation" and c.mismatch != 1]
        gaps = np.concatenate(normal) if normal else np.zeros(0)
        if not len(gaps):
            raise InputError(
                f"fold {fold}: no segment of a validation clip has both a face and speech, so that there is no limit: "
                "give records of which some are in the validation split"
            )
        by_fold[fold] = float(np.percentile(gaps, percentile))
    return by_fold


def score(clip: Clip, limit: float) -> dict[str, float]:
    """`SCORES` of a clip, NaN without a segment that has both."""
    if not len(clip.start_s):
        return dict.fromkeys(SCORES, float("nan"))
    whole = clip.as_one_segment()
    values = (whole.gap[0], (clip.gap > limit).mean(), whole.divergence[0], whole.distance[0])
    return dict(zip(SCORES, map(float, values), strict=True))


def mismatches(
    clips: Sequence[Clip], limits: Mapping[int, float], *, resamples: int, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """AUROC of each score for clips known to disagree against those known not to, with 95 % intervals over speakers.

    Args:
      clips: of the test split.
      limits: by fold.
      resamples: of speakers.
      seed: of the bootstrap.

    Returns:
      by score `value`, `low` and `high`, None where an interval is undefined; empty without clips of both kinds.
    """
    rows = [(c, score(c, limits[c.fold])) for c in clips if c.mismatch == c.mismatch and len(c.start_s)]
    truth = np.array([c.mismatch for c, _ in rows])
    if len(np.unique(truth)) < 2:
        return {}
    speakers = np.array([c.cluster for c, _ in rows])
    by_score = {}
    for name in SCORES:
        values = np.array([scores[name] for _, scores in rows])
        ranking = metrics.statistic(BinaryRows(truth, values), ["auroc"])
        interval = bootstrap(speakers, ranking, resamples=resamples, seed=seed)
        bounds = {"low": float(interval.low[0]), "high": float(interval.high[0])}
        by_score[name] = {"value": float(interval.value[0]), **{k: v if v == v else None for k, v in bounds.items()}}
    return by_score


def percentages(emotions: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """Mean probability of each emotion over frames, in percent."""
    return 100 * emotions.mean(axis=0)


def ranks(percent: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """Rank of each percentage, 1 for the largest; equal ones have the mean of theirs."""
    return rankdata(-percent)


def by_label(clips: Sequence[Clip]) -> dict[int, tuple[int, Float[np.ndarray, " c"]]]:
    """Per labelled emotion the number of clips that show a face, and the mean of their percentages."""
    percent: dict[int, list[np.ndarray]] = {}
    for clip in clips:
        if clip.emotion == clip.emotion and len(clip.after.seconds):
            percent.setdefault(int(clip.emotion), []).append(percentages(clip.after.emotions))
    return {label: (len(percent[label]), np.mean(percent[label], axis=0)) for label in sorted(percent)}


def order(clips: Sequence[Clip], limits: Mapping[int, float]) -> list[int]:
    """Positions of the clips that have a score, the largest gap first."""
    gaps = np.array([score(clip, limits[clip.fold])["gap"] for clip in clips])
    return [int(i) for i in np.argsort(-gaps, kind="stable") if gaps[i] == gaps[i]]


def summary(clips: Sequence[Clip], limits: Mapping[int, float], *, resamples: int) -> dict[str, Any]:
    """Numbers over all test clips.

    Args:
      clips: of the test split.
      limits: by fold.
      resamples: of the bootstrap.
    """
    with_both = [clip for clip in clips if len(clip.start_s)]
    steps = {
        when: [frames.changes() for clip in clips if (frames := getattr(clip, when)) is not None]
        for when in ("before", "after")
    }
    changes = {when: float(np.nanmean(values)) for when, values in steps.items() if np.isfinite(values).any()}
    return {
        "percentile": PERCENTILE,
        "limits": {str(fold): value for fold, value in limits.items()},
        "clips": len(clips),
        "clips_with_both": len(with_both),
        "segments": sum(len(clip.start_s) for clip in clips),
        "share_above": float(np.mean([(c.gap > limits[c.fold]).mean() for c in with_both])) if with_both else None,
        "mismatch": mismatches(clips, limits, resamples=resamples),
        "changes_per_step": changes,
    }


def write_tables(folder: Path, clips: Sequence[Clip], limits: Mapping[int, float], names: Sequence[str]) -> None:
    """Writes `SEGMENTS`, `CLIPS`, `EMOTIONS` and `BY_LABEL`; the first three name clips.

    Args:
      folder: for the files.
      clips: of the test split.
      limits: by fold.
      names: of the emotions.
    """
    ranked = [clips[i] for i in order(clips, limits)]
    scored = [(number, clip, score(clip, limits[clip.fold])) for number, clip in enumerate(ranked, 1)]
    who = lambda clip: (clip.participant, clip.fold)  # noqa: E731
    write_table(
        folder / SEGMENTS,
        ("participant_id", "fold", "start_s", "divergence", "distance", "gap", "above"),
        [
            (*who(clip), *map(float, numbers), int(numbers[-1] > limits[clip.fold]))
            for clip in ranked
            for numbers in zip(clip.start_s, clip.divergence, clip.distance, clip.gap, strict=True)
        ],
    )
    write_table(
        folder / CLIPS,
        ("rank", "participant_id", "fold", "segments", *SCORES),
        [(rank, *who(clip), len(clip.start_s), *scores.values()) for rank, clip, scores in scored],
    )
    write_table(
        folder / EMOTIONS,
        ("participant_id", "fold", "labelled", "emotion", "percent", "rank"),
        [
            (*who(clip), _label(clip, names), *row)
            for clip in clips
            if len(clip.after.seconds)
            for row in _ranked(percentages(clip.after.emotions), names)
        ],
    )
    write_table(
        folder / BY_LABEL,
        ("labelled", "clips", "emotion", "percent", "rank"),
        [
            (names[label], count, *row)
            for label, (count, percent) in by_label(clips).items()
            for row in _ranked(percent, names)
        ],
    )


def _label(clip: Clip, names: Sequence[str]) -> str:
    return names[int(clip.emotion)] if clip.emotion == clip.emotion else ""


def _ranked(percent: Float[np.ndarray, " c"], names: Sequence[str]) -> list[tuple[str, float, float]]:
    return list(zip(names, percent.tolist(), ranks(percent).tolist(), strict=True))
