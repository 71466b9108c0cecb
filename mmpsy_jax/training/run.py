"""A whole experiment: its trainings (one, or folds x seeds), then evaluation beside baselines and the report."""

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
from mmpsy_jax.data.exchange import exchange
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation import baselines, cards, flags, groups, report
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.files import read_rows
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import covariates, embedding, trained, trainings
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import claim_workdir, jsonable, saved_fields
from mmpsy_jax.training.loop import Run
from mmpsy_jax.training.mesh import wait_for_all

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


def use_compile_cache(folder: str) -> None:
    """Keeps every compiled program on disk, however small, so that a second run starts at once."""
    if folder:
        jax.config.update("jax_compilation_cache_dir", str(Path(folder).absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def run(config: ConfigDict, dataset_dir: str | Path, workdir: str | Path) -> dict[str, Any]:
    """Trains what the config asks for, or goes on where an earlier run of it stopped, and writes the report.

    Returns:
      The content of `report.json` (on process 0; an empty dictionary elsewhere).
    """
    workdir, main = Path(workdir), jax.process_index() == 0
    tasks = from_config(config.tasks)
    corpus = open_corpus(dataset_dir)
    check(config, tasks, corpus)
    if config.data.exchange:
        corpus = exchange(corpus, config.data.exchange, config.seed)
    config = with_groups(config, workdir)
    claim_workdir(config, workdir, writes=main)
    wait_for_all("workdir")

    planned, chosen = trainings.plan(config, tasks, corpus, workdir)
    parts = trainings.train_all(planned, workdir / "replicas")
    embedding.write(planned)
    if not main:
        return {}
    predictions = Predictions.concatenate(parts)
    trained.describe(config, corpus, planned, workdir, predictions)
    if len(parts) > 1:
        write_csv(workdir / "predictions.csv", predictions)
    return evaluate(config, tasks, corpus, workdir, planned, predictions, chosen)


def with_groups(config: ConfigDict, workdir: Path) -> ConfigDict:
    """The config with `data.groups` decided: those of the run that is gone on with, or one per device.

    Batches, dropout and so the losses depend on the groups, which therefore stay when a run moves to other devices.
    """
    config = config.copy_and_resolve_references()
    if not config.data.groups:
        saved = saved_fields(workdir).get("data.groups")
        mesh = meshes.make_mesh(config.mesh.replica)
        config.data.groups = meshes.groups_of(config.data.batch_size, saved or 0, mesh)
    return config


def check(config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus) -> None:
    """Raises InputError where the config asks for what the corpus has not, or names a malformed table of groups."""
    for task in tasks:
        if task.label not in corpus.labels:
            raise one_of(f"label of task {task.name!r}", task.label, corpus.labels)
    for name in config.data.modalities:
        if name not in corpus.modalities:
            raise one_of("modality in config.data.modalities", name, corpus.modalities)
    if config.evaluation.groups:
        groups.read_groups(config.evaluation.groups)  # a fault is said now, not after the training
    if config.seeds < 1 or config.cv.folds < 0 or config.cv.folds == 1:
        raise InputError(
            f"config.seeds = {config.seeds}, config.cv.folds = {config.cv.folds}: at least one seed; 0 or 2 and more"
        )


def evaluate(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    workdir: Path,
    planned: Sequence[Run],
    predictions: Predictions,
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """Baselines of the same training participants, subgroups, near-duplicates; then the report and the model card."""
    named = groups.read_groups(config.evaluation.groups) if config.evaluation.groups else None
    folds = {one.fold: covariates.split_column(one, len(corpus)) for one in planned}  # seeds of a fold share theirs
    texts, heard = None, None
    if config.evaluation.baselines or config.evaluation.near_duplicates:
        texts, heard = covariates.transcripts(config, corpus), covariates.sound(corpus)
    beside: dict[str, list[Predictions]] = {}
    for fold, split in folds.items() if config.evaluation.baselines else ():
        known = baselines.Covariates(
            participant_id=np.asarray(corpus.participants),
            split=split,
            scores=dict(corpus.labels),
            n_characters=corpus.columns["n_characters"],
            texts=texts,
            n_answers=corpus.columns["n_answers"],
            mel=None if heard is None else heard.statistics,
        )
        for name, part in baselines.fit_predict(known, tasks, fold=fold).items():
            beside.setdefault(name, []).append(part)
    compared = {name: Predictions.concatenate(parts) for name, parts in beside.items()}
    bootstrap = {"seed": config.seed, "n_bootstrap": config.evaluation.bootstrap}
    made = report.evaluate(
        predictions, tasks, baselines=compared, synthetic=bool(corpus.card["synthetic"]), **bootstrap
    )
    made["subgroups"] = groups.evaluate(predictions, tasks, named, **bootstrap)
    if config.evaluation.near_duplicates:
        leaks = covariates.leaks(corpus, list(folds.values()), texts, heard)
        made["flags"] = flags.red_first([*leaks, *made["flags"]])
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
        "data": {"participants": len(corpus.participants), "texts_for_baseline": texts is not None},
        "sweep": chosen,
    }
    content = report.write_report(workdir, made, predictions, tasks, curves=curves, context=context, baselines=compared)
    cards.write_card(workdir, content)
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
        "command": sys.argv,
    }
