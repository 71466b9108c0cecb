"""Networks of tests: random variables, and shapes of parameters without tracing their initialisation."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.scope import Scope
from jaxtyping import PyTree


def draw_variables(module: nn.Module, *inputs: Any, scale: float = 0.5, seed: int = 5) -> PyTree:
    """Normal numbers in the shapes of the variables: to compile an initialisation takes longer than all the rest."""
    rng = np.random.default_rng(seed)
    draw = lambda x: np.asarray(scale * rng.normal(size=x.shape), x.dtype)  # noqa: E731
    return jax.device_put(jax.tree.map(draw, variable_shapes(module, *inputs)))  # `jnp.asarray` compiles each shape


def variable_shapes(module: nn.Module, *inputs: Any) -> PyTree:
    """`jax.eval_shape` of `module.init`; initialisers that are told a shape, 40 % of the time, are not traced."""

    def zeros(scope, name, init_fn, *arguments, **options):
        if not _names_a_shape(arguments) or scope.has_variable("params", name):
            return param(scope, name, init_fn, *arguments, **options)
        scope.reserve(name, "params")
        value = jnp.zeros(*arguments[:2])
        scope.put_variable("params", name, value)
        return value

    param = Scope.param
    with mock.patch.object(Scope, "param", zeros):
        return jax.eval_shape(module.init, jax.random.key(0), *inputs)


@contextlib.contextmanager
def quick_shape_checks() -> Iterator[None]:
    """Flax compares a parameter with the shape its initialiser names, instead of tracing that initialiser.

    This halves the time of tracing a network of many parameters. Where the shapes differ, Flax itself checks.
    """

    @functools.wraps(Scope.param)
    def compare(scope, name, init_fn, *arguments, **options):
        if _names_a_shape(arguments) and scope.has_variable("params", name):
            value = scope.get_variable("params", name)
            if getattr(value, "shape", None) == arguments[0]:
                scope.reserve(name, "params")
                return value
        return param(scope, name, init_fn, *arguments, **options)

    param = Scope.param
    with mock.patch.object(Scope, "param", compare):
        yield


def _names_a_shape(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments) and isinstance(arguments[0], tuple)
