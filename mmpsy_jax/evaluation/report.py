"""The report of a run: `report.json`, and of that alone `report.html`, `tables/` and a few lines for the terminal."""

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mmpsy_jax import registry
from mmpsy_jax.evaluation import bootstrap, curves, flags, membership, multilabel, page, tables, together, wording
from mmpsy_jax.evaluation import subgroups as subgroup_tables
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.evaluation.infer_tasks import Kinds, infer_tasks
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, says_synthetic
from mmpsy_jax.evaluation.scoring import FORMAT, evaluate, finite
from mmpsy_jax.io import InputError, public, read_json, require_file, try_folder, write_atomically, write_json
from mmpsy_jax.tasks import Task, from_config

__all__ = ["evaluate", "evaluate_file", "infer_tasks", "summary", "write_report"]

# What of a corpus card a report may show: the card also lists participants by id.
CORPUS_FIELDS = (
    *("dataset", "config", "version", "unit", "synthetic", "source", "source_sha256", "labels", "modalities"),
    *("window_seconds", "participants", "optimum", "pooled"),
)
Trainings = Mapping[str, Sequence[Mapping[str, Any]]]


def write_report(
    workdir: str | os.PathLike,
    report: Mapping[str, Any],
    predictions: Predictions,
    tasks: Sequence[Task],
    *,
    trainings: Mapping[str, Trainings] | None = None,
    context: Mapping[str, Any] | None = None,
    baselines: Mapping[str, Predictions] | None = None,
    corpus: Any = None,
) -> dict[str, Any]:
    """Writes `report.json`, the self-contained page `report.html`, and `tables/` into `workdir`.

    Args:
      workdir: folder of the run.
      report: what `evaluate` returned.
      predictions, tasks, baselines: as given to `evaluate`; pictures are of them.
      trainings: by run (a single one is called "") and training the rows of `metrics.jsonl`, see
        `curves.learning_curves`.
      context: "config", "environment" (versions, git revision), "corpus" (the card), "audit" (of `data/audit.py`) and
        whatever else JSON can hold. A corpus card that says synthetic makes the report say so, whatever `evaluate` was
        told.
      corpus: what was predicted, where it is open (`data/records.py`): papers of `projects/` report more of it.

    Returns:
      The content of `report.json`.
    """
    shown = _presentable(context or {})
    content = {
        **report,
        "synthetic": bool(report["synthetic"] or (shown.get("corpus") or {}).get("synthetic")),
        "curves": curves.of_tasks(predictions, tasks, baselines or {}, report["bootstrap"]["seed"]),
        "learning_curves": curves.by_run(curves.learning_curves, trainings or {}),
        "label_updates": curves.by_run(curves.label_updates, trainings or {}),
        **({"context": shown} if context is not None else {}),
        "disclaimer": wording.disclaimer({**report, "context": shown}),
    }
    for name in registry.names("reports"):
        registry.load("reports", name).measure(content, predictions, tasks, corpus=corpus, workdir=Path(workdir))
    content = finite(content)
    write_json(Path(workdir) / "report.json", content)
    _write_page(workdir, content)
    return content


def model_card(report: Mapping[str, Any]) -> str:
    """The model card of a training as Markdown, with the header that Hugging Face reads.

    What comes from outside is written as JSON strings in the header and as code below.

    Args:
      report: content of `report.json`, with the "context" of a training.
    """
    context, split = report["context"], wording.headline_split(report)
    return wording.template("model_card.md").render(
        report=report,
        tasks=wording.tasks_of(report),
        title=wording.title(context),
        unit=wording.unit(report),
        disclaimer=wording.disclaimer(report),
        dataset=wording.dataset(context["corpus"]) or "unnamed corpus",
        split=split,
        results=list(wording.headline(report, split)),
        titles=TITLES,
        interval_note=wording.interval_note(report),
        intended_use=wording.intended_use(report),
        methods=wording.methods(report),
        audited={name: text for name in report["tasks"] if (text := membership.sentence(report, name))},
        **{name: context[name] for name in ("config", "corpus", "environment")},
    )


