"""The product of stored inputs with a kernel, and the means that their normalisation needs.

Inputs are by far the largest arrays of a step. Both products, that of the inputs and that of the kernel's gradient, are
one product of two matrices whose long side is the tokens: in the order written here each takes a third to a half of the
time of its transpose on CPUs (docs/benchmarks/profile.md).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Dtype = jax.typing.DTypeLike


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(
    x: Float[Array, "s n e"], kernel: Float[Array, "e d"], dtype: Dtype = jnp.float32
) -> tuple[Float[Array, "s n d"], Float[Array, "s n"], Float[Array, "s n"]]:
    """x W, and the means of x and of its squares over the last axis, in float32."""
    x = x.astype(jnp.float32)
    product = jnp.matmul(_rows(x).astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)
    return product.reshape(*x.shape[:-1], -1), x.mean(axis=-1), (x * x).mean(axis=-1)


def _project_forward(x: Array, kernel: Array, dtype: Dtype) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    return project(x, kernel, dtype), (x, kernel)


def _project_backward(
    dtype: Dtype, kept: tuple[Array, Array], gradients: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (of_product, of_mean, of_square) = kept, gradients
    wide = x.astype(jnp.float32)
    of_kernel = jnp.matmul(
        _rows(of_product).T.astype(dtype), _rows(wide).astype(dtype), preferred_element_type=jnp.float32
    )
    # Of the inputs; computed only where somebody asks for it.
    of_x = of_product @ kernel.T + (of_mean[..., None] + 2 * wide * of_square[..., None]) / x.shape[-1]
    return of_x.astype(x.dtype), of_kernel.T


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


project.defvjp(_project_forward, _project_backward)
