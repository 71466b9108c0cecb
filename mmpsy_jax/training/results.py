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
from mmpsy_jax.evaluation import baselines, flags, report, subgroups
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import public, read_rows, write_atomically
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import covariates, one_pass, privacy
from mmpsy_jax.training.config import fields_of, jsonable
from mmpsy_jax.training.job import HELD_OUT, TrainJob
from mmpsy_jax.training.logger import say

PACKAGES = [
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "array-record",
    "numpy",
]


STEPS = 4  # of an evaluation, which are told on the terminal


@dataclasses.dataclass(frozen=True)
class References:
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


def fit_references(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    jobs: Sequence[TrainJob],
    visitors: Sequence[one_pass.Visitor] = (),
) -> References:
    """Fits the baselines on the training participants of every fold; needs no device.

    Args:
      visitors: who else sees the records, which are read once here.
    """
    folds = {one.fold: covariates.split_column(one, len(corpus)) for one in jobs}  # seeds of a fold share theirs
    texts, heard = None, None
    if config.evaluation.baselines or config.evaluation.near_duplicates:
        texts = covariates.transcripts(config, corpus)
        listener = covariates.Listener(corpus, with_functionals=config.evaluation.baselines)
        one_pass.visit(corpus, [listener, *visitors])
        heard = listener.heard()
    else:
        one_pass.visit(corpus, visitors)
    fitted = fit_baselines(tasks, corpus, folds, texts, heard) if config.evaluation.baselines else {}
    return References(fitted, list(folds.values()), texts, heard)


def fit_baselines(
    tasks: tuple[Task, ...],
    corpus: Corpus,
    folds: Mapping[int, np.ndarray],
    texts: Mapping[str, str] | None,
    heard: covariates.Sound | None,
    splits: Sequence[str] = HELD_OUT,
) -> dict[str, Predictions]:
    """Predictions of every baseline by name, fitted on the training participants of each fold.

    Args:
      folds: the split of every participant by fold.
      texts, heard: as of `References`.
      splits: that are predicted.
    """
    parts: dict[str, list[Predictions]] = {}
    for number, (fold, split) in enumerate(folds.items(), 1):
        say(f"baselines: fold {number} of {len(folds)}")
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
        for name, part in baselines.fit_predict(known, tasks, fold=fold, splits=splits).items():
            parts.setdefault(name, []).append(part)
    return {name: Predictions.concatenate(part) for name, part in parts.items()}


def evaluate(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    workdir: Path,
    jobs: Sequence[TrainJob],
    predictions: Predictions,
    chosen: Mapping[str, Any],
    known: References,
) -> dict[str, Any]:
    """The model beside the baselines, subgroups, near-duplicates; then the report and the model card."""
    named = covariates.subgroups(config, corpus)
    if corpus.pooled:
        named = subgroups.with_column(named, "corpus", corpus.participants, corpus.origin)
    bootstrap = {"seed": config.seed, "n_bootstrap": config.evaluation.bootstrap}
    rules = {"threshold_rule": config.evaluation.threshold, "as_labels": config.evaluation.multilabel}
    rules |= {"within_clusters": corpus.within_clusters, "synthetic": bool(corpus.card["synthetic"])}
    say(f"evaluation, step 1 of {STEPS}: metrics and intervals")
    rules["progress"] = lambda line: say(f"  {line}")
    content = report.evaluate(predictions, tasks, baselines=known.baselines, **rules, **bootstrap)
    say(f"evaluation, step 2 of {STEPS}: subgroups" + ("" if named else " (none)"))
    content["subgroups"] = subgroups.evaluate(predictions, tasks, named, **bootstrap)
    further = []
    say(f"evaluation, step 3 of {STEPS}: near-duplicates" + ("" if config.evaluation.near_duplicates else " (off)"))
    if config.evaluation.near_duplicates:
        further += covariates.leaks(corpus, known.folds, known.texts, known.heard)
        content["checks"] |= covariates.leak_checks(known.texts, known.heard)
    further += content["flags"]
    if not corpus.within_clusters:
        further += subgroups.flags_of(predictions, named)
    further += flags.of_ranges(tasks, corpus.ranges)
    if privacy.is_on(config):
        further.append(flags.flag("private", text=privacy.promise(fields_of(jobs[0].config)), n=len(jobs)))
    if corpus.card.get("split_rule") and not config.cv.folds:
        further.append(flags.flag("split_rule", rule=corpus.card["split_rule"]))
    if corpus.pooled:
        sizes = ", ".join(f"{name}: {len(part)}" for name, part in corpus.pooled.items())
        further.append(flags.flag("pooled", n=len(corpus.pooled), names=sizes))
    content["flags"] = flags.red_first(further)
    files = {f"fold {one.fold} seed {one.seed}": one.workdir / "metrics.jsonl" for one in jobs}
    context = {
        "config": jsonable(config),
        "environment": environment(),
        "corpus": corpus.card,
        "audit": audit(corpus, tasks),
        "data": {"participants": len(corpus.participants), "texts_for_baseline": known.texts is not None},
        "sweep": chosen,
    }
    say(f"evaluation, step 4 of {STEPS}: page, tables and model card")
    content = report.write_report(
        workdir,
        content,
        predictions,
        tasks,
        trainings={"": {name: read_rows(file) for name, file in files.items() if file.exists()}},
        context=context,
        baselines=known.baselines,
        corpus=corpus,
    )
    write_atomically(workdir / "README.md", report.model_card(content))
    return content


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