def write_page(path: str | os.PathLike, output: str | os.PathLike | None = None) -> Path:
    """Writes `report.html` and `tables/` of any `report.json` of ours, as whoever wrote it did.

    Args:
      path: of the `report.json`.
      output: folder; that of the `report.json` when not given.

    Returns:
      Where the page is.

    Raises:
      InputError: no JSON, no report of ours, one that is damaged, or nothing can be written there.
    """
    require_file(path)
    content = read_report(path, "give the report.json of a run")
    if not content:
        raise InputError(f"{path}: no report of ours: give the report.json of a run, of launch.py evaluate or report")
    output = Path(path).parent if output is None else Path(output)
    try_folder(output)
    try:
        _write_page(output, content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, jinja2.TemplateError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: damaged, or not written by this software ({reason}): write it anew") from error
    return output / "report.html"


def _write_page(folder: str | os.PathLike, content: Mapping[str, Any]) -> None:
    html = page.render(content)
    tables.write_tables(Path(folder) / "tables", content)
    write_atomically(Path(folder) / "report.html", html)


def _presentable(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context without ids of participants and as plain JSON values."""
    shown = {name: public(value) for name, value in context.items() if name != "disclaimer"}
    card = shown.get("corpus")
    if card:
        kept = {name: card[name] for name in CORPUS_FIELDS if name in card}
        shown["corpus"] = {**kept, "n_skipped": len(card.get("skipped") or ())}
    return finite(json.loads(json.dumps(shown, default=str)))


def summary(report: Mapping[str, Any]) -> str:
    """Red flags and the headline of every task as text for a terminal of 100 columns."""
    split = wording.headline_split(report)
    lines = ["SYNTHETIC DATA: no number below says anything about real people."] if report["synthetic"] else []
    lines += [
        ": ".join(filter(None, (flag["level"], wording.place(flag), flag["message"]))) for flag in report["flags"]
    ]
    lines += [*wording.checks(report), f"{split} split, in brackets: {wording.interval_note(report)}"]
    whole = {"break_long_words": False, "break_on_hyphens": False}
    lines = [textwrap.fill(line, 100, subsequent_indent="  ", **whole) for line in lines]
    lines += [f"\n{tables.to_text(table)}" for table in page.headline_by_task(report)]
    return "\n".join(filter(None, [*lines, together.summary(report, split), multilabel.summary(report, split)]))


def read_report(
    path: str | os.PathLike, remedy: str = "remove it, or move the predictions elsewhere"
) -> dict[str, Any]:
    """Content of our own `report.json`; empty where there is none or another tool wrote it.

    Raises:
      InputError: not readable, or not JSON.
    """
    if not Path(path).exists():
        return {}
    content = read_json(path, remedy, object)
    ours = isinstance(content, dict) and content.get("format") == FORMAT and "task_definitions" in content
    return content if ours else {}


def evaluate_file(
    predictions_csv: str | os.PathLike,
    tasks: Sequence[Task] | None = None,
    output: str | os.PathLike | None = None,
    *,
    compare: str | os.PathLike | None = None,
    subgroups: str | os.PathLike | None = None,
    kinds: Kinds | None = None,
    seed: int = 0,
    n_bootstrap: int = bootstrap.RESAMPLES,
    synthetic: bool = False,
) -> dict[str, Any]:
    """Scores a `predictions.csv` of any tool: `python launch.py evaluate --predictions=FILE.csv`.

    Args:
      predictions_csv: the table, see `predictions.read_csv`.
      tasks: what to score. When not given: as a `report.json` of ours next to the table defines them (it also says
        whether the data are synthetic, and whether clusters are divided), else inferred from the columns.
      output: folder for `report.json`, `report.html` and `tables/`; nothing is written when not given.
      compare: another table on the same participants, compared like a baseline, in pairs.
      subgroups: a table of subgroups, see `subgroups.read_subgroups`.
      kinds: what is known of tasks that nobody else defines, or defines otherwise.
      seed, n_bootstrap, synthetic: see `scoring.evaluate`.

    Returns:
      The content of `report.json`; without what only the page needs where nothing is written.

    Raises:
      InputError: a malformed table, tasks that do not fit it, or two tables that do not belong together.
    """
    if output is not None:
        try_folder(output)
    notes: list[str] = []
    predictions = read_csv(predictions_csv, notes)
    synthetic = synthetic or says_synthetic(predictions_csv)
    named = None if subgroups is None else subgroup_tables.read_subgroups(subgroups, notes)
    baselines = {} if compare is None else {Path(compare).stem: read_csv(compare, notes)}
    for path in filter(None, (predictions_csv, compare, subgroups)):  # a report names no folder of this machine
        notes = [note.replace(str(path), Path(path).name) for note in notes]
    context: dict[str, Any] = {"predictions": Path(predictions_csv).name}
    within_clusters = False
    if tasks is None:
        report = read_report(Path(predictions_csv).with_name("report.json"))
        synthetic = synthetic or bool(report.get("synthetic"))
        within_clusters = bool(report.get("within_clusters"))
        defined = {task.name: task for task in from_config(report["task_definitions"])} if report else {}
        tasks = infer_tasks(predictions, kinds, defined, notes)
        known = all(task.name in defined for task in tasks)
        context["tasks"] = "of report.json beside the table" if known else "inferred from the columns"
    options = {"seed": seed, "n_bootstrap": n_bootstrap}
    marks = {"synthetic": synthetic, "within_clusters": within_clusters}
    report = evaluate(predictions, tasks, baselines=baselines, **marks, **options)
    report["subgroups"] = subgroup_tables.evaluate(predictions, tasks, named, **options)
    if not within_clusters:
        report["flags"] = flags.red_first([*report["flags"], *subgroup_tables.flags_of(predictions, named)])
    report["flags"] += [flags.flag("table", text=note) for note in notes]
    if output is not None:
        return write_report(output, report, predictions, tasks, context=context, baselines=baselines)
    return report
