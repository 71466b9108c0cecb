"""The Optax chain of a config: clipping, AdamW with a decay mask by path, warm-up and cosine, accumulation."""

import re

import jax
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.models.perceiver import off
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.fields import SCHEDULES


def schedule(config: ConfigDict, total: int, steps_per_epoch: int, batch_size: int) -> optax.Schedule:
    """Learning rate per optimiser update: linear warm-up to the peak, then the named decay to a fraction of it."""
    updates = max(1, total // config.accumulate)
    warmup = to_steps(config.warmup, steps_per_epoch=steps_per_epoch, batch_size=batch_size, total=total)
    warmup = min(warmup // config.accumulate, updates - 1)
    peak, end = config.learning_rate, config.learning_rate * config.final_fraction
    decays = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, updates - warmup, alpha=config.final_fraction),
        "linear": lambda: optax.linear_schedule(peak, end, updates - warmup),
        "constant": lambda: optax.constant_schedule(peak),
    }
    if config.schedule not in decays:
        raise one_of("config.optimizer.schedule", config.schedule, SCHEDULES)
    if not warmup:
        return decays[config.schedule]()
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decays[config.schedule]()], [warmup])


def path_name(path: tuple) -> str:
    """`network/encoder/mlp/up/kernel` for a key path."""
    return "/".join(str(getattr(key, "key", key)) for key in path)


def decay_mask(params: PyTree, exclude: str) -> PyTree:
    """True for the parameters that weight decay applies to: those whose path does not match the expression."""
    pattern = re.compile(exclude)
    return jax.tree_util.tree_map_with_path(lambda path, _: not pattern.search(path_name(path)), params)


def build(config: ConfigDict, total: int, steps_per_epoch: int, batch_size: int) -> optax.GradientTransformation:
    """The update rule.

    With `config.accumulate` = k, k successive batches make one update with their mean gradient (`optax.MultiSteps`);
    a step of the loop is still one batch.
    """
    if config.accumulate < 1:
        raise InputError(f"config.optimizer.accumulate = {config.accumulate}: at least 1 batch per update")
    try:
        re.compile(config.decay_exclude)
    except re.error as error:
        raise InputError(f"config.optimizer.decay_exclude {config.decay_exclude!r}: {error}") from error
    rate = schedule(config, total, steps_per_epoch, batch_size)
    chain = optax.chain(
        optax.identity() if off(config.clip) else optax.clip_by_global_norm(config.clip),
        optax.adamw(
            rate,
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=lambda params: decay_mask(params, config.decay_exclude),
        ),
    )
    if config.accumulate > 1:
        chain = optax.MultiSteps(chain, config.accumulate).gradient_transformation()
    return chain
