"""Tables of a report and the forms that they are written in: CSV, LaTeX and text here, HTML by `macros.html`.

`tables` are those for papers and spreadsheets, a row per number: `tables/*.csv` holds full precision and empty cells
for what is undefined, `tables/*.tex` what the page shows, as a plain `tabular` that needs no package.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_PLACE = ("task", "split")


@dataclasses.dataclass
class Table:
    """Columns and rows; a cell is text, a number, an estimate (`wording.cell`), or None for what there is not.

    Attributes:
      title, columns, rows: what is shown.
      note: a sentence below it.
      opened: whether it is not folded in on a page.
      strong: the column that stands out.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]]
    note: str = ""
    opened: bool = False
    strong: str = ""


def to_text(table: Table) -> str:
    """Aligned columns for a terminal, below the title and above the note."""
    lines = [list(map(str, table.columns)), *(list(map(_as_text, row)) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(filter(None, [table.title, *(line.rstrip() for line in padded), table.note]))


def _as_text(cell: Any) -> str:
    return cell["text"] if isinstance(cell, Mapping) else "-" if cell is None else str(cell)


def to_csv(table: Table) -> str:
    """CSV text; text cells are safe to open in a spreadsheet."""
    return table_text(table.columns, table.rows)


def to_latex(table: Table, synthetic: bool = False) -> str:
    """A `tabular` environment; a comment and a last line mark SYNTHETIC data.

    `metric`, `value`, `low`, `high`, `interval` and `reason` are joined to one estimate where they occur.
    """
    dropped = {"low", "high", "interval", "reason"}
    shown = [i for i, name in enumerate(table.columns) if name not in dropped]
    numeric = {"value", "participants", "events", "p", "p_holm"}
    align = "".join("r" if table.columns[i] in numeric else "l" for i in shown)
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\hline"]
    lines.append(_latex_row(table.columns[i].replace("_", " ") for i in shown))
    lines.append(r"\hline")
    for row in table.rows:
        named = dict(zip(table.columns, row, strict=True))
        lines.append(_latex_row(_as_shown(table.columns[i], named) for i in shown))
    lines.append(r"\hline")
    if synthetic:
        lines.insert(0, "% SYNTHETIC DATA: no number here says anything about real people.")
        lines.append(rf"\multicolumn{{{len(shown)}}}{{l}}{{SYNTHETIC DATA: says nothing about real people}} \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def escape_latex(text: str) -> str:
    """Text as LaTeX sets it literally; the quote sign becomes two closing quotes."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"


def _as_shown(column: str, row: Mapping[str, Any]) -> str:
    cell = row[column]
    if column == "metric":
        return wording.label(cell)
    if column == "value":
        return wording.estimate(row["metric"], row)
    if column in ("p", "p_holm"):
        return wording.p_value(cell)
    return "" if cell is None else str(cell)


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
    parts = {
        "headline": ((*_PLACE, "participants", "predictor", "metric", *_ESTIMATE), _headline),
        "metrics": ((*_PLACE, "participants", "predictor", "metric", *_ESTIMATE), _metrics),
        "folds_and_seeds": ((*_PLACE, "unit", "id", "metric", "value"), _spreads),
        "operating_points": ((*_PLACE, "rule", "thresholds", "metric", *_ESTIMATE), _operating_points),
        "comparisons": ((*_PLACE, "against", "metric", "value", "low", "high", "p", "p_holm", "test"), _comparisons),
        "subgroups": (("column", *_PLACE, "subgroup", "participants", "events", "metric", *_ESTIMATE), _subgroups),
    }
    return {name: Table("", columns, list(rows_of(report))) for name, (columns, rows_of) in parts.items()}


def _splits(report: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for task, entry in report["tasks"].items():
        for split in wording.SPLIT_ORDER:
            if split in entry["splits"]:
                yield task, split, entry["splits"][split]


def _estimates(cells: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Metric, and the columns of an estimate."""
    for metric, cell in cells.items():
        yield metric, *(cell.get(name) for name in _ESTIMATE)


def _metrics(report: Mapping[str, Any], differences: bool = True) -> Iterator[tuple[Any, ...]]:
    """Model, baselines, and the model's differences to them."""
    model = wording.model_name(report)
    for task, split, scored in _splits(report):
        n = scored["baseline_rows"]
        parts = [(model, scored["n_participants"], scored["model"])]
        parts += [(name, n[name], cells) for name, cells in scored["baselines"].items()]
        if differences:
            parts += [(f"{model} - {name}", n[name], cells) for name, cells in scored["differences"].items()]
        for predictor, participants, cells in parts:
            for estimate in _estimates(cells):
                yield task, split, participants, predictor, *estimate


def _headline(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of `_metrics` that the page shows first."""
    shown = wording.headline_split(report)
    for row in _metrics(report, differences=False):
        task, split, _, _, metric = row[:5]
        if split == shown and metric in wording.HEADLINE[report["tasks"][task]["kind"]]:
            yield row


def _spreads(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for task, split, scored in _splits(report):
        for unit in ("fold", "seed"):
            spread = scored[f"{unit}s"]
            for metric, one in spread["model"].items() if spread else ():
                for i, value in zip(spread["ids"], one["values"], strict=True):
                    yield task, split, unit, i, metric, value
                for name in ("mean", "sd"):
                    yield task, split, unit, name, metric, one[name]


def _operating_points(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for task, split, scored in _splits(report):
        for rule, point in (scored.get("operating_points") or {}).items():
            thresholds = ", ".join(f"{one['value']:.6g}" for one in point["thresholds"])
            for estimate in _estimates(point["metrics"]):
                yield task, split, rule, thresholds, *estimate


def _comparisons(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    names = ("metric", "difference", "low", "high", "p", "p_holm", "test")
    for task, split, scored in _splits(report):
        for baseline, one in (scored.get("comparisons") or {}).items():
            yield task, split, baseline, *(one[name] for name in names)


def _subgroups(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Subgroups that are too small to show are left out."""
    for column, tasks in (report.get("subgroups") or {}).get("columns", {}).items():
        for task, splits in tasks.items():
            for split, subgroups in splits.items():
                for one in subgroups:
                    for estimate in _estimates(one.get("metrics", {})):
                        yield column, task, split, wording.subgroup(one), one["n"], one.get("n_events"), *estimate
