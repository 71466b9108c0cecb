"""`launch.py transfer --workdirs ... --inputs ...`: a table of what was trained on by what was tested on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.data.pooled import dataset_of, open_corpora
from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.metrics import HEADLINE
from mmpsy_jax.evaluation.report import read_report
from mmpsy_jax.evaluation.tables import Table, to_csv
from mmpsy_jax.inference.transfer import transfer
from mmpsy_jax.io import InputError, try_folder, write_atomically, write_json
from mmpsy_jax.training import run_files

FILE = "transfer"  # .csv, .json and .html
COLUMNS = (
    *("task", "trained_on", "tested_on", "own_test_split", "metric", "value", "low", "high"),
    *("participants", "events", "reason"),
)


def transfer_table(
    workdirs: Sequence[str | Path], sources: Sequence[str | Path], output: str | Path, **options: Any
) -> dict[str, Any]:
    """Scores every run on every corpus, and writes `transfer.csv`, `transfer.json` and `transfer.html`.

    A run on the corpus that it was trained on is not scored anew: its cell is the test split of its own report. Every
    other cell has the report of `transfer.transfer` in a folder of its own below the output, where a cell that cannot
    be had (no common label, windows of other settings) leaves its reason instead of a number.

    Args:
      workdirs: of finished runs.
      sources: folders of built records.
      output: folder to write.
      options: of `transfer.transfer`.

    Returns:
      {"synthetic", "runs", "corpora", "cells": [{"run", "corpus", "own", "tasks": {TASK: {"metric", "value", "low",
      "high", "participants", "events"}} | "reason"}]}, the content of `transfer.json`.

    Raises:
      InputError: a run that is not finished, no records, or two runs or corpora of one name.
    """
    try_folder(output)
    runs = dict(zip(_unique("--workdirs", workdirs), map(Path, workdirs), strict=True))
    cards = {name: run_files.read_card(workdir) for name, workdir in runs.items()}
    reports = {name: read_report(workdir / "report.json") for name, workdir in runs.items()}
    for name, report in reports.items():
        if not report:
            raise InputError(f"{runs[name]}: no report.json of ours: let the run finish")
    corpora = {str(source): open_corpora(source).card for source in sources}
    named = dict(zip(_unique("--inputs", [dataset_of(card) for card in corpora.values()]), corpora, strict=True))
    cells = []
    for run_name, workdir in runs.items():
        for corpus_name, source in named.items():
            is_home = _identity(cards[run_name]) == _identity(corpora[source])
            cell: dict[str, Any] = {"run": run_name, "corpus": corpus_name, "own": is_home}
            try:
                folder = Path(output) / f"{run_name}__{corpus_name.replace('/', '_')}"
                report = reports[run_name] if is_home else transfer(workdir, source, folder, **options)
                cell["tasks"] = dict(_headlines(report))
            except InputError as error:
                told = str(error).replace(str(source), corpus_name).replace(str(workdir), run_name)
                cell["reason"] = told.removeprefix(f"{corpus_name}: ")
            cells.append(cell)
    synthetic = any(card["synthetic"] for card in (*cards.values(), *corpora.values()))
    labels = list({entry["label"]: None for report in reports.values() for entry in report["tasks"].values()})
    content = {"synthetic": synthetic, "runs": list(runs), "corpora": list(named), "labels": labels, "cells": cells}
    write_json(Path(output) / f"{FILE}.json", content)
    write_atomically(Path(output) / f"{FILE}.csv", to_csv(Table("", COLUMNS, list(_rows(content)))))
    html = wording.template("transfer.html").render(
        title="Trained on, tested on",
        synthetic=synthetic,
        disclaimer=wording.disclaimer_of(labels),
        tables=tables(content),
    )
    write_atomically(Path(output) / f"{FILE}.html", html)
    return content


def tables(content: Mapping[str, Any]) -> list[Table]:
    """A table per task: a row per run, a column per corpus; what could not be scored is named below."""
    shown = []
    for task in dict.fromkeys(name for cell in content["cells"] for name in cell.get("tasks", ())):
        rows, notes = [], []
        for run in content["runs"]:
            row: list[Any] = [run]
            for corpus in content["corpora"]:
                cell = next(one for one in content["cells"] if (one["run"], one["corpus"]) == (run, corpus))
                entry = cell.get("tasks", {}).get(task)
                if not entry:
                    notes.append(f"{run} on {corpus}: {cell.get('reason', 'no such task')}")
                    row.append(None)
                    continue
                estimate = wording.cell(entry["metric"], entry)
                mark = ", own test split" if cell["own"] else ""
                row.append(
                    {**estimate, **{k: f"{wording.label(entry['metric'])} {estimate[k]}" for k in ("value", "text")}}
                )
                row[-1]["reason"] = f"{entry['participants']} people{mark}"
            rows.append(row)
        shown.append(Table(task, ["trained on", *content["corpora"]], rows, note="; ".join(notes)))
    return shown


def _headlines(report: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each task the first metric of its kind on the test split."""
    for name, entry in report["tasks"].items():
        scored = entry["splits"].get("test")
        if scored:
            metric = HEADLINE[entry["kind"]][0]
            estimate = {key: scored["model"][metric].get(key) for key in ("value", "low", "high")}
            counts = {"participants": scored["n_participants"], "events": scored["n_events"]}
            yield name, {"metric": metric, **estimate, **counts}


def _rows(content: Mapping[str, Any]) -> Iterator[list[Any]]:
    for cell in content["cells"]:
        place = [cell["run"], cell["corpus"], "yes" if cell["own"] else "no"]
        for task, entry in cell.get("tasks", {}).items():
            yield [task, *place, *(entry[name] for name in COLUMNS[4:-1]), None]
        if "reason" in cell:
            yield [None, *place, *[None] * (len(COLUMNS) - 5), cell["reason"]]


def _identity(card: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(card.get(name) for name in ("dataset", "config", "version"))


def _unique(what: str, places: Sequence[str | Path]) -> list[str]:
    """Last parts of paths where these tell them apart, else the whole.

    Raises:
      InputError: the same twice.
    """
    names = [str(place) for place in places]
    if len(set(names)) < len(names):
        raise InputError(f"{what}: {names[0]!r} and others hold the same twice: give each once")
    short = [Path(name).name or name for name in names]
    return short if what == "--workdirs" and len(set(short)) == len(short) else names
