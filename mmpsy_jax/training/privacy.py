"""Differentially private training (DP-SGD, Abadi et al. 2016, arXiv 1607.00133); the unit is the participant.

Every step draws each training participant by itself with one probability (Poisson sampling, which the accountant
assumes), clips the gradient of each who is drawn to a norm, sums, adds Gaussian noise, and divides by the number who
are expected. Every participant is a pack of their own, so that the first axis of a batch is that of participants.

`jax-privacy` clips and calibrates the noise, with the accountant of `dp-accounting` (privacy loss distributions,
participants added or removed). A batch has room for so many participants that somebody drawn finds none with a
probability that, over all steps, takes at most a hundredth of delta, for which the accountant gets that much less.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import scipy  # its parts are loaded when they are used
from jaxtyping import Float, PyTree
from ml_collections import ConfigDict

from mmpsy_jax import models
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.training.cadence import steps_of
from mmpsy_jax.training.hparams import overlay

MISSING = "needs jax-privacy: pip install 'mmpsy_jax[privacy]'"
# Of delta, for participants who are drawn but find no room.
SPARE = 0.01
# Parameters of the network and of one participant, and a key -> the loss, and anything else.
OneLoss = Callable[[PyTree, PyTree, jax.Array], tuple[Float[jax.Array, ""], PyTree]]


def is_on(config: ConfigDict) -> bool:
    """Whether a config trains privately."""
    return config.privacy.epsilon > 0


def check(config: ConfigDict) -> None:
    """Raises InputError where private training contradicts other fields, or cannot be had here."""
    if not is_on(config):
        if config.privacy.delta:
            raise InputError(
                f"config.privacy.delta = {config.privacy.delta}: give config.privacy.epsilon too, or neither"
            )
        return
    for field, needed, why in (
        ("objective.name", "multitask", "others set participants against each other or remember them"),
        ("objective.weighting", "fixed", "others learn from the losses without noise"),
        ("objective.class_weights", "none", "weights of classes are counted without noise"),
        ("sweep", "", "every setting that is tried looks at the participants again, outside of epsilon"),
        ("init_from", "", "nobody knows whom the other run was trained on"),
    ):
        part, _, name = field.rpartition(".")
        value = (config[part] if part else config)[name]
        if value != needed:
            raise InputError(f"config.{field} = {value!r} with config.privacy.epsilon: must be {needed!r}, since {why}")
    if models.reads_linear(config.model.name, config.model.to_dict()):
        raise InputError(
            "config.model with config.privacy.epsilon: the linear path is fitted on participants without noise: take "
            "config.model.linear=False and another model than 'linear'"
        )
    if any(config.privacy[name] for name in ("noise_multiplier", "rows", "rate")):
        raise InputError(
            "config.privacy.noise_multiplier, .rows and .rate follow from epsilon and delta: leave them at 0"
        )
    try:
        import jax_privacy  # noqa: F401
    except ImportError as error:
        raise InputError(f"config.privacy.epsilon = {config.privacy.epsilon:g} {MISSING}") from error


def calibrated(config: ConfigDict, corpus: Corpus, sizes: Sequence[int]) -> ConfigDict:
    """The config with what privacy asks of its trainings: noise, room of a batch, and probability of being drawn.

    Args:
      config: of the whole run; as it is where privacy is off.
      corpus: of the run.
      sizes: participants of the training part of each fold. The largest sets delta where none is given, the smallest
        the probability, so that the promise holds in all.

    Raises:
      InputError: participants who belong together, a delta that promises nothing, or a batch as large as a part.
    """
    if not is_on(config):
        return config
    if len(set(corpus.cluster)) < len(corpus):
        raise InputError(
            f"{corpus.path}: several records belong to one {corpus.card.get('cluster') or 'cluster'}, and "
            "config.privacy.epsilon would protect single records: build one record per person"
        )
    expected, n = config.data.batch_size, min(sizes)
    delta = config.privacy.delta or 1 / max(sizes)
    if not delta < 1:
        raise InputError(f"config.privacy.delta = {delta}: must be below 1, and should be at most 1 / participants")
    if expected >= n:
        raise InputError(
            f"config.data.batch_size = {expected} of {n} training participants: private training draws each with the "
            "probability batch_size / participants, which must be below 1"
        )
    rate, per_epoch = expected / n, batches_of(config, max(sizes))
    total, *_ = steps_of(config, per_epoch)
    room = delta * SPARE / (total * (1 + math.exp(min(config.privacy.epsilon, 700.0))))
    rows = min(max(sizes), int(scipy.stats.binom.isf(room, max(sizes), rate)) + 1)
    devices = jax.device_count()
    noise = noise_multiplier(config.privacy.epsilon, delta * (1 - SPARE), rate, total)
    fields = {"delta": delta, "rate": rate, "rows": -(-rows // devices) * devices, "noise_multiplier": noise}
    return overlay(config, {f"privacy.{name}": value for name, value in fields.items()})


def batches_of(config: ConfigDict, n: int) -> int:
    """Steps of an epoch in which n participants are expected once each."""
    return -(-n // config.data.batch_size)


def noise_multiplier(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Standard deviation of the noise in units of the clipping norm, for (epsilon, delta) after all steps.

    Raises:
      InputError: jax-privacy is not installed, or no noise suffices.
    """
    try:
        from jax_privacy.accounting import accountants, analysis, calibrate
    except ImportError as error:
        raise InputError(f"config.privacy.epsilon = {epsilon:g} {MISSING}") from error
    # Privacy loss distributions of little noise take minutes; Renyi's, a bound that takes none, tells where to look.
    rough = accountants.RdpAccountantConfig(orders=range(2, 128))
    exact = accountants.PldAccountantConfig(value_discretization_interval=1e-3)
    samples = 1_000_000  # the accountant sees the quotient of these two alone
    sampled = {"batch_sizes": math.ceil(rate * samples), "num_samples": samples, "num_updates": steps}

    def calibrate_by(config: Any, **start: float) -> float:
        accountant = analysis.DpsgdTrainingAccountant(dp_accountant_config=config)
        target = {"target_epsilon": epsilon, "target_delta": delta}
        return calibrate.calibrate_noise_multiplier(accountant=accountant, **target, **sampled, **start)

    try:
        enough = calibrate_by(rough, initial_min_noise=0.05)
        return calibrate_by(exact, initial_max_noise=enough, initial_min_noise=enough / 2)
    except (ValueError, AssertionError, OverflowError) as error:
        raise InputError(
            f"config.privacy.epsilon = {epsilon:g} with delta {delta:g}: no noise gives it in {steps} steps: take a "
            "larger epsilon or a shorter config.total"
        ) from error


