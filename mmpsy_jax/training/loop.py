"""One training, from a split of participants to the predictions of its best checkpoint. Read it from top to bottom."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree

from mmpsy_jax.data.loader import Loader, make_loader
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import InputError
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import interruption, run_files
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import optimizer as optimizers
from mmpsy_jax.training.cadence import steps_of
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.job import TrainingDiverged, TrainJob
from mmpsy_jax.training.logger import RunLogger
from mmpsy_jax.training.programs import build
from mmpsy_jax.training.selection import Selection
from mmpsy_jax.training.step import compile_for, inference_params
from mmpsy_jax.training.train_statistics import fit


def train(job: TrainJob) -> Predictions:
    """Trains, or goes on training, and returns the predictions of the best checkpoint on validation and test.

    Raises:
      InputError: the config or the data cannot be trained on.
      TrainingDiverged: a loss or gradient became NaN or infinite.
      Interrupted: SIGTERM or SIGINT; a checkpoint was saved.
    """
    config, tasks, mesh = overlay(job.config, job.values), job.tasks, meshes.make_mesh()

    # --- data -------------------------------------------------------------------------------------------------------
    shape = batching.of(config, job.corpus, mesh)
    loader = _loader(job, shape, mesh, "train", training=True)
    per_epoch = loader.batches_per_epoch
    total, eval_every, log_every = steps_of(config, per_epoch)

    # --- programs ---------------------------------------------------------------------------------------------------
    functions = build(config, tasks, **shape.inputs, total=total, steps_per_epoch=per_epoch, mesh=mesh)
    first = next(loader)
    fitted = fit(config, tasks, shape.modalities, job.corpus, job.splits["train"])
    programs = compile_for(functions, mesh, first, fitted, fsdp=config.mesh.fsdp, steps=total)
    state = programs.init(np.int32(job.seed), first, fitted)
    loader.rewind()

    # --- resume: 1. this workdir  2. config.init_from  3. scratch -----------------------------------------------------
    selection = Selection(config.selection)
    checkpoints = Checkpoints(job.workdir / "checkpoints", keep=config.checkpoint.keep)
    seconds, start = 0.0, 0
    steps_unread: list[tuple[int, PyTree]] = []  # metrics that are not yet logged
    if checkpoints.latest is not None:
        start = checkpoints.latest
        state, progress = checkpoints.restore(start, like=state)
        loader.restore(progress["loader"])
        selection.restore(progress["selection"])
        seconds = progress["seconds"]
        steps_unread = [(at, _arrays(metrics)) for at, metrics in progress.get("unread", ())]
    elif config.init_from:
        state = _initialise_from(config.init_from, state)
    logger = RunLogger(
        job.workdir,
        start_step=start,
        logged=steps_unread[0][0] - 1 if steps_unread else start,
        total=total,
        tensorboard=config.log.tensorboard,
        title=f"fold {job.fold} seed {job.seed}: " if config.cv.folds or config.seeds > 1 else "",
    )
    logger.message(
        f"{len(job.splits['train'])} participants in {per_epoch} batches per epoch, read from {loader.placement}; "
        f"{padding_line(loader, shape)}"
    )
    if start:
        logger.message(f"going on from step {start} of {total}")

    # --- loop: the device never waits for a read-out; metrics are fetched one log interval late -----------------------
    # A CPU that computes a step has no core for gathering the next batch: run ahead, both took a sixth longer.
    ahead = jax.default_backend() != "cpu"
    began = time.monotonic() - seconds
    evaluator = Evaluator(job, shape, mesh, programs.predict)

    def fetched(entries: list[tuple[int, PyTree]]) -> list[tuple[int, PyTree]]:
        return _fetch(entries, state, lambda step: job.refuse_nonfinite(loader.members(step - 1)))

    def read_out(entries: list[tuple[int, PyTree]]) -> None:
        _log(fetched(entries), logger, config.data.batch_size)

    def save(step: int, value: float | None) -> None:
        progress = {
            "loader": loader.state(),
            "selection": selection.state(),
            "seconds": time.monotonic() - began,
            "participants_seen": step * config.data.batch_size,
            "unread": [(at, {k: v.tolist() for k, v in m.items()}) for at, m in fetched(steps_unread)],
        }
        checkpoints.save(step, state, progress, value)

    with contextlib.ExitStack() as stack:
        for resource in (logger, checkpoints, loader, evaluator):
            stack.enter_context(contextlib.closing(resource))
        with interruption.deferred() as stop:
            for step in range(start + 1, total + 1):
                if selection.exhausted:
                    logger.message(f"stopped early at step {step - 1}: {selection.describe()}")
                    break
                with jax.transfer_guard("disallow"):
                    state, metrics = programs.update(state, next(loader))
                if not ahead:
                    jax.block_until_ready(metrics)
                steps_unread.append((step, metrics))
                stopping = interruption.must_stop(stop)  # asked at every step: the processes agree on one of them
                if step % log_every == 0 and step > log_every:
                    ready, steps_unread = steps_unread[:-log_every], steps_unread[-log_every:]
                    read_out(ready)
                if step % eval_every == 0 or step == total:
                    read_out(steps_unread)
                    steps_unread = []
                    scores = {"step": float(step)}
                    if "validation" in job.held_out:
                        scores |= job.scores(*evaluator.outputs(inference_params(state), "validation"), "validation")
                    value = selection.update(step, scores)
                    logger.scalars(step, {f"validation/{k}": v for k, v in scores.items()})
                    logger.counts(step, jax.device_get(programs.histograms(state)))
                    logger.message(f"step {step:>6}  validation {selection.describe()}")
                    save(step, value)
                elif stopping:
                    save(step, None)
                if stopping:
                    checkpoints.wait()
                    raise stop.interrupted(f"saved step {step} of {total}")
            checkpoints.wait()
            if interruption.must_stop(stop):  # a signal that came with the last step
                raise stop.interrupted(f"saved step {checkpoints.latest} of {total}")

        # --- the best checkpoint by the rule of the config, and the only look at the test split ---
        best, _ = checkpoints.restore(selection.best_step, like=state)
        logger.message(f"best step {selection.best_step} of {total}")
        weights = inference_params(best)
        if job.keeps_model:
            on_host = meshes.to_host(weights, mesh)
            if jax.process_index() == 0:
                run_files.save_weights(job.workdir, on_host)
        parts = [job.predictions(*evaluator.outputs(weights, split)[:2], split) for split in job.held_out]
    return job.all_predictions(parts)


class Evaluator:
    """Outputs of a network for whole splits; every process holds all of them."""

    def __init__(
        self,
        job: TrainJob,
        shape: batching.Batching,
        mesh: jax.sharding.Mesh,
        predict: Callable[[PyTree, PyTree], PyTree],
    ):
        """Keeps what `outputs` needs; `predict` as of `step.Programs`, or without sums."""
        self.job, self.shape, self.mesh, self.predict = job, shape, mesh, predict
        self._loaders: dict[str, Loader] = {}

    def close(self) -> None:
        """Frees the data of the splits that were evaluated."""
        for loader in self._loaders.values():
            loader.close()

    def outputs(
        self, evaluated: PyTree, split: str
    ) -> tuple[dict[str, np.ndarray], Int[np.ndarray, " n"], dict[str, np.ndarray]]:
        """Outputs by name and corpus index of each row of a split, and (sum, weight) of the losses of `predict`."""
        if split not in self._loaders:
            self._loaders[split] = _loader(self.job, self.shape, self.mesh, split, training=False)
        self._loaders[split].rewind()
        parts = jax.device_get([self.predict(evaluated, batch) for batch in self._loaders[split]])
        sums = {name: np.sum([part["sums"][name] for part in parts], axis=0) for name in parts[0].get("sums", ())}
        return *batching.real_rows(parts), sums


def padding_line(loader: Loader, shape: batching.Batching) -> str:
    """How much of a batch is computed in vain."""
    report = loader.padding_report()
    slots = ", ".join(f"{name} {n}" for name, n in loader.slots.items())
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report["tokens"].items())
    return f"{loader.packs} x ({slots}) pieces of {shape.pieces.seconds:.0f} s per batch; padding: {shares}"


def _loader(job: TrainJob, shape: batching.Batching, mesh: jax.sharding.Mesh, split: str, *, training: bool) -> Loader:
    data = job.config.data
    return make_loader(
        job.corpus,
        job.splits[split],
        **shape.sizes,
        parts=shape.pieces.parts,
        batches=job.batches if training else None,
        rate=job.config.privacy.rate if training else 0.0,
        seed=job.seed,
        shuffle=training,
        epochs=None if training else 1,
        placement=data.placement,
        sharding=meshes.over_data(mesh),
        modalities=[m.name for m in shape.modalities],
        max_windows=data.max_windows or None,
        memory_limit_bytes=int(data.memory_gb * 2**30),
    )


def _fetch(
    entries: list[tuple[int, PyTree]], state: PyTree, look: Callable[[int], None]
) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Metrics of past steps on the host; stops on what is not finite.

    Args:
      look: raises where the records of the batch of a step are to blame.
    """
    fetched = [(step, _arrays(jax.device_get(metrics))) for step, metrics in entries]
    for step, metrics in fetched:
        bad = [name for name, value in metrics.items() if not np.all(np.isfinite(value))]
        if bad:
            look(step)
            leaves = jax.tree_util.tree_leaves_with_path(state["params"])
            broken = [optimizers.path_name(p) for p, x in leaves if not np.all(np.isfinite(jax.device_get(x)))]
            raise TrainingDiverged(
                f"not finite at step {step}: {', '.join(bad)}; parameters that are not finite now: "
                f"{', '.join(broken[:5]) or 'none'}. Lower config.optimizer.learning_rate or set "
                "config.optimizer.clip; the last checkpoint is from before that step"
            )
    return fetched


