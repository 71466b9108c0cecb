"""The compiled programs of a run: initialise, update, predict. Pure functions of plain dictionaries.

State: {"params": {"network", "objective"}, "optimizer", "step", "rng", and "ema" where it is kept}. The random key of a
step is `fold_in(rng, step)`, so nothing else has to be saved for dropout to go on exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmpsy_jax.objectives.multitask import Multitask
from mmpsy_jax.training.mesh import replicated


class Programs(NamedTuple):
    """Compiled functions.

    Attributes:
      init: (seed int32 array, batch) -> state, replicated over the mesh.
      update: (state, batch) -> (state, metrics); donates the state. Metrics: "loss", "grad_norm", and per task the
        (weighted sum, weight) of its loss.
      predict: (params, batch) -> outputs, "index", and "sums" per task; replicated, so every process holds all.
    """

    init: Callable[[jax.Array, PyTree], PyTree]
    update: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    predict: Callable[[PyTree, PyTree], PyTree]


def make_programs(
    model: nn.Module, objective: Multitask, optimizer: optax.GradientTransformation, mesh: Mesh, ema_decay: float = 0.0
) -> Programs:
    """Builds the three programs; each compiles once per bucket of windows.

    Args:
      ema_decay: decay per step of the exponential moving average of the parameters that is evaluated instead of them;
        0 keeps none.
    """
    everywhere = replicated(mesh)

    def init(seed: jax.Array, batch: PyTree) -> PyTree:
        key = jax.random.key(seed)
        params = {"network": model.init(key, batch)["params"], "objective": objective.init()}
        state = {
            "params": params,
            "optimizer": optimizer.init(params),
            "step": jnp.int32(0),
            "rng": jax.random.key_data(jax.random.fold_in(key, 1)),
        }
        if ema_decay:
            state["ema"] = params["network"]
        # Leaves that share one constant must not share one buffer: the update donates each of them.
        return jax.tree.map(jnp.copy, state)

    def update(state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        dropout = jax.random.fold_in(jax.random.wrap_key_data(state["rng"]), state["step"])

        def loss_of(params: PyTree) -> tuple[jax.Array, PyTree]:
            outputs = model.apply({"params": params["network"]}, batch, deterministic=False, rngs={"dropout": dropout})
            return objective(params["objective"], outputs, batch["labels"], batch["valid"])

        (loss, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(state["params"])
        updates, optimizer_state = optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        new = {**state, "params": params, "optimizer": optimizer_state, "step": state["step"] + 1}
        if ema_decay:
            # The average forgets its start: early steps use a shorter memory (our choice).
            decay = jnp.minimum(ema_decay, (1.0 + state["step"]) / (10.0 + state["step"]))
            new["ema"] = optax.incremental_update(params["network"], state["ema"], 1.0 - decay)
        return new, {"loss": loss, "grad_norm": optax.tree.norm(gradients), **sums}

    def predict(params: PyTree, batch: PyTree) -> PyTree:
        outputs = model.apply({"params": params["network"]}, batch, deterministic=True)
        _, sums = objective(params["objective"], outputs, batch["labels"], batch["valid"])
        return {"outputs": outputs, "index": batch["index"], "sums": sums}

    return Programs(
        init=jax.jit(init, out_shardings=everywhere),
        update=jax.jit(update, donate_argnums=0, out_shardings=everywhere),
        predict=jax.jit(predict, out_shardings=everywhere),
    )


def evaluated_params(state: PyTree) -> PyTree:
    """The parameters that are evaluated and exported: the moving average where there is one."""
    return {**state["params"], "network": state["ema"]} if "ema" in state else state["params"]
