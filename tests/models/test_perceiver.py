"""The network's promises: masks, missing modalities, padding, equal forms. All inputs are random."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mmpsy_jax import models
from mmpsy_jax.models import mental_perceiver, perceiver, position, projection
from mmpsy_jax.models.base import EMBEDDING, Head, Modality, Rates, drop_modalities
from tests.networks import variable_shapes

HEADS = (Head("screen", "binary", 2), Head("bands", "ordinal", 4), Head("score", "regression", 0))
STARTS = {"screen": (-0.2, -1.6), "bands": (-1.0, 0.5, 2.0), "score": (0.25,)}
MODALITIES = (Modality("audio", "frames", (30, 8)), Modality("text", "features", (7, 12)))
ROWS = 4
PERIODS = np.geomspace(1200.0, 2.0, 16)  # of the default positions


def build(**changes):
    arguments = {"width": 16, "latents": 4, "layers": 2, "patch": 4, **changes}
    modalities = arguments.pop("modalities", MODALITIES)
    return models.build("mental_perceiver", modalities=modalities, heads=HEADS, window_seconds=60.0, **arguments)


def batch(rng):
    """Four participants, each modality with slots of its own, some unused; 1 has no audio, 2 no text, 3 nothing."""
    return {
        "audio": rng.normal(size=(5, 30, 8)).astype(np.float16),
        "audio_length": np.array([30, 30, 13, 30, 0], np.int32),
        "audio_start_s": np.array([0, 50, 100, 0, 0], np.float32),
        "audio_row": np.array([0, 0, 0, 2, ROWS], np.int32),
        "text": rng.normal(size=(6, 7, 12)).astype(np.float16),
        "text_length": np.array([7, 3, 7, 7, 0, 0], np.int32),
        "text_start_s": np.array([0, 50, 0, 50, 0, 0], np.float32),
        "text_row": np.array([0, 0, 1, 1, ROWS, ROWS], np.int32),
        "valid": np.array([True] * ROWS),
    }


def taken(inputs, name, slots):
    """The batch with some slots of one modality, in this order."""
    keys = (name, f"{name}_length", f"{name}_start_s", f"{name}_row")
    return inputs | {key: inputs[key][np.array(slots)] for key in keys}


@pytest.fixture
def inputs():
    return batch(np.random.default_rng(0))


@pytest.fixture
def params(inputs):
    return randomised(build(), inputs)


def randomised(model, inputs, seed=1):
    """Parameters with no exact zeros, so that every path counts."""
    shapes = variable_shapes(model, inputs)["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes)


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(model, params, inputs, mutable=False):
    """The compiled network, once for all tests; eager Flax would take most of their time."""
    return model.apply({"params": params}, inputs, mutable=mutable)


apply_once = jax.jit(lambda module, variables, *inputs: module.apply(variables, *inputs), static_argnums=0)


def randomised_tree(tree, scale=1.0):
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: np.asarray(rng.normal(size=x.shape) * scale, x.dtype), tree)


@functools.cache
def packed(absorb, l=3, d=8, heads=2):  # noqa: E741
    """Two modalities: 1 has no window at all, 2 none of the second one, 3 a masked one; one slot of each is unused."""
    attention = perceiver.PackedAttention(heads, absorb)
    rng = np.random.default_rng(0)
    q = np.asarray(rng.normal(size=(l, d)), np.float32)
    inputs = []
    for row, n in (([0, 0, 2, 2, 3, 4], 6), ([0, 3, 4], 4)):
        x = np.asarray(rng.normal(size=(len(row), n, d)) + 1, np.float32)
        row = np.array(row)
        inputs.append(perceiver.Packed(x, (rng.random((len(row), n)) < 0.7) & (row < 3)[:, None], row))

    @functools.partial(jax.jit, static_argnums=2)
    def apply(params, tokens, mutable=False):
        arrays = jax.tree.map(jnp.asarray, (q, with_tokens(inputs, tokens)))
        return attention.apply(params, *arrays, ROWS, mutable=mutable)

    arrays = jax.device_put((q, inputs))
    shapes = jax.eval_shape(lambda key: attention.init(key, *arrays, ROWS), jax.random.key(0))
    return apply, randomised_tree(shapes, 0.5), q, inputs


def with_tokens(inputs, tokens):
    return [one._replace(tokens=x) for one, x in zip(inputs, tokens, strict=True)]


def textbook(p, q, tokens, heads=2):
    """softmax(q k^T / sqrt(e)) v of the layer-normalised tokens of one participant, head by head."""
    normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    normed, size, total = normed * p["norm_scale"] + p["norm_bias"], q.shape[-1] // heads, 0
    for h in range(heads):
        part = slice(size * h, size * (h + 1))
        qh = q @ p["query"]["kernel"][:, h] + p["query"]["bias"][h]
        weights = scipy.special.softmax(qh @ (normed @ p["key"][:, part]).T / np.sqrt(size), axis=-1)
        total += weights @ (normed @ p["value"][:, part] + p["value_bias"][h]) @ p["out"][part]
    return total


@pytest.mark.parametrize("absorb", [True, False])
def test_packed_attention_is_the_textbook_formula_over_all_modalities(absorb):
    apply, params, q, inputs = packed(absorb)
    p = params["params"]
    got = np.asarray(apply(params, [one.tokens for one in inputs]))
    assert got.shape == (4, 3, 8)
    for b in (0, 2):
        tokens = [one.tokens[s][one.mask[s]] for one in inputs for s in np.flatnonzero(one.row == b)]
        np.testing.assert_allclose(got[b], textbook(p, q, np.concatenate(tokens)), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("absorb", [True, False])
def test_who_has_nothing_to_attend_to_gets_zero(absorb):
    apply, params, _, inputs = packed(absorb)
    masks, tokens = [one.mask for one in inputs], [one.tokens for one in inputs]
    out = np.asarray(apply(params, tokens))
    assert np.all(out[1] == 0) and np.all(out[3] == 0) and np.all(np.abs(out[0]).sum(-1) > 0)
    filled = [np.where(mask[..., None], x, np.float32(99)) for mask, x in zip(masks, tokens, strict=True)]
    np.testing.assert_allclose(apply(params, filled), out, rtol=1e-5, atol=1e-5)
    gradients = jax.jit(jax.grad(lambda tokens: (apply(params, tokens) ** 2).sum()))(tokens)
    for mask, gradient in zip(masks, map(np.asarray, gradients), strict=True):
        assert np.all(np.isfinite(gradient)) and np.all(gradient[~mask] == 0) and np.any(gradient[mask] != 0)


def test_absorbed_projections_and_plain_ones_agree_with_their_gradients():
    (one, params, _, inputs), (other, *_) = packed(True), packed(False)
    tokens = [x.tokens for x in inputs]
    loss = lambda apply: jax.jit(jax.value_and_grad(lambda p: (apply(p, tokens) ** 2).sum()))  # noqa: E731
    (value, gradient), (plain, plain_gradient) = (loss(apply)(params) for apply in (one, other))
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, plain_gradient)


def test_tokens_of_features_are_normalised_then_projected():
    adapter = perceiver.FeaturesAdapter(width=5)
    features, lengths = (
        np.asarray(np.random.default_rng(0).normal(size=(2, 3, 7)) * 2 + 1, np.float16),
        np.array([3, 2]),
    )
    params = randomised_tree(variable_shapes(adapter, features, lengths))
    p, x = params["params"], np.asarray(features, np.float64)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    expected = (normed * p["norm_scale"] + p["norm_bias"]) @ p["kernel"] + p["bias"]
    tokens, mask = apply_once(adapter, params, features, lengths)
    np.testing.assert_allclose(tokens, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(mask, [[True] * 3, [True, True, False]])


def plain_projection(x, kernel):
    return x @ kernel, x.mean(-1), (x * x).mean(-1)


def test_inputs_are_projected_and_averaged():
    rng = np.random.default_rng(0)
    x, kernel = np.asarray(rng.normal(size=(3, 5, 7)), np.float16), np.asarray(rng.normal(size=(7, 4)), np.float32)
    expected = plain_projection(np.asarray(x, np.float32), kernel)
    for ours, plain in zip(jax.jit(projection.project)(x, kernel), expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_the_projection_has_the_gradients_of_the_plain_form():
    rng = np.random.default_rng(0)
    x, kernel = np.asarray(rng.normal(size=(3, 5, 7)), np.float32), np.asarray(rng.normal(size=(7, 4)), np.float32)
    weights = [np.asarray(rng.normal(size=s), np.float32) for s in ((3, 5, 4), (3, 5), (3, 5))]
    total = lambda f: lambda *a: sum((w * y).sum() for w, y in zip(weights, f(*a), strict=True))  # noqa: E731
    ours, theirs = (jax.jit(jax.grad(total(f), (0, 1)))(x, kernel) for f in (projection.project, plain_projection))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_frames_are_patched():
    adapter = perceiver.FramesAdapter(width=5, patch=4)
    frames, lengths = np.asarray(np.random.default_rng(0).normal(size=(2, 10, 3)), np.float32), np.array([10, 5])
    params = randomised_tree(variable_shapes(adapter, frames, lengths))
    tokens, mask = apply_once(adapter, params, frames, lengths)
    np.testing.assert_array_equal(mask, [[True] * 3, [True, True, False]])
    p = params["params"]
    raw = frames[0, 4:8].reshape(-1) @ p["kernel"]
    expected = (raw - raw.mean()) / np.sqrt(raw.var() + 1e-6) * p["norm"]["scale"] + p["norm"]["bias"]
    np.testing.assert_allclose(np.asarray(tokens)[0, 1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_and_the_mean(rate):
    x = jax.device_put(np.ones((200, 500), np.float32))
    drop = lambda r: perceiver.Dropout().apply({}, x, r, rngs={"dropout": jax.random.key(0)})  # noqa: E731
    out = np.asarray(jax.jit(lambda: drop(rate))())
    assert abs(float((out == 0).mean()) - rate) < 0.01
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-5)
    np.testing.assert_array_equal(jax.jit(drop)(np.float32(rate)), out)  # a replica's own rate gives the same mask
    assert perceiver.Dropout().apply({}, x, 0.0) is x


def test_output_shapes_and_order_of_ordinal_logits(inputs, params):
    outputs = jax.device_get(run(build(), params, inputs))
    shapes = {"screen": (4, 2), "bands": (4, 3), "score": (4, 1), "embedding": (4, 16)}
    assert {k: v.shape for k, v in outputs.items()} == shapes
    assert np.all(np.diff(outputs["bands"], axis=1) < 0)
    assert all(np.all(np.isfinite(v)) for v in outputs.values())


def test_initial_outputs_are_the_biases(inputs):
    model = build(pooled_prior=True, layers=1)
    start = lambda key: model.init(key, jax.device_put(inputs))["params"]  # noqa: E731
    only = jax.jit(lambda key: {name: value for name, value in start(key).items() if not isinstance(value, dict)})
    params = randomised(model, inputs) | jax.device_get(only(jax.random.key(0)))  # whatever is read, so are the outputs
    params["readout"] = np.zeros_like(params["readout"])
    for head in HEADS:
        started = head.bias(np.array(STARTS[head.name]))
        assert started.keys() <= params.keys()
        params |= started
    outputs = run(model, params, inputs)
    np.testing.assert_allclose(outputs["screen"], np.tile([-0.2, -1.6], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(outputs["bands"], np.tile([1.0, -0.5, -2.0], (4, 1)), atol=1e-5)
    np.testing.assert_allclose(outputs["score"], 0.25, atol=1e-6)


def test_what_is_masked_does_not_matter(inputs, params):
    model = build()
    base = run(model, params, inputs)
    changed = {k: v.copy() for k, v in inputs.items()}
    for name, fill in (("audio", 7), ("text", -7)):
        changed[name][changed[f"{name}_length"] == 0] = fill
    for name, value in run(model, params, changed).items():
        np.testing.assert_allclose(value, base[name], atol=1e-5, err_msg=name)


def test_outputs_are_those_of_a_plain_computation_for_each_participant(inputs, params):
    """Whatever the unused slots of a modality and the order of its windows, whose starts say where they belong."""
    expected = plain_outputs(params, inputs)
    other = taken(taken(inputs, "audio", [2, 0, 1, 3, 4, 4, 4]), "text", [1, 0, 2, 3])
    for laid_out in (inputs, other):
        for name, value in run(build(), params, laid_out).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


class Rest(mental_perceiver.Model):
    """The network from the latents on that have read."""

    @nn.compact
    def __call__(self, latents, pooled):
        x = perceiver.LatentStack(self.layers, self.heads_attention, name="latent_stack")(latents, 0.0)
        outputs = self.decode(x, pooled, None, 0.0, jnp.dtype("float32"))
        return {**outputs, EMBEDDING: x.mean(axis=1)}


def plain_outputs(params, inputs):
    """The tokens of each participant by themselves, and attention by the formula; the rest by the network's layers."""
    tokens, pooled = [[] for _ in range(ROWS)], np.zeros((ROWS, 2, 16), np.float32)
    run_adapter = lambda adapter, name: apply_once(  # noqa: E731
        adapter, {"params": params[f"{name}_adapter"]}, inputs[name], inputs[f"{name}_length"]
    )
    for m, modality in enumerate(MODALITIES):
        name = modality.name
        adapter = perceiver.FramesAdapter(16, 4) if modality.kind == "frames" else perceiver.FeaturesAdapter(16)
        found, mask = map(np.asarray, run_adapter(adapter, name))
        steps = (np.arange(found.shape[1]) + 0.5) * 60.0 / found.shape[1]
        angles = 2 * np.pi * (inputs[f"{name}_start_s"][:, None] + steps)[..., None] / PERIODS
        kernel = params[f"{name}_position"]["projection"]["kernel"]
        placed = found + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1) @ kernel
        for b in range(ROWS):
            slots = np.flatnonzero(inputs[f"{name}_row"] == b)
            if len(slots):
                pooled[b, m] = found[slots][mask[slots]].mean(axis=0)
                tokens[b].append(placed[slots][mask[slots]] + params[f"{name}_code"])
    p = params["encoder"]
    queries = np.asarray(apply_once(nn.LayerNorm(), {"params": p["norm_query"]}, p["latents"]))
    read = [textbook(p["attention"], queries, np.concatenate(own), 4) if own else np.zeros((4, 16)) for own in tokens]

    @jax.jit
    def rest(x):
        x = x + perceiver.Mlp(4).apply({"params": p["mlp"]}, nn.LayerNorm().apply({"params": p["norm_mlp"]}, x), 0.0)
        return Rest(MODALITIES, HEADS, 60.0, width=16, latents=4).apply({"params": params}, x, jnp.asarray(pooled))

    return rest(p["latents"] + jnp.asarray(np.stack(read), jnp.float32))


