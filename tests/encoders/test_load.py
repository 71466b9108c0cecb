"""Reading Hugging Face folders: names of tensors in all their forms, and every way in which a folder can be wrong."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmpsy_jax import encoders
from mmpsy_jax.encoders import convert
from mmpsy_jax.errors import InputError

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path):
    """A copy of a golden model: folder("bert")."""

    def copy(name):
        shutil.copytree(GOLDEN / name, tmp_path / name)
        return tmp_path / name

    return copy


def rewrite(folder, change):
    """Replaces the tensors of a folder by `change(tensors)`."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


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


def test_old_names(folder):
    made = folder("bert")
    rewrite(made, lambda t: renamed(t, ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")))
    rewrite(made, lambda t: t | {"bert.embeddings.position_ids": np.arange(24)[None]})
    assert same(made, "bert")
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
    """Cuts the tensors of a folder into two shards."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
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
    for word in words:
        assert word in message


def test_missing_unknown_and_misshapen_tensors_are_named(folder):
    made = folder("bert")
    gone = "bert.encoder.layer.1.output.dense.weight"
    rewrite(made, lambda t: {name: value for name, value in t.items() if name != gone})
    refused(made, "lacks", gone.removeprefix("bert."))
    made = folder("wav2vec2_large")
    rewrite(made, lambda t: t | {"encoder.layers.0.attention.gate": np.zeros(3, np.float32)})
    refused(made, "unknown", "encoder.layers.0.attention.gate")
    made = folder("hubert_base")
    edit(made, intermediate_size=33)
    refused(made, "other sizes", "encoder.layers.0.feed_forward.intermediate_dense.weight", "[16, 32]", "[16, 33]")


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
    refused(made, "no JSON")
    (made / "config.json").unlink()
    refused(made, "config.json is not there")


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
