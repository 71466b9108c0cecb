"""The compiled programs of stacked trainings: `replicas.py` says what they are for."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, PyTree

from mmpsy_jax.data.resident import gather
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.logger import say
from mmpsy_jax.training.step import Functions, evaluated


@dataclasses.dataclass
class ReplicaPrograms:
    """Compiled for stacked states [R, ...]; plans [R, T, G, ...]; `active` [R] tells who still trains."""

    functions: Functions
    mesh: Mesh
    executables: dict[tuple, Callable] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        over = NamedSharding(self.mesh, PartitionSpec("replica"))
        one = self._chunk
        many = {
            "vmap": jax.vmap(one, in_axes=(None, 0, 0, 0, 0)),
            "map": lambda arrays, *stacked: jax.lax.map(lambda x: self._if_active(arrays, *x), stacked),
        }
        both = (over, meshes.replicated(self.mesh))  # every process reads the metrics of all replicas
        self.layouts = {name: jax.jit(run, donate_argnums=1, out_shardings=both) for name, run in many.items()}
        self._at = jax.jit(self._chunk_at, donate_argnums=1, out_shardings=both)
        self.init = jax.jit(
            lambda arrays, plan, seeds, fitted: jax.vmap(self.functions.init, in_axes=(0, None, 0))(
                seeds, gather(arrays, plan), fitted
            ),
            out_shardings=over,
        )
        self.keep = jax.jit(
            lambda best, states, improved: jax.tree.map(
                lambda a, b: jnp.where(jnp.reshape(improved, (-1,) + (1,) * (a.ndim - 1)), b, a),
                best,
                jax.vmap(evaluated)(states),
            ),
            donate_argnums=0,
            out_shardings=over,
        )
        self.best_of = jax.jit(lambda states: jax.tree.map(jnp.copy, evaluated(states)), out_shardings=over)
        self.predict = jax.jit(self._predict, out_shardings=meshes.replicated(self.mesh))

    def _chunk(self, arrays: PyTree, state: PyTree, plan: PyTree, values: PyTree, active: jax.Array) -> PyTree:
        """Steps of one replica; one that has stopped keeps its state."""

        def step(state: PyTree, plan: PyTree) -> tuple[PyTree, PyTree]:
            return self.functions.update(state, gather(arrays, plan), values)

        new, metrics = jax.lax.scan(step, state, plan)
        return jax.tree.map(lambda a, b: jnp.where(active, a, b), new, state), metrics

    def _if_active(self, arrays: PyTree, state: PyTree, plan: PyTree, values: PyTree, active: jax.Array) -> PyTree:
        run = lambda: self._chunk(arrays, state, plan, values, active)  # noqa: E731
        _, metrics = jax.eval_shape(run)
        idle = lambda: (state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics))  # noqa: E731
        return jax.lax.cond(active, run, idle)

    def _chunk_at(self, arrays: PyTree, states: PyTree, plan: PyTree, values: PyTree, at: jax.Array) -> PyTree:
        take = lambda tree: jax.tree.map(lambda x: x[at], tree)  # noqa: E731
        new, metrics = self._chunk(arrays, take(states), take(plan), take(values), jnp.bool_(True))
        return jax.tree.map(lambda x, y: x.at[at].set(y), states, new), metrics

    def chunk(
        self,
        layout: str,
        arrays: PyTree,
        states: PyTree,
        plan: PyTree,
        values: PyTree,
        active: Bool[np.ndarray, " r"],
        put: Callable[[PyTree], PyTree],
    ) -> Callable[[], tuple[PyTree, PyTree]]:
        """Compiles where need be; what it returns does the steps of `plan`: new states, and metrics [R, T]."""
        if layout != "sequence":
            arguments = (arrays, states, plan, values, put(active))
            return functools.partial(self._compiled(layout, self.layouts[layout], *arguments), *arguments)
        places = {int(i): put(np.int32(i)) for i in np.flatnonzero(active)}
        run = self._compiled(layout, self._at, arrays, states, plan, values, next(iter(places.values())))

        def one_after_another() -> tuple[PyTree, PyTree]:
            now, parts = states, {}
            for i, at in places.items():
                now, parts[i] = run(arrays, now, plan, values, at)
            idle = jax.tree.map(jnp.zeros_like, next(iter(parts.values())))
            stacked = [parts.get(i, idle) for i in range(len(active))]
            return now, jax.tree.map(lambda *x: np.stack(jax.device_get(x)), *stacked)

        return one_after_another

    def _compiled(self, layout: str, program: Callable, *arguments: PyTree) -> Callable:
        """The executable, made before it is timed; says what XLA will need beside the arguments."""
        key = (layout, *(x.shape for x in jax.tree.leaves(arguments[2])))
        if key not in self.executables:
            made = program.lower(*arguments).compile()
            needed = made.memory_analysis()
            self.executables[key] = made
            if needed is not None:
                say(f"{layout}: XLA needs {needed.temp_size_in_bytes / 2**30:.2f} GB beside its arguments")
        return self.executables[key]

    def _predict(self, arrays: PyTree, stacked: PyTree, plan: PyTree) -> PyTree:
        """Outputs and sums of loss of every replica, [R, T, ...]; one replica and batch at a time."""
        one = lambda x: jax.lax.map(lambda p: self.functions.predict(x[0], gather(arrays, p)), x[1])  # noqa: E731
        made = jax.lax.map(one, (stacked, plan))
        return {name: made[name] for name in ("outputs", "sums")}
