"""The log-mel of `features/mel.py` as one jitted program for CPU, GPU and TPU: batched, in the type of the samples.

Recordings are cut into blocks of a fixed number of frames, so that one program is compiled whatever their lengths; a
batch of blocks is one call. The Fourier transform is an `rfft` of gathered frames, or, where matrix units outrun it
(TPU), a strided convolution with the windowed Fourier basis, which never writes the overlapping frames to memory. The
filterbank is a matrix of 80 x 1025, mostly zeros: as a dense product it is a hundredth of the convolution's work.

float32 holds the spectrum of a frame to 1e-7 of its largest amplitude; so bands 60 dB and more below the loudest band
of the same frame differ from those of librosa (in float64) by up to some thousandths of a dB, normalised values by less
than 1e-4 (docs/benchmarks/mel.md). Given float64 samples, under `jax.enable_x64`, dB values agree to 1e-4 as well.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.signal
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from mmpsy_jax.features.mel import AMIN, RELEASE, SCALE, MelSettings

Fourier = Literal["rfft", "matmul"]
BLOCK_FRAMES, BLOCKS = 300, 32


def default_fourier() -> Fourier:
    """What is faster on the default device: a TPU has no fast Fourier transform to speak of."""
    return "matmul" if jax.default_backend() == "tpu" else "rfft"


@functools.lru_cache
def _constants(settings: MelSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Window [n_fft], filterbank [bins, bands], and the windowed cosines and sines [n_fft, 2 bins]."""
    n = settings.n_fft
    window = scipy.signal.get_window("hann", n)
    bank = librosa.filters.mel(
        sr=settings.sample_rate, n_fft=n, n_mels=settings.bands, fmin=settings.fmin, fmax=settings.highest_hz
    ).T  # float32, as librosa applies it
    # The angle is reduced in integers: in floats the product alone would cost three digits.
    angle = 2 * np.pi / n * (np.outer(np.arange(n), np.arange(n // 2 + 1)) % n)
    basis = window[:, None] * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return window, bank, basis


def mel_decibels(
    samples: Float[Array, "b n"], settings: MelSettings = RELEASE, fourier: Fourier = "rfft"
) -> Float[Array, "b frames bands"]:
    """Mel power in dB of every whole frame, without padding and without the cut-off; pure and jittable.

    Args:
      samples: between -1 and 1.
      settings: of the frames and bands.
      fourier: `rfft` or `matmul`.
    """
    window, bank, basis = (jnp.asarray(one, samples.dtype) for one in _constants(settings))
    scaled = samples * SCALE
    if fourier == "matmul":
        # [b, frames, 2 bins] without the frames in memory.
        spectrum = lax.conv_general_dilated(
            scaled[..., None],
            basis[:, None, :],
            window_strides=(settings.hop,),
            padding="VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=lax.Precision.HIGHEST,
        )
        cosines, sines = jnp.split(spectrum, 2, axis=-1)
        power = cosines * cosines + sines * sines
    else:
        count = (samples.shape[1] - settings.n_fft) // settings.hop + 1
        cut = functools.partial(lax.dynamic_slice_in_dim, slice_size=settings.n_fft)
        frames = jax.vmap(jax.vmap(cut, in_axes=(None, 0)), in_axes=(0, None))(scaled, jnp.arange(count) * settings.hop)
        spectrum = jnp.fft.rfft(frames * window)
        power = spectrum.real**2 + spectrum.imag**2
    mel = jnp.einsum("bfk,km->bfm", power, bank, precision=lax.Precision.HIGHEST)
    return 10 * jnp.log10(jnp.maximum(mel, AMIN))


def normalise(
    decibels: Float[Array, "b frames bands"], frames: Int[Array, " b"], settings: MelSettings = RELEASE
) -> Float[Array, "b frames bands"]:
    """The cut-off below the loudest value, then zero mean and unit deviation over each recording; zeros after its end.

    Args:
      decibels: one recording a row.
      frames: valid ones of each row.
      settings: `top_db` is used.
    """
    valid = (jnp.arange(decibels.shape[1]) < frames[:, None])[..., None]
    sizes = (frames * settings.bands)[:, None, None]

    def over(values: Array) -> Array:
        return jnp.sum(jnp.where(valid, values, 0), axis=(1, 2), keepdims=True) / sizes

    loudest = jnp.max(jnp.where(valid, decibels, -jnp.inf), axis=(1, 2), keepdims=True)
    cut = jnp.maximum(decibels, loudest - settings.top_db)
    centred = cut - over(cut)
    return jnp.where(valid, centred / jnp.sqrt(over(centred * centred)), 0)


def log_mel(
    samples: Float[Array, "b n"],
    lengths: Int[Array, " b"],
    settings: MelSettings = RELEASE,
    fourier: Fourier = "rfft",
) -> tuple[Float[Array, "b frames bands"], Int[Array, " b"]]:
    """Normalised log-mel of whole recordings that fit into memory; pure and jittable.

    Args:
      samples: one recording a row, zeros after its end.
      lengths: samples of each.
      settings, fourier: as in `mel_decibels`.

    Returns:
      frames, centred as librosa's, zeros after the end; and how many are valid in each row.
    """
    half = settings.n_fft // 2
    values = mel_decibels(jnp.pad(samples, ((0, 0), (half, half))), settings, fourier)
    frames = 1 + lengths // settings.hop
    return normalise(values, frames, settings), frames


@functools.partial(jax.jit, static_argnames=("settings", "fourier"))
def _decibels(samples: Float32[Array, "b n"], settings: MelSettings, fourier: Fourier) -> Array:
    return mel_decibels(samples, settings, fourier)


def decibels(
    blocks: Iterable[Float32[np.ndarray, " n"]], settings: MelSettings = RELEASE, fourier: Fourier | None = None
) -> Iterator[Float32[np.ndarray, "frames bands"]]:
    """`features.mel.decibels` on the default device; give it to `features.mel.LogMel` as its `transform`.

    A call of the program takes `BLOCKS` blocks of `BLOCK_FRAMES` frames (5 minutes of the release's). What is left at
    the end goes in calls of powers of two of blocks, the last block padded with zeros.

    Args:
      blocks: from `features.mel.padded`.
      settings: of the frames and bands.
      fourier: None chooses by device.
    """
    fourier = fourier or default_fourier()
    step = BLOCK_FRAMES * settings.hop
    size = step - settings.hop + settings.n_fft
    call = BLOCKS * step - settings.hop + settings.n_fft

    def run(samples: np.ndarray, count: int) -> np.ndarray:
        batch = np.lib.stride_tricks.sliding_window_view(samples, size)[::step][:count]
        decibels_of = np.asarray(_decibels(np.ascontiguousarray(batch), settings, fourier))
        return decibels_of.reshape(-1, settings.bands)

    waiting: list[np.ndarray] = []
    buffered = 0
    for block in blocks:
        waiting.append(block)
        buffered += len(block)
        while buffered >= call:
            joined = np.concatenate(waiting)
            yield run(joined[:call], BLOCKS)
            waiting, buffered = [joined[BLOCKS * step :]], buffered - BLOCKS * step
    frames = (buffered - settings.n_fft) // settings.hop + 1
    left = -(-max(0, frames) // BLOCK_FRAMES)
    joined = np.concatenate([*waiting, np.zeros(left * step, np.float32)])
    while left:
        count = 1 << (left.bit_length() - 1)
        yield run(joined[: count * step - settings.hop + settings.n_fft], count)[:frames]
        joined, left, frames = joined[count * step :], left - count, frames - count * BLOCK_FRAMES
