"""What a run's predictions are worth: scored beside baselines of the same participants, written as a report.

Imported when the trainings have ended, since scikit-learn, pandas and matplotlib take seconds to import.
"""

import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import mmpsy_jax
from mmpsy_jax.data.audit import audit
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import baselines, calls, cards, flags, report, subgroups
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.features.manifest import CLUSTER
from mmpsy_jax.io import public, read_rows
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import covariates
from mmpsy_jax.training.config import jsonable
from mmpsy_jax.training.job import TrainJob

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "array-record",
    "numpy",
)


@dataclasses.dataclass(frozen=True)
class Beside:
    """What is known of the participants without any training.

    Attributes:
      baselines: predictions by name, empty where `config.evaluation.baselines` is off.
      folds: the split of every participant, one column per fold.
      texts, heard: as `covariates.transcripts` and `covariates.sound`; None where nothing asks for them.
    """

    baselines: dict[str, Predictions]
    folds: list[np.ndarray]
    texts: Mapping[str, str] | None
    heard: covariates.Sound | None


def beside(config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus, planned: Sequence[TrainJob]) -> Beside:
    """Fits the baselines on the training participants of every fold; needs no device."""
    folds = {one.fold: covariates.split_column(one, len(corpus)) for one in planned}  # seeds of a fold share theirs
    texts, heard = None, None
    if config.evaluation.baselines or config.evaluation.near_duplicates:
        texts = covariates.transcripts(config, corpus)
        heard = covariates.sound(corpus, with_functionals=config.evaluation.baselines)
    parts: dict[str, list[Predictions]] = {}
    for fold, split in folds.items() if config.evaluation.baselines else ():
        known = baselines.Covariates(
            participant_id=np.asarray(corpus.participants),
            split=split,
            scores=dict(corpus.labels),
            n_characters=covariates.varied(corpus.columns["n_characters"]),
            texts=texts,
            n_answers=covariates.varied(corpus.columns["n_answers"]),
            mel=None if heard is None else heard.statistics,
            functionals={} if heard is None else heard.functionals,
        )
        for name, part in baselines.fit_predict(known, tasks, fold=fold).items():
            parts.setdefault(name, []).append(part)
    fitted = {name: Predictions.concatenate(part) for name, part in parts.items()}
    return Beside(fitted, list(folds.values()), texts, heard)


def evaluate(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    workdir: Path,
    planned: Sequence[TrainJob],
    predictions: Predictions,
    chosen: Mapping[str, Any],
    known: Beside,
) -> dict[str, Any]:
    """The model beside the baselines, subgroups, near-duplicates; then the report and the model card."""
    named = subgroups.read_subgroups(config.evaluation.subgroups) if config.evaluation.subgroups else None
    bootstrap = {"seed": config.seed, "n_bootstrap": config.evaluation.bootstrap}
    rules = {"threshold_rule": config.evaluation.threshold, "as_labels": config.evaluation.multilabel}
    rules["within_clusters"] = corpus.within_clusters
    synthetic = bool(corpus.card["synthetic"])
    made = report.evaluate(predictions, tasks, baselines=known.baselines, synthetic=synthetic, **rules, **bootstrap)
    made["subgroups"] = subgroups.evaluate(predictions, tasks, named, **bootstrap)
    if not corpus.within_clusters:
        made["flags"] = flags.red_first([*made["flags"], *subgroups.flags_of(predictions, named)])
    if config.evaluation.near_duplicates:
        leaks = covariates.leaks(corpus, known.folds, known.texts, known.heard)
        made["flags"] = flags.red_first([*leaks, *made["flags"]])
        made["checks"] |= covariates.leak_checks(known.texts, known.heard)
    made["flags"] = flags.red_first([*made["flags"], *flags.of_ranges(tasks, corpus.ranges)])
    if corpus.card.get("split_rule") and not config.cv.folds:
        note = flags.flag("split_rule", rule=corpus.card["split_rule"])
        made["flags"] = flags.red_first([*made["flags"], note])
    curves = {
        f"fold {one.fold} seed {one.seed}": read_rows(one.workdir / "metrics.jsonl")
        for one in planned
        if (one.workdir / "metrics.jsonl").exists()
    }
    context = {
        "config": jsonable(config),
        "environment": environment(),
        "corpus": corpus.card,
        "audit": audit(corpus, tasks),
        "data": {"participants": len(corpus.participants), "texts_for_baseline": known.texts is not None},
        "sweep": chosen,
    }
    over_calls = {}
    thresholds = {name: entry["thresholds"]["model"] for name, entry in made["tasks"].items() if "thresholds" in entry}
    if corpus.card.get("cluster") not in (None, CLUSTER) and thresholds:  # segments in time
        tested = predictions.take(np.isin(predictions.task, list(thresholds))).select(split="test").over_seeds("binary")
        times = start_times(corpus, set(tested.participant_id.tolist()))
        calls.write_csv(workdir / calls.FILE, tested, times, thresholds)
        over_calls = calls.pictures(tested, times)
    shown = {"curves": curves, "context": context, "baselines": known.baselines, "calls": over_calls}
    content = report.write_report(workdir, made, predictions, tasks, **shown)
    cards.write_card(workdir, content)
    return content


def start_times(corpus: Corpus, wanted: set[str]) -> dict[str, float]:
    """Where some participants begin in seconds: segments in their call."""
    return {
        name: float(corpus.reader.read(i, ["window_start_s"])["window_start_s"][0])
        for i, name in enumerate(corpus.participants)
        if name in wanted
    }


def environment() -> dict[str, Any]:
    """Versions, git revision, machine and command of this run."""
    root = Path(mmpsy_jax.__file__).parent.parent
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        revision = "unknown: not a git checkout"
    return {
        "mmpsy_jax": mmpsy_jax.__version__,
        "revision": revision,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processes": jax.process_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": ["=".join(map(public, argument.split("=", 1))) for argument in sys.argv],
    }
