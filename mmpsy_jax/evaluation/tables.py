"""The numbers of a report as files for papers and spreadsheets: `tables/*.csv`, and `tables/*.tex` with the same rows.

CSV holds full precision and empty cells for what is undefined; LaTeX holds what the page shows. The LaTeX tables are
plain `tabular` environments that need no package.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.evaluation import wording
from mmpsy_jax.io import table_text, write_atomically

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_ESTIMATE = ("value", "low", "high", "interval", "reason")


@dataclasses.dataclass
class Table:
    """Columns and rows; a cell is text, a number, or None for what is undefined.

    `metric`, `value`, `low`, `high`, `interval` and `reason` are joined to one estimate in LaTeX where they occur.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def write_tables(folder: str | os.PathLike, report: Mapping[str, Any]) -> None:
    """Writes every table for which `report` has rows, as CSV and as LaTeX; removes those of an earlier report.

    Args:
      folder: where; created where missing.
      report: content of `report.json`.
    """
    for name, table in tables(report).items():
        for ending, text in (("csv", to_csv(table)), ("tex", to_latex(table, report["synthetic"]))):
            path = Path(folder) / f"{name}.{ending}"
            if table.rows:
                write_atomically(path, text)
            else:
                path.unlink(missing_ok=True)


def tables(report: Mapping[str, Any]) -> dict[str, Table]:
    """All tables by name: headline, metrics, folds_and_seeds, operating_points, comparisons, subgroups."""
    metrics = ("task", "split", "participants", "predictor", "metric", *_ESTIMATE)
    return {
        "headline": Table(metrics, list(_headline(report))),
        "metrics": Table(metrics, list(_metrics(report))),
        "folds_and_seeds": Table(("task", "split", "unit", "id", "metric", "value"), list(_spreads(report))),
        "operating_points": Table(
            ("task", "split", "rule", "thresholds", "metric", *_ESTIMATE), list(_operating_points(report))
        ),
        "comparisons": Table(
            ("task", "split", "against", "metric", "value", "low", "high", "p", "p_holm", "test"),
            list(_comparisons(report)),
        ),
        "subgroups": Table(
            ("column", "task", "split", "subgroup", "participants", "events", "metric", *_ESTIMATE),
            list(_subgroups(report)),
        ),
    }


def to_csv(table: Table) -> str:
    """CSV text; text cells are safe to open in a spreadsheet."""
    return table_text(table.columns, table.rows)


def to_latex(table: Table, synthetic: bool = False) -> str:
    """A `tabular` environment; a comment and a last line mark SYNTHETIC data."""
    dropped = {"low", "high", "interval", "reason"}
    shown = [i for i, name in enumerate(table.columns) if name not in dropped]
    numeric = {"value", "participants", "events", "p", "p_holm"}
    align = "".join("r" if table.columns[i] in numeric else "l" for i in shown)
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\hline"]
    lines.append(_latex_row(table.columns[i].replace("_", " ") for i in shown))
    lines.append(r"\hline")
    for row in table.rows:
        named = dict(zip(table.columns, row, strict=True))
        lines.append(_latex_row(_text(table.columns[i], named) for i in shown))
    lines.append(r"\hline")
    if synthetic:
        lines.insert(0, "% SYNTHETIC DATA: no number here says anything about real people.")
        lines.append(rf"\multicolumn{{{len(shown)}}}{{l}}{{SYNTHETIC DATA: says nothing about real people}} \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def escape_latex(text: str) -> str:
    """Text as LaTeX sets it literally; the quote sign becomes two closing quotes."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: Iterator[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"


def _text(column: str, row: Mapping[str, Any]) -> str:
    cell = row[column]
    if column == "metric":
        return wording.label(cell)
    if column == "value":
        return wording.estimate(row["metric"], row)
    if column in ("p", "p_holm"):
        return wording.p_value(cell)
    return "" if cell is None else str(cell)


def _splits(report) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for task, entry in report["tasks"].items():
        for split in wording.SPLIT_ORDER:
            if split in entry["splits"]:
                yield task, split, entry["splits"][split]


def _estimate(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(cell.get(name) for name in _ESTIMATE)


def _metrics(report, differences: bool = True) -> Iterator[tuple[Any, ...]]:
    """Model, baselines, and the model's differences to them."""
    model = wording.model_name(report)
    for task, split, scored in _splits(report):
        own, rows = scored["n_participants"], scored["baseline_rows"]
        parts = [(model, own, scored["model"])]
        parts += [(name, rows[name], values) for name, values in scored["baselines"].items()]
        if differences:
            parts += [(f"{model} - {name}", rows[name], values) for name, values in scored["differences"].items()]
        for predictor, n, values in parts:
            for metric, cell in values.items():
                yield (task, split, n, predictor, metric, *_estimate(cell))


def _headline(report) -> Iterator[tuple[Any, ...]]:
    """The rows of `_metrics` that the page shows first."""
    shown = wording.headline_split(report)
    for row in _metrics(report, differences=False):
        task, split, _, _, metric = row[:5]
        if split == shown and metric in wording.HEADLINE[report["tasks"][task]["kind"]]:
            yield row


def _spreads(report) -> Iterator[tuple[Any, ...]]:
    for task, split, scored in _splits(report):
        for unit in ("fold", "seed"):
            spread = scored[f"{unit}s"]
            for metric, one in spread["model"].items() if spread else ():
                for i, value in zip(spread["ids"], one["values"], strict=True):
                    yield task, split, unit, i, metric, value
                for name in ("mean", "sd"):
                    yield task, split, unit, name, metric, one[name]


def _operating_points(report) -> Iterator[tuple[Any, ...]]:
    for task, split, scored in _splits(report):
        for rule, point in (scored.get("operating_points") or {}).items():
            thresholds = ", ".join(f"{one['value']:.6g}" for one in point["thresholds"])
            for metric, cell in point["metrics"].items():
                yield (task, split, rule, thresholds, metric, *_estimate(cell))


def _comparisons(report) -> Iterator[tuple[Any, ...]]:
    for task, split, scored in _splits(report):
        for name, one in (scored.get("comparisons") or {}).items():
            numbers = (one["difference"], one["low"], one["high"], one["p"], one["p_holm"])
            yield (task, split, name, one["metric"], *numbers, one["test"])


def _subgroups(report) -> Iterator[tuple[Any, ...]]:
    """Groups that are too small to show are left out."""
    for column, tasks in (report.get("subgroups") or {}).get("columns", {}).items():
        for task, splits in tasks.items():
            for split, subgroups in splits.items():
                for subgroup in subgroups:
                    for metric, cell in subgroup.get("metrics", {}).items():
                        counts = (subgroup["subgroup"], subgroup["n"], subgroup.get("n_events"))
                        yield (column, task, split, *counts, metric, *_estimate(cell))
