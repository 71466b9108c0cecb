"""Pictures of a report as SVG text, readable on light and dark ground, in colours that colour-blind people tell apart.

Text and axes are drawn in a marker colour that is replaced by `currentColor`, so that they follow the page. Points are
participants, but no picture carries an id.
"""

import contextlib
import html
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int, Shaped
from matplotlib.figure import Figure
from sklearn import metrics as sk

from mmpsy_jax.evaluation.bootstrap import LEVEL, resample
from mmpsy_jax.evaluation.calibration import calibration_bins
from mmpsy_jax.evaluation.rows import Ties

# Okabe and Ito 2008; each keeps a contrast of 3:1 to both white and the dark page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_INK = "#010203"  # becomes currentColor
_SIZE = (4.2, 3.6)  # inches
_BAND_RESAMPLES = 500
_GRID = np.linspace(0, 1, 201)
# More points than this are drawn as one embedded picture, not as one SVG element each.
_RASTER_FROM = 2000

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmpsy_jax",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "grid.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


class _Drawing:
    """What `figure` gives: the figure, its axes, and after the block its SVG text."""

    def __init__(self, figure: Figure, axes: Any):
        self.figure, self.axes, self.svg = figure, axes, ""


@contextlib.contextmanager
def figure(
    title: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = _SIZE, **options
) -> Iterator[_Drawing]:
    """A figure with our style, without pyplot's global state; `title` is its text for screen readers."""
    with matplotlib.rc_context(_STYLE):
        drawn = Figure(figsize=size, layout="constrained")
        drawing = _Drawing(drawn, drawn.subplots(rows, columns, **options))
        yield drawing
        buffer = io.StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawn.savefig(buffer, format="svg", transparent=True, metadata=empty, dpi=150)
    drawing.svg = _inline(buffer.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """The <svg> element alone, scaling with the page, its ids unique to its content."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(re.escape(_INK), "currentColor", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head).group(0)
    # Two pictures in one page must not share ids of clip paths and markers.
    mark = f"p{zlib.crc32((title + rest).encode()):x}"
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", rest)
    rest = re.sub(r'href="#([^"]+)"', rf'href="#{mark}-\1"', rest)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} {view} role="img" aria-label="{html.escape(title)}">{rest}'


def roc(
    y_true: Float[np.ndarray, " n"],
    y_prob: Float[np.ndarray, " n"],
    participants: Shaped[np.ndarray, " n"],
    *,
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
    model: str = "model",
) -> str:
    """Receiver operating characteristic with a pointwise bootstrap band; both classes must occur.

    Args:
      y_true, y_prob: truth and probability.
      participants: the unit of the bootstrap.
      baselines: (y_true, y_prob) by name, drawn without a band.
      seed: of the bootstrap.
      model: what the predictor is called.
    """
    with figure("ROC curve with 95 % band") as drawing:
        axes = drawing.axes
        low, high = _band(y_true, y_prob, participants, seed, _tpr_on_grid)
        axes.fill_between(_GRID, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        for name, (truth, prob), style in _curves(y_true, y_prob, baselines, model):
            false_rate, sensitivity, _ = sk.roc_curve(truth, prob)
            area = sk.roc_auc_score(truth, prob)
            axes.plot(*_thin(false_rate, sensitivity), label=f"{name} {area:.3f}", **style)
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.6, linestyle=":")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(title="AUROC", loc="lower right")
    return drawing.svg


def precision_recall(
    y_true: Float[np.ndarray, " n"],
    y_prob: Float[np.ndarray, " n"],
    participants: Shaped[np.ndarray, " n"],
    *,
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
    model: str = "model",
) -> str:
    """Precision over recall with a pointwise bootstrap band and the prevalence; arguments as in `roc`."""
    with figure("Precision-recall curve with 95 % band") as drawing:
        axes = drawing.axes
        low, high = _band(y_true, y_prob, participants, seed, _precision_on_grid)
        axes.fill_between(_GRID, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        for name, (truth, prob), style in _curves(y_true, y_prob, baselines, model):
            precision, recall, _ = sk.precision_recall_curve(truth, prob, drop_intermediate=True)
            area = sk.average_precision_score(truth, prob)
            x, y = _thin(recall, precision)
            axes.plot(x, y, drawstyle="steps-post", label=f"{name} {area:.3f}", **style)
        axes.axhline(y_true.mean(), color=_INK, linewidth=0.6, linestyle=":", label=f"prevalence {y_true.mean():.3f}")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.05))
        drawing.figure.legend(title="AUPRC", loc="outside lower center", ncols=2)
    return drawing.svg


def _curves(y_true, y_prob, baselines, model) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray], dict[str, Any]]]:
    """Baselines first, so that the model lies on top."""
    for i, (name, pair) in enumerate((baselines or {}).items()):
        yield name, pair, {"color": COLOURS[1 + i % (len(COLOURS) - 1)], "linewidth": 1.0}
    yield model, (y_true, y_prob), {"color": COLOURS[0], "linewidth": 2.0}


def _thin(x: np.ndarray, y: np.ndarray, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """At most about `most` vertices, the ends kept: more are not visible."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), most)).astype(int))
    return x[keep], y[keep]


def _band(y_true, y_prob, participants, seed, on_grid) -> Float[np.ndarray, "2 g"]:
    """Pointwise quantiles of a curve over resamples of participants."""
    owner = np.unique(participants, return_inverse=True)[1]
    ties = Ties(y_prob)
    lines = []
    for weights in resample(owner, _BAND_RESAMPLES, seed):
        # From the highest probability down: what is called positive as the threshold falls.
        hits, alarms = (np.cumsum(sums[:, ::-1], axis=1) for sums in ties.sums_by_class(weights, y_true))
        defined = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
        lines += [on_grid(h, a) for h, a in zip(hits[defined], alarms[defined], strict=True)]
    tail = (1 - LEVEL) / 2
    return np.quantile(lines, [tail, 1 - tail], axis=0)


def _tpr_on_grid(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    return np.interp(_GRID, np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1]))