def gradients(
    one_loss: OneLoss,
    params: PyTree,
    batch: PyTree,
    key: jax.Array,
    *,
    privacy: ConfigDict,
    expected: int,
) -> tuple[Float[jax.Array, ""], PyTree, Float[jax.Array, ""], PyTree]:
    """The noisy gradient of a batch whose first axis is that of participants.

    Args:
      batch: with `valid` [g 1]: who was drawn; the others are padding, whose loss is 0.
      key: for dropout and noise.
      privacy: `config.privacy` after `calibrated`.
      expected: participants of a batch.

    Returns:
      Mean loss of those drawn; gradients; the norm of these, NaN where the gradient of somebody drawn is not finite,
      which jax-privacy takes for zero without a word; and the sum over participants of what else the loss gives.
    """
    from jax_privacy import clipping

    clipped = clipping.clipped_grad(
        one_loss,
        has_aux=True,
        l2_clip_norm=privacy.clip,
        batch_argnums=1,
        return_values=True,
        return_grad_norms=True,
        prng_argnum=2,
    )
    valid = batch["valid"][:, 0]
    with warnings.catch_warnings():  # of jax-privacy 2.0, at each tracing
        warnings.filterwarnings("ignore", "optax.global_norm is deprecated", DeprecationWarning)
        total, aux = clipped(params, batch, key)
    leaves, tree = jax.tree.flatten(total)
    keys = jax.random.split(jax.random.fold_in(key, 2), len(leaves))
    stddev = privacy.noise_multiplier * privacy.clip
    noisy = [
        (leaf + stddev * jax.random.normal(k, leaf.shape, leaf.dtype)) / expected
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    result = jax.tree.unflatten(tree, noisy)
    loss = jnp.where(valid, aux.values, 0.0).sum() / jnp.maximum(valid.sum(), 1)
    broken = (valid & ~jnp.isfinite(aux.grad_norms)).any()
    sums = jax.tree.map(lambda x: jnp.where(valid.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0).sum(axis=0), aux.aux)
    return loss, result, jnp.where(broken, jnp.nan, optax.tree.norm(result)), sums


def promise(fields: dict[str, Any]) -> str:
    """What a training promises, in words, from the fields of its calibrated config."""
    return (
        f"(epsilon, delta) = ({fields['privacy.epsilon']:g}, {fields['privacy.delta']:.2g}) for each participant of "
        f"the training part of each training, added or removed; clipping norm {fields['privacy.clip']:g}, noise "
        f"multiplier {fields['privacy.noise_multiplier']:.3g}, probability of being drawn {fields['privacy.rate']:.3g} "
        "per step"
    )
