"""A frozen encoder as a feature extractor: many inputs of different lengths, few compiled programs.

Inputs are sorted by length, and each batch of neighbours is padded to the next multiple of a step behind its longest,
so that little is computed in vain and every batch has one of a few shapes. But for rounding, what an input gives does
not depend on what it is batched with: padding is masked everywhere, also in the group norm of base wav2vec 2.0 and
HuBERT (`Wav2Vec2.valid_statistics`).
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmpsy_jax.encoders import Encoder
from mmpsy_jax.encoders.bert import Bert
from mmpsy_jax.encoders.wav2vec2 import Wav2Vec2
from mmpsy_jax.encoders.whisper import Whisper
from mmpsy_jax.io import InputError

STEPS = {Bert: 64, Wav2Vec2: 32_000}  # tokens; samples, 2 s
Layers = int | Sequence[int] | None


def choose(out: dict[str, Any], layers: Layers) -> Float[Array, "b n d"]:
    """One hidden state, or the mean of several, in float32.

    Args:
      out: of a module, with hidden states.
      layers: None is the last hidden state (behind the last norm); 0 is what enters the first layer, i is what layer i
        gives, -1 what the last layer gives; several are averaged.

    Raises:
      InputError: there is no such layer, or none is given.
    """
    if layers is None:
        return out["last_hidden_state"].astype(jnp.float32)
    states = out["hidden_states"]
    chosen = [layers] if isinstance(layers, int) else list(layers)
    _check_layers(chosen, len(states))
    return sum(states[number].astype(jnp.float32) for number in chosen) / len(chosen)


def check(module: nn.Module, layers: Layers, batch_size: int) -> None:
    """Raises InputError where the encoder has no such layer, or the size of a batch is none."""
    if layers is not None:
        depth = module.encoder_layers if isinstance(module, Whisper) else module.layers
        _check_layers([layers] if isinstance(layers, int) else list(layers), depth + 1)
    if batch_size < 1:
        raise InputError(f"batch_size = {batch_size}: must be a whole number above 0")


def _check_layers(layers: Sequence[int], count: int) -> None:
    if not layers or not all(-count <= number < count for number in layers):
        raise InputError(f"layers {list(layers)}: choose among 0 to {count - 1}, or from the end, -1 to {-count}")


@functools.partial(jax.jit, static_argnames=("module", "layers"))
def _states(module: nn.Module, params: Any, inputs: Any, mask: Any, layers: Layers) -> tuple[Any, Any]:
    out = module.apply({"params": params}, inputs, mask, output_hidden_states=layers is not None)
    return choose(out, layers), out["mask"].sum(-1)


def encode(
    encoder: Encoder,
    inputs: Sequence[np.ndarray],
    *,
    layers: Layers = None,
    batch_size: int = 16,
    step: int | None = None,
) -> list[np.ndarray]:
    """Hidden states of every input, in the order of the inputs.

    The precision is that of the module: `load(folder, dtype=jnp.bfloat16)`, or float32.

    Args:
      inputs: token ids [n], waveforms [samples], or Whisper's features [mels, frames] (whose encoder is run).
      layers: as in `choose`.
      batch_size: rows per call.
      step: lengths are padded to multiples of it; None takes 64 tokens or 32,000 samples.

    Returns:
      f32 [positions, width] for each input, without padding.

    Raises:
      InputError: an input is empty, too short or too long for the encoder, a token has no row in its table, or there is
        no such layer.
    """
    module = encoder.module
    check(module, layers, batch_size)
    if isinstance(module, Wav2Vec2):
        module = module.clone(valid_statistics=True)
    params = jax.device_put(encoder.params)
    layers = tuple(layers) if isinstance(layers, Sequence) else layers
    states_of: list[np.ndarray | None] = [None] * len(inputs)

    def fetch(rows: list[int], computed: tuple[Any, Any]) -> None:
        states, counts = jax.device_get(computed)
        for place, row in enumerate(rows):
            states_of[row] = states[place, : counts[place]]

    running: tuple[list[int], Any] | None = None  # the batch that is computed while the next one is filled
    for rows, padded, mask in _batches(module, inputs, batch_size, step):
        begun = (rows, _states(module, params, padded, mask, layers))
        if running:
            fetch(*running)
        running = begun
    if running:
        fetch(*running)
    return states_of


def _batches(
    module: nn.Module, inputs: Sequence[np.ndarray], batch_size: int, step: int | None
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray | None]]:
    """(places of the inputs, padded inputs, mask), longest first, so that memory runs out at once or never."""
    if type(module) not in STEPS:
        for start in range(0, len(inputs), batch_size):
            rows = list(range(start, min(start + batch_size, len(inputs))))
            yield rows, _fill([inputs[row] for row in rows], batch_size), None
        return
    shortest = module.shortest if isinstance(module, Wav2Vec2) else 1
    lengths = np.array([len(values) for values in inputs], np.int64)
    if len(inputs) and lengths.min() < shortest:
        raise InputError(
            f"input {lengths.argmin()} has {lengths.min()} values: give at least {shortest}, or leave it out"
        )
    if isinstance(module, Bert):
        _check_ids(inputs, module.vocabulary)
    step = step or STEPS[type(module)]
    widths = -(-lengths // step) * step
    if isinstance(module, Bert):
        widths = np.maximum(np.minimum(widths, module.longest), lengths)
    order = np.argsort(-lengths, kind="stable").tolist()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        width = widths[rows[0]]
        padded = _fill([np.pad(inputs[row], (0, width - lengths[row])) for row in rows], batch_size)
        counts = np.zeros(batch_size, np.int64)
        counts[: len(rows)] = lengths[rows]
        yield rows, padded, np.arange(width) < counts[:, None]


def _check_ids(inputs: Sequence[np.ndarray], rows: int) -> None:
    """Raises InputError for ids beyond the table of words, for which a gather of JAX gives NaN."""
    for number, ids in enumerate(inputs):
        if ids.min() < 0 or ids.max() >= rows:
            wrong = ids.max() if ids.max() >= rows else ids.min()
            raise InputError(
                f"input {number} has the token id {wrong}, the table of words has rows 0 to {rows - 1}: take the "
                "tokenizer of the same model"
            )


def _fill(rows: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Rows as one array, with rows of zeros behind them."""
    stacked = np.stack(rows)
    return np.pad(stacked, [(0, batch_size - len(rows)), *((0, 0) for _ in stacked.shape[1:])])
