"""Initialise, update, predict: pure functions of plain dictionaries, and the same compiled for a mesh.

State: {"params": {"network", "objective"}, "fitted": {"network", "class_weights"}, "optimizer", "step", "rng", and
where they are kept "ema", "left_out" (what a linear path says of whom it was not fitted on, `training/ridge.py`),
"memory" (what an objective keeps of earlier steps without training it, `objectives/base.py`:
`recall` adds labels of the batch from it, `remember` moves it on) and "weighting" (what the weighting of tasks
remembers)}. The random key of a step is `fold_in(rng, step)`, so nothing else has to be saved for dropout to go on
exactly.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmpsy_jax.models.base import NO_DROPOUT, Rates
from mmpsy_jax.models.hash_keys import hash_key
from mmpsy_jax.models.linear_path import LEFT_OUT
from mmpsy_jax.objectives.base import Objective
from mmpsy_jax.objectives.weighting import Weighting
from mmpsy_jax.training.mesh import state_shardings

Values = Mapping[str, Any]
Divide = Callable[[Callable[..., PyTree]], Callable[..., PyTree]]


def alone(run: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """On one device nothing is divided; where several share a batch see `mesh.on_each_device`."""
    return run


class Parts(NamedTuple):
    """What hyperparameters decide: dropout, losses, how tasks are weighted, optimizer."""

    rates: Rates
    objective: Objective
    weighting: Weighting
    optimizer: optax.GradientTransformation


class Functions(NamedTuple):
    """Pure functions, to be compiled, mapped over replicas or scanned over steps.

    Attributes:
      init: (seed, batch, fitted) -> state; of the batch only shapes count.
      update: (state, batch, values) -> (state, metrics); `values` are config fields of this replica (`hparams.py`).
        Metrics: "loss", "grad_norm", and per loss the (weighted sum, weight).
      histograms: state -> counts by name of what the objective remembers; empty where it remembers nothing.
      predict: (inference_params, batch) -> outputs, "index", and "sums" per loss.
    """

    init: Callable[[jax.Array, PyTree, PyTree], PyTree]
    update: Callable[[PyTree, PyTree, Values], tuple[PyTree, PyTree]]
    histograms: Callable[[PyTree], PyTree]
    predict: Callable[[PyTree, PyTree], PyTree]


def variables_of(evaluated: PyTree) -> PyTree:
    """What a network is applied to, of `inference_params`."""
    return {"params": evaluated["params"]["network"], "fitted": evaluated["fitted"]["network"]}


def forward(
    model: nn.Module,
    variables: PyTree,
    batch: PyTree,
    rates: Rates = NO_DROPOUT,
    key: jax.Array | None = None,
    divide: Divide = alone,
) -> PyTree:
    """Outputs [G * B, o] of all packs of a batch, each pack by itself; labels are not looked at."""
    traced = {name: rate for name, rate in rates._asdict().items() if isinstance(rate, jax.Array)}  # plain ones stay so

    def run(variables: PyTree, traced: PyTree, packs: tuple[PyTree, jax.Array | None]) -> PyTree:
        def of_pack(one: PyTree, k: jax.Array | None) -> PyTree:
            return model.apply(variables, one, rates._replace(**traced), rngs=None if k is None else {"dropout": k})

        return jax.vmap(of_pack)(*packs)

    keys = None if key is None else jax.random.split(hash_key(key), batch["valid"].shape[0])
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "index")}
    outputs = divide(run)(variables, traced, (inputs, keys))
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), outputs)


def predict(model: nn.Module, variables: PyTree, batch: PyTree) -> PyTree:
    """Outputs of a network and the index of each row; needs no objective, and no labels."""
    return {"outputs": forward(model, variables, batch), "index": batch["index"].reshape(-1)}


def make_functions(
    model: nn.Module,
    parts: Callable[[Values], Parts],
    ema_decay: float = 0.0,
    private: Callable[..., Any] | None = None,
    divide: Divide = alone,
) -> Functions:
    """Builds the functions.

    Args:
      parts: from the fields that may differ between replicas to what they decide.
      ema_decay: decay per step of the exponential moving average of the parameters that is evaluated instead of them;
        0 keeps none.
      private: `privacy.gradients` with its numbers, for private training; None for the gradient of the whole batch.
      divide: how devices share a batch.
    """

    def init(seed: jax.Array, batch: PyTree, fitted: PyTree) -> PyTree:
        key = jax.random.key(seed)
        one = jax.tree.map(lambda x: x[0], batch)
        network = {**model.init(hash_key(key), one)["params"], **fitted["bias"]}
        chosen = parts({})
        params = {"network": network, "objective": chosen.weighting.init()}
        state = {
            "params": params,
            "fitted": {name: fitted[name] for name in ("network", "class_weights")},
            "optimizer": chosen.optimizer.init(params),
            "step": jnp.int32(0),
            "rng": jax.random.key_data(jax.random.fold_in(key, 1)),
        }
        if ema_decay:
            state["ema"] = network
        if "left_out" in fitted:
            state["left_out"] = fitted["left_out"]
        if "scores" in fitted:
            variables = {"params": network, "fitted": fitted["network"]}
            outputs = jax.eval_shape(lambda: forward(model, variables, batch))
            state["memory"] = chosen.objective.memory(fitted["scores"], outputs)
        if chosen.weighting.memory():
            state["weighting"] = chosen.weighting.memory()
        # Leaves that share one constant must not share one buffer: the update donates each of them.
        return jax.tree.map(jnp.copy, state)

    def losses_of(
        network: PyTree,
        fitted: PyTree,
        batch: PyTree,
        rows: PyTree,
        chosen: Parts,
        rates: Rates,
        key: Any,
        divide: Divide = divide,
    ) -> tuple[jax.Array, PyTree]:
        """Losses of the tasks, and (which have labels, (outputs, sums))."""
        outputs = forward(model, {"params": network, "fitted": fitted["network"]}, batch, rates, key, divide)
        losses, (present, sums) = chosen.objective(outputs, rows["labels"], rows["valid"], fitted["class_weights"])
        return losses, (present, (outputs, sums))

    def of_one(fitted: PyTree, chosen: Parts) -> Callable[[PyTree, PyTree, jax.Array], tuple[jax.Array, PyTree]]:
        """The loss of a batch of one participant, and its sums, for private training."""

        def loss(params: PyTree, batch: PyTree, key: jax.Array) -> tuple[jax.Array, PyTree]:
            losses, (present, (_, sums)) = losses_of(
                params["network"], fitted, batch, rows_of(batch), chosen, chosen.rates, key, alone
            )
            return chosen.weighting.total(params["objective"], {}, losses, present), sums

        return loss

    def update(state: PyTree, batch: PyTree, values: Values) -> tuple[PyTree, PyTree]:
        chosen = parts(values)
        key = jax.random.fold_in(jax.random.wrap_key_data(state["rng"]), state["step"])
        if "left_out" in state:  # rows that pad have no loss, whatever is said of them
            batch = {**batch, LEFT_OUT: state["left_out"][batch["index"]]}
        rows = rows_of(batch, divide)
        if "memory" in state:
            rows["labels"] |= chosen.objective.recall(state["memory"], rows["index"])
        if private is not None:
            loss, gradients, norm, sums = private(of_one(state["fitted"], chosen), state["params"], batch, key)
            remembered, outputs = {}, {}
        else:
            loss, gradients, remembered, (outputs, sums) = chosen.weighting.gradients(
                lambda network: losses_of(network, state["fitted"], batch, rows, chosen, chosen.rates, key),
                state["params"],
                state.get("weighting", {}),
                jax.random.fold_in(key, 1),
            )
            norm = optax.tree.norm(gradients)
        updates, optimizer_state = chosen.optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        new = {**state, "params": params, "optimizer": optimizer_state, "step": state["step"] + 1}
        if remembered:
            new["weighting"] = remembered
        if "memory" in state:
            new["memory"] = chosen.objective.remember(state["memory"], outputs, rows["labels"], rows["index"])
        if ema_decay:
            # The average forgets its start: early steps use a shorter memory.
            decay = jnp.minimum(ema_decay, (1.0 + state["step"]) / (10.0 + state["step"]))
            new["ema"] = optax.incremental_update(params["network"], state["ema"], 1.0 - decay)
        return new, {"loss": loss, "grad_norm": norm, **sums}

    def predict_with_sums(evaluated: PyTree, batch: PyTree) -> PyTree:
        network, fitted = evaluated["params"]["network"], evaluated["fitted"]
        rows = rows_of(batch, divide)
        _, (_, (outputs, sums)) = losses_of(network, fitted, batch, rows, parts({}), NO_DROPOUT, None)
        return {"outputs": outputs, "index": rows["index"], "sums": sums}

    def histograms(state: PyTree) -> PyTree:
        return parts({}).objective.histograms(state["memory"]) if "memory" in state else {}

    return Functions(init, update, histograms, predict_with_sums)


def rows_of(batch: PyTree, divide: Divide = alone) -> dict[str, Any]:
    """`labels` by name, `valid` and, where a batch has it, `index` of all rows [G * B]; all of them on every device."""
    rows = {name: batch[name] for name in ("labels", "valid", "index") if name in batch}
    return jax.tree.map(lambda x: x.reshape(-1), divide(lambda _, __, packs: packs)({}, {}, rows))


def inference_params(state: PyTree) -> PyTree:
    """What is evaluated and exported: parameters (their moving average where there is one) and what was fitted."""
    params = {**state["params"], "network": state["ema"]} if "ema" in state else state["params"]
    return {"params": params, "fitted": state["fitted"]}


FEW_STEPS = 1000


def compiler_options(runs: int) -> dict[str, bool | int] | None:
    """Options of XLA for a program that runs so many times: compiling it on a CPU is worth what running it repays.

    The step of `configs/phq.py` compiles in 7, 11 and 22 s with no, little and full effort, on a busy machine, and runs
    in 3, 1.1 and 1 times its time (docs/benchmarks/start.md).
    """
    if jax.default_backend() != "cpu" or runs >= FEW_STEPS:
        return None
    # jax 0.11 has no other emitters, and refuses the option.
    emitters = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
    return {"xla_backend_optimization_level": min(runs - 1, 1), **emitters}


class Programs(NamedTuple):
    """`Functions` compiled for a mesh; `update` donates the state, the last two replicate their results."""

    init: Callable[[jax.Array, PyTree, PyTree], PyTree]
    update: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    histograms: Callable[[PyTree], PyTree]
    predict: Callable[[PyTree, PyTree], PyTree]


def compile_for(
    functions: Functions, mesh: Mesh, batch: PyTree, fitted: PyTree, *, fsdp: bool = False, steps: int = FEW_STEPS
) -> Programs:
    """One training over the devices of a mesh: packs of the batch divided along `data`.

    Args:
      batch, fitted: examples, for shapes.
      steps: of the whole training, for which `update` is compiled.
      fsdp: parameters and optimizer state are divided along `data` too, and gathered where they are used.
    """
    shapes = jax.eval_shape(functions.init, jax.ShapeDtypeStruct((), jnp.int32), batch, fitted)
    kept = state_shardings(shapes, mesh, fsdp=fsdp)
    everywhere = state_shardings(shapes, mesh, fsdp=False)["step"]
    return Programs(
        init=jax.jit(functions.init, out_shardings=kept, compiler_options=compiler_options(1)),
        update=jax.jit(
            lambda state, batch: functions.update(state, batch, {}),
            donate_argnums=0,
            out_shardings=(kept, everywhere),
            compiler_options=compiler_options(steps),
        ),
        histograms=jax.jit(functions.histograms, out_shardings=everywhere),
        predict=jax.jit(functions.predict, out_shardings=everywhere),
    )
