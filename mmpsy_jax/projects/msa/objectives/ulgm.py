"""Self-MM's loss and its unimodal label generation module (Yu et al. 2021, AAAI, arXiv 2102.04830).

A network with a head per modality is trained on one score; labels of each modality are generated in training, from
where its features lie between the centres of the positive and of the negative participants. That takes memory,
which is part of the state of a training (`training/step.py`): the generated labels, the last features of every
participant, the centres, and how often each participant was seen.

The equations are those of the authors' code.

Departures from it: features that were never seen are left out of the centres; a class without anybody keeps its centre,
and until both classes have one no label is moved; the denominator of the ratio keeps `LEAST_RATIO` from zero; epochs
are counted by participant.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from mmpsy_jax.io import InputError
from mmpsy_jax.objectives.base import ClassWeights, Labels, Losses, Outputs, Rows
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import Task

FUSION = "fusion"
# Added to a distance in a denominator, as in the authors' code.
EPSILON = 1e-8
# Least size of the relative distance of the fused features, by which another is divided.
LEAST_RATIO = 1e-3
# Of the histograms of generated labels: an odd number, so that one bin is about 0.
BINS = 25


@dataclasses.dataclass(frozen=True)
class Objective:
    """L1 loss of the score and, weighted by how far they have moved, of the generated labels of each modality.

        L = mean_i [ |y'_m - y_i| + sum_s tanh(|u_s,i - y_i|) |y'_s - u_s,i| ]

    over labelled rows, in signed units y = (score - cutoff) / scale. The network's outputs y' are, like those of every
    head, fractions of the task's maximum. It must also return, per modality s, `<s>_value` [b 1], `<s>_feature` [b d]
    and `<s>_present` [b 1], and `fusion_feature`. A modality that a participant lacks has no loss, label or feature.

    Attributes:
      task: the score, a regression task.
      modalities: that have a head.
      cutoff: score that counts as neither positive nor negative, such as 0 of a sentiment or 10 of a PHQ-9.
      scale: points that make one signed unit.
    """

    task: Task
    modalities: tuple[str, ...]
    cutoff: float = 0.0
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """What the only loss is called."""
        return (self.task.name,)

    def signed(self, scores: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Scores in signed units."""
        return (scores.astype(jnp.float32) - self.cutoff) / self.scale

    @property
    def limits(self) -> tuple[float, float]:
        """Where generated labels end, in signed units: at the ends of the scale (the authors: -H and H)."""
        return (self.task.minimum - self.cutoff) / self.scale, (self.task.maximum - self.cutoff) / self.scale

    def memory(self, scores: Mapping[str, Float[Array, " n"]], outputs: Mapping[str, jax.ShapeDtypeStruct]) -> PyTree:
        """The memory before the first step.

        Args:
          scores: by label, of all N participants of the corpus; NaN for whom is not trained on.
          outputs: shapes of what the network returns.

        Returns:
          `score` [n]; `label` {modality: [n]}, which begin as the score; and by modality and `FUSION` `feature` [n d],
          `seen` [n] (how often), `centre` [2 d] and `known` [2] of the positive and the negative class.

        Raises:
          InputError: the network has no head per modality.
        """
        score = self.signed(scores[self.task.label])
        n, names = len(score), (FUSION, *self.modalities)
        if any(f"{name}_feature" not in outputs for name in names):
            raise InputError(
                "config.objective.name = 'ulgm' needs a head per modality: set config.model.name = self_mm or tetfn"
            )
        widths = {name: outputs[f"{name}_feature"].shape[-1] for name in names}
        return {
            "score": score,
            "label": dict.fromkeys(self.modalities, score),
            "feature": {name: jnp.zeros((n, widths[name])) for name in names},
            "seen": {name: jnp.zeros(n, jnp.int32) for name in names},
            "centre": {name: jnp.zeros((2, widths[name])) for name in names},
            "known": {name: jnp.zeros(2, bool) for name in names},
        }

    def recall(self, memory: PyTree, index: Int[Array, " b"]) -> dict[str, Float[Array, " b"]]:
        """The generated labels of a batch, `<modality>_label`; `index` is -1 for padding, whose labels mean nothing."""
        return {f"{name}_label": labels[index] for name, labels in memory["label"].items()}

    def remember(self, memory: PyTree, outputs: Outputs, labels: Labels, index: Int[Array, " b"]) -> PyTree:
        """The memory after a step: labels of the batch moved, then its features kept, then the centres computed anew.

        With f the features of this step, c+ and c- the centres before it, n how often a participant was seen with it:

            d = (|f - c-| - |f - c+|) / (|f - c+| + eps)             of each modality s and of the fusion m
            v_s = (d_s / d_m y + y + d_s - d_m) / 2, cut off at `limits`
            u_s <- (n - 1) / (n + 1) u_s + 2 / (n + 1) v_s           where n > 1

        Args:
          outputs: of the network, in training.
          labels: scores by label name.
          index: position of each row in the corpus, -1 for padding.
        """
        y = self.signed(labels[self.task.label])
        low, high = self.limits
        rows, scored = len(memory["score"]), (index >= 0) & ~jnp.isnan(y)
        new = {**memory, **{part: dict(memory[part]) for part in ("label", "feature", "seen", "centre", "known")}}
        fused = self._nearness(memory, FUSION, outputs)
        fused = jnp.where(fused < 0, -1.0, 1.0) * jnp.maximum(jnp.abs(fused), LEAST_RATIO)
        both_known = {name: known.all() for name, known in memory["known"].items()}
        for name in (FUSION, *self.modalities):
            present = scored if name == FUSION else scored & (outputs[f"{name}_present"][:, 0] > 0)
            at = jnp.where(present, index, rows)  # rows beyond the end are dropped
            seen = new["seen"][name] = memory["seen"][name].at[at].add(1, mode="drop")
            kept = memory["score"]
            if name != FUSION:
                near = self._nearness(memory, name, outputs)
                candidate = jnp.clip(0.5 * (near / fused * y + y + near - fused), low, high)
                share, old = 2.0 / (seen[index] + 1.0), memory["label"][name][index]
                moves = (seen[index] > 1) & both_known[FUSION] & both_known[name]
                moved = jnp.where(moves, old + share * (candidate - old), old)
                kept = new["label"][name] = memory["label"][name].at[at].set(moved, mode="drop")
            feature = memory["feature"][name].at[at].set(outputs[f"{name}_feature"], mode="drop")
            new["feature"][name] = feature
            members = jnp.stack([kept > 0, kept < 0]) & (seen > 0)
            count = members.sum(axis=1)
            mean = members.astype(jnp.float32) @ feature / jnp.maximum(count, 1)[:, None]
            new["centre"][name] = jnp.where((count > 0)[:, None], mean, memory["centre"][name])
            new["known"][name] = memory["known"][name] | (count > 0)
        return new

    def histograms(self, memory: PyTree) -> dict[str, Float[Array, " _"]]:
        """How many of those who were seen with a modality have which label: what the pictures of updates show.

        Returns:
          of each modality `labels/<modality>` [BINS], counts of u over `limits`, and `changes/<modality>` [BINS],
          counts of u - y over the same span to both sides of 0; and `labels/limits` [2].
        """
        low, high = self.limits
        counts = {"labels/limits": jnp.array([low, high])}
        for name, label in memory["label"].items():
            known = (memory["seen"][name] > 0) & ~jnp.isnan(memory["score"])
            ends = {"labels": (label, low, high), "changes": (label - memory["score"], low - high, high - low)}
            for kind, (x, start, stop) in ends.items():
                x = jnp.where(known, x, start)
                counts[f"{kind}/{name}"], _ = jnp.histogram(x, BINS, (start, stop), weights=known.astype(jnp.float32))
        return counts

    def _nearness(self, memory: PyTree, name: str, outputs: Outputs) -> Float[Array, " b"]:
        """How much nearer to the positive than to the negative centre, relative to the former."""
        feature, (positive, negative) = outputs[f"{name}_feature"], memory["centre"][name]
        to_positive = jnp.linalg.norm(feature - positive, axis=-1)
        return (jnp.linalg.norm(feature - negative, axis=-1) - to_positive) / (to_positive + EPSILON)

    def __call__(self, outputs: Outputs, labels: Labels, valid: Rows, class_weights: ClassWeights) -> Losses:
        """The loss of a batch, whether it has a label, and (sum, count) of the absolute errors, in signed units.

        Args: as `multitask.Objective`; where `labels` has no `<modality>_label` of `recall` (in evaluation), the loss
          is that of the score alone.
        """
        del class_weights
        y = self.signed(labels[self.task.label])
        known = valid & ~jnp.isnan(y)
        y, weight = jnp.where(known, y, 0.0), known.astype(jnp.float32)
        value = lambda name: self.signed(outputs[name][:, 0] * self.task.maximum)  # noqa: E731
        error = weight * jnp.abs(value(self.task.name) - y)
        sums = {self.task.name: (error.sum(), weight.sum())}
        for name in self.modalities:
            if f"{name}_label" in labels:
                label = jnp.where(known, labels[f"{name}_label"], 0.0)
                moved = weight * outputs[f"{name}_present"][:, 0] * jnp.tanh(jnp.abs(label - y))
                error = error + moved * jnp.abs(value(f"{name}_value") - label)
        count = weight.sum()
        return (error.sum() / jnp.maximum(count, 1.0))[None], ((count > 0)[None], sums)


def build(
    tasks: Sequence[Task],
    modalities: Sequence[str],
    model: Mapping[str, Any] | None = None,
    *,
    cutoff: float = 0.0,
    scale: Annotated[float, number(0, above=True)] = 1.0,
) -> Objective:
    """The objective of a run; arguments as of `Objective`, `model` is of no matter.

    Raises:
      InputError: not exactly one regression task, or a cut-off at or beyond the ends of its scale.
    """
    del model
    if len(tasks) != 1 or not tasks[0].scaled:
        raise InputError("config.objective.name = 'ulgm' trains one score: give one task of kind 'regression'")
    task = tasks[0]
    if not task.minimum < cutoff < task.maximum:
        raise InputError(
            f"config.objective.cutoff = {cutoff}: must lie between {task.minimum} and {task.maximum}, the ends of "
            f"{task.name!r}"
        )
    return Objective(task, tuple(modalities), float(cutoff), float(scale))
