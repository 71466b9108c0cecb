"""One training, from a split of participants to the predictions of its best checkpoint. Read it from top to bottom."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree
from ml_collections import ConfigDict

from mmpsy_jax.data.loader import Loader, make_loader
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import InputError
from mmpsy_jax.objectives import multitask
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import finished_run, nonfinite
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import optimizer as optimizers
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.checkpoint import Checkpoints
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.interruption import Interrupted as Interrupted  # what callers of `train` catch
from mmpsy_jax.training.interruption import deferred, must_stop
from mmpsy_jax.training.logger import RunLogger
from mmpsy_jax.training.programs import build
from mmpsy_jax.training.selection import Selection, quick_metrics
from mmpsy_jax.training.step import compile_for, inference_params
from mmpsy_jax.training.train_statistics import fit

SPLITS = ("train", "validation", "test")


class TrainingDiverged(RuntimeError):
    """A loss or gradient is not finite; the message says at which step and what."""


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """What one training is made of.

    Attributes:
      config: the whole config.
      corpus: the opened records.
      splits: indices of participants per name of `SPLITS`.
      workdir: its own folder (one per fold and seed).
      seed, fold: written to the predictions; `seed` also starts every random stream.
      batches: per epoch at least; folds of slightly different size then make equally many.
      values: config fields in which this training differs from others of one program (`hparams.py`).
      keeps_model: leave the best parameters in the workdir (`finished_run.py`); not wanted of a point of a sweep.
    """

    config: ConfigDict
    corpus: Corpus
    splits: Mapping[str, Int[np.ndarray, " n"]]
    workdir: Path
    seed: int = 0
    fold: int = 0
    batches: int | None = None
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    keeps_model: bool = True


def train(run: TrainJob) -> Predictions:
    """Trains, or goes on training, and returns the predictions of the best checkpoint on validation and test.

    Raises:
      InputError: the config or the data cannot be trained on.
      TrainingDiverged: a loss or gradient became NaN or infinite.
      Interrupted: SIGTERM or SIGINT; a checkpoint was saved.
    """
    config, seed = overlay(run.config, run.values), run.seed
    tasks = from_config(config.tasks)
    mesh = meshes.make_mesh()

    # --- data -------------------------------------------------------------------------------------------------------
    shape = batching.of(config, run.corpus, mesh)
    loader = _loader(run, shape, mesh, "train", training=True)
    per_epoch = loader.batches_per_epoch
    steps = lambda text, total=None: to_steps(  # noqa: E731
        text, steps_per_epoch=per_epoch, batch_size=config.data.batch_size, total=total
    )
    total = steps(config.total)
    log_every, eval_every = steps(config.log.every, total) or total, steps(config.selection.every, total) or total

    # --- programs ---------------------------------------------------------------------------------------------------
    functions = build(
        config,
        tasks,
        modalities=shape.modalities,
        window_seconds=shape.pieces.seconds,
        total=total,
        steps_per_epoch=per_epoch,
    )
    first = next(loader)
    fitted = fit(config, tasks, shape.modalities, run.corpus, run.splits["train"])
    programs = compile_for(functions, mesh, first, fitted, fsdp=config.mesh.fsdp)
    state = programs.init(np.int32(seed), first, fitted)
    loader.rewind()

    # --- resume: 1. this workdir  2. config.init_from  3. scratch -----------------------------------------------------
    selection = Selection(config.selection)
    checkpoints = Checkpoints(run.workdir / "checkpoints", keep=config.checkpoint.keep)
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
    title = f"fold {run.fold} seed {seed}: " if config.cv.folds or config.seeds > 1 else ""
    logger = RunLogger(
        run.workdir,
        writes=jax.process_index() == 0,
        start_step=start,
        logged=steps_unread[0][0] - 1 if steps_unread else start,
        total=total,
        tensorboard=config.log.tensorboard,
        title=title,
    )
    logger.message(
        f"{len(run.splits['train'])} participants in {per_epoch} batches per epoch, read from {loader.placement}; "
        f"{padding_line(loader, shape)}"
    )
    if start:
        logger.message(f"going on from step {start} of {total}")

    # --- loop: the device never waits for a read-out; metrics are fetched one log interval late -----------------------
    began = time.monotonic() - seconds
    evaluator = Evaluator(run, tasks, shape, mesh, programs.predict)

    def fetched(entries: list[tuple[int, PyTree]]) -> list[tuple[int, PyTree]]:
        return _fetch(entries, state, lambda step: look_at(run, loader.members(step - 1)))

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
        with deferred() as stop:
            for step in range(start + 1, total + 1):
                if selection.exhausted:
                    logger.message(f"stopped early at step {step - 1}: {selection.describe()}")
                    break
                with jax.transfer_guard("disallow"):
                    state, metrics = programs.update(state, next(loader))
                steps_unread.append((step, metrics))
                stopping = must_stop(stop)  # asked at every step: the processes agree on one of them
                if step % log_every == 0 and step > log_every:
                    ready, steps_unread = steps_unread[:-log_every], steps_unread[-log_every:]
                    read_out(ready)
                if step % eval_every == 0 or step == total:
                    read_out(steps_unread)
                    steps_unread = []
                    scores = {"step": float(step)}
                    if len(run.splits["validation"]):
                        scores |= evaluator.scores(inference_params(state), "validation")
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
            if must_stop(stop):  # a signal that came with the last step
                raise stop.interrupted(f"saved step {checkpoints.latest} of {total}")

        # --- the best checkpoint by the rule of the config, and the only look at the test split ---
        best, _ = checkpoints.restore(selection.best_step, like=state)
        logger.message(f"best step {selection.best_step} of {total}")
        if run.keeps_model:
            weights = finished_run.to_host(inference_params(best), mesh)
            if jax.process_index() == 0:
                finished_run.save_weights(run.workdir, weights)
        held_out = [split for split in SPLITS[1:] if len(run.splits[split])]
        parts = [evaluator.predictions(inference_params(best), split) for split in held_out]
    return known_numbers(run, Predictions.concatenate(parts))


class Evaluator:
    """Predictions of whole splits; every process holds all of them."""

    def __init__(
        self,
        run: TrainJob,
        tasks: tuple[Task, ...],
        shape: batching.Batching,
        mesh: jax.sharding.Mesh,
        predict: Callable[[PyTree, PyTree], PyTree],
    ):
        """Keeps what `scores` and `predictions` need; `predict` as of `step.Programs`."""
        self.run, self.tasks, self.shape, self.mesh, self.predict = run, tasks, shape, mesh, predict
        self._loaders: dict[str, Loader] = {}

    def close(self) -> None:
        """Frees the data of the splits that were evaluated."""
        for loader in self._loaders.values():
            loader.close()

    def outputs(self, evaluated: PyTree, split: str) -> tuple[dict[str, np.ndarray], Int[np.ndarray, " n"], dict]:
        """Network outputs by name, corpus index of each row, and (sum, weight) of each task's loss."""
        if split not in self._loaders:
            self._loaders[split] = _loader(self.run, self.shape, self.mesh, split, training=False)
        self._loaders[split].rewind()
        parts = jax.device_get([self.predict(evaluated, batch) for batch in self._loaders[split]])
        index = np.concatenate([p["index"] for p in parts])
        real = index >= 0
        outputs = {name: np.concatenate([p["outputs"][name] for p in parts])[real] for name in parts[0]["outputs"]}
        sums = {t.name: np.sum([p["sums"][t.name] for p in parts], axis=0) for t in self.tasks}
        return outputs, index[real], sums

    def predictions(self, evaluated: PyTree, split: str) -> Predictions:
        """The rows of `predictions.csv` for a split, participants in corpus order."""
        outputs, index, _ = self.outputs(evaluated, split)
        return table_of(self.run, self.tasks, outputs, index, split)

    def scores(self, evaluated: PyTree, split: str) -> dict[str, float]:
        """`scores_of` a split."""
        return scores_of(self.run, self.tasks, *self.outputs(evaluated, split), split=split)


