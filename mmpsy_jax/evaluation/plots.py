"""Pictures of a report as SVG text, readable on light and dark ground, in colours that colour-blind people tell apart.

Text and axes are drawn in a marker colour that is replaced by `currentColor`, so that they follow the page. All that is
drawn stands in `report.json` (`curves.py`); of participants there are counts.
"""

import contextlib
import html
import io
import re
import types
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mmpsy_jax.evaluation.curves import GRID, PROBABILITY_BINS

# Okabe and Ito 2008; each keeps a contrast of 3:1 to both white and the dark page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
INK = "#010203"  # becomes currentColor
_SIZE = (4.2, 3.6)  # inches
# More points than this are drawn as one embedded picture, not as one SVG element each.
_RASTER_FROM = 2000
Numbers = Mapping[str, Any]  # an entry of `report.json`

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmpsy_jax",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@contextlib.contextmanager
def figure(
    title: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = _SIZE, **options
) -> Iterator[types.SimpleNamespace]:
    """A figure with our style, without pyplot's global state; `title` is its text for screen readers.

    Yields:
      The `figure`, its `axes`, and after the block its text `svg`.
    """
    with matplotlib.rc_context(_STYLE):
        drawn = Figure(figsize=size, layout="constrained")
        drawing = types.SimpleNamespace(figure=drawn, axes=drawn.subplots(rows, columns, **options))
        yield drawing
        buffer = io.StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawn.savefig(buffer, format="svg", transparent=True, metadata=empty, dpi=150)
    drawing.svg = _inline(buffer.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """The <svg> element alone, scaling with the page, its ids unique to its content."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(re.escape(INK), "currentColor", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head).group(0)
    # Two pictures in one page must not share ids of clip paths and markers.
    mark = f"p{zlib.crc32((title + rest).encode()):x}"
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", rest)
    rest = re.sub(r'href="#([^"]+)"', rf'href="#{mark}-\1"', rest)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} {view} role="img" aria-label="{html.escape(title)}">{rest}'


def roc(curve: Numbers, model: str = "model") -> str:
    """Receiver operating characteristic with a pointwise bootstrap band, beside those of the baselines."""
    with figure("ROC curve with 95 % band") as drawing:
        axes = drawing.axes
        for name, line, style in _predictors(axes, GRID, curve, model):
            axes.plot(line["x"], line["y"], label=f"{name} {line['area']:.3f}", **style)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(title="AUROC", loc="lower right")
    return drawing.svg


def precision_recall(curve: Numbers, prevalence: float, model: str = "model") -> str:
    """Precision over recall with a pointwise bootstrap band and the prevalence."""
    with figure("Precision-recall curve with 95 % band") as drawing:
        axes = drawing.axes
        for name, line, style in _predictors(axes, GRID, curve, model):
            axes.plot(line["x"], line["y"], drawstyle="steps-post", label=f"{name} {line['area']:.3f}", **style)
        axes.axhline(prevalence, color=INK, linewidth=0.6, linestyle=":", label=f"prevalence {prevalence:.3f}")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.05))
        drawing.figure.legend(title="AUPRC", loc="outside lower center", ncols=2)
    return drawing.svg


def _predictors(
    axes: Any, grid: Sequence[float], curve: Numbers, model: str
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The band is drawn; what is given are the lines, those of baselines first, so that the model lies on top."""
    low, high = (np.array(curve[end], float) for end in ("low", "high"))
    axes.fill_between(grid, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    for i, (name, line) in enumerate(curve["baselines"].items()):
        yield name, line, {"color": COLOURS[1 + i % (len(COLOURS) - 1)], "linewidth": 1.0}
    yield model, curve["model"], {"color": COLOURS[0], "linewidth": 2.0}


def reliability(bins: Numbers, histogram: Sequence[Sequence[int]], unit: str = "participants") -> str:
    """Share of positives over predicted probability in bins of equal mass, and a histogram of the predictions."""
    predicted, observed, counts = (np.array(bins[name], float) for name in ("predicted", "observed", "n"))
    # Wilson's interval: right for the small bins and shares near 0 that occur here.
    z2 = 1.96**2
    middle = (observed + z2 / (2 * counts)) / (1 + z2 / counts)
    half = 1.96 * np.sqrt(observed * (1 - observed) / counts + z2 / (4 * counts**2)) / (1 + z2 / counts)
    errors = np.maximum([observed - (middle - half), (middle + half) - observed], 0)
    options = {"sharex": True, "height_ratios": (3, 1)}
    with figure("Reliability diagram with histogram of predictions", 2, size=(4.2, 4.2), **options) as drawing:
        upper, lower = drawing.axes
        upper.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        upper.errorbar(
            predicted, observed, errors, color=COLOURS[0], marker="o", markersize=4, linewidth=1.2, capsize=2
        )
        upper.set(ylabel="share of positives", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        below = np.zeros(len(PROBABILITY_BINS) - 1)
        classes = zip(histogram, ("below the cut-off", "at or above"), (COLOURS[4], COLOURS[0]), strict=True)
        for n, name, colour in classes:
            lower.stairs(below + n, PROBABILITY_BINS, baseline=below, fill=True, color=colour, label=name)
            below = below + n
        lower.set(xlabel="predicted probability", ylabel=unit)
        lower.legend()
    return drawing.svg


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Confusion matrix: counts, and shares of each true class by shade and in percent."""
    counts = np.asarray(counts)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 1.6 + 0.65 * len(counts)
    with figure("Confusion matrix", size=(side + 0.6, side)) as drawing:
        axes = drawing.axes
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        for (i, j), share in np.ndenumerate(shares):
            colour = "#ffffff" if share > 0.5 else "#000000"  # on the cell's ground, not on the page
            axes.text(j, i, f"{counts[i, j]}\n{share:.0%}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
    return drawing.svg


def scatter(cells: Numbers, fit: Numbers | None, maximum: float) -> str:
    """Predicted over true score with the line of identity and the regression line."""
    true, predicted = cells["true"], cells["predicted"]
    limits = (min(0.0, *predicted) - 0.5, max(maximum, *predicted) + 0.5)
    with figure("Predicted over true score", size=(4.2, 4.0)) as drawing:
        axes = drawing.axes
        _points(axes, true, predicted, cells["n"])
        axes.plot(limits, limits, color=INK, linewidth=0.6, linestyle=":", label="identity")
        if fit:
            ends = np.array([min(true), max(true)])
            line = fit["intercept"] + fit["slope"] * ends
            axes.plot(ends, line, color=COLOURS[1], label=f"fit, slope {fit['slope']:.2f}")
        axes.set(xlabel="true score", ylabel="predicted score", xlim=limits, ylim=limits)
        axes.legend(loc="upper left")
    return drawing.svg


def bland_altman(cells: Numbers, agreement: Numbers) -> str:
    """Difference over mean of the two scores, with bias and 95 % limits of agreement (Bland and Altman 1986)."""
    true, predicted = np.array(cells["true"]), np.array(cells["predicted"])
    with figure("Bland-Altman plot", size=(4.2, 4.0)) as drawing:
        axes = drawing.axes
        _points(axes, (true + predicted) / 2, predicted - true, cells["n"])
        for name, style in (("bias", "-"), ("low", "--"), ("high", "--")):
            if (height := agreement[name]) is not None:
                axes.axhline(height, color=COLOURS[1], linestyle=style, linewidth=1, label=f"{height:+.2f}")
        axes.set(xlabel="mean of true and predicted", ylabel="predicted - true")
        drawing.figure.legend(title="bias, limits of agreement", loc="outside lower center", ncols=3)
    return drawing.svg


def _points(axes: Any, x: Sequence[float], y: Sequence[float], n: Sequence[int]) -> None:
    """A cell is as dark as its participants would be, one on top of the other."""
    alpha = 1 - 0.65 ** np.array(n)
    axes.scatter(x, y, s=10, alpha=alpha, color=COLOURS[0], linewidths=0, rasterized=len(x) > _RASTER_FROM)


def decision_curve(curve: Numbers, model: str = "model") -> str:
    """Net benefit over the threshold probability (Vickers and Elkin 2006), with the interval of the model.

    Args:
      curve: `decision_curve` of `report.json`: "thresholds", "model", "low", "high", "treat_all", and "baselines" by
        name; None stands for an undefined value.
      model: what the predictor is called.
    """
    x, treat_all, net = (np.array(curve[name], float) for name in ("thresholds", "treat_all", "model"))
    with figure("Decision curve") as drawing:
        axes = drawing.axes
        for name, values, style in _predictors(axes, x, curve, model):
            axes.plot(x, np.array(values, float), label=name, **style)
        axes.plot(x, treat_all, label="everybody", color=INK, linewidth=0.8, linestyle="--")
        axes.axhline(0, label="nobody", color=INK, linewidth=0.6, linestyle=":")
        # Calling everybody positive costs without bound: what it costs beyond the gain of a perfect test is left out.
        top = np.nanmax([*net, *treat_all, 0.01])
        axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.4 * top, 1.1 * top))
        drawing.figure.legend(loc="outside lower center", ncols=2)
    return drawing.svg


def forest(pairs: Mapping[str, tuple[Mapping[str, Any], str]], axis: str) -> str:
    """Differences or effects with their intervals, and a line at none.

    Args:
      pairs: by name the difference ("value", "low", "high"; None where undefined) and a remark, or "".
      axis: what they are in.
    """
    with figure(f"Forest plot: {axis}", size=(4.2, 0.7 + 0.6 * len(pairs))) as drawing:
        axes = drawing.axes
        axes.axvline(0, color=INK, linewidth=0.6, linestyle=":")
        for row, (name, (difference, remark)) in enumerate(pairs.items()):
            if difference["low"] is not None and difference["high"] is not None:
                ends = [difference["low"], difference["high"]]
                axes.plot(ends, [row, row], color=COLOURS[0], linewidth=1.6)
            if difference["value"] is not None:
                axes.plot(difference["value"], row, color=COLOURS[0], marker="s", markersize=5)
            # Texts stand above and below their line: beside it they would take half the width of a phone.
            place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
            axes.annotate(name, (0, row), xytext=(0, 5), ha="left", **place)
            axes.annotate(remark, (1, row), xytext=(0, -13), ha="right", **place)
        axes.set(xlabel=axis, ylim=(len(pairs) - 0.6, -0.75))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    return drawing.svg


def learning_curve(name: str, by_split: Numbers) -> str:
    """A quantity over steps: a thin line per training, and a thick mean where there are several."""
    with figure(f"Learning curve: {name}", size=(4.2, 2.8)) as drawing:
        axes = drawing.axes
        for split, colour in (("train", COLOURS[1]), ("validation", COLOURS[0])):
            lines = by_split[split]["lines"] if split in by_split else ()
            alone = len(lines) == 1
            for line in lines:
                style = {"linewidth": 1.8, "label": split} if alone else {"linewidth": 0.7, "alpha": 0.4}
                axes.plot(line["x"], line["y"], color=colour, **style)
            if len(lines) > 1:
                mean = by_split[split]["mean"]
                axes.plot(mean["x"], mean["y"], color=colour, linewidth=1.8, label=f"{split}, mean of {len(lines)}")
        axes.set(xlabel="step", ylabel=name)
        axes.legend()
    return drawing.svg


def label_update(name: str, updates: Numbers) -> str:
    """Generated labels of a modality at some steps on the left, their distance from the score on the right."""
    low, high = updates["limits"]
    with figure(f"Generated labels: {name}", columns=2, size=(6.4, 2.8)) as drawing:
        kinds = (("labels", (low, high), "label u"), ("changes", (low - high, high - low), "u - y"))
        for axes, (kind, ends, shown) in zip(drawing.axes, kinds, strict=True):
            for colour, (step, shares) in zip(COLOURS, updates["steps"].items(), strict=False):
                edges = np.linspace(*ends, len(shares[kind]) + 1)
                axes.stairs(shares[kind], edges, color=colour, label=f"step {step}")
            axes.set(xlabel=shown, ylabel="share")
        drawing.axes[0].legend()
    return drawing.svg


def settings(metric: str, field: str, values: Sequence[Any], mean: Sequence[float], chosen: Sequence[bool]) -> str:
    """Validation score against the values of one field of a sweep; chosen points filled.

    Args:
      metric, field: what is on the axes.
      values: of the field, by point.
      mean: score of each point, NaN where no training of it ended well.
      chosen: whether the point was chosen in a fold.
    """
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    names = sorted({short(v) for v in values})
    x = np.array(values, float) if numeric else np.array([names.index(short(v)) for v in values], float)
    with figure(f"{metric} on validation against {field}") as drawing:
        axes, colour, y, filled = drawing.axes, COLOURS[0], np.asarray(mean), np.asarray(chosen, bool)
        axes.scatter(x[~filled], y[~filled], facecolors="none", edgecolors=colour, label="tried")
        axes.scatter(x[filled], y[filled], color=colour, label="chosen in a fold")
        if numeric and x.min() > 0 and x.max() / x.min() >= 20:
            axes.set_xscale("log")
        if not numeric:
            axes.set_xticks(range(len(names)), names)
        axes.set(xlabel=field, ylabel=f"{metric}, mean of folds")
        axes.legend()
    return drawing.svg


def short(value: Any) -> str:
    """A setting as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def participants(sizes: Sequence[float], predictors: Mapping[str, Numbers], ceiling: float | None, metric: str) -> str:
    """A metric over the number of training participants, with the power law of each predictor, dashed where it is
    extrapolation.

    Args:
      sizes: numbers of participants.
      predictors: "sizes" (cells) and "law" of each by name, see `learning_curve.measure`; the first is the model.
      ceiling: what no predictor can exceed; None where it is not known.
      metric: its name.
    """
    with figure("Learning curve over participants", size=(4.6, 4.0)) as drawing:
        axes = drawing.axes
        for i, (name, about) in enumerate(predictors.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "-.")[i // len(COLOURS) % 2]}
            value, low, high = (
                np.array([cell[key] for cell in about["sizes"]], float) for key in ("value", "low", "high")
            )
            if i == 0:
                errors = np.maximum(np.nan_to_num([value - low, high - value]), 0)
                axes.errorbar(sizes, value, errors, color=COLOURS[0], marker="o", capsize=2, label=name)
            else:
                axes.plot(sizes, value, marker=".", linewidth=1, label=name, **style)
            if law := about["law"]:
                at, line, low, high = (np.array(law[key], float) for key in ("at", "value", "low", "high"))
                beyond = at >= sizes[-1] - 1e-9
                beyond[:-1] |= beyond[1:]  # begins where the measured part ends
                axes.plot(at[beyond], line[beyond], color=style["color"], linestyle="--", linewidth=1)
                if i == 0:
                    axes.fill_between(at[beyond], low[beyond], high[beyond], color=COLOURS[0], alpha=0.2, linewidth=0)
        if ceiling is not None:
            axes.axhline(ceiling, color=INK, linestyle=":", linewidth=1, label=f"ceiling of reliability {ceiling:.3f}")
        axes.set(xlabel="participants of the training part (dashed: extrapolation)", ylabel=metric.replace("_", " "))
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
        drawing.figure.legend(loc="outside lower center", ncols=2)
    return drawing.svg
