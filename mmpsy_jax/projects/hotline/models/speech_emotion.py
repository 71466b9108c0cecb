"""Emotions of speech: a pretrained encoder, the mean over time, and one small head per emotion.

After Chen et al., "Fine-grained Speech Sentiment Analysis in Chinese Psychological Support Hotlines Based on
Large-scale Pre-trained Model" (arXiv 2405.04128; repo czl0914/psy_hotline_analysis): HuBERT, wav2vec 2.0, or Whisper,
whose decoder gets one start token, and whose one state the head reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import librosa
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Bool, Float, Int, PyTree

from mmpsy_jax import encoders
from mmpsy_jax.encoders import Whisper, finetune, processors
from mmpsy_jax.encoders.checkpoint import read_json
from mmpsy_jax.encoders.config import build
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.models import perceiver
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates
from mmpsy_jax.rules import Pattern, Precision
from mmpsy_jax.tasks import kind_of

SAMPLE_RATE = 16_000
N_FFT, HOP = 400, 160  # samples of a frame of Whisper's, and from one to the next
_SCALE = 32768.0  # of the records' 16-bit samples

# Sizes for tests and the demo, of the published layouts: HuBERT base (group norm), XLSR (layer norm), Whisper.
_CONVOLUTIONS = {"conv_dim": (24, 24, 32), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8), "conv_bias": False}
_SPEECH = {
    **_CONVOLUTIONS,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_dropout": 0.0,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
}
TINY: dict[str, dict[str, Any]] = {
    "hubert": {"model_type": "hubert", **_SPEECH},
    "wav2vec2": {
        "model_type": "wav2vec2",
        **_SPEECH,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
    "whisper": {
        "model_type": "whisper",
        "num_mel_bins": 40,
        "max_source_positions": 150,  # 3 s
        "vocab_size": 8,
        "max_target_positions": 4,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 64,
        "activation_function": "gelu",
        "decoder_start_token_id": 1,
        "dropout": 0.0,
        "activation_dropout": 0.0,
    },
}


class Model(nn.Module):
    """Segments' windows of samples -> a logit per class of each task.

    Attributes:
      modalities: one, of 16-bit samples at 16 kHz.
      heads: the outputs, binary or nominal.
      window_seconds: of the records; not needed, since nothing here knows of time beyond a window.
      encoder: one of `TINY`; decides the family.
      folder: of Hugging Face, for pretrained weights; "" is a tiny random one.
      train, freeze: patterns (regular expressions on whole paths) of the encoder's parameters that are trained, and of
        those among them that are not; "" freezes none.
      lora_rank: of low-rank updates of queries and values of a frozen encoder; 0 for none.
      lora_alpha: their scale.
      dtype: precision of the encoder, "float32" or "bfloat16".
      remat: recompute its layers in the backward pass.
    """

    RATES: ClassVar[dict[str, float]] = {"dropout": 0.1}

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    encoder: Literal["hubert", "wav2vec2", "whisper"] = "hubert"
    folder: str = ""
    train: Pattern = ".*"
    freeze: Pattern = ""
    lora_rank: int = 0
    lora_alpha: float = 16.0
    dtype: Precision = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b _"]]:
        """One logit per class of each task [b c], and the embedding of each participant [b d].

        Args:
          batch: one pack of a packed batch (docs/architecture.md).
          rates: of dropout in the heads; the encoder's own rates are those of its config.json and hold wherever a
            "dropout" rng is passed.

        Raises:
          InputError: several modalities, one that is no samples, an ordinal task or a score, or an unknown encoder.
        """
        if len(self.modalities) != 1 or self.modalities[0].shape[1] != 1:
            raise InputError("speech_emotion hears samples: give one modality with windows of shape [samples, 1]")
        other = [head.name for head in self.heads if not kind_of(head.kind).logits]
        if other:
            raise InputError(f"speech_emotion tells classes without an order, not {', '.join(other)}: leave them out")
        name = self.modalities[0].name
        length, row, rows = batch[f"{name}_length"], batch[f"{name}_row"], batch["valid"].shape[0]
        samples = batch[name][..., 0].astype(jnp.float32) / _SCALE
        states, mask = self.encode(samples, length)
        pooled = perceiver.masked_mean(states, mask & (length > 0)[:, None], row, rows)
        outputs = {EMBEDDING: pooled}
        for head in self.heads:
            x = perceiver.Dropout()(pooled, rates.dropout)
            x = jnp.tanh(nn.Dense(pooled.shape[-1], name=f"{head.name}_dense")(x))
            x = perceiver.Dropout()(x, rates.dropout)
            bias = self.param(f"{head.name}_bias", nn.initializers.zeros_init(), (head.n_classes,))
            outputs[head.name] = nn.Dense(head.n_classes, use_bias=False, name=f"{head.name}_out")(x) + bias
        return outputs

    def encode(
        self, samples: Float[Array, "s t"], length: Int[Array, " s"]
    ) -> tuple[Float[Array, "s n d"], Bool[Array, "s n"]]:
        """States of the encoder (of Whisper the decoder's one), and which of them count."""
        config = config_of(self.encoder, self.folder)
        module = build(config, dtype=jnp.dtype(self.dtype), remat=self.remat)
        params = {"params": self.encoder_params(config)}
        options: dict[str, Any] = {"deterministic": not self.has_rng("dropout")}
        if not options["deterministic"]:
            options["rngs"] = {"dropout": self.make_rng("dropout")}
        mask = jnp.arange(samples.shape[1]) < length[:, None]
        if isinstance(module, Whisper):
            ids = jnp.full((samples.shape[0], 1), module.start_id, jnp.int32)
            mel = log_mel(jnp.where(mask, samples, 0), bands=module.mels, frames=2 * module.positions)
            out = module.apply(params, mel, decoder_ids=ids, **options)
        else:
            standard = standardises(config, self.folder)
            waveforms = standardised(samples, mask) if standard else jnp.where(mask, samples, 0)
            out = module.clone(valid_statistics=True).apply(params, waveforms, mask, **options)
        return out["last_hidden_state"], out["mask"]

    def encoder_params(self, config: Mapping[str, Any]) -> PyTree:
        """The encoder's parameters, of which those that stay as they are lie in the collection "fitted"."""

        def start() -> tuple[dict[str, Any], dict[str, Any]]:
            return split(encoders.make(config).params, self.train, self.freeze, self.lora_rank)

        trained = self.param("encoder", lambda _: start()[0])
        frozen = {}
        if jax.tree.leaves(jax.eval_shape(start)[1]):
            frozen = self.variable("fitted", "encoder", lambda: start()[1]).value
        if not self.lora_rank:
            return finetune.combine(trained, frozen)
        return finetune.lora_merge(frozen, low_rank(trained), alpha=self.lora_alpha)


def config_of(encoder: str, folder: str) -> dict[str, Any]:
    """config.json of the encoder.

    Raises:
      InputError: an unknown encoder, or a folder of another one.
    """
    if encoder not in TINY:
        raise one_of("config.model.encoder", encoder, TINY)
    if not folder:
        return TINY[encoder]
    config = read_json(Path(folder) / "config.json")
    if config.get("model_type") != encoder:
        raise InputError(f"{folder} holds a {config.get('model_type')!r}, config.model.encoder says {encoder!r}")
    return config


def standardises(config: Mapping[str, Any], folder: str) -> bool:
    """Whether the encoder hears recordings at mean 0 and variance 1; Whisper's log-mel is not affected.

    Args:
      config: of the encoder.
      folder: of Hugging Face, whose preprocessor_config.json says so (`do_normalize`); "" for a tiny random one.

    Raises:
      InputError: the folder has no feature extractor, one that does not fit, or of Whisper one with other frames than
        `log_mel` makes.
    """
    if not folder:
        return True
    extractor = processors.feature_extractor(folder, build(config))
    if config["model_type"] != "whisper":
        return extractor.do_normalize
    if (extractor.n_fft, extractor.hop_length) != (N_FFT, HOP):
        raise InputError(
            f"{folder}: preprocessor_config.json has n_fft = {extractor.n_fft} and hop_length = "
            f"{extractor.hop_length}, must be {N_FFT} and {HOP}, Whisper's: take that of the published model"
        )
    return False


def pretrained(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the encoder starts: parameters that are trained and variables that are not, under "encoder".

    They are the same for every seed: a random tiny encoder stands in for a pretrained one.

    Args:
      arguments: of `Model`.

    Raises:
      InputError: the folder cannot be read, is of another encoder or has no feature extractor that fits, or a pattern
        matches nothing.
    """
    config = config_of(arguments["encoder"], arguments["folder"])
    standardises(config, arguments["folder"])  # for what it refuses
    encoder = encoders.load(arguments["folder"]) if arguments["folder"] else encoders.make(config)
    parts = split(encoder.params, arguments["train"], arguments["freeze"], arguments["lora_rank"])
    trained, frozen = jax.tree.map(np.asarray, parts)
    return {"encoder": trained}, {"encoder": frozen} if frozen else {}


def split(params: dict[str, Any], train: str, freeze: str, lora_rank: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trained and frozen parameters of an encoder; with LoRA the updates, nested by path, and everything else."""
    if not lora_rank:
        return finetune.partition(params, (train,), (freeze,) if freeze else ())
    updates = finetune.lora_init(jax.random.key(0), params, rank=lora_rank)
    return traverse_util.unflatten_dict({tuple(path.split("/")): update for path, update in updates.items()}), params


def low_rank(nested: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The updates by path of their matrix, as `finetune.lora_merge` takes them."""
    updates: dict[str, dict[str, Any]] = {}
    for path, values in traverse_util.flatten_dict(nested).items():
        updates.setdefault("/".join(path[:-1]), {})[path[-1]] = values
    return updates


def standardised(samples: Float[Array, "s t"], mask: Bool[Array, "s t"]) -> Float[Array, "s t"]:
    """Each window to mean 0 and variance 1 over its own samples, 0 behind, as wav2vec 2.0's extractor a recording."""
    count = jnp.maximum(mask.sum(1, keepdims=True), 1)
    mean = jnp.where(mask, samples, 0).sum(1, keepdims=True) / count
    variance = jnp.where(mask, jnp.square(samples - mean), 0).sum(1, keepdims=True) / count
    return jnp.where(mask, (samples - mean) * jax.lax.rsqrt(variance + 1e-7), 0)


def log_mel(samples: Float[Array, "s t"], *, bands: int, frames: int) -> Float[Array, "s bands frames"]:
    """Whisper's log-mel spectrogram (Radford et al. 2022, arXiv 2212.04356): 25 ms every 10 ms, padded with silence.

    Power of a Hann window of 400 samples -> mel bands -> log10, cut off 8 below the largest value -> (x + 4) / 4.

    Args:
      samples: 16 kHz; what follows `frames` is cut off.
      bands: of the mel filter bank (Slaney's).
      frames: of the result, 3,000 for the published models.
    """
    total = frames * HOP
    samples = samples[:, :total]
    samples = jnp.pad(samples, ((0, 0), (0, total - samples.shape[1])))
    centred = jnp.pad(samples, ((0, 0), (N_FFT // 2, N_FFT // 2)), mode="reflect")
    places = HOP * np.arange(frames)[:, None] + np.arange(N_FFT)
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    power = jnp.square(jnp.abs(jnp.fft.rfft(centred[:, places] * window)))
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=bands)
    log = jnp.log10(jnp.maximum(jnp.einsum("sfn,bn->sbf", power, filters), 1e-10))
    return (jnp.maximum(log, log.max((1, 2), keepdims=True) - 8.0) + 4.0) / 4.0
