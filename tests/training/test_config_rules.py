"""Values of a config: every field has a rule, shipped configs keep them, wrong ones are one line before any work."""

import importlib
import json

import pytest

from mmpsy_jax import models, objectives, registry
from mmpsy_jax.data.loader import PLACEMENTS
from mmpsy_jax.evaluation.operating_points import RULES as THRESHOLDS
from mmpsy_jax.io import InputError, flatten
from mmpsy_jax.objectives.multitask import CLASS_WEIGHTS
from mmpsy_jax.objectives.weighting import WEIGHTINGS
from mmpsy_jax.training import config_rules, fields
from mmpsy_jax.training.config import default, jsonable
from mmpsy_jax.training.hparams import overlay

SHIPPED = {
    "phq": "", "gad": "", "multitask": "", "smoke": "", "interviews": "", "daily_mood": "", "affect_teacher": "",
    "affect_student": "", "hotline_emotions": "", "hotline_negative": "",
    "msa": ("demo,self_mm", "demo,mult", "demo,mlmf", "demo,misa", "demo,bert_mag", "sims,tetfn"),
}  # fmt: skip


def shipped(name="phq", *argument):
    return importlib.import_module(f"configs.{name}").get_config(*argument)


def with_value(field, value):
    return overlay(shipped(), {field: value})


def test_every_field_is_declared_once_with_a_rule_that_its_default_keeps():
    values = {**flatten(jsonable(default())), "objective.weights": {}, "tasks": []}
    declared = {f"model.{name}" for name in registry.declared_fields("models", "mental_perceiver")}
    declared |= {f"objective.{name}" for name in registry.declared_fields("objectives", "multitask")}
    values = {name: value for name, value in values.items() if name not in declared}
    assert all(fields.rule_of(name) for name in values) and all(field.meaning for field in fields.FIELDS.values())
    assert all(fields.rule_of(name).test(value) for name, value in values.items())
    assert default().tasks is not default().tasks


def test_choices_are_those_of_who_reads_them():
    assert set(fields.THRESHOLDS) == {"argmax", *THRESHOLDS} and fields.PLACEMENTS == PLACEMENTS
    assert fields.WEIGHTINGS == WEIGHTINGS and fields.CLASS_WEIGHTS == CLASS_WEIGHTS
    assert fields.FIELDS["optimizer.schedule"].rule.choices == ("cosine", "constant", "linear")


