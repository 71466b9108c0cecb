"""The product of stored inputs with a kernel, from one reading of the inputs.

Inputs are by far the largest arrays of a step, and are stored in float16. Left to XLA's CPU compiler, they are
converted, multiplied and averaged in separate passes over memory, and the gradient of W is a product of transposed
operands; one window at a time was faster there by itself (38 against 14 ms, on a loaded machine). What a program does
is therefore chosen when it is lowered for a platform: programs exported for several have the form of each.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Dtype = jax.typing.DTypeLike


def at_once(
    x: Float[Array, "*s n e"], kernel: Float[Array, "e d"], *, dtype: Dtype
) -> tuple[Float[Array, "*s n d"], Float[Array, "*s n"], Float[Array, "*s n"]]:
    """What `project` returns, of all windows."""
    x = x.astype(jnp.float32)
    product = jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)
    return product, x.mean(axis=-1), (x * x).mean(axis=-1)


def by_window(
    x: Float[Array, "s n e"], kernel: Float[Array, "e d"], *, dtype: Dtype
) -> tuple[Float[Array, "s n d"], Float[Array, "s n"], Float[Array, "s n"]]:
    """What `project` returns, of one window after the other, so that what is read stays in the cache."""
    return jax.lax.map(lambda window: at_once(window, kernel, dtype=dtype), x)


def gradient_at_once(
    x: Float[Array, "s n e"], of_product: Float[Array, "s n d"], *, dtype: Dtype
) -> Float[Array, "d e"]:
    """Gradient of the kernel, transposed, from that of the product."""
    return _transposed(of_product.reshape(-1, of_product.shape[-1]), x.reshape(-1, x.shape[-1]), dtype)


def gradient_by_window(
    x: Float[Array, "s n e"], of_product: Float[Array, "s n d"], *, dtype: Dtype
) -> Float[Array, "d e"]:
    """The same as `gradient_at_once`, added up over windows."""
    start = jnp.zeros((of_product.shape[-1], x.shape[-1]), jnp.float32)
    return jax.lax.scan(lambda total, dx: (total + _transposed(*dx, dtype), None), start, (of_product, x))[0]


def _transposed(of_product: Float[Array, "n d"], x: Float[Array, "n e"], dtype: Dtype) -> Float[Array, "d e"]:
    return jnp.matmul(of_product.T.astype(dtype), x.astype(dtype), preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(
    x: Float[Array, "s n e"], kernel: Float[Array, "e d"], dtype: Dtype = jnp.float32
) -> tuple[Float[Array, "s n d"], Float[Array, "s n"], Float[Array, "s n"]]:
    """x W, and the means of x and of its squares over the last axis, in float32, from one reading of stored inputs."""
    forms = {"cpu": by_window, "default": at_once}
    return jax.lax.platform_dependent(x, kernel, **{k: functools.partial(f, dtype=dtype) for k, f in forms.items()})


def _project_forward(x: Array, kernel: Array, dtype: Dtype) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    return project(x, kernel, dtype), (x, kernel)


def _project_backward(
    dtype: Dtype, kept: tuple[Array, Array], gradients: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (of_product, of_mean, of_square) = kept, gradients
    forms = {"cpu": gradient_by_window, "default": gradient_at_once}
    of_kernel = jax.lax.platform_dependent(
        x, of_product, **{k: functools.partial(f, dtype=dtype) for k, f in forms.items()}
    )
    # Of the inputs; computed only where somebody asks for it.
    of_x = of_product @ kernel.T + (of_mean[..., None] + 2 * x.astype(jnp.float32) * of_square[..., None]) / x.shape[-1]
    return of_x.astype(x.dtype), of_kernel.T


project.defvjp(_project_forward, _project_backward)
