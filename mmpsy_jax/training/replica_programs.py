"""The compiled programs of stacked trainings: `replicas.py` says what they are for."""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, PyTree

from mmpsy_jax.data.in_memory import gather
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import step as steps
from mmpsy_jax.training.logger import say
from mmpsy_jax.training.step import Functions, inference_params


@dataclasses.dataclass
class ReplicaPrograms:
    """Compiled for stacked states [R, ...]; plans [R, T, G, ...]; `active` [R] tells who still trains."""

    functions: Functions
    mesh: Mesh
    executables: dict[tuple, Callable] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        over, whole = NamedSharding(self.mesh, PartitionSpec("replica")), meshes.replicated(self.mesh)
        jit = functools.partial(jax.jit, compiler_options=compiler_options())
        # Every process reads the metrics and the outputs of all replicas.
        self._chunk_all = jit(
            jax.vmap(self._chunk, in_axes=(None, 0, 0, 0, 0)), donate_argnums=1, out_shardings=(over, whole)
        )
        self._chunk_at = jit(
            lambda arrays, states, plan, values, at: self._chunk(
                arrays, *_slice(at, states, plan, values), jnp.bool_(True)
            )
        )
        self._put_back = jax.jit(
            lambda states, new, at: jax.tree.map(lambda x, y: x.at[at].set(y), states, new),
            donate_argnums=0,
            out_shardings=over,
        )
        self._predict_all = jit(jax.vmap(self._predict_one, in_axes=(None, 0, 0)), out_shardings=whole)
        self._predict_at = jit(lambda arrays, stacked, plan, at: self._predict_one(arrays, *_slice(at, stacked, plan)))
        self.init = jax.jit(
            lambda arrays, plan, seeds, fitted: jax.vmap(self.functions.init, in_axes=(0, None, 0))(
                seeds, gather(arrays, plan), fitted
            ),
            out_shardings=over,
            compiler_options=steps.compiler_options(1),
        )
        self.keep = jax.jit(
            lambda best, states, improved: jax.tree.map(
                lambda a, b: jnp.where(jnp.reshape(improved, (-1,) + (1,) * (a.ndim - 1)), b, a),
                best,
                jax.vmap(inference_params)(states),
            ),
            donate_argnums=0,
            out_shardings=over,
        )
        self.histograms = jax.jit(jax.vmap(self.functions.histograms), out_shardings=whole)
        self.best_of = jax.jit(lambda states: jax.tree.map(jnp.copy, inference_params(states)), out_shardings=over)

    def put(self, tree: PyTree) -> PyTree:
        """Stacked host arrays onto the mesh: replicas along `replica`, packs of a plan [R, T, G, ...] along `data`."""

        def place(x: np.ndarray) -> jax.Array:
            return jax.make_array_from_callback(x.shape, self.placement(x), lambda index: x[index])

        return jax.tree.map(place, tree)

    def placement(self, x: np.ndarray | jax.ShapeDtypeStruct) -> NamedSharding:
        """Where `put` puts an array."""
        spec = PartitionSpec("replica") if x.ndim else PartitionSpec()
        return NamedSharding(self.mesh, PartitionSpec("replica", None, "data") if x.ndim == 4 else spec)

    def lower(self, *arguments: PyTree) -> jax.stages.Lowered:
        """The program of a chunk of steps of all replicas, for shapes: arrays, states, plan, values and active."""
        return self._chunk_all.lower(*arguments)

    def _chunk(self, arrays: PyTree, state: PyTree, plan: PyTree, values: PyTree, active: jax.Array) -> PyTree:
        """Steps of one replica; one that has stopped keeps its state."""

        def step(state: PyTree, plan: PyTree) -> tuple[PyTree, PyTree]:
            return self.functions.update(state, gather(arrays, plan), values)

        new, metrics = jax.lax.scan(step, state, plan)
        return jax.tree.map(lambda a, b: jnp.where(active, a, b), new, state), metrics

    def chunk(
        self, layout: str, arrays: PyTree, states: PyTree, plan: PyTree, values: PyTree, active: Bool[np.ndarray, " r"]
    ) -> Callable[[], tuple[PyTree, PyTree]]:
        """Compiles where need be; what it returns does the steps of `plan`: new states, and metrics [R, T]."""
        if layout != "sequence":
            arguments = (arrays, states, plan, values, self.put(active))
            return functools.partial(self._compiled(layout, self._chunk_all, *arguments), *arguments)
        places = [self.put(np.int32(i)) for i in np.flatnonzero(active)]
        run = self._compiled(layout, self._chunk_at, arrays, states, plan, values, places[0])

        def one_after_another() -> tuple[PyTree, PyTree]:
            now, parts = states, {}
            results = side_by_side(lambda at: run(arrays, states, plan, values, at), places)
            for i, at, (new, metrics) in zip(np.flatnonzero(active), places, results, strict=True):
                now, parts[i] = self._put_back(now, new, at), jax.device_get(metrics)
            idle = jax.tree.map(np.zeros_like, next(iter(parts.values())))
            return now, stack([parts.get(i, idle) for i in range(len(active))])

        return one_after_another

    def _compiled(self, layout: str, program: Callable, *arguments: PyTree) -> Callable:
        """The executable, made before it is timed; says what XLA will need beside the arguments."""
        key = (layout, *(x.shape for x in jax.tree.leaves(arguments[2])))
        if key not in self.executables:
            self.executables[key] = program.lower(*arguments).compile()
            needed = self.executables[key].memory_analysis()
            if needed is not None:
                say(f"{layout}: XLA needs {needed.temp_size_in_bytes / 2**30:.2f} GB beside its arguments")
        return self.executables[key]

    def predict(self, layout: str, arrays: PyTree, stacked: PyTree, plans: Sequence[PyTree]) -> PyTree:
        """Outputs and sums of loss of every replica as numpy arrays, [R, T, ...]; one batch at a time.

        Args:
          plans: of one batch each [R, 1, G, ...], so that one program serves splits of any length.
        """
        if layout != "sequence":
            batches = jax.device_get([self._predict_all(arrays, stacked, plan) for plan in plans])
        else:
            places = [self.put(i) for i in np.arange(len(jax.tree.leaves(plans[0])[0]), dtype=np.int32)]
            run = lambda at: [self._predict_at(arrays, stacked, plan, at) for plan in plans]  # noqa: E731
            batches = [stack(part) for part in zip(*jax.device_get(side_by_side(run, places)), strict=True)]
        return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *batches)

    def _predict_one(self, arrays: PyTree, evaluated: PyTree, plan: PyTree) -> PyTree:
        results = jax.lax.map(lambda p: self.functions.predict(evaluated, gather(arrays, p)), plan)
        return {name: results[name] for name in ("outputs", "sums")}


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Trees of numpy arrays as one, along a new first axis."""
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def _slice(at: jax.Array, *stacked: PyTree) -> PyTree:
    """The trees of the replica at one place."""
    return jax.tree.map(lambda x: x[at], stacked)


def compiler_options() -> dict[str, bool] | None:
    """Without Triton's kernels for products on a GPU: trying them took a third of the time of compiling there, and the
    small products of many replicas were no faster by them (docs/benchmarks/cross_validation.md)."""
    return {"xla_gpu_enable_triton_gemm": False} if jax.default_backend() == "gpu" else None


def at_once() -> int:
    """Replicas that `sequence` runs beside each other: one per core of a CPU, elsewhere one."""
    return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


def side_by_side(run: Callable[[jax.Array], PyTree], places: Sequence[jax.Array]) -> list[PyTree]:
    """Results of one program at several places, `at_once()` of them together.

    XLA runs what a loop repeats on a single core. Two replicas beside each other keep two cores busy, and need no
    second copy of the corpus, as two CPU devices would.
    """
    with concurrent.futures.ThreadPoolExecutor(at_once()) as pool:
        return list(pool.map(lambda at: jax.block_until_ready(run(at)), places))
