"""Random variables for the networks of tests."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def draw_variables(module: nn.Module, *inputs: Any, scale: float = 0.5, seed: int = 5) -> PyTree:
    """Normal numbers in the shapes of the variables: to compile an initialisation takes longer than all the rest."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype), shapes)