def table_of(
    run: TrainJob, tasks: Sequence[Task], outputs: Mapping[str, np.ndarray], index: Int[np.ndarray, " n"], split: str
) -> Predictions:
    """The rows of `predictions.csv` for a split, participants in corpus order.

    Args:
      outputs: of the network, per task [n, o].
      index: position of each row in the corpus.
    """
    order = np.argsort(index)
    index = index[order]
    who = {"cluster": [run.corpus.cluster[i] for i in index], "split": split, "fold": run.fold, "seed": run.seed}
    ids = [run.corpus.participants[i] for i in index]
    parts = []
    for task in tasks:
        value = multitask.probabilities(task, outputs[task.name])[order]
        if not np.isfinite(value).all():
            look_at(run, index[~np.isfinite(value)])
        column = {"y_prob" if task.kind == "binary" else "y_pred": value}
        truth = task.targets(run.corpus.labels[task.label][index])
        parts.append(Predictions.build(ids, task.name, truth, **who, **column))
    return Predictions.concatenate(parts)


def look_at(run: TrainJob, members: Int[np.ndarray, "*n"]) -> None:
    """Raises InputError where records of these participants hold numbers that are not finite (`nonfinite.py`)."""
    nonfinite.look_at(run.corpus, batching.names_of(run.config, run.corpus), members)


