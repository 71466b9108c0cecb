"""All trainings of a run as one predictor: every fold and seed says its number, the mean of them counts."""

import dataclasses
import json
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Float, Int, PyTree
from ml_collections import ConfigDict

from mmpsy_jax.data.assemble import Plans
from mmpsy_jax.data.in_memory import Resident, gather
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import EMBEDDING
from mmpsy_jax.objectives import multitask
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import embedding, programs
from mmpsy_jax.training.batches import Batching
from mmpsy_jax.training.finished_run import FinishedRun
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.step import Functions

# Slots of a modality are this or a power of two above it, so that few programs are compiled whatever the lengths of the
# interviews.
FEWEST_SLOTS = 64
ROWS = 32


class Ensemble:
    """Predictions of a finished run on any corpus that has its modalities.

    Args:
      trained: the run.
      rows: the most participants per batch.

    Attributes:
      trained: the run.
      tasks: what is predicted.
      rows: participants per batch.
    """

    def __init__(self, trained: FinishedRun, rows: int = ROWS):
        self.trained = trained
        self.tasks: tuple[Task, ...] = from_config(trained.config.tasks)
        self.rows = min(rows, trained.config.data.batch_size)
        self._mesh = jax.make_mesh((1, 1), ("replica", "data"), (AxisType.Auto,) * 2, devices=jax.devices()[:1])
        self._params = [jax.device_put(one.inference_params) for one in trained.trainings]
        self._programs: dict[str, Callable[[PyTree, PyTree], PyTree]] = {}

    def fitting(self, corpus: Corpus) -> Corpus:
        """The corpus with the modalities of the run alone, in its order.

        Raises:
          InputError: it lacks one, or has it in another shape.
        """
        for name, wanted in self.trained.modalities.items():
            if corpus.modalities.get(name) != wanted:
                raise InputError(
                    f"{corpus.path}: modality {name!r} is {corpus.modalities.get(name, 'absent')}, but the run was "
                    f"trained on {wanted}: give records that were built with the same settings"
                )
        return dataclasses.replace(corpus, modalities=self.trained.modalities)

    def predict(
        self, corpus: Corpus, members: Int[np.ndarray, " m"]
    ) -> tuple[dict[str, Float[np.ndarray, "t m ..."]], Float[np.ndarray, "k m"]]:
        """What each training says about each member.

        Args:
          corpus: from `fitting`; its labels are not looked at.
          members: positions in the corpus, ascending.

        Returns:
          Per task the probability, expected band or score [t m], of a nominal task the probabilities of the classes
          [t m c] (`multitask.averageable`); and how far the member's embedding lies from those of the
          training participants, as a fraction of the training's limit, by each of the k trainings that know
          (`training/embedding.py`).
        """
        batches: dict[tuple, list[PyTree]] = {}
        said: dict[str, list[np.ndarray]] = {task.name: [] for task in self.tasks}
        distances = []
        for training, params in zip(self.trained.trainings, self._params, strict=True):
            shape = self.shape(training.config, corpus)
            limit = training.config.data.max_windows or None
            key = (shape.pieces.parts, limit)
            if key not in batches:  # trainings that cut windows alike read the same batches
                batches[key] = self.batches(corpus, members, shape, limit)
            program = self._program(training.config, shape)
            made = jax.device_get([program(params, batch) for batch in batches[key]])
            index = np.concatenate([part["index"] for part in made])
            order = np.flatnonzero(index >= 0)
            order = order[np.argsort(index[order])]
            outputs = {k: np.concatenate([part["outputs"][k] for part in made])[order] for k in made[0]["outputs"]}
            for task in self.tasks:
                said[task.name].append(multitask.averageable(task, outputs[task.name]))
            if training.embedding is not None:
                far = embedding.distance(training.embedding, outputs[EMBEDDING])
                distances.append(far / training.embedding["limit"])
        return {name: np.stack(parts) for name, parts in said.items()}, np.stack(distances)

    def shape(self, config: ConfigDict, corpus: Corpus) -> Batching:
        """How a training's windows are cut, as when it was trained; batches of one pack."""
        fields = {"data.modalities": (), "data.packs": 1, "data.batch_size": self.rows}
        made = batching.of(overlay(config, fields), corpus, self._mesh)
        slots = {name: 1 << (max(FEWEST_SLOTS, n) - 1).bit_length() for name, n in made.sizes["slots"].items()}
        return made._replace(sizes={**made.sizes, "slots": slots})

    def functions(self, config: ConfigDict, shape: Batching) -> Functions:
        """The pure functions of a training; the length of a training, which is over, plays no part."""
        seconds = shape.pieces.seconds
        lengths = {"total": 1, "steps_per_epoch": 1}
        return programs.build(config, self.tasks, modalities=shape.modalities, window_seconds=seconds, **lengths)

    def _program(self, config: ConfigDict, shape: Batching) -> Callable[[PyTree, PyTree], PyTree]:
        key = json.dumps(config.to_dict(), sort_keys=True, default=str)
        if key not in self._programs:
            self._programs[key] = jax.jit(self.functions(config, shape).predict)
        return self._programs[key]

    def batches(
        self, corpus: Corpus, members: Int[np.ndarray, " m"], shape: Batching, limit: int | None
    ) -> list[PyTree]:
        """All batches of the members, on the device, with unknown labels; `limit` as `config.data.max_windows`."""
        resident = Resident(corpus, members, labels=(), max_windows=limit, parts=shape.pieces.parts)
        plans = Plans(resident.pieces.counts, members=members, shuffle=False, seed=0, **shape.sizes)
        unknown = np.full((1, self.rows), np.nan, np.float32)
        labels = {task.label: unknown for task in self.tasks}
        slots = shape.sizes["slots"]
        made = [gather(resident.arrays, resident.plan_arrays(planned.members, slots), np) for planned in plans.epoch(0)]
        return [jax.device_put({**batch, "labels": labels}) for batch in made]
