"""A whole experiment: its trainings (one, or folds x seeds), then evaluation beside baselines and the report."""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

import mmpsy_jax
from mmpsy_jax.data import splits as data_splits
from mmpsy_jax.data.plan import batches_needed, limited, window_slots
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation import baselines, report
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.features import table
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import replicas
from mmpsy_jax.training.config import claim_workdir, jsonable
from mmpsy_jax.training.logger import read_rows
from mmpsy_jax.training.loop import Run, train

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
    claim_workdir(config, workdir, writes=main)
    _wait_for_all("workdir")

    planned = list(trainings(config, tasks, corpus, workdir))
    if not all((one.workdir / "predictions.csv").exists() for one in planned):
        as_replicas = len(planned) > 1 and replicas.possible(config, corpus)
        made = replicas.train(planned, workdir / "replicas") if as_replicas else map(train_alone, planned)
        for one, predictions in zip(planned, made, strict=True):
            if main:
                write_csv(one.workdir / "predictions.csv", predictions)
        _wait_for_all("predictions")
    parts = [read_csv(one.workdir / "predictions.csv") for one in planned]
    if not main:
        return {}
    predictions = Predictions.concatenate(parts)
    if len(parts) > 1:
        write_csv(workdir / "predictions.csv", predictions)
    return evaluate(config, tasks, corpus, workdir, planned, predictions)


def train_alone(one: Run) -> Predictions:
    """The predictions of one training, made now or by an earlier start of this command."""
    file = one.workdir / "predictions.csv"
    if file.exists():
        return read_csv(file)
    one.workdir.mkdir(parents=True, exist_ok=True)
    return train(one)


def check(config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus) -> None:
    """Raises InputError where the config asks for what the corpus has not."""
    for task in tasks:
        if task.label not in corpus.labels:
            raise one_of(f"label of task {task.name!r}", task.label, corpus.labels)
    for name in config.data.modalities:
        if name not in corpus.modalities:
            raise one_of("modality in config.data.modalities", name, corpus.modalities)
    if config.seeds < 1 or config.cv.folds < 0 or config.cv.folds == 1:
        raise InputError(
            f"config.seeds = {config.seeds}, config.cv.folds = {config.cv.folds}: at least one seed; 0 or 2 and more"
        )


def trainings(config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus, workdir: Path) -> Iterator[Run]:
    """The trainings of a config: every fold with every seed, each in its own folder unless there is only one."""
    if config.cv.folds:
        strata = [(task.label, task.cutoffs[0]) for task in tasks if task.kind == "binary"]
        strata = strata or [(task.label, task.cutoffs[len(task.cutoffs) // 2]) for task in tasks if task.cutoffs]
        folds = data_splits.folds(corpus, config.cv.folds, config.seed, strata, config.cv.validation_fraction)
    else:
        folds = [data_splits.by_name(corpus)]
    needed = ("train", "test") if config.selection.metric == "step" else ("train", "validation", "test")
    for name in needed:
        if any(len(fold.get(name, ())) == 0 for fold in folds):
            raise InputError(
                f"the {name} split of {corpus.path} has no participant: give another split file, or "
                "--config.cv.folds=5; without validation, only --config.selection.metric=step"
            )
    batches = most_batches(config, corpus, [fold["train"] for fold in folds])
    single = len(folds) * config.seeds == 1
    for fold, split in enumerate(folds):
        for seed in range(config.seed, config.seed + config.seeds):
            folder = workdir if single else workdir / f"fold_{fold}" / f"seed_{seed}"
            yield Run(config, corpus, split, folder, seed=seed, fold=fold, batches=batches)


def most_batches(config: ConfigDict, corpus: Corpus, parts: Sequence[np.ndarray]) -> int:
    """Batches per epoch of the part that needs most: all of them take as many steps, whatever trains beside them."""
    data = config.data
    limit = data.max_windows or None
    groups = meshes.groups_of(data.batch_size, data.groups, meshes.make_mesh(config.mesh.replica))
    sizes = {
        "batch_size": data.batch_size,
        "groups": groups,
        "slots": window_slots(corpus.n_windows, data.batch_size, groups, limit),
    }
    return max(batches_needed(limited(corpus.n_windows, limit), part, **sizes) for part in parts)


def evaluate(
    config: ConfigDict,
    tasks: tuple[Task, ...],
    corpus: Corpus,
    workdir: Path,
    planned: Sequence[Run],
    predictions: Predictions,
) -> dict[str, Any]:
    """Baselines fitted on the same training participants, then `report.json` and `report.html`."""
    texts = transcripts(config, corpus)
    beside: dict[str, list[Predictions]] = {}
    one_per_fold = {one.fold: one for one in planned}.values()  # baselines have no seed
    for one in one_per_fold if config.evaluation.baselines else ():
        covariates = baselines.Covariates(
            participant_id=np.asarray(corpus.participants),
            split=_split_column(one, len(corpus.participants)),
            scores=dict(corpus.labels),
            n_characters=corpus.columns["n_characters"],
            texts=texts,
        )
        for name, part in baselines.fit_predict(covariates, tasks, fold=one.fold).items():
            beside.setdefault(name, []).append(part)
    compared = {name: Predictions.concatenate(parts) for name, parts in beside.items()}
    made = report.evaluate(
        predictions,
        tasks,
        baselines=compared,
        seed=config.seed,
        n_bootstrap=config.evaluation.bootstrap,
        synthetic=bool(corpus.card["synthetic"]),
    )
    curves = {
        f"fold {one.fold} seed {one.seed}": read_rows(one.workdir / "metrics.jsonl")
        for one in planned
        if (one.workdir / "metrics.jsonl").exists()
    }
    context = {
        "config": jsonable(config),
        "environment": environment(),
        "corpus": corpus.card,
        "data": {"participants": len(corpus.participants), "texts_for_baseline": texts is not None},
    }
    return report.write_report(workdir, made, predictions, tasks, curves=curves, context=context, baselines=compared)


def _split_column(one: Run, n: int) -> np.ndarray:
    column = np.full(n, "", dtype="U10")
    for name, members in one.splits.items():
        column[members] = name
    return column


def transcripts(config: ConfigDict, corpus: Corpus) -> dict[str, str] | None:
    """Texts for the TF-IDF baseline, from the table that the corpus was built from, where it is at hand.

    They are read into memory for the baseline alone and written nowhere.
    """
    source = config.data.source or corpus.card.get("source", "")
    if not source or not Path(source).exists():
        logging.info("no transcripts at hand: the TF-IDF baseline is left out")
        return None
    texts = table.transcripts(source)
    missing = set(corpus.participants) - texts.keys()
    if missing:
        logging.warning(
            "%s lacks %d of the corpus's participants (ids may be hashed): the TF-IDF baseline is left out",
            source,
            len(missing),
        )
        return None
    return texts


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


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
