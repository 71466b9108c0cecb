"""Every shipped config: it loads, its network has the size in the table, one step of it has the right shapes."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders.daily_mood.columns import LABELS
from mmpsy_jax import models, registry
from mmpsy_jax.io import InputError, flatten
from mmpsy_jax.models.base import EMBEDDING, Modality
from mmpsy_jax.projects.hotline import presets
from mmpsy_jax.projects.msa.models import mult, tetfn
from mmpsy_jax.tasks import Range, Task, from_config, with_ranges
from mmpsy_jax.training import mesh, programs, step, train_statistics
from mmpsy_jax.training.config import WEIGHING, default, jsonable
from tests.networks import variable_shapes

AUDIO = Modality("audio", "frames", (1800, 80))
TEXT = Modality("text", "features", (175, 768))
SAMPLES = Modality("audio", "features", (48000, 1))
IDS = Modality("text", "ids", (175, 4), vocabulary=65536)
MOSI = (
    Modality("text", "features", (50, 768)),
    Modality("audio", "features", (500, 5)),
    Modality("vision", "features", (375, 20)),
)
TOKENS = Modality("tokens", "ids", (50, 2), vocabulary=34)
MEL, FACES = Modality("audio", "frames", (120, 80)), Modality("face", "features", (40, 2304))
SIMS = (
    Modality("text", "features", (39, 768)),
    Modality("audio", "features", (400, 33)),
    Modality("vision", "features", (55, 709)),
)
DAYS = (
    *(Modality(name, "features", (1, size)) for name, size in (("zcm", 24), ("pim", 24), ("speech", 32))),
    Modality("person", "ids", (1, 2), vocabulary=61),
)

# Of every shipped config: the size of its network, and its fields that differ from `default()`, which comes first. To
# write it anew after a change that is meant: .venv/bin/python -m tests.test_configs
GOLDEN = Path(__file__).parent / "golden_configs.txt"
SECTIONS = {
    title: dict(line.strip().split(" = ", 1) for line in lines)
    for title, *lines in (section.splitlines() for section in GOLDEN.read_text().strip().split("\n\n"))
}
PARAMETERS = {
    (name, argument or None): int(fields["parameters"])
    for (name, _, argument), fields in ((title.partition(":"), fields) for title, fields in SECTIONS.items())
    if name != "default"
}
# One of those that only read other records: their programs are the same.
DISTINCT = {
    repr({field: value for field, value in SECTIONS[title].items() if field not in ("name", "data.dataset")}): key
    for title, key in zip(list(SECTIONS)[1:], PARAMETERS, strict=True)
}.values()


def load(name, argument):
    module = importlib.import_module(f"configs.{name}")
    return module.get_config() if argument is None else module.get_config(argument)


def golden(fields, parameters=None):
    """The lines of a section: fields of a config by name."""
    parts = {"parameters": parameters} if parameters else {}
    tasks = {f"tasks.{task['name']}": {k: v for k, v in task.items() if v} for task in fields["tasks"]}
    parts |= {field: value for field, value in fields.items() if field != "tasks"} | tasks
    return {field: json.dumps(value, ensure_ascii=False) for field, value in parts.items()}


def differing(config):
    """Fields of a config that differ from the defaults."""
    fields, usual = flatten(jsonable(config)), flatten(jsonable(default()))
    return {field: value for field, value in fields.items() if field not in usual or usual[field] != value}


def batch(name, argument, labels, groups=8, b=1, slots=4):
    heard = {"transcripts": (IDS,), "phq9>=10,phq9<=27": (AUDIO, IDS), **dict.fromkeys(presets.FROZEN, (SAMPLES,))}
    heard |= {**dict.fromkeys(("by_time", "by_person"), DAYS), "affect_teacher": (FACES,), "alone": (MEL,)}
    heard |= dict.fromkeys(("frozen", "unlabelled", "joint"), (MEL, FACES))
    clips = {"mosi": MOSI, "sims": SIMS}.get((argument or "").partition(",")[0])
    heard["demo,bert_mag"] = (TOKENS, *MOSI[1:])
    modalities = clips or heard.get(argument or name, (AUDIO, TEXT))
    dtypes = {m: jnp.int32 for m in modalities if m.kind == "ids"} | {SAMPLES: jnp.int16}
    made = {}
    for m in modalities:
        made[m.name] = jax.ShapeDtypeStruct((groups, slots, *m.shape), dtypes.get(m, jnp.float16))
        made[f"{m.name}_start_s"] = jax.ShapeDtypeStruct((groups, slots), jnp.float32)
        made |= {f"{m.name}_{what}": jax.ShapeDtypeStruct((groups, slots), jnp.int32) for what in ("length", "row")}
    made["labels"] = {name: jax.ShapeDtypeStruct((groups, b), jnp.float32) for name in labels}
    made["valid"] = jax.ShapeDtypeStruct((groups, b), jnp.bool_)
    made["index"] = jax.ShapeDtypeStruct((groups, b), jnp.int32)
    return made, modalities


def test_the_table_is_complete():
    shipped = {p.stem for p in (Path(__file__).parent.parent / "configs").glob("*.py")} - {"__init__", "presets"}
    assert shipped == {name for name, _ in PARAMETERS}


@pytest.mark.parametrize(("name", "argument"), sorted(PARAMETERS, key=str))
def test_fields_are_those_of_the_model_and_the_objective(name, argument):
    config = load(name, argument)
    ours, every = ({name for name in flatten(jsonable(one)) if name != "tasks"} for one in (config, default()))
    assert {name for name in ours ^ every if not name.startswith(("model.", "objective."))} == set()
    assert set(config.model) == {"name", *registry.declared_fields("models", config.model.name)}
    declared = registry.declared_fields("objectives", config.objective.name)
    assert set(config.objective) == {"name", *WEIGHING, *declared}


@pytest.mark.parametrize(("name", "argument"), sorted(DISTINCT, key=str))
def test_one_step_of_every_config_has_the_right_shapes(name, argument, monkeypatch):
    config = load(name, argument)
    if "layers" in config.model:  # equal layers are repeated once; the golden sizes are of all of them
        config.model.layers = 1
    monkeypatch.setattr(mult, "LEAST_MEMORY_LAYERS", 1)
    monkeypatch.setattr(tetfn, "LAYERS", 1)
    tasks = with_ranges(from_config(config.tasks), dict.fromkeys(LABELS, Range(0, 100, "given")))
    labels = {task.label for task in tasks}
    inputs, modalities = batch(name, argument, labels)
    functions = programs.build(config, tasks, modalities=modalities, window_seconds=60.0, total=100, steps_per_epoch=10)
    scores = {t.label: np.arange(20, dtype=np.float32) % (t.n_classes if t.kind == "nominal" else 20) for t in tasks}
    parameters, frozen = models.pretrained(config.model.name, config.model.to_dict())
    given = train_statistics.of_scores(tasks, scores, "none")
    idf = {"text_adapter": {"idf": np.ones(IDS.vocabulary, np.float32)}} if IDS in modalities else {}
    constants = {**given, "bias": given["bias"] | parameters, "network": frozen | idf}
    if models.scales_inputs(config.model.name, config.model.to_dict()):
        size = lambda m: np.ones(m.shape[1], np.float32)  # noqa: E731
        constants["network"] = {f"{m.name}_scale": {"mean": size(m), "deviation": size(m)} for m in modalities}
    if config.objective.name == "ulgm":
        constants["scores"] = scores
    if config.model.get("teacher"):
        teacher = programs.network(load("affect_teacher", None), tasks, modalities=(FACES,), window_seconds=60.0)
        one = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in inputs.items() if name != "labels"}
        theirs = variable_shapes(teacher, one)["params"]
        constants["network"] = {"teacher": jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), theirs)}
    if config.model.get("linear"):
        network = programs.network(config, tasks, modalities=modalities, window_seconds=60.0)
        one = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in inputs.items() if name != "labels"}
        path = variable_shapes(network, one)["fitted"]["linear"]
        constants["network"] = constants["network"] | {"linear": jax.tree.map(lambda x: np.ones(x.shape), path)}
        constants["left_out"] = np.zeros((20, len(tasks)), np.float32)
    made = step.compile_for(functions, mesh.make_mesh(), inputs, constants)
    state = jax.eval_shape(made.init, jax.ShapeDtypeStruct((), jnp.int32), inputs, constants)
    after, metrics = jax.eval_shape(made.update, state, inputs)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    losses = programs.objective(config, tasks, [m.name for m in modalities]).names
    assert metrics.keys() == {"loss", "grad_norm", *losses} and {task.name for task in tasks} <= set(losses)
    outputs = jax.eval_shape(made.predict, step.inference_params(state), inputs)["outputs"]
    assert outputs.pop(EMBEDDING).shape[0] == 8
    width = {"binary": 2, "regression": 1, "nominal": 7}
    assert {t.name: outputs[t.name].shape for t in tasks} == {
        t.name: (8, width.get(t.kind, t.n_classes - 1)) for t in tasks
    }


def section(name, argument):
    """What `SECTIONS` should say of a config."""
    config = load(name, argument)
    tasks = with_ranges(from_config(config.tasks), dict.fromkeys(LABELS, Range(0, 100, "given")))
    inputs, modalities = batch(name, argument, ())
    network = programs.network(config, tasks, modalities=modalities, window_seconds=60.0)
    pack = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in inputs.items() if name != "labels"}
    parameters = variable_shapes(network, pack)["params"]
    return golden(differing(config), sum(x.size for x in jax.tree.leaves(parameters)))


@pytest.mark.parametrize(("name", "argument"), sorted(PARAMETERS, key=str))
def test_fields_and_sizes_are_the_golden_ones(name, argument):
    assert section(name, argument) == SECTIONS[f"{name}:{argument}" if argument else name]


def test_defaults_are_the_golden_ones():
    assert golden(flatten(jsonable(default()))) == SECTIONS["default"]


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("phq9>=10", Task("phq9_screen", "phq9", "binary", (10.0,))),
        ("phq9>=5/10/15/20", Task("phq9_bands", "phq9", "ordinal", (5.0, 10.0, 15.0, 20.0))),
        (" hamd_17<=52", Task("hamd_17_score", "hamd_17", "regression", maximum=52.0)),
        ("stress", Task("stress_score", "stress", "regression")),
        ("valence>=-0.5", Task("valence_screen", "valence", "binary", (-0.5,))),
        ("emotion=*", Task("emotion_class", "emotion", "nominal", classes=("*",))),
        ("emotion=joy / no joy", Task("emotion_class", "emotion", "nominal", classes=("joy", "no joy"))),
    ],
)
def test_tasks_of_the_interviews_config(text, task):
    assert importlib.import_module("configs.interviews").task_of(text) == task


@pytest.mark.parametrize("text", ["phq9>10", "phq9<=5/10", "PHQ9>=10", "phq9>=", "", "a=", "a=b", "a=b/"])
def test_texts_that_are_no_task(text):
    with pytest.raises(InputError, match="write LABEL, LABEL>=CUTOFF"):
        importlib.import_module("configs.interviews").task_of(text)


if __name__ == "__main__":
    sections = {"default": golden(flatten(jsonable(default())))}
    sections |= {f"{name}:{argument}" if argument else name: section(name, argument) for name, argument in PARAMETERS}
    texts = ("\n".join([title, *(f"  {k} = {v}" for k, v in fields.items())]) for title, fields in sections.items())
    GOLDEN.write_text("\n\n".join(texts) + "\n")
