"""Trainings of a model without gradient steps: what is fitted before the first step is all of it."""

import functools
from collections.abc import Iterator, Sequence

import jax

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import programs, run_files, step
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.job import TrainJob
from mmpsy_jax.training.logger import say
from mmpsy_jax.training.loop import Evaluator
from mmpsy_jax.training.train_statistics import fit


def train(jobs: Sequence[TrainJob]) -> Iterator[tuple[TrainJob, Predictions]]:
    """Fits each training, leaves its model, and predicts validation and test.

    Seeds of a fold have nothing to start from that differs, and so the same numbers.

    Args:
      jobs: of one config and corpus.

    Raises:
      InputError: the config or the data cannot be trained on.
    """
    first = jobs[0]
    mesh = meshes.make_mesh()
    shape = batching.of(first.config, first.corpus, mesh)
    network = programs.network(first.config, first.tasks, **shape.inputs)
    predict = jax.jit(functools.partial(step.predict, network), out_shardings=meshes.replicated(mesh))
    groups: dict[tuple, list[TrainJob]] = {}
    for job in jobs:
        groups.setdefault((job.fold, *sorted(job.values.items())), []).append(job)
    for number, alike in enumerate(groups.values(), 1):
        one = alike[0]
        fitted = fit(overlay(one.config, one.values), one.tasks, shape.modalities, one.corpus, one.splits["train"])
        of_network = {name: fitted[name] for name in ("network", "class_weights")}
        weights = {"params": {"network": fitted["bias"], "objective": {}}, "fitted": of_network}
        evaluator = Evaluator(one, shape, mesh, predict)
        outputs = {split: evaluator.outputs(step.variables_of(weights), split) for split in one.held_out}
        evaluator.close()
        say(f"fitted {number} of {len(groups)}")
        for job in alike:
            if job.keeps_model and jax.process_index() == 0:
                run_files.save_weights(job.workdir, weights)
            yield job, job.all_predictions([job.predictions(*outputs[k][:2], k) for k in outputs])
