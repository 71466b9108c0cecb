"""Many trainings as one program: folds x seeds x settings, stacked, with the corpus held once.

Every training of a list (`TrainJob`s of one corpus and one shape) is a *replica*: its state is a slice of stacked
arrays, and it gathers its own batches by index, in the order it would have alone. `lax.scan` runs the steps between two
evaluations on the device. How replicas lie on a device is a *layout*:

| layout | a chunk of steps is | good where |
|---|---|---|
| `sequence` | one scan per replica, by one compiled program; on CPUs one per core at once | a replica fills a core |
| `vmap` | one scan whose steps do all replicas at once | a replica is small |

`auto` times `sequence` and `vmap` on the first chunks of the training itself and keeps the faster; it starts with the
likelier one (`sequence` on a CPU, else `vmap`) and leaves out the other where that cannot win. What it chose is saved
with the state. All layouts compute the same, up to the order of float32 sums. Replicas that do not fit into memory
together are trained in waves. Free memory differs from start to start, and a checkpoint holds a whole wave, so how many
replicas make a wave is decided once and kept in `plan.json` (`replica_plan.py`).
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, PyTree

from mmpsy_jax.data.assemble import Plans
from mmpsy_jax.data.in_memory import Resident, gather
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import interruption, memory, privacy, replica_plan, run_files
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.cadence import steps_of
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.job import HELD_OUT, TrainingDiverged, TrainJob
from mmpsy_jax.training.logger import RunLogger, say
from mmpsy_jax.training.programs import build
from mmpsy_jax.training.replica_programs import ReplicaPrograms, at_once, stack
from mmpsy_jax.training.selection import Selection
from mmpsy_jax.training.step import inference_params
from mmpsy_jax.training.train_statistics import fit

# What `vmap` saves is what a step costs beside its arithmetic, a few milliseconds: where a step of one replica takes
# longer than this many seconds, compiling and trying it costs more than it can gain.
SLOW_STEP = 0.02
# Launching the kernels of a step takes about two milliseconds on a GPU: where the replicas of `vmap` share them and a
# step of one takes less than this many seconds, `sequence` is slower.
QUICK_STEP = 0.001
# Saving all replicas takes seconds of the host: not after every evaluation where these come quickly.
SAVE_SECONDS = 20.0


def train(jobs: Sequence[TrainJob], folder: Path) -> list[Predictions | None]:
    """Trains all jobs, or goes on training them; returns the predictions of each, in order.

    Args:
      jobs: of one corpus and one config but for `values`; their training parts make equally many batches per epoch.
      folder: for the checkpoints of these trainings.

    Raises:
      InputError, TrainingDiverged, Interrupted: as `loop.train`. A training with `values` of its own (a point of a
        sweep) that diverges is given up instead: its predictions are None.
    """
    program = _SharedProgram(jobs)
    predictions: list[Predictions | None] = []
    size = replica_plan.wave_size(folder, jobs, program.mesh.shape["replica"], program.fitting)
    for number, start in enumerate(range(0, len(jobs), size)):
        predictions += _Wave(program, jobs[start : start + size], size, folder / f"wave_{number}").train()
    return predictions


def choose_layout(timings: Mapping[str, float], candidates: Sequence[str], of_a_step: float) -> str:
    """The layout to keep: the fastest of the candidates, or `auto` while it is not known.

    Args:
      timings: seconds of a chunk by layout, of the candidates tried so far.
      candidates: in the order in which they are tried.
      of_a_step: seconds that the last one tried took for a step of one replica.
    """
    clear = {"sequence": of_a_step > SLOW_STEP, "vmap": of_a_step < QUICK_STEP}
    if len(timings) == len(candidates) or clear[list(timings)[-1]]:
        return min(timings, key=timings.__getitem__)
    return "auto"


class _SharedProgram:
    """What all replicas share: corpus on the device, compiled programs, lengths, layout."""

    def __init__(self, jobs: Sequence[TrainJob]):
        self.jobs, first = jobs, jobs[0]
        self.config, corpus = first.config, first.corpus
        config = self.config
        self.layout = config.replicas.layout
        self.timings: dict[str, float] = {}  # seconds of a chunk by layout, while it is `auto`
        self.mesh = meshes.make_mesh(config.mesh.replica)
        self.shape = batching.of(config, corpus, self.mesh)
        self.resident = Resident(
            corpus,
            np.unique(np.concatenate([part for job in jobs for part in job.splits.values()])),
            modalities=tuple(m.name for m in self.shape.modalities),
            labels=tuple(corpus.labels),
            max_windows=config.data.max_windows or None,
            parts=self.shape.pieces.parts,
        )
        self.per_epoch = max(self.batches(job, "train") for job in jobs)
        self.total, self.eval_every, _ = steps_of(config, self.per_epoch)
        # Short enough to say how it goes and to stop soon, and one length, so that it is compiled once.
        self.chunk = math.gcd(self.per_epoch, self.eval_every, self.total)
        if self.chunk < min(4, self.eval_every):
            self.chunk = self.eval_every
        lengths = {"total": self.total, "steps_per_epoch": self.per_epoch}
        functions = build(config, first.tasks, **self.shape.inputs, **lengths, mesh=self.mesh)
        self.programs = ReplicaPrograms(functions, self.mesh)
        self.arrays = self.resident.on_device(meshes.replicated(self.mesh))
        parts = {job.fold: job.splits["train"] for job in jobs}  # seeds of a fold share theirs
        common = (config, first.tasks, self.shape.modalities, corpus)
        self.fitted = {fold: fit(*common, part) for fold, part in parts.items()}
        # Of one batch: shapes are all that initialising and the estimate of memory need.
        self.example = jax.tree.map(lambda x: x[0], self.plan_arrays(self.plans(first, "train", self.per_epoch), 0, 1))

    def batches(self, job: TrainJob, split: str) -> int:
        """Batches of a split of one training."""
        if split == "train" and privacy.is_on(self.config):
            return job.batches
        return self.shape.needed(job.splits[split], job.batches if split == "train" else None)

    def plans(self, job: TrainJob, split: str, batches: int) -> Plans:
        """The batches of a training, the same as `loop.train` makes."""
        return Plans(
            self.shape.pieces.counts,
            members=job.splits[split],
            batches=batches,
            rate=job.config.privacy.rate if split == "train" else 0.0,
            seed=job.seed,
            shuffle=split == "train",
            **self.shape.sizes,
        )

    def plan_arrays(self, plans: Plans, start: int, stop: int) -> PyTree:
        """What `gather` takes, for the batches from `start` to `stop`."""
        members = np.stack([plans[position] for position in range(start, stop)])
        return self.resident.plan_arrays(members, self.shape.sizes["slots"])

    def fitting(self) -> int:
        """Replicas that fit into the memory at hand, on each part of the mesh.

        Raises:
          InputError: not even one.
        """
        batch = jax.eval_shape(gather, self.arrays, self.example)
        seed = jax.ShapeDtypeStruct((), jnp.int32)
        state = jax.eval_shape(self.programs.functions.init, seed, batch, self.fitted[self.jobs[0].fold])
        model, parameters = self.config.model, state["params"]["network"]
        sizes = model.get("width") or memory.widest(parameters), model.get("patch", 1)
        bytes_ = memory.estimate(state, batch, self.shape.modalities, *sizes)
        replicas = self.config.replicas
        return memory.fitting(
            self.resident.nbytes, *bytes_, memory.budget(replicas.memory_gb), replicas.layout, at_once()
        )


class _Wave:
    """Replicas that train together."""

    def __init__(self, program: _SharedProgram, jobs: Sequence[TrainJob], size: int, folder: Path):
        self.program, self.jobs, self.folder = program, jobs, folder
        # Places that the last wave has no training for repeat its first one and never train.
        self.places = [*jobs, *[jobs[0]] * (size - len(jobs))]
        self.active, self.failed = np.arange(size) < len(jobs), np.zeros(size, bool)
        self.selections = [Selection(program.config.selection) for _ in jobs]
        # One replica after another would leave all parts of a mesh but one idle.
        self.candidates = ("sequence", "vmap") if program.mesh.size == 1 and size > 1 else ("vmap",)
        if jax.default_backend() != "cpu":
            self.candidates = self.candidates[::-1]
        put = program.programs.put
        names = sorted({name for job in program.jobs for name in job.values})
        self.values = put({n: np.asarray([job.values[n] for job in self.places], np.float32) for n in names})
        self.plans = [program.plans(job, "train", program.per_epoch) for job in self.places]
        self.held_out = {}
        splits = [split for split in HELD_OUT if all(split in job.held_out for job in program.jobs)]
        for split in splits:
            most = max(program.batches(job, split) for job in program.jobs)
            plans = [program.plans(job, split, most) for job in self.places]
            batches = [stack([program.plan_arrays(plan, i, i + 1) for plan in plans]) for i in range(most)]
            index = np.concatenate([batch["index"].reshape(size, -1) for batch in batches], axis=1)
            self.held_out[split] = (put(batches), index)

    def train(self) -> list[Predictions | None]:
        """All steps of all replicas; see `train`."""
        program, programs = self.program, self.program.programs
        seeds = np.array([job.seed for job in self.places], np.int32)
        fitted = stack([program.fitted[job.fold] for job in self.places])
        states = programs.init(program.arrays, program.example, *programs.put((seeds, fitted)))
        best = programs.best_of(states)
        checkpoints = Checkpoints(self.folder / "checkpoints", keep=1)
        step, seconds = 0, 0.0
        if checkpoints.latest is not None:
            step = checkpoints.latest
            restored, progress = checkpoints.restore(step, like={"states": states, "best": best})
            states, best, seconds = restored["states"], restored["best"], progress["seconds"]
            for selection, saved in zip(self.selections, progress["selections"], strict=True):
                selection.restore(saved)
            self.active, self.failed = np.array(progress["active"]), np.array(progress["failed"])
            program.layout, program.timings = progress["layout"], progress["timings"]
        began, saved = time.monotonic() - seconds, time.monotonic()
        with contextlib.ExitStack() as on_exit:
            on_exit.enter_context(contextlib.closing(checkpoints))
            loggers = [on_exit.enter_context(contextlib.closing(self._logger(job, step))) for job in self.jobs]
            stop = on_exit.enter_context(interruption.deferred())
            while step < program.total and self.active.any():
                upto = min(step + program.chunk, program.total)
                plan = programs.put(stack([program.plan_arrays(plans, step, upto) for plans in self.plans]))
                states, metrics = self._chunk(states, plan, step, upto)
                step = upto
                self._give_up_what_diverged(metrics, step)
                evaluating = step % program.eval_every == 0 or step == program.total
                if evaluating:
                    counts = jax.device_get(programs.histograms(states))
                    for i in np.flatnonzero(self.active):
                        loggers[i].counts(step, {name: x[i] for name, x in counts.items()})
                    improved = self._select(self._scores(states, step), metrics, step, loggers)
                    best = programs.keep(best, states, programs.put(improved))
                stopping = interruption.must_stop(stop)
                # Processes have clocks of their own, and must save together.
                due = jax.process_count() > 1 or time.monotonic() - saved > SAVE_SECONDS or step == program.total
                if stopping or (evaluating and due):
                    saved = time.monotonic()
                    checkpoints.save(step, {"states": states, "best": best}, self._progress(time.monotonic() - began))
                if stopping:
                    checkpoints.wait()
                    raise stop.interrupted(f"saved step {step} of {program.total}")
            checkpoints.wait()
            if interruption.must_stop(stop):  # a signal that came with the last step
                raise stop.interrupted(f"saved step {step} of {program.total}")
        self._save_models(best)
        return self._predictions(best)

    def _save_models(self, best: PyTree) -> None:
        if not any(job.keeps_model for job in self.jobs):
            return
        weights = meshes.to_host(best, self.program.mesh)
        for i, job in enumerate(self.jobs):
            if job.keeps_model and not self.failed[i] and jax.process_index() == 0:
                run_files.save_weights(job.workdir, jax.tree.map(lambda x, i=i: x[i], weights))

    def _progress(self, seconds: float) -> dict[str, Any]:
        return {
            "selections": [selection.state() for selection in self.selections],
            "active": self.active.tolist(),
            "failed": self.failed.tolist(),
            "layout": self.program.layout,
            "timings": self.program.timings,
            "seconds": seconds,
        }

    def _logger(self, job: TrainJob, step: int) -> RunLogger:
        return RunLogger(job.workdir, start_step=step, total=self.program.total, tensorboard=False)

    def _chunk(self, states: PyTree, plan: PyTree, step: int, upto: int) -> tuple[PyTree, PyTree]:
        """Trains from `step` to `upto`; while the layout is `auto`, times one more candidate."""
        program, layout = self.program, self.program.layout
        if layout == "auto":
            layout = next(name for name in self.candidates if name not in program.timings)
        run = program.programs.chunk(layout, program.arrays, states, plan, self.values, self.active)
        began = time.monotonic()
        states, metrics = run()
        metrics = jax.device_get(metrics)
        seconds, training = time.monotonic() - began, int(self.active.sum())
        if program.layout == "auto":
            program.timings = {**program.timings, layout: seconds}
            of_a_step = seconds * at_once() / (training * (upto - step))
            program.layout = choose_layout(program.timings, self.candidates, of_a_step)  # for the next waves, too
        loss = float(np.mean(metrics["loss"][self.active]))
        rate = training * (upto - step) * program.config.data.batch_size / seconds
        left = (program.total - upto) / (upto - step) * seconds / 60
        say(
            f"{training} replicas, {layout}: step {upto:>6}/{program.total}  loss {loss:.4f}  {rate:7.1f} "
            f"participants/s  at most {left:.1f} min left"
        )
        return states, metrics

    def _give_up_what_diverged(self, metrics: PyTree, step: int) -> None:
        """Looks at the metrics of a chunk of steps that ends with `step`."""
        finite = np.all([np.isfinite(x) for x in jax.tree.leaves(metrics)], axis=0)
        for i in np.flatnonzero(self.active & ~finite.all(axis=1)):
            job = self.jobs[i]
            job.refuse_nonfinite(self.plans[i][step - finite.shape[1] + int(np.argmin(finite[i]))])
            if not job.values:
                raise TrainingDiverged(
                    f"not finite before step {step} in fold {job.fold}, seed {job.seed}: lower "
                    "config.optimizer.learning_rate or set config.optimizer.clip; the last checkpoint is from before"
                )
            say(f"given up before step {step}, since its loss is not finite: {dict(job.values)}")
            self.active[i], self.failed[i] = False, True

    def _outputs(self, stacked: PyTree, split: str) -> list[tuple[dict[str, np.ndarray], np.ndarray, dict]]:
        """Per training: outputs by name, corpus index of each row, and (sum, weight) of each loss."""
        plans, index = self.held_out[split]
        layout = self.candidates[0] if self.program.layout == "auto" else self.program.layout
        results = self.program.programs.predict(layout, self.program.arrays, stacked, plans)
        parts = []
        for i in range(len(self.jobs)):
            real = index[i] >= 0
            outputs = {name: x[i].reshape(-1, x.shape[-1])[real] for name, x in results["outputs"].items()}
            sums = {name: [part[i].sum() for part in pair] for name, pair in results["sums"].items()}
            parts.append((outputs, index[i][real], sums))
        return parts

    def _scores(self, states: PyTree, step: int) -> list[dict[str, float]]:
        scores: list[dict[str, float]] = [{"step": float(step)} for _ in self.jobs]
        if "validation" in self.held_out:
            outputs = self._outputs(inference_params(states), "validation")
            for i in np.flatnonzero(self.active):
                scores[i] |= self.jobs[i].scores(*outputs[i], "validation")
        return scores

    def _select(
        self, scores: list[dict[str, float]], metrics: PyTree, step: int, loggers: list[RunLogger]
    ) -> Bool[np.ndarray, " r"]:
        """Takes the scores of who trains; returns which of them are the best so far."""
        improved = np.zeros(len(self.places), bool)
        for i in np.flatnonzero(self.active):
            selection = self.selections[i]
            selection.update(step, scores[i])
            improved[i] = selection.best_step == step
            self.active[i] = not selection.exhausted
            loggers[i].scalars(step, {f"train/{k}": float(np.mean(metrics[k][i])) for k in ("loss", "grad_norm")})
            loggers[i].scalars(step, {f"validation/{k}": v for k, v in scores[i].items()})
        return improved

    def _predictions(self, best: PyTree) -> list[Predictions | None]:
        """Of the best checkpoints, on validation and, for the first and only time, test; None for who diverged."""
        outputs = {split: self._outputs(best, split) for split in self.held_out}
        tables: list[Predictions | None] = []
        for i, job in enumerate(self.jobs):
            tables.append(None)
            if not self.failed[i]:
                parts = [job.predictions(*outputs[split][i][:2], split) for split in outputs]
                # A setting that was tried for itself may diverge; without `values` that ends the run.
                with contextlib.suppress(*([TrainingDiverged] if job.values else [])):
                    tables[-1] = job.all_predictions(parts)
        return tables