def _precision_on_grid(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    called = hits + alarms
    precision = np.divide(hits, called, out=np.ones_like(called), where=called > 0)
    return precision[np.minimum(np.searchsorted(hits / hits[-1], _GRID - 1e-12), len(hits) - 1)]


def reliability(y_true: Float[np.ndarray, " n"], y_prob: Float[np.ndarray, " n"]) -> str:
    """Share of positives over predicted probability in bins of equal mass, and a histogram of the predictions."""
    predicted, observed, counts = calibration_bins(y_true, y_prob)
    # Wilson's interval: right for the small bins and shares near 0 that occur here.
    z2 = 1.96**2
    middle = (observed + z2 / (2 * counts)) / (1 + z2 / counts)
    half = 1.96 * np.sqrt(observed * (1 - observed) / counts + z2 / (4 * counts**2)) / (1 + z2 / counts)
    errors = np.maximum([observed - (middle - half), (middle + half) - observed], 0)
    options = {"sharex": True, "height_ratios": (3, 1)}
    with figure("Reliability diagram with histogram of predictions", 2, size=(4.2, 4.2), **options) as drawing:
        upper, lower = drawing.axes
        upper.plot([0, 1], [0, 1], color=_INK, linewidth=0.6, linestyle=":")
        upper.errorbar(
            predicted, observed, errors, color=COLOURS[0], marker="o", markersize=4, linewidth=1.2, capsize=2
        )
        upper.set(ylabel="share of positives", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        bins = np.linspace(0, 1, 21)
        classes = [y_prob[y_true == 0], y_prob[y_true == 1]]
        colours = [COLOURS[4], COLOURS[0]]
        lower.hist(classes, bins=bins, stacked=True, color=colours, label=["below the cut-off", "at or above"])
        lower.set(xlabel="predicted probability", ylabel="participants")
        lower.legend()
    return drawing.svg


def confusion(counts: Int[np.ndarray, "k k"], names: Sequence[str]) -> str:
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
            colour = "#ffffff" if share > 0.5 else "#000000"  # on the cell's own ground, not on the page
            axes.text(j, i, f"{counts[i, j]}\n{share:.0%}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
    return drawing.svg


def scatter(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"], maximum: float) -> str:
    """Predicted over true score with the line of identity and the regression line."""
    limits = (min(0.0, float(y_pred.min())) - 0.5, max(maximum, float(y_pred.max())) + 0.5)
    with figure("Predicted over true score", size=(4.2, 4.0)) as drawing:
        axes = drawing.axes
        _points(axes, y_true, y_pred)
        axes.plot(limits, limits, color=_INK, linewidth=0.6, linestyle=":", label="identity")
        if np.ptp(y_true) > 0:
            slope, intercept = np.polyfit(y_true, y_pred, 1)
            ends = np.array([y_true.min(), y_true.max()])
            axes.plot(ends, intercept + slope * ends, color=COLOURS[1], label=f"fit, slope {slope:.2f}")
        axes.set(xlabel="true score", ylabel="predicted score", xlim=limits, ylim=limits)
        axes.legend(loc="upper left")
    return drawing.svg


def bland_altman(y_true: Float[np.ndarray, " n"], y_pred: Float[np.ndarray, " n"]) -> str:
    """Difference over mean of the two scores, with bias and 95 % limits of agreement (Bland and Altman 1986)."""
    difference = y_pred - y_true
    bias = difference.mean()
    reach = 1.96 * difference.std(ddof=1) if len(difference) > 1 else 0.0
    with figure("Bland-Altman plot", size=(4.2, 4.0)) as drawing:
        axes = drawing.axes
        _points(axes, (y_true + y_pred) / 2, difference)
        for height, style in ((bias, "-"), (bias - reach, "--"), (bias + reach, "--")):
            axes.axhline(height, color=COLOURS[1], linestyle=style, linewidth=1, label=f"{height:+.2f}")
        axes.set(xlabel="mean of true and predicted", ylabel="predicted - true")
        drawing.figure.legend(title="bias, limits of agreement", loc="outside lower center", ncols=3)
    return drawing.svg


def _points(axes, x: np.ndarray, y: np.ndarray) -> None:
    axes.scatter(x, y, s=10, alpha=0.35, color=COLOURS[0], linewidths=0, rasterized=len(x) > _RASTER_FROM)


def decision_curve(curve: Mapping[str, Any], model: str = "model") -> str:
    """Net benefit over the threshold probability (Vickers and Elkin 2006), with the interval of the model.

    Args:
      curve: `decision_curve` of `report.json`: "thresholds", "model", "low", "high", "treat_all", and "baselines" by
        name; None stands for an undefined value.
      model: what the predictor is called.
    """
    x = np.array(curve["thresholds"], float)
    column = lambda values: np.array([np.nan if v is None else v for v in values], float)  # noqa: E731
    own = column(curve["model"])
    with figure("Decision curve") as drawing:
        axes = drawing.axes
        axes.fill_between(x, column(curve["low"]), column(curve["high"]), color=COLOURS[0], alpha=0.2, linewidth=0)
        for i, (name, values) in enumerate(curve["baselines"].items()):
            colour = COLOURS[1 + i % (len(COLOURS) - 1)]
            axes.plot(x, column(values), label=name, color=colour, linewidth=1.0)
        axes.plot(x, own, label=model, color=COLOURS[0], linewidth=2.0)
        treat_all = column(curve["treat_all"])
        axes.plot(x, treat_all, label="everybody", color=_INK, linewidth=0.8, linestyle="--")
        axes.axhline(0, label="nobody", color=_INK, linewidth=0.6, linestyle=":")
        # Calling everybody positive costs without bound: what it costs beyond the gain of a perfect test is left out.
        top = np.nanmax([*own, *treat_all, 0.01])
        axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.4 * top, 1.1 * top))
        drawing.figure.legend(loc="outside lower center", ncols=2)
    return drawing.svg


def forest(pairs: Mapping[str, tuple[Mapping[str, Any], str]], metric: str, model: str = "model") -> str:
    """Differences to each baseline with their intervals, and a line at no difference.

    Args:
      pairs: by baseline the difference ("value", "low", "high"; None where undefined) and a remark, or "".
      metric: what the differences are in.
      model: what the predictor is called.
    """
    with figure("Forest plot of differences", size=(4.2, 0.7 + 0.6 * len(pairs))) as drawing:
        axes = drawing.axes
        axes.axvline(0, color=_INK, linewidth=0.6, linestyle=":")
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
        axes.set(xlabel=f"difference in {metric}: {model} - other", ylim=(len(pairs) - 0.6, -0.75))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    return drawing.svg


# Validation metrics that a learning curve is drawn of, beside the loss.
_FOLLOWED = ("auroc", "auprc", "qwk", "mae", "ccc")


def learning_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """One picture per quantity, a thin line per run and a thick mean where there are several.

    Args:
      curves: rows of `metrics.jsonl` by run: {"step": 10, "train/loss": 0.7} or {"step": 10, "validation/loss": 0.6,
        "validation/<task>/auroc": 0.8}; None stands for an undefined value.

    Returns:
      SVG by name: "loss" first, then "<task>/<metric>".
    """
    lines: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for rows in curves.values():
        keys = {key for row in rows for key in row if key.startswith(("train/", "validation/"))}
        for key in sorted(keys):
            split, name = key.split("/", 1)
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if points and (name == "loss" or (split == "validation" and name.rsplit("/", 1)[-1] in _FOLLOWED)):
                lines.setdefault(name, {}).setdefault(split, []).append(tuple(np.array(points, float).T))
    order = sorted(lines, key=lambda name: (name != "loss", name))
    return {name: _learning_curve(name, lines[name]) for name in order}


def _learning_curve(name: str, by_split: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> str:
    with figure(f"Learning curve: {name}", size=(4.2, 2.8)) as drawing:
        axes = drawing.axes
        for split, colour in (("train", COLOURS[1]), ("validation", COLOURS[0])):
            runs = by_split.get(split, ())
            alone = len(runs) == 1
            for steps, values in runs:
                width, alpha = (1.8, 1.0) if alone else (0.7, 0.4)
                axes.plot(
                    *_thin(steps, values), color=colour, linewidth=width, alpha=alpha, label=split if alone else None
                )
            if len(runs) > 1:
                # The mean where every run has a value: one that stopped early would make it jump.
                common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in runs)))
                mean = [np.mean([values[steps == step][0] for steps, values in runs]) for step in common]
                axes.plot(common, mean, color=colour, linewidth=1.8, label=f"{split}, mean of {len(runs)}")
        axes.set(xlabel="step", ylabel=name)
        axes.legend()
    return drawing.svg