def test_each_modality_is_used(inputs, params):
    model = build()
    base = run(model, params, inputs)["score"]
    for name in ("audio", "text"):
        other = run(model, params, {**inputs, name: -inputs[name]})["score"]
        assert abs(float(other[0, 0] - base[0, 0])) > 1e-4, name


def test_attention_weights_on_request(inputs, params):
    _, kept = run(build(), params, inputs, ("intermediates",))
    weights = kept["intermediates"]["encoder"]["attention"]["attention"]
    assert [x.shape for x in weights] == [(5, 8, 4, 4), (6, 7, 4, 4)]  # windows, patches or tokens, latents, heads
    rows = [inputs[f"{m.name}_row"] for m in MODALITIES]
    merge = jax.jit(lambda x, row: perceiver.merge_windows(x.sum(axis=1), row, ROWS))
    in_all = sum(np.asarray(merge(x, row)) for x, row in zip(weights, rows, strict=True))
    np.testing.assert_allclose(in_all[:3], 1.0, atol=1e-5)
    assert np.all(in_all[3] == 0)


@pytest.mark.parametrize("absorb", [True, False])
def test_attention_weights_times_values_are_the_output(absorb):
    apply, params, q, inputs = packed(absorb)
    out, kept = jax.device_get(apply(params, [one.tokens for one in inputs], ("intermediates",)))
    p, expected = params["params"], np.zeros(out.shape)
    for one, weights in zip(inputs, kept["intermediates"]["attention"], strict=True):
        x = np.asarray(one.tokens, np.float64)
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        values = (normed * p["norm_scale"] + p["norm_bias"]) @ p["value"] + p["value_bias"].reshape(-1)
        values = values.reshape(*x.shape[:2], 2, -1)
        for slot, row in enumerate(one.row):
            if row < ROWS:
                mixed = np.einsum("nlh,nhe->lhe", weights[slot], values[slot])
                expected[row] += mixed.reshape(len(q), -1) @ p["out"]
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=2e-5)


