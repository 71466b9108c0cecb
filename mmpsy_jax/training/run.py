"""A whole experiment: its trainings (one, or folds x seeds), then evaluation beside baselines and the report."""

import concurrent.futures
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mmpsy_jax import tasks as tasks_lib
from mmpsy_jax.data.exchange import exchange
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.tasks import Task, from_config, to_config
from mmpsy_jax.training import embedding, trained, trainings
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import claim_workdir, saved_fields
from mmpsy_jax.training.mesh import wait_for_all


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
    corpus = open_corpus(dataset_dir)
    config = with_ranges(config, corpus)
    tasks = from_config(config.tasks)
    check(config, tasks, corpus)
    if config.data.exchange:
        corpus = exchange(corpus, config.data.exchange, config.seed)
    config = with_groups(config, workdir)
    claim_workdir(config, workdir, writes=main)
    wait_for_all("workdir")

    planned, chosen = trainings.plan(config, tasks, corpus, workdir)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # Under a GPU or TPU the host has time for the baselines; on CPUs they would hold up the training.
        early = jax.default_backend() != "cpu" and main
        known = pool.submit(_beside, config, tasks, corpus, planned) if early else None
        parts = trainings.train_all(planned, workdir / "replicas")
        embedding.write(planned, workdir)
    if not main:
        return {}
    predictions = Predictions.concatenate(parts)
    if len(parts) > 1:
        write_csv(workdir / "predictions.csv", predictions)
    trained.describe(config, corpus, planned, workdir, predictions)
    from mmpsy_jax.training import results  # at the top it would hold up the first step by seconds

    beside = known.result() if known else _beside(config, tasks, corpus, planned)
    return results.evaluate(config, tasks, corpus, workdir, planned, predictions, chosen, beside)


def _beside(*arguments: Any) -> Any:
    from mmpsy_jax.training import results  # see `run`

    return results.beside(*arguments)


def with_ranges(config: ConfigDict, corpus: Corpus) -> ConfigDict:
    """The config whose scores all have a minimum and a maximum: their own, or those of their label in the corpus."""
    config = config.copy_and_resolve_references()
    tasks = from_config(config.tasks)
    _require_labels(tasks, corpus)
    config.tasks = to_config(tasks_lib.with_ranges(tasks, corpus.ranges))
    return config


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
    _require_labels(tasks, corpus)
    for task in tasks:
        task.targets(corpus.labels[task.label])  # a wrong class is said now, not after the training
    for name in config.data.modalities:
        if name not in corpus.modalities:
            raise one_of("modality in config.data.modalities", name, corpus.modalities)
    if config.evaluation.groups:
        from mmpsy_jax.evaluation import groups

        groups.read_groups(config.evaluation.groups)  # a fault is said now, not after the training
    if config.seed_list and len(set(config.seed_list)) != config.seeds:
        raise InputError(
            f"config.seed_list = {tuple(config.seed_list)}, config.seeds = {config.seeds}: give --seeds=1111,1112 alone"
        )
    if config.seeds < 1 or config.cv.folds < 0 or config.cv.folds == 1:
        raise InputError(
            f"config.seeds = {config.seeds}, config.cv.folds = {config.cv.folds}: at least one seed; 0 or 2 and more"
        )


def _require_labels(tasks: tuple[Task, ...], corpus: Corpus) -> None:
    for task in tasks:
        if task.label not in corpus.labels:
            raise one_of(f"label of task {task.name!r}", task.label, corpus.labels)