def label_updates(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """How generated labels moved, after Yu et al. 2021 (Self-MM): a picture per modality.

    Args:
      curves: as of `learning_curves`; drawn are rows with the counts that an objective gives (`histograms`),
        summed over the runs that have the step.

    Returns:
      SVG by modality: labels at some steps on the left, their distance from the score on the right; empty where no
      run has generated labels.
    """
    sums: dict[int, dict[str, np.ndarray]] = {}
    limits = np.array([0.0, 1.0])
    for row in (row for rows in curves.values() for row in rows if "labels/limits" in row):
        limits, at = np.array(row["labels/limits"]), sums.setdefault(row["step"], {})
        for name in row.keys() - {"step", "labels/limits"}:
            at[name] = at.get(name, 0) + np.array(row[name])
    steps = sorted(sums)
    if len(steps) > len(COLOURS):
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, len(COLOURS)).round().astype(int)]
    names = sorted(name.split("/", 1)[1] for name in sums[steps[0]] if name.startswith("labels/")) if steps else []
    return {name: _label_update(name, {step: sums[step] for step in steps}, limits) for name in names}


def _label_update(name: str, counts: Mapping[int, Mapping[str, np.ndarray]], limits: Float[np.ndarray, " 2"]) -> str:
    span = limits[1] - limits[0]
    with figure(f"Generated labels: {name}", columns=2, size=(6.4, 2.8)) as drawing:
        kinds = (("labels", limits, "label u"), ("changes", (-span, span), "u - y"))
        for axes, (kind, ends, shown) in zip(drawing.axes, kinds, strict=True):
            for colour, (step, at) in zip(COLOURS, counts.items(), strict=False):
                shares = at[f"{kind}/{name}"] / max(at[f"{kind}/{name}"].sum(), 1)
                axes.stairs(shares, np.linspace(*ends, len(shares) + 1), color=colour, label=f"step {step}")
            axes.set(xlabel=shown, ylabel="share")
        drawing.axes[0].legend()
    return drawing.svg
