"""A whole experiment: its trainings (one, or folds x seeds), then evaluation beside baselines and the report."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mmpsy_jax import tasks as tasks_lib
from mmpsy_jax.data.hide_labels import hide_labels
from mmpsy_jax.data.permute_modality import permute_modality
from mmpsy_jax.data.pooled import open_corpora
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.io import InputError, one_of, try_folder
from mmpsy_jax.tasks import Task, from_config, to_config
from mmpsy_jax.training import (
    batches,
    config_rules,
    covariates,
    embedding,
    lock,
    nonfinite,
    plan_runs,
    run_card,
    run_files,
)
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.config import claim_workdir, refuse_foreign, saved_fields
from mmpsy_jax.training.mesh import all_or_none, wait_for_all


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
    return with_corpus(_run, config, dataset_dir, workdir)


def with_corpus(
    use: Callable[[ConfigDict, Corpus, Path], Any], config: ConfigDict, dataset_dir: str | Path, workdir: str | Path
) -> Any:
    """What `use` returns, given the completed config, the open corpus and the workdir, which is locked meanwhile.

    Raises:
      InputError: a config that cannot be trained on these records, or a workdir of another one.
    """
    workdir = Path(workdir)
    prepare(config, workdir)
    corpus = open_corpora(dataset_dir, config.data.modalities)
    config = with_ranges(config, corpus)
    check(config, from_config(config.tasks), corpus)
    if config.data.permute_modality:
        corpus = permute_modality(corpus, config.data.permute_modality, config.seed)
    if config.data.labelled_fraction < 1:
        corpus = hide_labels(corpus, config.data.labelled_fraction, config.seed)
    with _locked(workdir):
        config = with_packs(config, workdir)
        claim_workdir(config, workdir, writes=jax.process_index() == 0)
        wait_for_all("workdir")
        return use(config, corpus, workdir)


def prepare(config: ConfigDict, workdir: Path) -> None:
    """Raises InputError for what is known to be wrong before there is a corpus: values of the config, and the workdir.

    Args:
      config: the whole config.
      workdir: of the run.
    """
    config_rules.check(config)
    if jax.process_index() == 0:
        refuse_foreign(workdir)
        try_folder(workdir, "--workdir")
    claim_workdir(with_packs(config, workdir), workdir, writes=False)


@contextlib.contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    """The lock on the workdir, which the main process takes for all of them."""
    with contextlib.ExitStack() as stack:
        refused = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(lock.exclusive(workdir))
            except InputError as error:
                refused = error
        all_or_none(refused, f"{workdir}: the main process cannot train here, and says why")
        yield


def _run(config: ConfigDict, corpus: Corpus, workdir: Path) -> dict[str, Any]:
    tasks, main = from_config(config.tasks), jax.process_index() == 0
    jobs, sweep = plan_runs.plan(config, tasks, corpus, workdir)
    members = run_card.Members(config, corpus, jobs) if main else None
    references = functools.partial(_references, config, tasks, corpus, jobs, [members])
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # Under a GPU or TPU the host has time for the baselines. On CPUs a thread beside the training, even of lowest
        # priority, holds up tracing and compiling: it keeps Python's lock while it waits for a core.
        early = pool.submit(references) if jax.default_backend() != "cpu" and main else None
        parts = plan_runs.train_all(jobs, workdir / "replicas")
        embedding.write(jobs, workdir)
    if not main:
        return {}
    predictions = Predictions.concatenate(parts)
    if len(parts) > 1:
        write_csv(workdir / run_files.PREDICTIONS, predictions)
    known = early.result() if early else references()  # `members` have been seen then, too
    run_card.write(config, corpus, jobs, workdir, predictions, members)
    from mmpsy_jax.training import results  # at the top it would hold up the first step by seconds

    return results.evaluate(config, tasks, corpus, workdir, jobs, predictions, sweep, known)


def _references(*arguments: Any) -> Any:
    from mmpsy_jax.training import results  # see `_run`

    return results.fit_references(*arguments)


def with_ranges(config: ConfigDict, corpus: Corpus) -> ConfigDict:
    """The config whose scores all have a minimum and a maximum, and whose classes have a value in the corpus."""
    config = config.copy_and_resolve_references()
    tasks = from_config(config.tasks)
    _require_labels(tasks, corpus)
    tasks = tasks_lib.with_classes(tasks, corpus.card.get("classes", {}), corpus.labels)
    config.tasks = to_config(tasks_lib.with_ranges(tasks, corpus.ranges))
    return config


def with_packs(config: ConfigDict, workdir: Path) -> ConfigDict:
    """The config with `data.packs` decided: those of the run that is gone on with, or one per device.

    Batches, dropout and so the losses depend on the packs, which therefore stay when a run moves to other devices.
    """
    config = config.copy_and_resolve_references()
    if not config.data.packs:
        saved = saved_fields(workdir).get("data.packs")
        mesh = meshes.make_mesh(config.mesh.replica)
        config.data.packs = meshes.packs_of(config.data.batch_size, saved or 0, mesh)
    return config


def check(config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus) -> None:
    """Raises InputError where the config asks for what the corpus has not, or records cannot be trained on."""
    _require_labels(tasks, corpus)
    for task in tasks:
        task.targets(corpus.labels[task.label])  # a wrong class is told now, not after the training
    for name in config.data.modalities:
        if name not in corpus.modalities:
            raise one_of("modality in config.data.modalities", name, corpus.modalities)
    nonfinite.refuse(corpus, batches.names_of(config, corpus))
    covariates.subgroups(config, corpus)


def _require_labels(tasks: tuple[Task, ...], corpus: Corpus) -> None:
    for task in tasks:
        if task.label not in corpus.labels:
            raise one_of(f"label of task {task.name!r}", task.label, corpus.labels)
