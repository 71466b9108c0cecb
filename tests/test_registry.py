"""Fields that are read from sources are those of the classes and functions themselves."""

import dataclasses
import inspect

import pytest

from mmpsy_jax import registry
from mmpsy_jax.io import InputError
from mmpsy_jax.training.programs import RATES

OF_EVERY_MODEL = ("modalities", "heads", "window_seconds", "parent", "name")


@pytest.mark.parametrize("name", registry.names("models"))
def test_fields_of_models(name):
    model = registry.load("models", name).Model
    fields = dataclasses.fields(model)
    expected = {f.name: f.default for f in fields if f.name not in OF_EVERY_MODEL}
    assert registry.declared_fields("models", name) == {**model.RATES, **expected}
    assert set(model.RATES) <= set(RATES.values())


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_fields_of_objectives(name):
    module = registry.load("objectives", name)
    parameters = inspect.signature(module.build).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert registry.declared_fields("objectives", name) == expected
    assert callable(module.Objective)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        InputError,
        match=r"unknown config.model.name 'lstm' \(did you mean 'ef_lstm'\?\): choose one of: audio_visual, .*, tfn",
    ):
        registry.load("models", "lstm")
    with pytest.raises(InputError, match="'x': choose one of: distillation, misa, multitask, ulgm"):
        registry.declared_fields("objectives", "x")
