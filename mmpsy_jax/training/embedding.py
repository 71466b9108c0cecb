"""How far an interview lies from the training participants in the space of the network (Lee et al. 2018).

The first training of each fold leaves `embedding.safetensors` beside its model: mean and covariance of the embeddings
of its training participants, and the distance within which nearly all of them and of its validation participants lie.

Departures from the paper: one Gaussian is fitted, not one per class, since a score has no classes.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from mmpsy_jax.models.base import EMBEDDING
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import programs, run_files, step
from mmpsy_jax.training.config import identity
from mmpsy_jax.training.job import TrainJob
from mmpsy_jax.training.loop import Evaluator

# Participants, of those that nobody is tested on in all trainings, whose embeddings are computed.
SAMPLE = 2000
QUANTILE = 0.999
# Added to every variance, so that a direction in which nothing varies has a finite distance.
LEAST_VARIANCE = 1e-9

Fitted = Mapping[str, Float[np.ndarray, "..."]]


def fit(train: Float[np.ndarray, "n d"], held_out: Float[np.ndarray, "m d"]) -> Fitted:
    """Mean [d] and Cholesky factor [d d] of the covariance of `train`, and the `limit` [] of distances.

    The covariance is shrunk (Ledoit and Wolf 2004): there are hardly more participants than dimensions. The limit is
    the `QUANTILE` of the distances of `held_out`, or of `train` where that is larger: a few people say little about
    a tail.
    """
    from sklearn.covariance import LedoitWolf  # takes seconds, and is needed when all training is over

    gaussian = LedoitWolf().fit(train.astype(np.float64))
    factor = np.linalg.cholesky(gaussian.covariance_ + LEAST_VARIANCE * np.eye(train.shape[1]))
    fitted = {"mean": gaussian.location_, "factor": factor}
    limits = [np.quantile(distance(fitted, part), QUANTILE) for part in (train, held_out) if len(part)]
    return fitted | {"limit": np.max(limits)}


def distance(fitted: Fitted, embedding: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Mahalanobis distance of each embedding from the mean."""
    centred = (embedding - fitted["mean"]).T
    return np.linalg.norm(scipy.linalg.solve_triangular(fitted["factor"], centred, lower=True), axis=0)


def write(jobs: Sequence[TrainJob], workdir: Path) -> None:
    """Writes the file of the first training of every fold; all processes must call it, when the models are there.

    Args:
      jobs: all trainings.
      workdir: of the whole run, whose `model.json` tells a damaged file.
    """
    first, card = {job.fold: job for job in reversed(jobs)}.values(), run_files.card_or_none(workdir)
    name = lambda job: str((job.workdir / run_files.EMBEDDING).relative_to(workdir))  # noqa: E731
    missing = {job.workdir for job in first if not run_files.intact(workdir, card, name(job))}
    alike: dict[str, list[TrainJob]] = {}
    for job in first:
        alike.setdefault(identity(job.config), []).append(job)
    for group in alike.values():
        if any(job.workdir in missing for job in group):
            _write_alike(group, missing)


def _write_alike(jobs: Sequence[TrainJob], missing: Collection[Path]) -> None:
    """Of trainings with one config: their windows are read once, and one program serves all.

    Args:
      jobs: all of them, whose participants make the batches: others would give other bits.
      missing: workdirs whose file is written.
    """
    config, corpus = jobs[0].config, jobs[0].corpus
    mesh = meshes.make_mesh(config.mesh.replica)
    if config.mesh.replica > 1 and jax.process_count() > 1:
        # A loader gives every process a share of a batch, so that none may have a replica's part of the mesh alone.
        mesh, config = meshes.make_mesh(), config.copy_and_resolve_references()
        config.data.packs, config.data.batch_size = 0, -(-config.data.batch_size // mesh.size) * mesh.size
    shape = batching.of(config, corpus, mesh)
    network = programs.network(config, jobs[0].tasks, **shape.inputs)
    predict = jax.jit(
        functools.partial(step.predict, network),
        out_shardings=meshes.replicated(mesh),
        compiler_options=step.compiler_options(2),  # for a few batches
    )
    members = np.unique(np.concatenate([job.splits[name] for job in jobs for name in ("train", "validation")]))
    sample = np.sort(np.random.default_rng(0).permutation(members)[:SAMPLE])
    evaluator = Evaluator(dataclasses.replace(jobs[0], splits={"train": sample}), shape, mesh, predict)
    for job in (job for job in jobs if job.workdir in missing):
        weights = run_files.load_weights(job.workdir / run_files.WEIGHTS)
        outputs, index, _ = evaluator.outputs(step.variables_of(weights), "train")
        parts = {name: outputs[EMBEDDING][np.isin(index, job.splits[name])] for name in ("train", "validation")}
        if jax.process_index() == 0:
            run_files.save_weights(job.workdir, fit(parts["train"], parts["validation"]), run_files.EMBEDDING)
    evaluator.close()
