"""Reading Hugging Face folders: names of tensors in all their forms, and every way in which a folder can be wrong."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mmpsy_jax import encoders
from mmpsy_jax.encoders import convert
from mmpsy_jax.io import InputError
from tests.hugging_face import edit, rewrite

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path):
    """A copy of a golden model: folder("bert")."""

    def copy(name):
        shutil.copytree(GOLDEN / name, tmp_path / name)
        return tmp_path / name

    return copy


def same(folder, name):
    """Whether a changed folder still gives the parameters of the golden one."""
    ours, wanted = encoders.load(folder).params, encoders.load(GOLDEN / name).params
    return jax.tree.all(jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), ours, wanted))


def renamed(tensors, *changes):
    made = {}
    for name, value in tensors.items():
        for old, new in changes:
            name = name.replace(old, new)
        made[name] = value
    return made


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("bert", "bert."), ("wav2vec2_base", "wav2vec2."), ("hubert_large", "hubert."), ("whisper", "model.")],
)
def test_with_and_without_prefix_and_heads(folder, name, prefix):
    made = folder(name)
    assert any(key.startswith(prefix) for key in load_file(made / "model.safetensors"))
    network = {k.removeprefix(prefix): v for k, v in load_file(made / "model.safetensors").items()}
    rewrite(made, lambda _: network)  # with the heads of the golden file
    assert same(made, name)
    heads = ("cls.", "lm_head.", "proj_out.")
    network = {key: value for key, value in network.items() if not key.startswith(heads)}
    extra = {"classifier.weight": np.zeros((2, 16), np.float32), "something.new": np.zeros(3, np.float32)}
    rewrite(made, lambda _: {f"{prefix}{key}": value for key, value in network.items()} | extra)
    assert same(made, name)


@pytest.mark.parametrize("name", ["roberta", "wav2vec2_large", "hubert_base"])
def test_a_prefix_where_the_golden_file_has_none(folder, name):
    made = folder(name)
    prefix = {"roberta": "roberta.", "wav2vec2_large": "wav2vec2.", "hubert_base": "hubert."}[name]
    rewrite(made, lambda tensors: {f"{prefix}{key}": value for key, value in tensors.items()})
    assert same(made, name)


@pytest.mark.parametrize("prefix", ["model.bert.", "module.", "model.encoder."])
def test_any_prefix_is_found_and_what_lies_elsewhere_is_not_read(folder, prefix):
    made = folder("hubert_base")
    head = {"classifier.weight": np.zeros((2, 16), np.float32), "layer_weights": np.ones(3, np.float32)}
    rewrite(made, lambda tensors: {f"{prefix}{name}": value for name, value in tensors.items()} | head)
    assert same(made, "hubert_base")


def test_a_head_of_any_name_beside_a_network_at_the_top(folder):
    made = folder("bert")
    head = {"emotion_head.weight": np.zeros((2, 16), np.float32), "layer_weights": np.ones(3, np.float32)}
    rewrite(made, lambda tensors: {name.removeprefix("bert."): value for name, value in tensors.items()} | head)
    assert same(made, "bert")


def test_of_two_networks_the_usual_one_is_taken_or_none(folder):
    made = folder("bert")
    rewrite(made, lambda t: t | {f"teacher.{name}": value * 2 for name, value in t.items()})
    assert same(made, "bert")
    rewrite(made, lambda t: {("text." if name.startswith("bert.") else "") + name: value for name, value in t.items()})
    refused(made, "2 networks of type 'bert', under teacher.bert., text.bert.", "keep one of them")


WITHOUT_DECODER = {
    "model.encoder.": "model.encoder.",  # WhisperModel, cut
    "encoder.": "encoder.",  # with a classifier
    "alone": "",  # the encoder by itself
}


@pytest.mark.parametrize("prefix", WITHOUT_DECODER.values(), ids=WITHOUT_DECODER)
def test_an_encoder_of_whisper_needs_no_decoder(folder, prefix):
    made, theirs = folder("whisper"), "model.encoder."
    head = {"projector.weight": np.zeros((4, 16), np.float32), "classifier.weight": np.zeros((2, 4), np.float32)}
    cut = lambda t: {f"{prefix}{k.removeprefix(theirs)}": v for k, v in t.items() if k.startswith(theirs)}  # noqa: E731
    rewrite(made, lambda tensors: cut(tensors) | (head if prefix else {}))
    params = encoders.load(made, decoder=False).params
    wanted = encoders.load(GOLDEN / "whisper").params
    assert set(wanted) - set(params) == {"decoder", "word_table", "token_position_table"}
    assert jax.tree.all(jax.tree.map(np.array_equal, params, {name: wanted[name] for name in params}))
    whole = encoders.load(GOLDEN / "whisper", decoder=False).params
    assert jax.tree.all(jax.tree.map(np.array_equal, params, whole))
    refused(made, "lacks decoder.", "without its decoder")


def test_names_that_safetensors_only_lists_are_followed(folder):
    made, word = folder("roberta"), "embeddings.word_embeddings.weight"
    tied = {word: "lm_head.decoder.weight"}
    rename = lambda tensors: {tied.get(name, f"roberta.{name}"): value for name, value in tensors.items()}  # noqa: E731
    rewrite(made, rename, **{f"roberta.{word}": "lm_head.decoder.weight"})
    assert same(made, "roberta")
    shards(made)
    assert same(made, "roberta")
    made = folder("bert")
    rewrite(
        made, lambda t: {name: value for name, value in t.items() if "word_embeddings" not in name}, alias="nowhere"
    )
    refused(made, "36 of 37 tensors of a 'bert' and lacks", word, "download all files of the model again")


def test_old_names(folder):
    made = folder("bert")
    rewrite(made, lambda t: renamed(t, ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")))
    rewrite(made, lambda t: t | {"bert.embeddings.position_ids": np.arange(24)[None]})
    assert same(made, "bert")
    made = folder("wav2vec2_large")
    rewrite(made, lambda t: renamed(t, ("masked_spec_embed", "mask_time_emb_vector")))
    assert "mask_time_emb_vector" in load_file(made / "model.safetensors") and same(made, "wav2vec2_large")
    made = folder("hubert_base")
    weight = "parametrizations.weight.original"
    rewrite(made, lambda t: renamed(t, (f"{weight}0", "weight_g"), (f"{weight}1", "weight_v")))
    assert same(made, "hubert_base")


def test_weight_norm_by_its_formula():
    generator = np.random.default_rng(0)
    scale, direction = generator.normal(size=(1, 1, 5)), generator.normal(size=(4, 3, 5))
    folded = convert.weight_norm(scale, direction)
    for place in range(5):
        wanted = scale[0, 0, place] * direction[..., place] / np.linalg.norm(direction[..., place])
        np.testing.assert_allclose(folded[..., place], wanted, rtol=1e-6)


def test_types_of_the_file_and_of_the_parameters(folder):
    made = folder("bert")
    rewrite(made, lambda tensors: {name: value.astype(jnp.bfloat16) for name, value in tensors.items()})
    params = encoders.load(made).params
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    wanted = encoders.load(GOLDEN / "bert").params
    assert jax.tree.all(jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-2), params, wanted))
    small = encoders.load(made, param_dtype=jnp.bfloat16).params
    assert {x.dtype for x in jax.tree.leaves(small)} == {np.dtype(jnp.bfloat16)}


def shards(folder):
    """Cuts the tensors of a folder into two shards, which have the metadata of the whole."""
    tensors = load_file(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata=metadata)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_shards(folder):
    made = folder("bert")
    shards(made)
    assert same(made, "bert")
    rewritten = load_file(made / "model-00002-of-00002.safetensors")
    lost = sorted(rewritten)[0]
    save_file({k: v for k, v in rewritten.items() if k != lost}, made / "model-00002-of-00002.safetensors")
    refused(made, lost, "copy all files again")
    (made / "model-00002-of-00002.safetensors").unlink()
    refused(made, "lacks 1 of 2 shards", "model-00002-of-00002.safetensors")


def test_a_shard_lies_beside_its_index(folder):
    made = folder("bert")
    shards(made)
    index = made / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))
    refused(made, "lacks 1 of 2 shards", "../model-00001-of-00002.safetensors")


def refused(folder, *words):
    with pytest.raises(InputError) as caught:
        encoders.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    for word in words:
        assert word in message
    return message


def test_missing_unknown_and_misshapen_tensors_are_named(folder):
    made = folder("bert")
    gone = "bert.encoder.layer.1.output.dense.weight"
    rewrite(made, lambda t: {name: value for name, value in t.items() if name != gone})
    assert "config.json" not in refused(made, "lacks", gone.removeprefix("bert."))
    made = folder("wav2vec2_large")
    rewrite(made, lambda t: t | {"encoder.layers.0.attention.gate": np.zeros(3, np.float32)})
    assert "same model" not in refused(made, "unknown", "encoder.layers.0.attention.gate", "without adapters")
    made = folder("hubert_base")
    edit(made, intermediate_size=33)
    refused(made, "other sizes", "encoder.layers.0.feed_forward.intermediate_dense.weight", "[16, 32]", "[16, 33]")
    refused(made, "is config.json from the same model")
    made = folder("whisper")
    rewrite(made, lambda _: {"transformer.wte.weight": np.zeros((3, 3), np.float32)})
    refused(made, "no tensor of a 'whisper'")


def test_half_a_weight_norm_is_named(folder):
    made = folder("hubert_base")
    half = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    rewrite(made, lambda t: {name: value for name, value in t.items() if name != half})
    refused(made, "lacks", "encoder.pos_conv_embed.conv.weight")


@pytest.mark.parametrize("size", [4, 100, 5_000])
def test_truncated_safetensors(folder, size):
    path = folder("bert") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(path.parent, "damaged or cut off", "model.safetensors")


PLACE = "bert.encoder.layer.0.output.dense.weight"


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL", "I64"])
def test_quantised_weights_are_refused(folder, kind):
    made = folder("bert")
    tensors = load_file(made / "model.safetensors")
    header, data = {}, b""
    for name, value in tensors.items():
        size = 8 if kind == "I64" else 1
        content = bytes(value.size * size) if name == PLACE else value.tobytes()
        stored = kind if name == PLACE else {2: "F16", 4: "F32"}[value.itemsize]
        places = [len(data), len(data) + len(content)]
        header[name], data = {"dtype": stored, "shape": value.shape, "data_offsets": places}, data + content
    head = json.dumps(header).encode()
    (made / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    refused(made, PLACE.removeprefix("bert."), "take the file with float32, float16 or bfloat16")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused(folder, value):
    made = folder("bert")
    rewrite(made, lambda t: t | {PLACE: np.full(t[PLACE].shape, value)})
    refused(made, "not finite as float32", PLACE.removeprefix("bert."))
    rewrite(made, lambda t: t | {PLACE: np.full(t[PLACE].shape, 1e300), "cls.bias": np.full(3, np.nan)})
    rewrite(made, lambda t: t | {PLACE: np.zeros(t[PLACE].shape)})  # a head's numbers are nobody's
    assert np.isfinite(jax.tree.leaves(encoders.load(made).params)[0]).all()


WRONG = [
    ("bert", {"hidden_size": "16"}, "hidden_size = '16', must be a whole number, at least 1"),
    ("bert", {"num_hidden_layers": 2.5}, "num_hidden_layers = 2.5"),
    ("bert", {"num_attention_heads": 3}, "a divisor of the width 16"),
    ("bert", {"num_attention_heads": 0}, "at least 1"),
    ("bert", {"vocab_size": True}, "vocab_size = True"),
    ("bert", {"vocab_size": 31}, "is config.json from the same model"),
    ("bert", {"layer_norm_eps": None}, "layer_norm_eps = None"),
    ("bert", {"hidden_dropout_prob": 2}, "at least 0 and below 1"),
    ("bert", {"hidden_act": ["gelu"]}, "must be a name"),
    ("bert", {"model_type": ["bert"]}, "unknown model_type"),
    ("bert", {"num_hidden_layers": 3}, "37 of 53 tensors"),
    ("bert", {"num_hidden_layers": 1}, "unknown in a 'bert': encoder.layer.1."),
    ("roberta", {"pad_token_id": 50}, "pad_token_id = 50, must be at most 22"),
    ("hubert_base", {"conv_dim": 5}, "whole numbers of at least 1"),
    ("hubert_base", {"conv_dim": []}, "whole numbers of at least 1"),
    ("hubert_base", {"conv_stride": [5, 2, 0]}, "whole numbers of at least 1"),
    ("hubert_base", {"conv_kernel": [10, 3]}, "3 numbers, one for each of conv_dim"),
    ("hubert_base", {"num_conv_pos_embedding_groups": 3}, "a divisor of the width 16"),
    ("hubert_base", {"conv_bias": "no"}, "True or False"),
    ("whisper", {"decoder_start_token_id": 400}, "below vocab_size = 40"),
    ("whisper", {"num_mel_bins": 0}, "num_mel_bins = 0"),
]


@pytest.mark.parametrize(("name", "fields", "words"), WRONG, ids=[str(fields) for _, fields, _ in WRONG])
def test_fields_that_cannot_be_are_named(folder, name, fields, words):
    made = folder(name)
    edit(made, **fields)
    refused(made, words)


def test_what_is_no_file_is_named(folder):
    made = folder("bert")
    for name in ("model.safetensors", "config.json"):
        (made / name).unlink()
        (made / name).mkdir()
        refused(made, name)


def test_a_pickle_is_refused_and_never_opened(folder):
    made = folder("bert")
    (made / "model.safetensors").unlink()
    refused(made, "neither")
    (made / "pytorch_model.bin").write_bytes(b"no pickle at all")
    refused(made, "pickle", "docs/encoders.md")


def test_config_of_something_else(folder):
    made = folder("bert")
    edit(made, model_type="wav2vec2")
    refused(made, "config.json of a 'wav2vec2' has no 'feat_extract_norm'")
    edit(made, model_type="gpt2")
    refused(made, "'gpt2'", "hubert", "whisper")
    made = folder("hubert_base")
    edit(made, model_type="wav2vec2", feat_proj_layer_norm=True)
    refused(made, "lacks", "feature_projection.layer_norm")
    edit(made, feat_extract_norm="batch")
    refused(made, "'batch'", "group, layer")
    edit(made, feat_extract_norm="group", add_adapter=True)
    refused(made, "add_adapter = True")
    (made / "config.json").write_text("[]")
    refused(made, "no JSON object")
    (made / "config.json").write_text("{")
    refused(made, "not JSON")
    (made / "config.json").write_text('{"model_type": "bert", "model_type": "hubert"}')
    refused(made, "the key model_type twice")
    (made / "config.json").unlink()
    refused(made, "config.json: cannot be read")


def test_an_unknown_activation_is_refused(folder):
    made = folder("bert")
    edit(made, hidden_act="mish")
    refused(made, "'mish'", "gelu")


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("bert", np.zeros((1, 25), np.int32), "24 positions"),
        ("roberta", np.zeros((1, 23), np.int32), "22 positions"),
        ("wav2vec2_base", np.zeros((1, 29), np.float32), "at least 30"),
        ("whisper", np.zeros((1, 8, 39), np.float32), "takes 40"),
    ],
)
def test_inputs_of_a_wrong_length(name, inputs, words):
    encoder = encoders.load(GOLDEN / name)
    with pytest.raises(InputError, match=words):
        jax.eval_shape(lambda x: encoder.module.apply({"params": encoder.params}, x), inputs)


def test_a_random_encoder_has_the_shapes_of_a_loaded_one():
    loaded = encoders.load(GOLDEN / "bert")
    made = [encoders.make(loaded.config, seed=seed, param_dtype=jnp.bfloat16) for seed in (0, 1)]
    assert jax.tree.map(jnp.shape, made[0].params) == jax.tree.map(jnp.shape, loaded.params)
    kernels = [one.params["layer_0"]["up"]["kernel"] for one in made]
    assert kernels[0].dtype == jnp.bfloat16
    assert not jnp.array_equal(*kernels)
