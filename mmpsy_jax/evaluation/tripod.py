"""The TRIPOD+AI reporting items (Collins et al., BMJ 2024;385:e078378), filled in as far as the software knows.

The numbers are those of the statement's 27 items, 52 with their parts; the wording is ours, and no replacement for
reading the statement itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mmpsy_jax.evaluation import wording

Report = Mapping[str, Any]
Fill = Callable[[Report], str | None]


def items(report: Report) -> list[dict[str, str | None]]:
    """Every item as {"number", "asks", "text"}; text is None where only people can answer, or nothing is known."""
    return [{"number": n, "asks": asks, "text": fill(report) if fill else None} for n, asks, fill in _ITEMS]


def _context(report: Report, name: str) -> Mapping[str, Any]:
    return (report.get("context") or {}).get(name) or {}


def _title(report: Report) -> str:
    targets = "; ".join(wording.target(entry) for entry in report["tasks"].values())
    what = "Development and internal evaluation" if _context(report, "config") else "Evaluation of predictions"
    return f"{what}: {targets}."


def _data_source(report: Report) -> str | None:
    corpus = _context(report, "corpus")
    if not corpus:
        return None
    synthetic = " Synthetic: made by a generator." if report["synthetic"] else ""
    known = [f"{name} {corpus[name]}" for name in ("version", "source_sha256") if corpus.get(name)]
    return f"{', '.join([wording.dataset(corpus) or 'unnamed corpus', *known])}.{synthetic}"


def _preparation(report: Report) -> str | None:
    corpus = _context(report, "corpus")
    if not corpus.get("modalities"):
        return None
    return f"Windows of {corpus.get('window_seconds')} s, the same for every participant. See corpus below."


def _outcome(report: Report) -> str:
    return "; ".join(f"{name}: {wording.target(entry)}" for name, entry in report["tasks"].items()) + "."


def _predictors(report: Report) -> str | None:
    modalities = _context(report, "corpus").get("modalities")
    if not modalities:
        return None
    read = (_context(report, "config").get("data") or {}).get("modalities") or list(modalities)
    return ", ".join(f"{name} {modalities[name]['shape']} per window" for name in read if name in modalities) + "."


def _sample(report: Report) -> str:
    texts = []
    for name, entry in report["tasks"].items():
        for split, scored in entry["splits"].items():
            events = "" if scored["n_events"] is None else f", {scored['n_events']} events"
            texts.append(f"{name}, {split}: {scored['n_participants']} participants{events}")
    return "; ".join(texts) + "."


def _missing(report: Report) -> str:
    counts = [
        f"{name}, {split}: {scored['n_without_label']}"
        for name, entry in report["tasks"].items()
        for split, scored in entry["splits"].items()
    ]
    return "Participants without a label are left out of that task: " + "; ".join(counts) + "."


def _partition(report: Report) -> str | None:
    if not _context(report, "config"):
        return None
    folds, seeds = len(report["folds"]), len(report["seeds"])
    how = f"{folds} folds" if folds > 1 else "one division into train, validation and test"
    return f"By participant: {how}; {seeds} training{'s' if seeds > 1 else ''} each. Choices on validation only."


def _model(report: Report) -> str | None:
    config = _context(report, "config")
    if not config.get("model"):
        return None
    sweep = _context(report, "sweep")
    tuned = f" Of {len(sweep['points'])} settings the best on validation was taken." if sweep else ""
    selection = (config.get("selection") or {}).get("metric")
    chosen = f" Checkpoint chosen by {selection} on validation." if selection else ""
    return f"{config['model']['name']}, {config.get('total')}.{tuned}{chosen} All settings under config below."


def _measures(report: Report) -> str:
    boot = report["bootstrap"]
    names = dict.fromkeys(
        wording.label(metric)
        for entry in report["tasks"].values()
        for scored in entry["splits"].values()
        for metric in scored["model"]
    )
    return f"{', '.join(names)}; {boot['level']:.0%} {boot['method']} bootstrap intervals over {boot['unit']}."


def _imbalance(report: Report) -> str | None:
    objective = _context(report, "config").get("objective")
    return f"Class weights: {objective['class_weights']}." if objective else None


def _fairness(report: Report) -> str:
    columns = (report.get("subgroups") or {}).get("columns")
    if not columns:
        return "Not assessable: no subgroups were given."
    return f"Results by {', '.join(columns)}: see Subgroups."


def _output(report: Report) -> str:
    texts = []
    for name, entry in report["tasks"].items():
        if entry["kind"] == "binary":
            limits = ", ".join(f"{one['value']:.3f} ({one['source']})" for one in entry["thresholds"]["model"])
            texts.append(f"{name}: probability, called positive from {limits}")
        else:
            what = {"ordinal": "expected band", "regression": "score", "nominal": "most probable class"}[entry["kind"]]
            texts.append(f"{name}: {what}")
    return "; ".join(texts) + "."


def _updating(report: Report) -> str | None:
    names = _recalibrated(report)
    return f"Recalibration by temperature and isotonic regression, fitted on validation: {names}." if names else None


def _updated(report: Report) -> str | None:
    names = _recalibrated(report)
    return f"See Calibration before and after recalibration: {names}." if names else None


def _recalibrated(report: Report) -> str:
    """The tasks whose probabilities were recalibrated on some split."""
    return ", ".join(
        name
        for name, entry in report["tasks"].items()
        if any((scored.get("recalibration") or {}).get("fitted_on") for scored in entry["splits"].values())
    )


def _computed(report: Report) -> str | None:
    if not _context(report, "config"):
        return None
    return "By the best checkpoint of each training and the code of 18f; predictions.csv holds every one."


def _specification(report: Report) -> str | None:
    if not _context(report, "config"):
        return None
    return "model.safetensors, model.json and config.json in the workdir; launch.py export makes programs of them."


def _poor_input(report: Report) -> str | None:
    if not _context(report, "config"):
        return None
    return (
        "Absent modalities are masked. launch.py predict abstains, with the reason, where length, language, spectrum "
        "or embedding are unlike those of the training participants, and lists files that cannot be read."
    )


def _code(report: Report) -> str | None:
    environment = _context(report, "environment")
    if not environment:
        return None
    return f"mmpsy_jax {environment.get('mmpsy_jax')}, revision {environment.get('revision')}, Apache-2.0."


def _flow(report: Report) -> str | None:
    return "See Data." if _context(report, "audit") else None


def _performance(report: Report) -> str:
    split = wording.headline_split(report)
    texts = []
    for name, entry in report["tasks"].items():
        metric = wording.HEADLINE[entry["kind"]][0]
        if split in entry["splits"]:
            value = wording.estimate(metric, entry["splits"][split]["model"][metric])
            texts.append(f"{name}: {wording.label(metric)} {value}")
    return "; ".join(texts) + f" on {split}. All metrics under each task."


_ITEMS: tuple[tuple[str, str, Fill | None], ...] = (
    ("1", "Title: development or evaluation, population, outcome", _title),
    ("2", "Abstract", None),
    ("3a", "Health context and reason for the model", None),
    ("3b", "Target population and place in care; intended users", None),
    ("3c", "Known health inequalities", None),
    ("4", "Objectives", None),
    ("5a", "Data sources and why they represent the target", _data_source),
    ("5b", "Dates of data collection", None),
    ("6a", "Setting, number and place of centres", None),
    ("6b", "Eligibility of participants", None),
    ("6c", "Treatments received", None),
    ("7", "Preparation and quality checks of the data", _preparation),
    ("8a", "Outcome, its time horizon, how it is assessed", _outcome),
    ("8b", "Who judged the outcome, where it needs judgement", None),
    ("8c", "Blinding of the outcome assessment", None),
    ("9a", "Choice of the initial predictors", None),
    ("9b", "Definition and measurement of the predictors", _predictors),
    ("9c", "Who judged the predictors, where they need judgement", None),
    ("10", "Sample size", _sample),
    ("11", "Missing data", _missing),
    ("12a", "Use of the data for training and evaluation; partition", _partition),
    ("12b", "Handling of the predictors in the analysis", None),
    ("12c", "Kind of model, building steps, tuning, internal validation", _model),
    ("12d", "Heterogeneity between clusters such as centres", None),
    ("12e", "Measures and plots of performance", _measures),
    ("12f", "Updating of the model, such as recalibration", _updating),
    ("12g", "How predictions were computed for the evaluation", _computed),
    ("13", "Class imbalance", _imbalance),
    ("14", "Fairness", _fairness),
    ("15", "Output of the model, thresholds", _output),
    ("16", "Differences between training and evaluation data", None),
    ("17", "Ethics approval and consent", None),
    ("18a", "Funding", None),
    ("18b", "Conflicts of interest", None),
    ("18c", "Protocol", None),
    ("18d", "Registration", None),
    ("18e", "Availability of the data", None),
    ("18f", "Availability of the code", _code),
    ("19", "Involvement of patients and the public", None),
    ("20a", "Flow of participants", _flow),
    ("20b", "Characteristics of the participants", None),
    ("20c", "Characteristics in training and evaluation compared", _flow),
    ("21", "Participants and events in each analysis", _sample),
    ("22", "The full model, so that others can use it", _specification),
    ("23a", "Performance with intervals, also in subgroups", _performance),
    ("23b", "Heterogeneity of the performance between clusters", None),
    ("24", "Results of updating the model", _updated),
    ("25", "Interpretation, also as to fairness", None),
    ("26", "Limitations", None),
    ("27a", "Handling of poor or missing input when the model is used", _poor_input),
    ("27b", "Skill and interaction that users need", None),
    ("27c", "Next steps for research", None),
)