@pytest.mark.parametrize("name", registry.names("models"))
def test_the_defaults_of_every_model_keep_the_rules_of_their_annotations(name):
    values = registry.declared_fields("models", name)
    models.check_fields(name, values)
    for field, value in values.items():
        with pytest.raises(InputError, match=rf"^config\.model\.{field} = .*: must "):
            models.check_fields(name, {field: -1 if isinstance(value, int) else float("nan")})


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_the_defaults_of_every_objective_keep_the_rules_of_their_annotations(name):
    values = registry.declared_fields("objectives", name)
    objectives.check_fields(name, values)
    for field in values:
        with pytest.raises(InputError, match=rf"^config\.objective\.{field} = nan: must "):
            objectives.check_fields(name, {field: float("nan")})


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_keep_the_rules(name):
    for argument in SHIPPED[name] or ((),):
        config_rules.check(shipped(name, *([argument] if argument else [])))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.learning_rate", -1e-3),
        ("optimizer.weight_decay", float("nan")),
        ("optimizer.b2", 1.0),
        ("optimizer.ema", 1.5),
        ("optimizer.accumulate", 0),
        ("optimizer.decay_exclude", "("),
        ("optimizer.schedule", "step"),
        ("optimizer.warmup", "soon"),
        ("seed", 2**40),
        ("seed", -1),
        ("seeds", 0),
        ("total", "0 epochs"),
        ("total", "50 percent"),
        ("total", "inf epochs"),
        ("selection.every", "often"),
        ("log.every", "-1 steps"),
        ("evaluation.bootstrap", 0),
        ("evaluation.threshold", "best"),
        ("model.name", "perciever"),
        ("model.heads_attention", 5),
        ("model.heads_attention", 0),
        ("model.position", "bogus"),
        ("model.width", 0),
        ("model.dropout", 1.0),
        ("model.dtype", "float8"),
        ("model.latents", -3),
        ("model.absorb", "maybe"),
        ("data.batch_size", 0),
        ("data.placement", "cloud"),
        ("data.memory_gb", float("nan")),
        ("data.max_windows", -1),
        ("data.modalities", ("audio", "audio")),
        ("objective.name", "magic"),
        ("objective.weighting", "magic"),
        ("objective.class_weights", "magic"),
        ("objective.ccc", 1.5),
        ("objective.dwa_temperature", 0.0),
        ("objective.gradnorm_alpha", -1.0),
        ("objective.gradnorm_layer", "("),
        ("objective.weights", {"phq_score": float("nan")}),
        ("cv.folds", 1),
        ("cv.inner", 1),
        ("cv.validation_fraction", 1.0),
        ("cv.repeats", 0),
        ("replicas.layout", "pmap"),
        ("replicas.memory_gb", -1.0),
        ("mesh.replica", 0),
        ("checkpoint.keep", -1),
        ("selection.patience", -1),
    ],
)
def test_a_value_that_cannot_be_is_one_line_that_names_the_field(field, value):
    with pytest.raises(InputError, match=rf"^config\.{field} = .*: must ") as caught:
        config_rules.check(with_value(field, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("demo,mult", "model.heads_attention", 7),
        ("demo,mult", "model.text_attention_dropout", 1.0),
        ("demo,mult", "model.text_kernel", 0),
        ("demo,lmf", "model.rank", 0),
        ("demo,self_mm", "model.audio_hidden", -1),
        ("demo,bert_mag", "model.beta_shift", float("nan")),
        ("demo,misa", "model.width", 33),
        ("demo,misa", "objective.similarity", -1.0),
        ("demo,self_mm", "objective.scale", 0.0),
    ],
)
def test_fields_of_other_networks_have_rules_too(model, field, value):
    with pytest.raises(InputError, match=rf"^config\.{field} = .*: must "):
        config_rules.check(overlay(shipped("msa", model), {field: value}))


def test_values_that_contradict_each_other():
    with pytest.raises(InputError, match="last seed would be 2147483648"):
        config_rules.check(overlay(shipped(), {"seed": 2**31 - 1, "seeds": 2}))
    with pytest.raises(InputError, match="seed_list"):
        config_rules.check(overlay(shipped(), {"seed_list": (3, 9), "seeds": 3}))
    with pytest.raises(InputError, match=r"selection\.metric 'phq_screen/aurocc'.*phq_screen/auroc"):
        config_rules.check(with_value("selection.metric", "phq_screen/aurocc"))
    config_rules.check(with_value("selection.metric", "phq_screen/auroc"))


@pytest.mark.parametrize("change", [{"cutoffs": (float("nan"),)}, {"cutoff": 10}, {"cutoffs": "ten"}])
def test_tasks_that_are_none(change):
    task = {"name": "low", "label": "phq9", "kind": "binary", "cutoffs": (10,)}
    with pytest.raises(InputError, match="task"):
        config_rules.check(with_value("tasks", [{**task, **change}]))


def test_files_and_sweeps_are_looked_at_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"init_from.*no such folder"):
        config_rules.check(with_value("init_from", str(tmp_path / "none")))
    with pytest.raises(InputError, match=r"none\.csv"):
        config_rules.check(with_value("evaluation.subgroups", str(tmp_path / "none.csv")))
    config_rules.check(with_value("evaluation.subgroups", "none"))
    with pytest.raises(InputError, match=r"config\.sweep is no JSON"):
        config_rules.check(with_value("sweep", "{"))
    spec = json.dumps({"fields": {"optimizer.learning_rate": [1e-3, float("nan")]}})
    with pytest.raises(InputError, match=r"^config\.optimizer\.learning_rate = nan"):
        config_rules.check(with_value("sweep", spec))
    spec = json.dumps({"fields": {"model.heads_attention": [4, 5]}})
    with pytest.raises(InputError, match=r"must divide config\.model\.width"):
        config_rules.check(with_value("sweep", spec))