def test_remat_changes_nothing(inputs):
    params = randomised(build(layers=1), inputs)

    def value_and_gradient(remat):
        model = build(layers=1, remat=remat)
        loss = lambda p, x: model.apply({"params": p}, x)["score"].sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(params, inputs)

    (plain, plain_gradient), (value, gradient) = value_and_gradient(False), value_and_gradient(True)
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, plain_gradient)


def test_bfloat16_keeps_float32_parameters_and_is_close(inputs, params):
    model = build(dtype="bfloat16")
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.float32.dtype}
    full, half = (run(build(**d), params, inputs)["score"] for d in ({}, {"dtype": "bfloat16"}))
    assert build().dtype == "float32"
    np.testing.assert_allclose(half, full, atol=0.15)
    assert half.dtype == jnp.float32


def test_dropouts_act_in_training_only_and_follow_the_key(inputs):
    model, rates = build(layers=1), Rates(0.2, 0.3, 0.0, 0.5)
    params = randomised(model, inputs)
    apply = jax.jit(lambda key, x: model.apply({"params": params}, x, rates, rngs={"dropout": key})["score"])
    drop = lambda key: apply(key, inputs)  # noqa: E731
    one, again, two = drop(jax.random.key(1)), drop(jax.random.key(1)), drop(jax.random.key(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    jax.eval_shape(lambda x: model.apply({"params": params}, x), inputs)  # without dropout no key is asked for


def test_modality_dropout_never_hides_the_only_modality():
    present = np.array([[True, False], [True, True], [False, False]])
    drop = jax.jit(lambda seed: drop_modalities(jax.random.key(seed), jnp.asarray(present), 0.7))
    seen = set()
    for seed in range(30):
        kept = np.asarray(drop(seed))
        assert kept[0].tolist() == [True, False] and kept[2].tolist() == [False, False]
        seen.add(tuple(kept[1].tolist()))
    assert seen == {(True, True), (True, False), (False, True)}


def test_ids_are_summed_and_zero_means_nothing():
    adapter = perceiver.IdsAdapter(width=3, vocabulary=10)
    ids, length, row = jnp.array([[[1, 0], [2, 3]]]), jnp.array([1]), jnp.array([0])

    @jax.jit
    def start(key):
        variables = adapter.init(key, ids, length, row, 1, 0.0)
        return variables, adapter.apply(variables, ids, length, row, 1, 0.0)

    variables, (tokens, mask, _) = jax.device_get(start(jax.random.key(0)))
    table = variables["params"]["embedding"]
    np.testing.assert_allclose(tokens[0], [table[1], table[2] + table[3]], rtol=1e-6)
    np.testing.assert_array_equal(mask[0], [True, False])


def test_the_bag_is_sublinear_tfidf_of_unit_length():
    rng = np.random.default_rng(0)
    ids, row = rng.integers(0, 6, size=(5, 5, 2)), np.array([0, 0, 1, 3, 3])
    idf = np.array([9.0, 1.0, 0.0, 2.0, 1.5, 1.2], np.float32)
    weigh = jax.jit(perceiver.bag_weights, static_argnums=2)
    weights = np.asarray(weigh(ids, row, 3, idf))
    for person in (0, 1):
        counts = np.bincount(ids[row == person].ravel(), minlength=6)
        bag = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0) * idf
        bag[0] = 0
        ours = np.bincount(ids[row == person].ravel(), weights=np.ravel(weights[row == person]), minlength=6)
        np.testing.assert_allclose(ours, bag / np.linalg.norm(bag), rtol=1e-5)
    empty = weigh(np.zeros((1, 4, 2), np.int32), np.array([0]), 1, idf)
    assert np.all(empty == 0)


@pytest.mark.parametrize("kind", ["fourier", "learned", "none"])
def test_time_positions(kind):
    module = position.TimePosition(kind, longest=100.0, bands=5)
    x, starts, steps = (np.asarray(x, np.float32) for x in (np.zeros((2, 3, 4)), [10.0, 80.0], [0.0, 2.5, 10.0]))
    out, params = jax.device_get(jax.jit(module.init_with_output)(jax.random.key(0), x, starts, steps))
    assert out.shape == x.shape and np.array_equal(out[0], out[1]) == (kind == "none")
    if kind == "learned":  # halfway between entries 0 and 1 of a table over 100 s
        table = params["params"]["table"]
        np.testing.assert_allclose(out[0, 1], (table[0] + table[1]) / 2, atol=1e-6)
    if kind == "fourier":
        angles = 2 * np.pi * (starts[:, None] + steps)[..., None] / np.geomspace(100.0, 2.0, 5)
        features = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        np.testing.assert_allclose(out, features @ params["params"]["projection"]["kernel"], atol=1e-4)


def test_unknown_names_list_what_there_is():
    with pytest.raises(ValueError, match=r"choose one of: .*mental_perceiver"):
        models.build("perceiverio")
    with pytest.raises(ValueError, match=r"it takes .*latents"):
        build(n_latents=3)
