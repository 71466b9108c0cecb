"""`discrepancy.html`: where teacher and student disagree, and what that can mean; self-contained, names no clip."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mmpsy_jax.evaluation import plots, wording
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.projects.affect import measures
from mmpsy_jax.projects.affect.measures import Clip

TITLES = {
    "gap": "gap: how unlikely one emotion of both is",
    "share_above": "share of segments above the limit",
    "divergence": "divergence of the emotions alone",
    "distance": "distance of the ratings alone",
}
# Clips with the largest gaps that are drawn, and the one in the middle.
_LARGEST = 3


def render(
    report: Mapping[str, Any],
    clips: Sequence[Clip],
    limits: Mapping[int, float],
    *,
    emotions: Sequence[str],
    ratings: Sequence[str],
) -> str:
    """The page as HTML text.

    Args:
      report: content of `discrepancy.json`.
      clips: of validation and test.
      limits: by fold.
      emotions, ratings: their names.
    """
    tested = [clip for clip in clips if clip.split == "test"]
    return wording.template(Path(__file__).with_name("discrepancy.html")).render(
        title="Face and voice: where they disagree",
        disclaimer=wording.disclaimer_of(["emotions", *ratings]),
        report=report,
        known=any(clip.mismatch == clip.mismatch for clip in clips),
        scores=_scores(report),
        histogram={"gaps of segments": Markup(_histogram(clips, limits))},
        emotions=_emotions(tested, emotions),
        traces={name: Markup(svg) for name, svg in _traces(tested, limits, emotions, ratings).items()},
    )


def _scores(report: Mapping[str, Any]) -> Table:
    rows = [[TITLES[name], wording.cell("auroc", entry)] for name, entry in report["mismatch"].items()]
    return Table("", ["score of a clip", "AUROC"], rows)


def _emotions(clips: Sequence[Clip], names: Sequence[str]) -> Table:
    rows = []
    for label, (count, percent) in measures.by_label(clips).items():
        cells = [f"{p:.1f} ({r:g})" for p, r in zip(percent, measures.ranks(percent), strict=True)]
        rows.append([f"{names[label]} ({count} clips)", *cells])
    return Table("", ["labelled", *names], rows)


def _histogram(clips: Sequence[Clip], limits: Mapping[int, float]) -> str:
    gaps = {
        split: np.concatenate([np.zeros(0), *(clip.gap for clip in clips if clip.split == split)])
        for split in ("validation", "test")
    }
    edges = np.linspace(0, max(map(np.max, gaps.values()), default=1.0) + 1e-9, 31)
    with plots.figure("Gaps of segments") as drawing:
        axes = drawing.axes
        for (split, values), colour in zip(gaps.items(), plots.COLOURS, strict=False):
            axes.hist(values, edges, density=True, histtype="step", color=colour, label=split)
        for limit in limits.values():
            axes.axvline(limit, color=plots.COLOURS[2], linewidth=1, linestyle=":")
        axes.set(xlabel="gap (dotted: the limit)", ylabel="density")
        axes.legend()
    return drawing.svg


def _traces(
    clips: Sequence[Clip], limits: Mapping[int, float], emotions: Sequence[str], ratings: Sequence[str]
) -> dict[str, str]:
    ranked = measures.order(clips, limits)
    chosen = dict.fromkeys([*range(min(_LARGEST, len(ranked))), len(ranked) // 2] if ranked else [])
    return {f"Rank {i + 1} of {len(ranked)}": _trace(clips[ranked[i]], i + 1, emotions, ratings) for i in chosen}


def _trace(clip: Clip, rank: int, emotions: Sequence[str], ratings: Sequence[str]) -> str:
    """Most probable emotion per frame above the ratings, before and after the choice of the speaker."""
    shown = {when: frames for when in ("before", "after") if (frames := getattr(clip, when)) is not None}
    with plots.figure(
        f"Emotions over time, rank {rank}", 2, len(shown), size=(7.6, 4.2), sharex=True, sharey="row", squeeze=False
    ) as drawing:
        for (when, frames), (top, below) in zip(shown.items(), drawing.axes.T, strict=True):
            top.plot(frames.seconds, frames.emotions.argmax(axis=1), ".", color=plots.COLOURS[0], markersize=4)
            top.set(title=when, yticks=np.arange(len(emotions)), yticklabels=emotions, ylim=(-0.5, len(emotions) - 0.5))
            for name, values, colour in zip(ratings, frames.ratings.T, plots.COLOURS, strict=False):
                below.plot(frames.seconds, values, ".", color=colour, markersize=3, label=name)
            below.set(xlabel="seconds", ylim=(-1.05, 1.05))
        if ratings:
            drawing.axes[1, 0].legend(loc="best")
    return drawing.svg
