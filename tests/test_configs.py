"""Every shipped config: it loads, its network has the size in the table, one step of it has the right shapes."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.models.mental_perceiver import Modality
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import mesh, programs
from mmpsy_jax.training.config import default, flatten, jsonable

AUDIO = Modality("audio", "features", (80, 1800), 1)
TEXT = Modality("text", "features", (175, 768), 0)
IDS = Modality("text", "ids", (175, 4), 0, 65536)

# Parameters of the network per config and argument; docs/mental_perceiver.md shows the same table.
PARAMETERS = {
    ("phq", "demo"): 359_623,
    ("phq", "released"): 359_623,
    ("phq", "transcripts"): 4_345_799,
    ("gad", "demo"): 359_622,
    ("gad", "released"): 359_622,
    ("gad", "transcripts"): 4_345_798,
    ("multitask", "demo"): 360_653,
    ("multitask", "released"): 360_653,
    ("multitask", "transcripts"): 4_346_573,
    ("smoke", None): 102_205,
}


def load(name, argument):
    module = importlib.import_module(f"configs.{name}")
    return module.get_config() if argument is None else module.get_config(argument)


def batch(config, argument, b, w=2):
    ids = argument == "transcripts"
    made = {"window_start_s": jax.ShapeDtypeStruct((b, w), jnp.float32)}
    modalities = (IDS,) if ids else (AUDIO, TEXT)
    for m in modalities:
        made[m.name] = jax.ShapeDtypeStruct((b, w, *m.shape), jnp.int32 if m.kind == "ids" else jnp.float16)
        made[f"{m.name}_length"] = jax.ShapeDtypeStruct((b, w), jnp.int32)
    made["labels"] = {name: jax.ShapeDtypeStruct((b,), jnp.float32) for name in ("phq9", "gad7")}
    made["valid"] = jax.ShapeDtypeStruct((b,), jnp.bool_)
    made["index"] = jax.ShapeDtypeStruct((b,), jnp.int32)
    return made, modalities


def test_the_table_is_complete():
    shipped = {p.stem for p in (Path(__file__).parent.parent / "configs").glob("*.py")} - {"__init__", "presets"}
    assert shipped == {name for name, _ in PARAMETERS}


@pytest.mark.parametrize(("name", "argument"), sorted(PARAMETERS, key=str))
def test_one_step_of_every_config_has_the_right_shapes(name, argument):
    config = load(name, argument)
    assert flatten(jsonable(config)).keys() - {"tasks"} == flatten(jsonable(default())).keys() - {"tasks"}
    tasks = from_config(config.tasks)
    scores = {label: np.arange(20, dtype=np.float32) for label in ("phq9", "gad7")}
    inputs, modalities = batch(config, argument, b=8)
    made = programs.build(
        config,
        tasks,
        modalities=modalities,
        window_seconds=60.0,
        scores=scores,
        mesh=mesh.make_mesh(),
        total=100,
        steps_per_epoch=10,
    )
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    state = jax.eval_shape(made.init, seed, inputs)
    after, metrics = jax.eval_shape(made.update, state, inputs)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics.keys() == {"loss", "grad_norm", *(task.name for task in tasks)}
    outputs = jax.eval_shape(made.predict, state["params"], inputs)["outputs"]
    width = {"binary": 2, "regression": 1}
    assert {k: v.shape for k, v in outputs.items()} == {t.name: (8, width.get(t.kind, t.n_classes - 1)) for t in tasks}
    count = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(state["params"]["network"]))
    assert count == PARAMETERS[name, argument]
