"""Many trainings as one program: folds x seeds x settings, stacked, with the corpus held once.

Every training of a list (`loop.TrainJob`s of one corpus and one shape) is a *replica*: its state is a slice of stacked
arrays, and it gathers its own batches by index, in the order it would have alone. `lax.scan` runs the steps between two
evaluations on the device. How replicas lie on a device is a *layout*:

| layout | a chunk of steps is | good where |
|---|---|---|
| `sequence` | one scan per replica, by one compiled program; on CPUs one per core at once | a replica fills a core |
| `map` | one program that loops over the replicas | one replica fills the device; one dispatch |
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
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, PyTree

from mmpsy_jax.data.assemble import Plans
from mmpsy_jax.data.in_memory import Resident, gather
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import finished_run, interruption, loop, memory, replica_plan
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.logger import RunLogger, say
from mmpsy_jax.training.programs import build
from mmpsy_jax.training.replica_programs import ReplicaPrograms, at_once
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


def train(runs: Sequence[loop.TrainJob], folder: Path) -> list[Predictions | None]:
    """Trains all runs, or goes on training them; returns the predictions of each, in order.

    Args:
      runs: of one corpus and one config but for `values`; their training parts make equally many batches per epoch.
      folder: for the checkpoints of this group of runs.

    Raises:
      InputError, TrainingDiverged, Interrupted: as `loop.train`. A run with `values` of its own (a point of a sweep)
        that diverges is given up instead: its predictions are None.
    """
    group = _Group(runs)
    made: list[Predictions | None] = []
    size = replica_plan.wave_size(folder, runs, group.mesh.shape["replica"], group.fitting)
    for number, start in enumerate(range(0, len(runs), size)):
        wave = _Wave(group, runs[start : start + size], size, folder / f"wave_{number}")
        made += wave.train()
    return made


def settled(timings: Mapping[str, float], candidates: Sequence[str], of_a_step: float) -> str:
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


class _Group:
    """What all replicas share: corpus on the device, compiled programs, lengths."""

    def __init__(self, runs: Sequence[loop.TrainJob]):
        self.runs, first = runs, runs[0]
        self.config, self.corpus = first.config, first.corpus
        config, data = self.config, self.config.data
        self.layout = config.replicas.layout
        self.timings: dict[str, float] = {}  # seconds of a chunk by layout, while it is `auto`
        self.tasks = from_config(config.tasks)
        self.mesh = meshes.make_mesh(config.mesh.replica)
        self.shape = batching.of(config, self.corpus, self.mesh)
        self.resident = Resident(
            self.corpus,
            np.unique(np.concatenate([part for run in runs for part in run.splits.values()])),
            modalities=tuple(m.name for m in self.shape.modalities),
            labels=tuple(self.corpus.labels),
            max_windows=data.max_windows or None,
            parts=self.shape.pieces.parts,
        )
        self.per_epoch = max(self.batches(run, "train") for run in runs)
        cadence = {"steps_per_epoch": self.per_epoch, "batch_size": data.batch_size}
        self.total = to_steps(config.total, **cadence)
        self.eval_every = to_steps(config.selection.every, total=self.total, **cadence) or self.total
        # Short enough to say how it goes and to stop soon, and one length, so that it is compiled once.
        self.chunk = math.gcd(math.gcd(self.per_epoch, self.eval_every), self.total)
        if self.chunk < min(4, self.eval_every):
            self.chunk = self.eval_every
        self.functions = build(
            config,
            self.tasks,
            modalities=self.shape.modalities,
            window_seconds=self.shape.pieces.seconds,
            total=self.total,
            steps_per_epoch=self.per_epoch,
        )
        self.arrays = self.resident.on_device(meshes.replicated(self.mesh))
        common = (config, self.tasks, self.shape.modalities, self.corpus)
        parts = {run.fold: run.splits["train"] for run in runs}  # seeds of a fold share theirs
        self.fitted = {fold: fit(*common, part) for fold, part in parts.items()}
        # Of one batch: shapes are all that initialising and the estimate of memory need.
        self.example = jax.tree.map(lambda x: x[0], self.plan_arrays(self.plans(first, "train", self.per_epoch), 0, 1))
        self.programs = ReplicaPrograms(self.functions, self.mesh)

    def batches(self, run: loop.TrainJob, split: str) -> int:
        """Batches of a split of one run."""
        return self.shape.needed(run.splits[split], run.batches if split == "train" else None)

    def plans(self, run: loop.TrainJob, split: str, batches: int) -> Plans:
        """The batches of a run, the same as `loop.train` makes."""
        return Plans(
            self.shape.pieces.counts,
            members=run.splits[split],
            batches=batches,
            seed=run.seed,
            shuffle=split == "train",
            **self.shape.sizes,
        )

    def plan_arrays(self, plans: Plans, start: int, stop: int) -> PyTree:
        """What `gather` takes, for the batches from `start` to `stop`."""
        members = np.stack([plans[position].members for position in range(start, stop)])
        return self.resident.plan_arrays(members, self.shape.sizes["slots"])

    def fitting(self) -> int:
        """Replicas that fit into the memory at hand, on each part of the mesh.

        Raises:
          InputError: not even one.
        """
        batch = jax.eval_shape(gather, self.arrays, self.example)
        seed = jax.ShapeDtypeStruct((), jnp.int32)
        state = jax.eval_shape(self.functions.init, seed, batch, self.fitted[self.runs[0].fold])
        model, parameters = self.config.model, state["params"]["network"]
        sizes = model.get("width") or memory.widest(parameters), model.get("patch", 1)
        estimate = memory.Estimate.of(state, batch, self.shape.modalities, self.resident.nbytes, *sizes)
        return estimate.replicas(memory.budget(self.config.replicas.memory_gb), self.config.replicas.layout, at_once())


class _Wave:
    """Replicas that train together."""

    def __init__(self, group: _Group, runs: Sequence[loop.TrainJob], size: int, folder: Path):
        self.group, self.runs, self.folder = group, runs, folder
        # Places that the last wave has no run for repeat its first run and never train.
        self.places = [*runs, *[runs[0]] * (size - len(runs))]
        self.active, self.failed = np.arange(size) < len(runs), np.zeros(size, bool)
        self.selections = [Selection(group.config.selection) for _ in runs]
        # One replica after another would leave all parts of a mesh but one idle.
        self.candidates = ("sequence", "vmap") if group.mesh.size == 1 and size > 1 else ("vmap",)
        if jax.default_backend() != "cpu":
            self.candidates = self.candidates[::-1]
        names = sorted({name for run in group.runs for name in run.values})
        self.values = self._put(
            {name: np.asarray([run.values[name] for run in self.places], np.float32) for name in names}
        )
        self.plans = [group.plans(run, "train", group.per_epoch) for run in self.places]
        self.held_out = {}
        splits = [s for s in loop.SPLITS[1:] if all(len(run.splits[s]) for run in group.runs)]
        most = max((group.batches(run, split) for run in group.runs for split in splits), default=0)
        for split in splits:
            plans = [group.plans(run, split, most) for run in self.places]
            stacked = _stack([group.plan_arrays(plan, 0, most) for plan in plans])
            self.held_out[split] = (self._put(stacked), stacked["index"].reshape(size, -1))

    def _put(self, tree: PyTree) -> PyTree:
        """Stacked host arrays onto the mesh: replicas along `replica`, groups of a plan [R, T, G, ...] along `data`."""

        def place(x: np.ndarray) -> jax.Array:
            spec = PartitionSpec("replica") if x.ndim else PartitionSpec()
            if x.ndim == 4:
                spec = PartitionSpec("replica", None, "data")
            return jax.make_array_from_callback(x.shape, NamedSharding(self.group.mesh, spec), lambda index: x[index])

        return jax.tree.map(place, tree)

    def train(self) -> list[Predictions | None]:
        """All steps of all replicas; see `train`."""
        group, programs = self.group, self.group.programs
        seeds = np.array([run.seed for run in self.places], np.int32)
        fitted = _stack([group.fitted[run.fold] for run in self.places])
        states = programs.init(group.arrays, group.example, *self._put((seeds, fitted)))
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
            group.layout, group.timings = progress["layout"], progress["timings"]
        began = time.monotonic() - seconds
        saved = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(checkpoints))
            loggers = [stack.enter_context(contextlib.closing(self._logger(run, step))) for run in self.runs]
            stop = stack.enter_context(interruption.deferred())
            while step < group.total and self.active.any():
                upto = min(step + group.chunk, group.total)
                plan = self._put(_stack([group.plan_arrays(plans, step, upto) for plans in self.plans]))
                states, metrics = self._chunk(states, plan, step, upto)
                step = upto
                self._give_up_what_diverged(metrics, step)
                evaluating = step % group.eval_every == 0 or step == group.total
                if evaluating:
                    counts = jax.device_get(programs.histograms(states))
                    for i in np.flatnonzero(self.active):
                        loggers[i].counts(step, {name: x[i] for name, x in counts.items()})
                    improved = self._select(self._scores(states, step), metrics, step, loggers)
                    best = programs.keep(best, states, self._put(improved))
                stopping = loop.must_stop(stop)
                # Processes have clocks of their own, and must save together.
                due = jax.process_count() > 1 or time.monotonic() - saved > SAVE_SECONDS or step == group.total
                if stopping or (evaluating and due):
                    saved = time.monotonic()
                    checkpoints.save(step, {"states": states, "best": best}, self._progress(time.monotonic() - began))
                if stopping:
                    checkpoints.wait()
                    raise stop.interrupted(f"saved step {step} of {group.total}")
            checkpoints.wait()
            if loop.must_stop(stop):  # a signal that came with the last step
                raise stop.interrupted(f"saved step {step} of {group.total}")
        self._keep_models(best)
        return self._predictions(best)

    def _keep_models(self, best: PyTree) -> None:
        if not any(run.keeps_model for run in self.runs):
            return
        weights = finished_run.to_host(best, self.group.mesh)
        for i, run in enumerate(self.runs):
            if run.keeps_model and not self.failed[i] and jax.process_index() == 0:
                finished_run.save_weights(run.workdir, jax.tree.map(lambda x, i=i: x[i], weights))

    def _progress(self, seconds: float) -> dict[str, Any]:
        return {
            "selections": [selection.state() for selection in self.selections],
            "active": self.active.tolist(),
            "failed": self.failed.tolist(),
            "layout": self.group.layout,
            "timings": self.group.timings,
            "seconds": seconds,
        }

    def _logger(self, run: loop.TrainJob, step: int) -> RunLogger:
        writes = jax.process_index() == 0
        return RunLogger(run.workdir, writes=writes, start_step=step, total=self.group.total, tensorboard=False)

    def _chunk(self, states: PyTree, plan: PyTree, step: int, upto: int) -> tuple[PyTree, PyTree]:
        """Trains from `step` to `upto`; while the layout is `auto`, times one more candidate."""
        group, layout = self.group, self.group.layout
        if layout == "auto":
            layout = next(name for name in self.candidates if name not in group.timings)
        run = group.programs.chunk(layout, group.arrays, states, plan, self.values, self.active, self._put)
        began = time.monotonic()
        states, metrics = run()
        metrics = jax.device_get(metrics)
        seconds = time.monotonic() - began
        if group.layout == "auto":
            group.timings = {**group.timings, layout: seconds}
            of_a_step = seconds * at_once() / (int(self.active.sum()) * (upto - step))
            group.layout = settled(group.timings, self.candidates, of_a_step)  # the next waves need not measure
        loss = float(np.mean(metrics["loss"][self.active]))
        seen = int(self.active.sum()) * (upto - step) * group.config.data.batch_size
        left = (group.total - upto) / (upto - step) * seconds / 60
        say(
            f"{int(self.active.sum())} replicas, {layout}: step {upto:>6}/{group.total}  loss {loss:.4f}  "
            f"{seen / seconds:7.1f} participants/s  at most {left:.1f} min left"
        )
        return states, metrics

    def _give_up_what_diverged(self, metrics: PyTree, step: int) -> None:
        """Looks at the metrics of a chunk of steps that ends with `step`."""
        finite = np.all([np.isfinite(x) for x in jax.tree.leaves(metrics)], axis=0)
        for i in np.flatnonzero(self.active & ~finite.all(axis=1)):
            run = self.runs[i]
            first = step - finite.shape[1] + int(np.argmin(finite[i]))
            loop.look_at(run, self.plans[i][first].members)
            if not run.values:
                raise loop.TrainingDiverged(
                    f"not finite before step {step} in fold {run.fold}, seed {run.seed}: lower "
                    "config.optimizer.learning_rate or set config.optimizer.clip; the last checkpoint is from before"
                )
            say(f"given up before step {step}, since its loss is not finite: {dict(run.values)}")
            self.active[i], self.failed[i] = False, True

    def _outputs(self, stacked: PyTree, split: str) -> list[tuple[dict[str, np.ndarray], np.ndarray, dict]]:
        """Per run: outputs per task, corpus index of each row, and (sum, weight) of each task's loss."""
        plan, index = self.held_out[split]
        layout = self.candidates[0] if self.group.layout == "auto" else self.group.layout
        made = self.group.programs.predict(layout, self.group.arrays, stacked, plan, self._put)
        parts = []
        for i in range(len(self.runs)):
            real = index[i] >= 0
            outputs = {name: x[i].reshape(-1, x.shape[-1])[real] for name, x in made["outputs"].items()}
            sums = {name: [part[i].sum() for part in pair] for name, pair in made["sums"].items()}
            parts.append((outputs, index[i][real], sums))
        return parts

    def _scores(self, states: PyTree, step: int) -> list[dict[str, float]]:
        scores: list[dict[str, float]] = [{"step": float(step)} for _ in self.runs]
        if "validation" in self.held_out:
            made = self._outputs(inference_params(states), "validation")
            for i in np.flatnonzero(self.active):
                scores[i] |= loop.scores_of(self.runs[i], self.group.tasks, *made[i], split="validation")
        return scores

    def _select(
        self, scores: list[dict[str, float]], metrics: PyTree, step: int, loggers: list[RunLogger]
    ) -> Bool[np.ndarray, " r"]:
        """Takes the scores of the active runs; returns which of them are the best so far."""
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
        """Of the best checkpoints, on validation and, for the first and only time, test."""
        made = {split: self._outputs(best, split) for split in self.held_out}
        return [None if self.failed[i] else self._table(run, made, i) for i, run in enumerate(self.runs)]

    def _table(self, run: loop.TrainJob, made: Mapping[str, Sequence[tuple]], i: int) -> Predictions | None:
        """Of one run, from the outputs of all by split; None where it has values of its own and diverged."""
        parts = [loop.table_of(run, self.group.tasks, *made[split][i][:2], split) for split in made]
        try:
            return loop.known_numbers(run, Predictions.concatenate(parts))
        except loop.TrainingDiverged:
            if not run.values:
                raise
            return None


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *x: np.stack(x), *trees)
