"""How numbers are written for people, and the templates of all prose: for pages, tables, the card, the terminal.

What a report says in sentences stands in `templates/`, as HTML or as Markdown, and is rendered from its content.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mmpsy_jax import DISCLAIMER
from mmpsy_jax.evaluation.flags import CHECKS
from mmpsy_jax.evaluation.metrics import HEADLINE, LABELS
from mmpsy_jax.io import unit_of
from mmpsy_jax.tasks import Task, from_config

TEMPLATES = Path(__file__).parent / "templates"
# Of intervals where another method took over; the reason stands beside them in `report.json` and on the page.
METHODS = {"percentile": "percentile", "widened": "percentile, widened"}
# How the labels of questionnaires begin that the disclaimer of the whole software is about.
QUESTIONNAIRES = ("phq", "gad")
MOST_LABELS = 5  # named in a sentence
SPLIT_ORDER = ("test", "validation", "train")
_POINTS = ("mae", "rmse")  # in points of the questionnaire: two decimals say enough


def template(name: str | Path) -> jinja2.Template:
    """A file of `templates/`, or one elsewhere that may include those.

    In HTML all values are escaped; in Markdown, where escaping would put &gt; into code spans, none breaks its line.
    """
    loader = jinja2.FileSystemLoader([Path(TEMPLATES, name).parent, TEMPLATES])
    strict = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    html = Path(name).suffix == ".html"
    environment = jinja2.Environment(loader=loader, autoescape=html, finalize=None if html else _one_line, **strict)
    environment.filters |= {"code": _code, "label": label}
    environment.filters |= {
        "number": lambda value, metric: number(metric, value),
        "estimate": lambda entry, metric: estimate(metric, entry),
    }
    return environment.get_template(Path(name).name)


def lines(name: str, **data: Any) -> list[str]:
    """The lines of a Markdown template that are not empty."""
    return [line.strip() for line in template(name).render(**data).splitlines() if line.strip()]


def _one_line(value: Any) -> Any:
    return re.sub(r"\s*\n\s*", " ", value) if isinstance(value, str) else value


def _code(value: Any) -> str:
    """A Markdown code span on one line that its content cannot leave."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "/")
    return f"`{text}`" if text else ""


def label(metric: str) -> str:
    """A metric's name for people."""
    return LABELS.get(metric, metric.replace("_", " "))


def number(metric: str, value: float | None) -> str:
    """A value as text; "undefined" for None."""
    if value is None:
        return "undefined"
    digits = 2 if metric in _POINTS else 3
    return f"{round(value, digits) + 0.0:.{digits}f}"  # -0.0004 is 0.000, not -0.000


def place(flag: Mapping[str, Any]) -> str:
    """Task and split that a flag is about; nothing for one about the whole table."""
    return ", ".join(filter(None, (flag["task"], flag["split"])))


def p_value(value: float | None) -> str:
    """A p value as text."""
    if value is None:
        return "undefined"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(metric: str, entry: Mapping[str, Any]) -> str:
    """ "low, high", or nothing where there is no interval."""
    low, high = entry.get("low"), entry.get("high")
    return "" if low is None or high is None else f"{number(metric, low)}, {number(metric, high)}"


def estimate(metric: str, entry: Mapping[str, Any]) -> str:
    """A value with its interval in one line, and the method of the interval where it is not the usual one."""
    text, limits = number(metric, entry["value"]), interval(metric, entry)
    method = f"; {METHODS[entry['interval']]}" if entry.get("reason") and entry.get("interval") in METHODS else ""
    return f"{text} [{limits}{method}]" if limits else text


def cell(metric: str, entry: Mapping[str, Any] | None, signed: bool = False) -> dict[str, str] | None:
    """An estimate as a table sets it: value, interval and reason as separate texts, and `text` for a terminal."""
    if entry is None:
        return None
    sign = "+" if signed and entry["value"] is not None and entry["value"] > 0 else ""
    return {
        "value": sign + number(metric, entry["value"]),
        "interval": interval(metric, entry),
        "reason": entry.get("reason", ""),
        "text": sign + estimate(metric, entry),
    }


def subgroup(entry: Mapping[str, Any]) -> str:
    """The name of a subgroup of a report; older reports call it a group."""
    return entry["subgroup"] if "subgroup" in entry else entry["group"]


def model_name(report: Mapping[str, Any]) -> str:
    """What the predictor is called: the first run of a comparison, else "model"."""
    runs = report.get("runs")
    return runs[0]["name"] if runs else "model"


def unit(report: Mapping[str, Any]) -> str:
    """What a row of a report is, in the plural: participants, or clips, days or segments of a corpus of these."""
    return unit_of((report.get("context") or {}).get("corpus"))


def drawn(report: Mapping[str, Any]) -> str:
    """What is drawn in resamples, in the plural."""
    return report["bootstrap"]["unit"].replace("participants", unit(report))


def headline_split(report: Mapping[str, Any]) -> str:
    """The split that comes first: test where there is one."""
    there = {split for entry in report["tasks"].values() for split in entry["splits"]}
    return next(split for split in SPLIT_ORDER if split in there)