def _arrays(metrics: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Of one step: numbers, and pairs of numbers, also as JSON has them."""
    return {name: np.asarray(value, np.float32) for name, value in metrics.items()}


def _log(fetched: list[tuple[int, dict[str, np.ndarray]]], logger: RunLogger, batch_size: int) -> None:
    """Logs the mean of some steps."""
    if not fetched:
        return
    step = fetched[-1][0]
    mean = {k: float(np.mean([m[k] for _, m in fetched])) for k in ("loss", "grad_norm")}
    for name in [name for name in fetched[-1][1] if name not in mean]:
        sums = np.sum([m[name] for _, m in fetched], axis=0)
        mean[f"{name}/loss"] = float(sums[0] / sums[1]) if sums[1] else float("nan")
    mean |= logger.progress(step, mean["loss"], batch_size)
    logger.scalars(step, {f"train/{k}": v for k, v in mean.items()})


def _initialise_from(folder: str, state: PyTree) -> PyTree:
    """Takes the parameters (not the optimizer) of another run's best checkpoint."""
    if not Path(folder).is_dir():
        raise InputError(f"config.init_from = {folder!r}: no such folder: give the `checkpoints` folder of a run")
    with Checkpoints(folder) as other:
        step = other.best if other.best is not None else other.latest
        if step is None:
            raise InputError(f"config.init_from = {folder!r}: holds no checkpoint")
        loaded, _ = other.restore(step, like=state)
    return {**state, **{k: v for k, v in loaded.items() if k in ("params", "ema")}}
