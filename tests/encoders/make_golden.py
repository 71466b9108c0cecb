"""Makes tests/encoders/golden: what transformers' PyTorch models compute with SYNTHETIC (random) weights.

    /tmp/torchenv/bin/python tests/encoders/make_golden.py        # torch and transformers; nothing is downloaded

Each folder is a tiny Hugging Face model (config.json, model.safetensors) with golden.npz: inputs, and every hidden
state of eager attention in float32. Weights are stored as float16 and computed with as such.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
import transformers

GOLDEN = Path(__file__).parent / "golden"
TEXT = {
    "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 24, "initializer_range": 0.5,
}  # fmt: skip
AUDIO = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "conv_dim": [12, 12, 16], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2], "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4, "vocab_size": 12, "initializer_range": 0.3,
}  # fmt: skip
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {
    "vocab_size": 40, "num_mel_bins": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "decoder_layers": 2,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 48, "d_model": 16,
    "max_source_positions": 20, "max_target_positions": 12, "init_std": 0.3, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 3, "begin_suppress_tokens": None,
}  # fmt: skip


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Moves every parameter off its initial value, so that no bias is 0 and no scale is 1; values fit float16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_((parameter + 0.1 * noise).half().float())
    return model.eval()


def save(name: str, model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    np.savez_compressed(folder / "golden.npz", **arrays)


def states(prefix: str, hidden: tuple[torch.Tensor, ...], last: torch.Tensor) -> dict[str, np.ndarray]:
    named = {f"{prefix}hidden_{number}": state.numpy() for number, state in enumerate(hidden)}
    return named | {f"{prefix}last": last.numpy()}


@torch.no_grad()
def text(name: str, model: torch.nn.Module, network: torch.nn.Module, pad: int) -> None:
    """A padded batch with its mask and two token types where the model has them."""
    generator = np.random.default_rng(1)
    ids = generator.integers(4, 30, (3, 12))
    lengths = np.array([12, 7, 1])
    mask = np.arange(12) < lengths[:, None]
    ids[~mask] = pad
    types = (np.arange(12) > 4).astype(np.int64) * mask if network.config.type_vocab_size > 1 else np.zeros_like(ids)
    out = network(torch.tensor(ids), torch.tensor(mask), token_type_ids=torch.tensor(types), output_hidden_states=True)
    arrays = {"ids": ids.astype(np.int32), "mask": mask, "types": types.astype(np.int32)}
    save(name, model, arrays | states("", out.hidden_states, out.last_hidden_state))


@torch.no_grad()
def audio(name: str, model: torch.nn.Module, network: torch.nn.Module) -> None:
    """A zero-padded batch without a mask and with one, and its second row alone."""
    generator = np.random.default_rng(2)
    lengths = np.array([400, 251, 130])
    mask = np.arange(400) < lengths[:, None]
    waveforms = (generator.standard_normal((3, 400)) * mask).astype(np.float32)
    arrays = {"waveforms": waveforms, "mask": mask}
    for prefix, inputs, given in (
        ("plain_", waveforms, None),
        ("masked_", waveforms, torch.tensor(mask).long()),
        ("alone_", waveforms[1:2, :251], None),
    ):
        out = network(torch.tensor(inputs), attention_mask=given, output_hidden_states=True)
        arrays |= states(prefix, out.hidden_states, out.last_hidden_state)
    save(name, model, arrays)


@torch.no_grad()
def whisper(name: str, model: torch.nn.Module, network: torch.nn.Module) -> None:
    """One start token, and several with padding behind them."""
    generator = np.random.default_rng(3)
    features = generator.standard_normal((2, 8, 40)).astype(np.float32)
    mask = np.arange(6) < np.array([6, 4])[:, None]
    arrays = {"features": features, "mask": mask}
    for prefix, ids, given in (
        ("start_", np.full((2, 1), 3), None),
        ("several_", np.concatenate([np.full((2, 1), 3), generator.integers(4, 40, (2, 5))], 1), torch.tensor(mask)),
    ):
        out = network(
            torch.tensor(features), decoder_input_ids=torch.tensor(ids), decoder_attention_mask=given,
            output_hidden_states=True, use_cache=False,
        )  # fmt: skip
        arrays[f"{prefix}ids"] = ids.astype(np.int32)
        arrays |= states(f"{prefix}encoder_", out.encoder_hidden_states, out.encoder_last_hidden_state)
        arrays |= states(f"{prefix}decoder_", out.decoder_hidden_states, out.last_hidden_state)
    save(name, model, arrays)


def main() -> None:
    t = transformers
    eager = {"attn_implementation": "eager"}
    model = randomise(t.BertForPreTraining(t.BertConfig(**TEXT, **eager)), 0)
    text("bert", model, model.bert, 0)
    roberta = t.RobertaConfig(**TEXT, type_vocab_size=1, layer_norm_eps=1e-5, hidden_act="gelu_new", **eager)
    model = randomise(t.RobertaModel(roberta), 1)
    text("roberta", model, model, 1)
    model = randomise(t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**AUDIO, **eager)), 2)
    audio("wav2vec2_base", model, model.wav2vec2)
    model = randomise(t.Wav2Vec2Model(t.Wav2Vec2Config(**AUDIO, **LARGE, **eager)), 3)
    audio("wav2vec2_large", model, model)
    model = randomise(t.HubertModel(t.HubertConfig(**AUDIO, feat_proj_layer_norm=False, **eager)), 4)
    audio("hubert_base", model, model)
    model = randomise(t.HubertForCTC(t.HubertConfig(**(AUDIO | {"num_conv_pos_embeddings": 7}), **LARGE, **eager)), 5)
    audio("hubert_large", model, model.hubert)
    model = randomise(t.WhisperForConditionalGeneration(t.WhisperConfig(**WHISPER, **eager)), 6)
    whisper("whisper", model, model.model)


if __name__ == "__main__":
    main()