def headline(report: Mapping[str, Any], split: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Task, its entry for the split and metric of every row that comes first; tasks without the split are left out."""
    for name, entry in report["tasks"].items():
        if split in entry["splits"]:
            for metric in HEADLINE[entry["kind"]]:
                yield name, entry["splits"][split], metric


def title(context: Mapping[str, Any]) -> str:
    """The name of the config and the corpus that it ran on, as far as they are known."""
    parts = [(context.get("config") or {}).get("name"), dataset(context.get("corpus") or {})]
    return " on ".join(filter(None, parts)) or "Evaluation of predictions"


def dataset(corpus: Mapping[str, Any]) -> str:
    """Name of a corpus card, as far as it is known: dataset/config."""
    return "/".join(filter(None, (corpus.get("dataset"), corpus.get("config"))))


def tasks_of(report: Mapping[str, Any]) -> dict[str, Task]:
    """The tasks of a report by name."""
    return {task.name: task for task in from_config(report["task_definitions"]) if task.name in report["tasks"]}


def checks(report: Mapping[str, Any]) -> list[str]:
    """What was looked for, and what had nothing to be looked for in; nothing for a report of an older version."""
    return lines("checks.md", checks=report.get("checks") or {}, names=CHECKS)


def disclaimer(report: Mapping[str, Any]) -> str:
    """What every form of a report says first."""
    return disclaimer_of([entry["label"] for entry in report["tasks"].values()], _read(report))


def disclaimer_of(labels: Sequence[str], modalities: Sequence[str] = ()) -> str:
    """What is said first of estimates of questionnaires, or of what else the labels are.

    Args:
      labels: that are estimated.
      modalities: from which; none where that is not known.
    """
    return lines("disclaimer.md", text=DISCLAIMER, modalities=modalities, **_about(labels))[0]


def intended_use(report: Mapping[str, Any]) -> list[str]:
    """What the estimates of a report may be used for, and what not."""
    about = _about([entry["label"] for entry in report["tasks"].values()])
    return lines("intended_use.md", modalities=_read(report), **about)


def _read(report: Mapping[str, Any]) -> list[str]:
    """Modalities that the run reads: those of its config, else all of its corpus, as far as they are known."""
    context = report.get("context") or {}
    chosen = ((context.get("config") or {}).get("data") or {}).get("modalities")
    return list(chosen or (context.get("corpus") or {}).get("modalities") or ())


def _about(labels: Sequence[str]) -> dict[str, Any]:
    """Whether a label is that of a questionnaire, and the names of the first labels."""
    names = list(dict.fromkeys(labels))
    more = f" and {len(names) - MOST_LABELS} more" if len(names) > MOST_LABELS else ""
    questionnaires = any(name.lower().startswith(QUESTIONNAIRES) for name in names)
    return {"questionnaires": questionnaires, "labels": ", ".join(names[:MOST_LABELS]) + more}


def tripod(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every item as {"number", "asks", "text"}; text is "" where only people can answer, or nothing is known."""
    context = report.get("context") or {}
    parts = {name: context.get(name) or {} for name in ("config", "corpus", "environment", "audit", "sweep")}
    splits = [(task, s, scored) for task, entry in report["tasks"].items() for s, scored in entry["splits"].items()]
    about = {"dataset": dataset(parts["corpus"]), "headline_split": headline_split(report), "headline": HEADLINE}
    about |= {"unit": unit(report), "drawn": drawn(report)}
    rendered = lines("tripod.md", report=report, tasks=tasks_of(report), splits=splits, **parts, **about)
    return [dict(zip(("number", "asks", "text"), map(str.strip, row.split("|", 2)), strict=True)) for row in rendered]


def interval_note(report: Mapping[str, Any]) -> str:
    """What the brackets behind a value are, and how folds and seeds come together in it."""
    return " ".join(lines("interval_note.md", report=report, drawn=drawn(report)))


def methods(report: Mapping[str, Any]) -> list[str]:
    """How the numbers came about; what only a training does is not said of other predictions."""
    trained = bool((report.get("context") or {}).get("config"))
    divided = bool(report.get("within_clusters"))
    return lines("methods.md", trained=trained, drawn=drawn(report), unit=unit(report), within_clusters=divided)


def best_possible(report: Mapping[str, Any], task: str, metric: str, split: str) -> str | None:
    """The constructed optimum of a synthetic corpus for the modalities that the model reads, where it is known."""
    context, entry = report.get("context") or {}, report["tasks"][task]
    optimum = (context.get("corpus") or {}).get("optimum") if report["synthetic"] else None
    if not optimum:
        return None
    if "thresholds" in entry and optimum.get("cutoff", entry["cutoffs"][0]) != entry["cutoffs"][0]:
        return None
    where = optimum.get("test" if split == "test" and "test" in optimum else "population") or {}
    modalities = ((context.get("config") or {}).get("data") or {}).get("modalities") or ()
    read = modalities[0] if len(modalities) == 1 else "both"
    value = (where.get(entry["label"]) or {}).get(read, {}).get(metric)
    return None if value is None else f"{number(metric, value)} ({read})"
