"""How metrics, estimates and splits are written for people: shared by the page, the tables, the card, the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmpsy_jax import DISCLAIMER
from mmpsy_jax.evaluation.flags import CHECKS
from mmpsy_jax.evaluation.metrics import HEADLINE, LABELS
from mmpsy_jax.tasks import Task

# Of intervals where another method took over; the reason stands beside them in `report.json` and on the page.
METHODS = {"percentile": "percentile", "widened": "percentile, widened"}
# How the labels of questionnaires begin that the disclaimer of the whole software is about.
QUESTIONNAIRES = ("phq", "gad")
MOST_LABELS = 5  # named in a sentence
SPLIT_ORDER = ("test", "validation", "train")
_POINTS = ("mae", "rmse")  # in points of the questionnaire: two decimals say enough


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
    """Value, interval and reason as separate texts, as a table of the page sets them."""
    if entry is None:
        return None
    sign = "+" if signed and entry["value"] is not None and entry["value"] > 0 else ""
    return {
        "value": sign + number(metric, entry["value"]),
        "interval": interval(metric, entry),
        "reason": entry.get("reason", ""),
    }


def model_name(report: Mapping[str, Any]) -> str:
    """What the predictor is called: the first run of a comparison, else "model"."""
    runs = report.get("runs")
    return runs[0]["name"] if runs else "model"


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


def target(entry: Mapping[str, Any]) -> str:
    """What a task of `report.json` predicts, in words."""
    columns = {name: tuple(entry.get(name, ())) for name in ("cutoffs", "classes")}
    return Task("", entry["label"], entry["kind"], **columns).describe()


def checks(report: Mapping[str, Any]) -> list[str]:
    """What was looked for, and what had nothing to be looked for in; nothing for a report of an older version."""
    found = report.get("checks") or {}
    made = [CHECKS[code] for code, reason in found.items() if reason is None]
    left_out = [f"{CHECKS[code]} ({reason})" for code, reason in found.items() if reason is not None]
    parts = {"Checked": ", ".join(made), "Not checked": "; ".join(left_out)}
    return [f"{what}: {text}." for what, text in parts.items() if text]


def disclaimer(report: Mapping[str, Any]) -> str:
    """What every form of a report says first."""
    return disclaimer_of(_labels(report))


def disclaimer_of(labels: Sequence[str]) -> str:
    """What is said first of estimates of questionnaires, or of what else the labels are."""
    if _about_questionnaires(labels):
        return DISCLAIMER
    return (
        f"Research software. Its estimates of {_listed(labels)} are no findings about a person, are not validated for "
        "any use outside research, and must not be used for decisions about an individual."
    )


def intended_use(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What the estimates of a report may be used for, and what not."""
    modalities = list(((report.get("context") or {}).get("corpus") or {}).get("modalities") or ())
    if _about_questionnaires(_labels(report)):
        question = "questionnaire scores can be estimated from speech and text"
        target = (
            "The target is the total of a questionnaire that participants filled in themselves, which differs from a "
            "clinical interview and varies from day to day."
        )
    else:
        question = (
            f"{_listed(_labels(report))} can be estimated from {' and '.join(modalities) or 'what the model read'}"
        )
        target = (
            "The target is the label of the corpus, with the errors and views of whoever gave it; it is no finding."
        )
    return (
        f"For research on how far {question}, on groups of participants like those described under Data.",
        "Not for diagnosis, and not for any decision about a person: not in care, employment, school or insurance, and "
        "not for surveillance.",
        target,
        "No estimate, high or low, replaces a professional. Where somebody is at risk, contact the local emergency or "
        "crisis service.",
        "Another language, age, device or way of asking than that of the training participants needs its own "
        "evaluation.",
    )


def _labels(report: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(entry["label"] for entry in report["tasks"].values()))


def _about_questionnaires(labels: Sequence[str]) -> bool:
    return any(label.lower().startswith(QUESTIONNAIRES) for label in labels)


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return ", ".join(labels[:MOST_LABELS]) + more


def interval_note(report: Mapping[str, Any]) -> str:
    """What the brackets behind a value are."""
    boot = report["bootstrap"]
    return (
        f"{boot['level']:.0%} bootstrap intervals over {boot['unit']} ({boot['resamples']} resamples, "
        f"{boot['method']}, seed {boot['seed']})."
    )


def spread_note(report: Mapping[str, Any]) -> str:
    """How folds and seeds come together in a value."""
    parts = []
    if len(report["folds"]) > 1:
        parts.append(f"The out-of-fold predictions of {len(report['folds'])} folds are pooled.")
    if len(report["seeds"]) > 1:
        parts.append(f"The predictions of {len(report['seeds'])} seeds are averaged; their spread is shown apart.")
    return " ".join(parts)


def best_possible(
    report: Mapping[str, Any], context: Mapping[str, Any], task: str, metric: str, split: str
) -> str | None:
    """The constructed optimum of a synthetic corpus for the modalities that the model reads, where it is known."""
    optimum = (context.get("corpus") or {}).get("optimum") if report["synthetic"] else None
    entry = report["tasks"][task]
    if not optimum:
        return None
    if "thresholds" in entry and optimum.get("cutoff", entry["cutoffs"][0]) != entry["cutoffs"][0]:
        return None
    where = optimum.get("test" if split == "test" and "test" in optimum else "population") or {}
    modalities = ((context.get("config") or {}).get("data") or {}).get("modalities") or ()
    read = modalities[0] if len(modalities) == 1 else "both"
    value = (where.get(entry["label"]) or {}).get(read, {}).get(metric)
    return None if value is None else f"{number(metric, value)} ({read})"
