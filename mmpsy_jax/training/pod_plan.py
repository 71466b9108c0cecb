"""The programs of a config, compiled for devices that need not be there: what `launch.py plan` tells of them."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
from ml_collections import ConfigDict

from mmpsy_jax.data.in_memory import gather, shapes_of
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import compiled_cost, memory, plan_runs, replica_plan
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.cadence import steps_of
from mmpsy_jax.training.compiled_cost import Chip, Cost
from mmpsy_jax.training.config import seeds
from mmpsy_jax.training.programs import build, network
from mmpsy_jax.training.replica_programs import ReplicaPrograms
from mmpsy_jax.training.step import compile_for, inference_params
from mmpsy_jax.training.train_statistics import fit


class Entry(NamedTuple):
    """One program.

    Attributes:
      name, what: the program, and in words what a run of it does.
      cost: of a run on each device; None where it cannot be made.
      reason: why not.
      steps: of every training that a run does.
      trainings: that a run moves on; 0 of a program that does not train.
      waves: how many times as many runs there are, since so many trainings do not fit at once.
      compiled_in: seconds.
      batch_bytes: that a step reads from outside; 0 where the windows lie on the devices.
    """

    name: str
    what: str
    cost: Cost | None = None
    reason: str = ""
    steps: int = 1
    trainings: int = 0
    waves: int = 1
    compiled_in: float = 0.0
    batch_bytes: int = 0


def plan(
    config: ConfigDict, corpus: Corpus, devices: Sequence[Any], chip: Chip | None, export: Callable[..., Any]
) -> Iterator[Entry]:
    """The programs of a config, compiled one after the other.

    Args:
      config: the whole config.
      corpus: gives shapes, and what is fitted on its training participants.
      devices: that share the work.
      chip: what one of them is; None for one of this machine.
      export: from a network and its tasks to the function that `launch.py export` writes.
    """
    tasks = from_config(config.tasks)
    first = plan_runs.folds(config, tasks, corpus)[0]

    def entry(name: str, make: Callable[[], Entry]) -> Entry:
        began = time.monotonic()
        try:
            return make()._replace(name=name, compiled_in=time.monotonic() - began)
        except InputError as error:
            return Entry(name, "", reason=str(error))

    yield entry("update", lambda: _update(config, tasks, corpus, first["train"], devices))
    trainings = max(1, config.cv.folds) * config.cv.repeats * len(seeds(config))
    if trainings > 1:
        yield entry("replicas", lambda: _replicas(config, tasks, corpus, first["train"], devices, chip, trainings))
    yield entry("predict", lambda: _update(config, tasks, corpus, first["train"], devices, predict=True))
    yield entry("export", lambda: _export(config, tasks, corpus, first["train"], devices, export))


def hours(entry: Entry, config: ConfigDict, participants: int, chip: Chip | None) -> float:
    """Least hours of all trainings for so many training participants, without reading; a loop counts as one step."""
    batch = config.data.batch_size
    total = steps_of(config, math.ceil(participants / batch)).total
    return entry.waves * total * entry.cost.least_seconds(chip) / 3600


def _described(tree: PyTree, sharding: Any) -> PyTree:
    """Shapes and types of arrays (or of shapes) with where they lie."""
    place = sharding if callable(sharding) else lambda _: sharding
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(x)), tree)


def _functions(config: ConfigDict, tasks: Any, corpus: Corpus, members: np.ndarray, mesh: Mesh) -> tuple:
    """Shapes of batches, the pure functions, and what is fitted before the first step."""
    shape = batching.of(config, corpus, mesh)
    per_epoch = shape.needed(members)
    total = steps_of(config, per_epoch).total
    functions = build(config, tasks, **shape.inputs, total=total, steps_per_epoch=per_epoch, mesh=mesh)
    return shape, functions, fit(config, tasks, shape.modalities, corpus, members)


def _update(
    config: ConfigDict, tasks: Any, corpus: Corpus, members: np.ndarray, devices: Sequence[Any], predict: bool = False
) -> Entry:
    """A step of one training, or the prediction of a batch, with the batch divided over all devices."""
    mesh = meshes.make_mesh(devices=devices)
    shape, functions, fitted = _functions(config, tasks, corpus, members, mesh)
    batch = _described(shape.example(corpus.labels), meshes.over_data(mesh))
    fitted = _described(fitted, meshes.replicated(mesh))
    fsdp = config.mesh.fsdp
    programs = compile_for(functions, mesh, batch, fitted, fsdp=fsdp)
    state = jax.eval_shape(functions.init, jax.ShapeDtypeStruct((), jnp.int32), batch, fitted)
    placed = meshes.state_shardings(state, mesh, fsdp=fsdp)
    state = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, placed)
    program, arguments = (programs.predict, inference_params(state)) if predict else (programs.update, state)
    cost = compiled_cost.of(program.lower(arguments, batch).compile())
    size, doing = config.data.batch_size, "predicts" if predict else "one training,"
    what = f"{doing} a batch of {size} participants over {len(devices)} devices{', fsdp' if fsdp else ''}"
    streamed = config.data.placement in ("stream", "auto")
    return Entry("", what, cost, trainings=0 if predict else 1, batch_bytes=memory.bytes_of(batch) if streamed else 0)


def _replicas(
    config: ConfigDict,
    tasks: Any,
    corpus: Corpus,
    members: np.ndarray,
    devices: Sequence[Any],
    chip: Chip | None,
    trainings: int,
) -> Entry:
    """Steps of all trainings that fit at once, from one evaluation to the next."""
    mesh = meshes.make_mesh(config.mesh.replica, devices)
    shape, functions, fitted = _functions(config, tasks, corpus, members, mesh)
    arrays = shapes_of(shape.pieces, np.arange(len(corpus)), list(corpus.labels))
    packs, rows = shape.sizes["packs"], shape.sizes["batch_size"] // shape.sizes["packs"]
    plan = {
        **{part: {m: (packs, n) for m, n in shape.sizes["slots"].items()} for part in ("piece", "row")},
        "index": (packs, rows),
    }
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    of_plan = lambda *axes: jax.tree.map(  # noqa: E731
        lambda x: jax.ShapeDtypeStruct((*axes, *x), jnp.int32), plan, is_leaf=is_shape
    )
    batch = jax.eval_shape(gather, arrays, of_plan())
    state = jax.eval_shape(functions.init, jax.ShapeDtypeStruct((), jnp.int32), batch, fitted)
    parts = mesh.shape["replica"]
    sizes = config.model.get("width") or memory.widest(state["params"]["network"]), config.model.get("patch", 1)
    budget = 0.9 * chip.holds if chip else memory.budget(config.replicas.memory_gb)
    each = memory.estimate(state, batch, shape.modalities, *sizes)
    fit_at_once = memory.fitting(memory.bytes_of(arrays), *each, int(budget), "vmap")
    waves, size = replica_plan.even_waves(trainings, fit_at_once, parts)
    steps = min(shape.needed(members), steps_of(config, shape.needed(members)).evaluate)
    programs = ReplicaPrograms(functions, mesh)
    stacked = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), tree
    )
    seeds_ = jax.ShapeDtypeStruct((size,), jnp.int32)
    states = jax.eval_shape(jax.vmap(functions.init, (0, None, 0)), seeds_, batch, stacked(fitted))
    over = NamedSharding(mesh, PartitionSpec("replica"))
    compiled = programs.lower(
        _described(arrays, meshes.replicated(mesh)),
        _described(states, over),
        _described(of_plan(size, steps), programs.placement),
        {},
        _described(jax.ShapeDtypeStruct((size,), jnp.bool_), over),
    ).compile()
    what = f"{steps} steps of {size} of {trainings} trainings, {size // parts} on each of {parts} parts of the devices"
    return Entry("", what, compiled_cost.of(compiled), steps=steps, trainings=size, waves=waves)


def _export(
    config: ConfigDict, tasks: Any, corpus: Corpus, members: np.ndarray, devices: Sequence[Any], export: Callable
) -> Entry:
    """What `launch.py export` writes, for one pack on one device."""
    mesh = meshes.make_mesh(devices=devices[:1])
    shape, functions, fitted = _functions(config, tasks, corpus, members, mesh)
    batch = shape.example(corpus.labels)
    state = jax.eval_shape(functions.init, jax.ShapeDtypeStruct((), jnp.int32), batch, fitted)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)
    inputs = {name: value for name, value in one.items() if name not in ("labels", "index")}
    arguments = _described((inference_params(state), inputs), meshes.replicated(mesh))
    compiled = jax.jit(export(network(config, tasks, **shape.inputs), tasks)).lower(*arguments).compile()
    return Entry("", f"predicts {len(one['valid'])} participants on one device", compiled_cost.of(compiled))