def known_numbers(run: TrainJob, predictions: Predictions) -> Predictions:
    """The predictions of a training, all of which are numbers.

    Raises:
      TrainingDiverged: some are not finite, though no loss was.
    """
    values = np.where(np.isnan(predictions.y_prob), predictions.y_pred, predictions.y_prob)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise TrainingDiverged(
            f"{bad} of {len(values)} predictions of fold {run.fold}, seed {run.seed} are not finite: lower "
            "config.optimizer.learning_rate or set config.optimizer.clip, and take another --workdir"
        )
    return predictions


def scores_of(
    run: TrainJob,
    tasks: Sequence[Task],
    outputs: Mapping[str, np.ndarray],
    index: Int[np.ndarray, " n"],
    sums: Mapping[str, Sequence[float]],
    *,
    split: str,
) -> dict[str, float]:
    """Metrics of a split: `loss` (weighted sum over tasks of their mean losses) and `<task>/<metric>`.

    Args:
      outputs, index: as `table_of`.
      sums: (sum, weight) of each task's loss.
    """
    losses = {f"{name}/loss": float(s / w) if w else float("nan") for name, (s, w) in sums.items()}
    weights = run.config.objective.weights.to_dict()
    scores = {"loss": sum(weights.get(t.name, 1.0) * losses[f"{t.name}/loss"] for t in tasks), **losses}
    table = table_of(run, tasks, outputs, index, split).known()
    for task in tasks:
        rows = table.select(task=task.name)
        scores |= {f"{task.name}/{k}": v for k, v in quick_metrics(task, rows).items()}
    return scores


def padding_line(loader: Loader, shape: batching.Batching) -> str:
    """How much of a batch is computed in vain."""
    report = loader.padding_report()
    slots = ", ".join(f"{name} {n}" for name, n in loader.slots.items())
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report["tokens"].items())
    return f"{loader.packs} x ({slots}) pieces of {shape.pieces.seconds:.0f} s per batch; padding: {shares}"


def _loader(run: TrainJob, shape: batching.Batching, mesh: jax.sharding.Mesh, split: str, training: bool) -> Loader:
    data = run.config.data
    return make_loader(
        run.corpus,
        run.splits[split],
        **shape.sizes,
        parts=shape.pieces.parts,
        batches=run.batches if training else None,
        seed=run.seed,
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
