"""Loss of one task, per participant. Optax where it has the loss; all in float32.

Missing labels are NaN targets: they get weight zero here, and nothing downstream has to know.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def cross_entropy(
    logits: Float[Array, "b c"], targets: Float[Array, " b"], class_weights: Float[Array, " c"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Softmax cross-entropy over the logits of classes; returns losses and weights (class weight, 0 where missing)."""
    present = ~jnp.isnan(targets)
    classes = jnp.where(present, targets, 0).astype(jnp.int32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
    return losses, jnp.where(present, class_weights[classes], 0.0)


def ordinal(
    cumulative: Float[Array, "b cuts"], targets: Float[Array, " b"], class_weights: Float[Array, " c"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Negative log likelihood of the proportional-odds model (McCullagh 1980, "Regression models for ordinal data").

    With a_k = logit P(band > k), descending in k, a_-1 = +inf and a_K = -inf,
    P(band = k) = s(a_{k-1}) - s(a_k) = s(a_{k-1}) s(-a_k) (1 - exp(a_k - a_{k-1})), whose logarithm is stable.
    """
    present = ~jnp.isnan(targets)
    classes = jnp.where(present, targets, 0).astype(jnp.int32)
    far = 40.0  # s(40) is 1 in float32, and differences of two such logits stay finite
    edge = jnp.full((*cumulative.shape[:-1], 1), far)
    logits = jnp.concatenate([edge, jnp.clip(cumulative, 1e-3 - far, far - 1e-3), -edge], axis=-1)
    above, below = logits[..., :-1], logits[..., 1:]
    log_p = (
        jax.nn.log_sigmoid(above) + jax.nn.log_sigmoid(-below) + jnp.log(-jnp.expm1(jnp.minimum(below - above, -1e-6)))
    )
    losses = -jnp.take_along_axis(log_p, classes[:, None], axis=-1)[:, 0]
    return losses, jnp.where(present, class_weights[classes], 0.0)


def regression(
    values: Float[Array, "b 1"], targets: Float[Array, " b"], maximum: float, delta: float | Float[Array, ""]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Huber loss of the score in units of `delta` points, so that it is of order one like a cross-entropy."""
    present = ~jnp.isnan(targets)
    error = values[:, 0] * maximum - jnp.where(present, targets, 0.0)
    return optax.huber_loss(error / delta), present.astype(jnp.float32)


def concordance(
    values: Float[Array, " b"], targets: Float[Array, " b"], weights: Float[Array, " b"]
) -> Float[Array, ""]:
    """Lin's concordance correlation coefficient over the weighted rows of a batch (Lin 1989); 0 for fewer than two.

    CCC = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with population (1/n) moments.
    """
    present = weights > 0
    targets = jnp.where(present, targets, 0.0)
    total = jnp.maximum(weights.sum(), 1e-9)
    mean = lambda x: (weights * x).sum() / total  # noqa: E731
    mean_x, mean_y = mean(values), mean(targets)
    x, y = values - mean_x, targets - mean_y
    denominator = mean(x * x) + mean(y * y) + (mean_x - mean_y) ** 2
    enough = (present.sum() >= 2) & (denominator > 1e-12)
    return jnp.where(enough, 2 * mean(x * y) / jnp.where(enough, denominator, 1.0), 0.0)
