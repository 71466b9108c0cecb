"""How far an interview lies from the training participants in the space of the network (Lee et al. 2018).

The first training of each fold leaves `embedding.safetensors` beside its model: mean and covariance of the embeddings
of its training participants, and the distance within which nearly all of them and of its validation participants lie.
One Gaussian is fitted, not one per class as in the paper: a score has no classes (our choice).
"""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from mmpsy_jax.models.base import EMBEDDING
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import finished_run, run_files
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.loop import Evaluator, TrainJob
from mmpsy_jax.training.programs import build

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

    made = LedoitWolf().fit(train.astype(np.float64))
    factor = np.linalg.cholesky(made.covariance_ + LEAST_VARIANCE * np.eye(train.shape[1]))
    fitted = {"mean": made.location_, "factor": factor}
    limits = [np.quantile(distance(fitted, part), QUANTILE) for part in (train, held_out) if len(part)]
    return fitted | {"limit": np.max(limits)}


def distance(fitted: Fitted, embedding: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Mahalanobis distance of each embedding from the mean."""
    centred = (embedding - fitted["mean"]).T
    return np.linalg.norm(scipy.linalg.solve_triangular(fitted["factor"], centred, lower=True), axis=0)


def write(runs: Sequence[TrainJob], workdir: Path) -> None:
    """Writes the file of the first training of every fold; all processes must call it, when the models are there.

    Args:
      workdir: of the whole run, whose `model.json` tells a damaged file.
    """
    first, card = {run.fold: run for run in reversed(runs)}.values(), run_files.card_or_none(workdir)
    name = lambda run: str((run.workdir / finished_run.EMBEDDING).relative_to(workdir))  # noqa: E731
    missing = {run.workdir for run in first if not run_files.intact(workdir, card, name(run))}
    alike: dict[str, list[TrainJob]] = {}
    for run in first:
        alike.setdefault(json.dumps(run.config.to_dict(), sort_keys=True, default=str), []).append(run)
    for group in alike.values():
        if any(run.workdir in missing for run in group):
            _write_alike(group, missing)


def _write_alike(runs: Sequence[TrainJob], missing: Collection[Path]) -> None:
    """Of trainings with one config: their windows are read once, and one program serves all.

    Args:
      runs: all of them, whose participants make the batches: others would give other bits.
      missing: workdirs whose file is written.
    """
    config, corpus = runs[0].config, runs[0].corpus
    tasks, mesh = from_config(config.tasks), meshes.make_mesh(config.mesh.replica)
    shape = batching.of(config, corpus, mesh)
    lengths = {"total": 1, "steps_per_epoch": 1}  # of a training, which is over
    functions = build(config, tasks, modalities=shape.modalities, window_seconds=shape.pieces.seconds, **lengths)
    predict = jax.jit(functions.predict, out_shardings=meshes.replicated(mesh))
    members = np.unique(np.concatenate([run.splits[name] for run in runs for name in ("train", "validation")]))
    sample = np.sort(np.random.default_rng(0).permutation(members)[:SAMPLE])
    evaluator = Evaluator(dataclasses.replace(runs[0], splits={"train": sample}), tasks, shape, mesh, predict)
    for run in (run for run in runs if run.workdir in missing):
        outputs, index, _ = evaluator.outputs(finished_run.load_weights(run.workdir / finished_run.WEIGHTS), "train")
        parts = {name: outputs[EMBEDDING][np.isin(index, run.splits[name])] for name in ("train", "validation")}
        if jax.process_index() == 0:
            finished_run.save_weights(run.workdir, fit(parts["train"], parts["validation"]), finished_run.EMBEDDING)
    evaluator.close()
