"""The product of stored inputs with a kernel, from one reading of the inputs."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Dtype = jax.typing.DTypeLike


def _by_window() -> bool:
    """Whether large inputs are read window by window, so that what is read stays in the cache: good on CPUs alone."""
    return jax.default_backend() == "cpu"


def _project(x: Float[Array, "*s n e"], kernel: Float[Array, "e d"], dtype: Dtype) -> tuple[Array, Array, Array]:
    x = x.astype(jnp.float32)
    product = jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)
    return product, x.mean(axis=-1), (x * x).mean(axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(
    x: Float[Array, "s n e"], kernel: Float[Array, "e d"], dtype: Dtype = jnp.float32
) -> tuple[Float[Array, "s n d"], Float[Array, "s n"], Float[Array, "s n"]]:
    """x W, and the means of x and of its squares over the last axis, in float32, from one reading of stored inputs.

    Inputs are by far the largest arrays of a step, and are stored in float16. Left to XLA's CPU compiler, they are
    converted, multiplied and averaged in separate passes over memory, and the gradient of W is a product of transposed
    operands; one window at a time was faster there by itself (38 against 14 ms, on a loaded machine).
    """
    if not _by_window():
        return _project(x, kernel, dtype)
    return jax.lax.map(lambda window: _project(window, kernel, dtype), x)


def _project_forward(x: Array, kernel: Array, dtype: Dtype) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    return project(x, kernel, dtype), (x, kernel)


def _project_backward(
    dtype: Dtype, kept: tuple[Array, Array], gradients: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (of_product, of_mean, of_square) = kept, gradients
    transposed = lambda d, x: jnp.matmul(d.T.astype(dtype), x.astype(dtype), preferred_element_type=jnp.float32)  # noqa: E731
    if _by_window():
        start = jnp.zeros(kernel.shape[::-1], jnp.float32)
        of_kernel, _ = jax.lax.scan(lambda total, dx: (total + transposed(*dx), None), start, (of_product, x))
    else:
        of_kernel = transposed(of_product.reshape(-1, kernel.shape[1]), x.reshape(-1, kernel.shape[0]))
    # Of the inputs; computed only where somebody asks for it.
    of_x = of_product @ kernel.T + (of_mean[..., None] + 2 * x.astype(jnp.float32) * of_square[..., None]) / x.shape[-1]
    return of_x.astype(x.dtype), of_kernel.T


project.defvjp(_project_forward, _project_backward)
