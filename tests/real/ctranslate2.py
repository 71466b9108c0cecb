"""A Whisper of CTranslate2 (model.bin, version 6 of its binary format) as a Hugging Face folder.

The file is a plain list of named arrays, little-endian, and nothing in it is run:

    u32 version, text name of the spec, u32 its revision, u32 count of arrays,
    count times: text name, u8 axes, u32 each axis, u8 type, u32 bytes, the bytes; then aliases, of which we need none
    text: u16 length, that many bytes, the last of them 0
"""

import json
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
# Their name -> name of Hugging Face; a list where the rows of several matrices lie one below the other.
NAMES = (
    (r"encoder/conv(\d)", r"encoder.conv\1"),
    (r"(encoder|decoder)/position_encodings/encodings", r"\1.embed_positions.weight"),
    (r"decoder/embeddings", r"decoder.embed_tokens"),
    (r"(encoder|decoder)/layer_norm", r"\1.layer_norm"),
    (r"(encoder|decoder)/layer_(\d+)/self_attention/layer_norm", r"\1.layers.\2.self_attn_layer_norm"),
    (r"(encoder|decoder)/layer_(\d+)/self_attention/linear_0", [rf"\1.layers.\2.self_attn.{p}_proj" for p in "qkv"]),
    (r"(encoder|decoder)/layer_(\d+)/self_attention/linear_1", r"\1.layers.\2.self_attn.out_proj"),
    (r"decoder/layer_(\d+)/attention/layer_norm", r"decoder.layers.\1.encoder_attn_layer_norm"),
    (r"decoder/layer_(\d+)/attention/linear_0", r"decoder.layers.\1.encoder_attn.q_proj"),
    (r"decoder/layer_(\d+)/attention/linear_1", [rf"decoder.layers.\1.encoder_attn.{p}_proj" for p in "kv"]),
    (r"decoder/layer_(\d+)/attention/linear_2", r"decoder.layers.\1.encoder_attn.out_proj"),
    (r"(encoder|decoder)/layer_(\d+)/ffn/layer_norm", r"\1.layers.\2.final_layer_norm"),
    (r"(encoder|decoder)/layer_(\d+)/ffn/linear_0", r"\1.layers.\2.fc1"),
    (r"(encoder|decoder)/layer_(\d+)/ffn/linear_1", r"\1.layers.\2.fc2"),
)
PARTS = ("encoder", "decoder")
LEAVES = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a model.bin by their names."""
    with open(path, "rb") as file:
        assert _number(file, "u4") == 6, f"{path}: another version of the format"
        _text(file), _number(file, "u4")
        return dict(_array(file) for _ in range(_number(file, "u4")))


def _number(file: BinaryIO, kind: str) -> int:
    dtype = np.dtype(f"<{kind}")
    return int(np.frombuffer(file.read(dtype.itemsize), dtype)[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "u2")).rstrip(b"\0").decode()


def _array(file: BinaryIO) -> tuple[str, np.ndarray]:
    name = _text(file)
    shape = [_number(file, "u4") for _ in range(_number(file, "u1"))]
    dtype = DTYPES[_number(file, "u1")]
    return name, np.frombuffer(file.read(_number(file, "u4")), dtype).reshape(shape)


def rename(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of Hugging Face's Whisper, float32."""
    made = {}
    for name, value in arrays.items():
        if value.ndim == 0 or name.startswith("decoder/alignment"):
            continue  # settings
        place, _, leaf = name.rpartition("/")
        if leaf == "encodings":
            place, leaf = name, ""
        pattern, theirs = next((p, t) for p, t in NAMES if re.fullmatch(p, place))
        targets = [theirs] if isinstance(theirs, str) else theirs
        for target, part in zip(targets, np.split(value, len(targets)), strict=True):
            renamed = re.sub(pattern, target, place) + (f".{LEAVES[leaf]}" if leaf else "")
            if renamed.endswith("k_proj.bias"):
                assert not part.any(), "Whisper has no bias of keys"
                continue
            made[f"model.{renamed}"] = np.ascontiguousarray(part, np.float32)
    return made


def write_folder(model: Path, folder: Path) -> Path:
    """config.json, model.safetensors, tokenizer.json and preprocessor_config.json of a CTranslate2 folder."""
    import transformers
    from safetensors.numpy import save_file

    arrays = read_arrays(model / "model.bin")
    tensors = rename(arrays)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = (model / "tokenizer.json").read_text()
    special = {token["content"]: token["id"] for token in json.loads(text)["added_tokens"]}
    layers = {f"{p}_layers": sum(f"{p}/layer_{n}/ffn/linear_0/bias" in arrays for n in range(99)) for p in PARTS}
    heads = {f"{part}_attention_heads": int(arrays[f"{part}/num_heads"]) for part in PARTS}
    hidden = {f"{part}_ffn_dim": len(arrays[f"{part}/layer_0/ffn/linear_0/bias"]) for part in PARTS}
    vocabulary, width = arrays["decoder/embeddings/weight"].shape
    transformers.WhisperConfig(
        vocab_size=vocabulary, d_model=width, num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        max_source_positions=len(arrays["encoder/position_encodings/encodings"]),
        max_target_positions=len(arrays["decoder/position_encodings/encodings"]),
        decoder_start_token_id=special["<|startoftranscript|>"], eos_token_id=special["<|endoftext|>"],
        bos_token_id=special["<|endoftext|>"], pad_token_id=special["<|endoftext|>"],
        architectures=["WhisperForConditionalGeneration"], **layers, **heads, **hidden,
    ).save_pretrained(folder)  # fmt: skip
    transformers.WhisperFeatureExtractor(feature_size=arrays["encoder/conv1/weight"].shape[1]).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text)
    return folder
