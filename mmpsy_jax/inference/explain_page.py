"""`explanation.html`: what the network attended to in one interview and what mattered; self-contained."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mmpsy_jax import DISCLAIMER
from mmpsy_jax.evaluation import plots
from mmpsy_jax.evaluation.tables import Table
from mmpsy_jax.evaluation.wording import template
from mmpsy_jax.inference.explain_methods import RANDOM_ORDERS, Unit
from mmpsy_jax.tasks import Task

TITLES = {"attention": "attention", "occlusion": "occlusion", "integrated_gradients": "integrated gradients"}
# More columns than a screen has are averaged away.
_COLUMNS = 1200


def meaning(task: Task) -> str:
    """The number that is explained, in words."""
    return f"{task.output} of {task.label}" + (f" >= {task.cutoffs[0]:g}" if task.event else "")


class Spectrum(NamedTuple):
    """The windows of a recording on one time line of `seconds`, NaN where there is none; at most `_COLUMNS` columns."""

    values: Float[np.ndarray, "f t"]
    seconds: float


def spectrum(record: Mapping[str, Any], name: str, frames_per_second: float) -> Spectrum:
    """The picture of a recording.

    Args:
      record: of one participant.
      name: of a modality with the time on its second axis.
      frames_per_second: of its windows.
    """
    starts = np.round(record["window_start_s"] * frames_per_second).astype(int)
    lengths = record[f"{name}_length"]
    line = np.full((record[name].shape[1], int((starts + lengths).max())), np.nan, np.float32)
    for window, start, length in zip(record[name], starts, lengths, strict=True):
        line[:, start : start + length] = window[:, :length]
    ends = np.linspace(0, line.shape[1], min(line.shape[1], _COLUMNS) + 1).astype(int)
    mean = np.add.reduceat(line, ends[:-1], axis=1) / np.diff(ends)
    return Spectrum(mean, line.shape[1] / frames_per_second)


def render(
    report: Mapping[str, Any],
    units: Sequence[Unit],
    attributions: Mapping[str, Float[np.ndarray, " u"]],
    *,
    spectra: Mapping[str, Spectrum],
    words: str | None,
) -> str:
    """The page as HTML text.

    Args:
      report: content of `explanation.json`.
      units, attributions: what has a number, and what each method gives it.
      spectra: pictures of the modalities that have one, from `spectrum`.
      words: the transcript, where it is to be shown.
    """
    parts = {}
    for name in dict.fromkeys(unit.modality for unit in units):
        places = [i for i, unit in enumerate(units) if unit.modality == name]
        values = {method: of_units[places] for method, of_units in attributions.items()}
        parts[name] = Markup(_timeline(name, [units[i] for i in places], values, spectra.get(name)))
    return template("explanation.html").render(
        title=f"Explanation: {report['participant']}, {report['task']}",
        disclaimer=DISCLAIMER,
        report=report,
        methods=_methods(report),
        random_orders=RANDOM_ORDERS,
        timelines=parts,
        deletion={"values while the most important is hidden first": Markup(_deletion(report))},
        highlighted=_highlighted(units, attributions, words) if words is not None else {},
    )


def _methods(report: Mapping[str, Any]) -> Table:
    curve, names = report["deletion"], report["units"]
    rows = []
    for method, title in _titles(report["sums"]).items():
        sums = (f"{report['sums'][method][name]:+.3f}" for name in names)
        rows.append([title, *sums, f"{curve['gain'][method]:+.4f}", f"{curve['p'][method]:.2f}"])
    return Table("", ["method", *(f"sum over {name}" for name in names), "deletion", "p"], rows)


def _titles(methods: Collection[str]) -> dict[str, str]:
    """Those of the methods that there are: a linear model attends to nothing."""
    return {method: title for method, title in TITLES.items() if method in methods}


def _timeline(name: str, units: Sequence[Unit], values: Mapping[str, np.ndarray], spectrum: Spectrum | None) -> str:
    """A row per method, under the picture of the input where there is one; all share the axis of time or tokens."""
    ratios = [1.6] * (spectrum is not None) + [1.0] * len(values)
    edges = np.array([unit.start for unit in units])
    widths = np.array([unit.end for unit in units]) - edges
    options = {"size": (7.6, 1.3 * sum(ratios)), "sharex": True, "height_ratios": ratios}
    with plots.figure(f"{name}: attributions", len(ratios), **options) as drawing:
        axes = list(drawing.axes)
        if spectrum is not None:
            picture = axes.pop(0)
            low, high = np.nanpercentile(spectrum.values, (1, 99))
            shape = {"origin": "lower", "aspect": "auto", "extent": (0, spectrum.seconds, 0, len(spectrum.values))}
            picture.imshow(spectrum.values, vmin=low, vmax=high, cmap="viridis", **shape)
            picture.grid(visible=False)
            picture.set(ylabel="band")
        for axis, (method, of_units), colour in zip(axes, values.items(), plots.COLOURS, strict=False):
            axis.bar(edges, of_units, width=widths, align="edge", color=colour, linewidth=0)
            axis.set(ylabel=TITLES[method].replace(" ", "\n"))
        unit = "seconds" if units[0].in_seconds else "number of the token"
        axes[-1].set(xlabel=unit, xlim=(0, edges[-1] + widths[-1]))
    return drawing.svg


def _deletion(report: Mapping[str, Any]) -> str:
    curve = report["deletion"]
    x, random = np.array(curve["fractions"]), np.array(curve["random"])
    with plots.figure("Deletion curves", size=(4.2, 3.9)) as drawing:
        axes = drawing.axes
        axes.fill_between(x, random.min(axis=0), random.max(axis=0), color=plots.COLOURS[3], alpha=0.25, linewidth=0)
        axes.plot(x, random.mean(axis=0), color=plots.COLOURS[3], linewidth=1.2, label="random orders, mean and range")
        for (method, title), colour in zip(_titles(curve["curves"]).items(), plots.COLOURS, strict=False):
            axes.plot(x, curve["curves"][method], color=colour, linewidth=1.8, label=title)
        axes.set(xlabel="share of units that are hidden", ylabel=report["explained"])
        drawing.figure.legend(loc="outside lower center", ncols=2)
    return drawing.svg


def _highlighted(
    units: Sequence[Unit], attributions: Mapping[str, np.ndarray], words: str
) -> dict[str, list[dict[str, str]]]:
    """Per method the runs of characters of a transcript with their colour: blue raises the value, orange lowers it."""
    spans = {}
    places = [i for i, unit in enumerate(units) if unit.modality == "text"]
    texts = [words[int(units[i].start) : int(units[i].end)] for i in places]
    for method, title in _titles(attributions).items():
        values = attributions[method][places]
        shares = np.abs(values) / max(np.abs(values).max(), 1e-12)
        colours = np.where(values >= 0, "0 114 178", "213 94 0")
        spans[title] = [
            {"text": text, "colour": f"rgb({colour} / {0.6 * share:.2f})"}
            for text, colour, share in zip(texts, colours, shares, strict=True)
        ]
    return spans
