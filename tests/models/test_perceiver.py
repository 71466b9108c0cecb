"""The network's promises: masks, missing modalities, padding, equal forms. All inputs are random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import models
from mmpsy_jax.models import mental_perceiver, perceiver, projection
from mmpsy_jax.models.mental_perceiver import Head, Modality, Rates

HEADS = (Head("screen", "binary", 2), Head("bands", "ordinal", 4), Head("score", "regression", 0))
STARTS = {"screen": (-0.2, -1.6), "bands": (-1.0, 0.5, 2.0), "score": (0.25,)}
MODALITIES = (Modality("audio", "features", (30, 8), True), Modality("text", "features", (7, 12)))
ROWS = 4


def build(**changes):
    arguments = {"width": 16, "latents": 4, "layers": 2, "patch": 4, **changes}
    modalities = arguments.pop("modalities", MODALITIES)
    return models.build("mental_perceiver", modalities=modalities, heads=HEADS, window_seconds=60.0, **arguments)


def batch(rng):
    """Eight windows of four participants, and two unused slots; 1 has no audio, 2 no text, 3 nothing at all."""
    row = np.array([0, 0, 0, 1, 1, 2, 3, 3, ROWS, ROWS], np.int32)
    made = {
        "audio": rng.normal(size=(10, 30, 8)).astype(np.float16),
        "audio_length": np.where(np.isin(row, (0, 2)), 30, 0).astype(np.int32),
        "text": rng.normal(size=(10, 7, 12)).astype(np.float16),
        "text_length": np.where(np.isin(row, (0, 1)), 7, 0).astype(np.int32),
        "window_start_s": np.array([0, 50, 100, 0, 50, 0, 0, 50, 0, 0], np.float32),
        "row": row,
        "valid": np.array([True] * ROWS),
    }
    made["audio_length"][2] = 13
    return made


@pytest.fixture
def inputs():
    return jax.tree.map(jnp.asarray, batch(np.random.default_rng(0)))


@pytest.fixture
def params(inputs):
    return randomised(build(), inputs)


def randomised(model, inputs, seed=1):
    """Parameters with no exact zeros, so that every path counts."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes)


def run(model, params, inputs, **options):
    """The compiled network; eager Flax would take most of the time of these tests."""
    return jax.jit(lambda p, x: model.apply({"params": p}, x, **options))(params, inputs)


def randomised_tree(tree, scale=1.0):
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * scale, x.dtype), tree)


def packed(absorb, l=3, d=8, heads=2):  # noqa: E741
    attention = perceiver.PackedAttention(heads, absorb)
    rng = np.random.default_rng(0)
    q, x = jnp.asarray(rng.normal(size=(l, d)), jnp.float32), jnp.asarray(rng.normal(size=(5, 6, d)) + 1, jnp.float32)
    row = jnp.array([0, 0, 2, 2, 3])  # 1 has no window, 3 a masked one, 4 slots are used
    mask = jnp.asarray(rng.random((5, 6)) < 0.7).at[4].set(False)
    params = randomised_tree(attention.init(jax.random.key(0), q, x, mask, row, 4), 0.5)
    return attention, params, (q, x, mask, row, 4)


@pytest.mark.parametrize("absorb", [True, False])
def test_packed_attention_is_the_textbook_formula(absorb):
    attention, params, (q, x, mask, row, rows) = packed(absorb)
    p = jax.tree.map(np.asarray, params["params"])
    got = attention.apply(params, q, x, mask, row, rows)
    assert got.shape == (4, 3, 8)
    for b in (0, 2):
        tokens = np.concatenate([x[s][mask[s]] for s in np.flatnonzero(row == b)])
        normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
        normed = normed * p["norm_scale"] + p["norm_bias"]
        expected = 0
        for h in range(2):
            part = slice(4 * h, 4 * h + 4)
            qh = np.asarray(q) @ p["query"]["kernel"][:, h] + p["query"]["bias"][h]
            weights = jax.nn.softmax(qh @ (normed @ p["key"][:, part]).T / 2.0, axis=-1)
            value = normed @ p["value"][:, part] + p["value_bias"][h]
            expected += weights @ value @ p["out"][part]
        np.testing.assert_allclose(got[b], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("absorb", [True, False])
def test_who_has_nothing_to_attend_to_gets_zero(absorb):
    attention, params, (q, x, mask, row, rows) = packed(absorb)
    apply = lambda x: attention.apply(params, q, x, mask, row, rows)  # noqa: E731
    out = apply(x)
    assert np.all(out[1] == 0) and np.all(out[3] == 0) and np.all(np.abs(out[0]).sum(-1) > 0)
    np.testing.assert_allclose(apply(jnp.where(mask[..., None], x, 99.0)), out, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda x: (apply(x) ** 2).sum())(x)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[4] == 0) and np.all(gradient[~np.asarray(mask)] == 0)


def test_absorbed_projections_and_plain_ones_agree_with_their_gradients():
    (one, params, arguments), (other, _, _) = packed(True), packed(False)
    loss = lambda module: lambda p: (module.apply(p, *arguments) ** 2).sum()  # noqa: E731
    (value, gradient), (plain, plain_gradient) = (jax.value_and_grad(loss(m))(params) for m in (one, other))
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, plain_gradient)


def test_tokens_of_features_are_normalised_then_projected():
    adapter = perceiver.FeaturesAdapter(width=5)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 7)) * 2 + 1, jnp.float16)
    params = randomised_tree(adapter.init(jax.random.key(0), features, jnp.array([3, 2])))
    p, x = params["params"], np.asarray(features, np.float64)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    expected = (normed * p["norm_scale"] + p["norm_bias"]) @ p["kernel"] + p["bias"]
    tokens, mask = adapter.apply(params, features, jnp.array([3, 2]))
    np.testing.assert_allclose(tokens, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(mask, [[True] * 3, [True, True, False]])


@pytest.mark.parametrize("by_window", [True, False])
def test_inputs_are_projected_and_averaged_with_the_gradients_of_the_plain_form(by_window, monkeypatch):
    monkeypatch.setattr(projection, "_by_window", lambda: by_window)
    rng = np.random.default_rng(0)
    x, kernel = jnp.asarray(rng.normal(size=(3, 5, 7)), jnp.float32), jnp.asarray(rng.normal(size=(7, 4)), jnp.float32)
    weights = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 5, 4), (3, 5), (3, 5))]
    plain = lambda x, w: (x @ w, x.mean(-1), (x * x).mean(-1))  # noqa: E731
    total = lambda f: lambda *a: sum((w * y).sum() for w, y in zip(weights, f(*a), strict=True))  # noqa: E731
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        perceiver.project(x, kernel),
        plain(x, kernel),
    )
    ours, theirs = (jax.grad(total(f), (0, 1))(x, kernel) for f in (perceiver.project, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_masks_are_as_good_as_independent():
    draw = jax.jit(lambda seed: perceiver.keep_mask(jax.random.key(seed), 0.5, (256, 1024)))
    masks = np.stack([draw(seed) for seed in range(8)]).astype(float) - 0.5
    n = masks[0].size
    assert np.all(np.abs(masks.mean(axis=(1, 2))) < 4 * 0.5 / np.sqrt(n))
    assert np.all(np.abs(masks.mean(axis=1)) < 5.5 * 0.5 / np.sqrt(256)) and np.all(
        np.abs(masks.mean(axis=2)) < 5.5 * 0.5 / 32
    )
    products = [(masks[:, :, lag:] * masks[:, :, : 1024 - lag]).mean() for lag in (1, 2, 3, 7, 16, 64, 256)]
    products += [(masks[:, lag:] * masks[:, : 256 - lag]).mean() for lag in (1, 2, 16)]
    products += [(masks[i] * masks[j]).mean() * np.sqrt(1 / 8) for i in range(8) for j in range(i)]  # between keys
    assert np.all(np.abs(products) < 5 * 0.25 / np.sqrt(6 * n))


def test_frames_are_patched():
    adapter = perceiver.FramesAdapter(width=5, patch=4)
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(2, 10, 3)), jnp.float32)
    params = randomised_tree(adapter.init(jax.random.key(0), frames, jnp.array([10, 5])))
    tokens, mask = adapter.apply(params, frames, jnp.array([10, 5]))
    np.testing.assert_array_equal(mask, [[True] * 3, [True, True, False]])
    p = params["params"]
    raw = np.asarray(frames[0, 4:8]).reshape(-1) @ np.asarray(p["kernel"])
    expected = (raw - raw.mean()) / np.sqrt(raw.var() + 1e-6) * p["norm"]["scale"] + p["norm"]["bias"]
    np.testing.assert_allclose(tokens[0, 1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_and_the_mean(rate):
    x = jnp.ones((200, 500))
    drop = lambda r: perceiver.Dropout().apply({}, x, r, rngs={"dropout": jax.random.key(0)})  # noqa: E731
    out = drop(rate)
    assert abs(float((out == 0).mean()) - rate) < 0.01
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-5)
    np.testing.assert_array_equal(jax.jit(drop)(jnp.float32(rate)), out)  # a replica's own rate gives the same mask
    assert perceiver.Dropout().apply({}, x, 0.0) is x


def test_output_shapes_and_order_of_ordinal_logits(inputs, params):
    outputs = run(build(), params, inputs)
    shapes = {"screen": (4, 2), "bands": (4, 3), "score": (4, 1), "embedding": (4, 16)}
    assert {k: v.shape for k, v in outputs.items()} == shapes
    assert np.all(np.diff(outputs["bands"], axis=1) < 0)
    assert all(np.all(np.isfinite(v)) for v in outputs.values())


def test_initial_outputs_are_the_biases(inputs):
    model = build(pooled_prior=True)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    params = {**params, "readout": jnp.zeros_like(params["readout"])}
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
    changed = {k: np.array(v) for k, v in inputs.items()}
    for name, fill in (("audio", 7), ("text", -7)):
        changed[name][changed[f"{name}_length"] == 0] = fill
    for name, value in run(model, params, changed).items():
        np.testing.assert_allclose(value, base[name], atol=1e-5, err_msg=name)


def test_unused_slots_and_the_other_participants_do_not_matter(inputs, params):
    model = build()
    base = run(model, params, inputs)
    windows = {"audio", "audio_length", "text", "text_length", "window_start_s", "row"}
    alone = {k: v[3:5] if k in windows else v[:1] for k, v in inputs.items()} | {"row": jnp.array([0, 0])}
    for name, value in run(model, params, alone).items():
        np.testing.assert_allclose(value[0], base[name][1], atol=1e-5, err_msg=name)
    more = {k: jnp.concatenate([v, v[-1:]]) if k in windows else v for k, v in inputs.items()}
    for name, value in run(model, params, more).items():
        np.testing.assert_allclose(value, base[name], atol=1e-5, err_msg=name)


def test_each_modality_is_used(inputs, params):
    model = build()
    base = run(model, params, inputs)["score"]
    for name in ("audio", "text"):
        other = run(model, params, {**inputs, name: -inputs[name]})["score"]
        assert abs(float(other[0, 0] - base[0, 0])) > 1e-4, name


def test_attention_weights_on_request(inputs, params):
    _, kept = run(build(), params, inputs, mutable=["intermediates"])
    weights = kept["intermediates"]["encoder"]["attention"]["attention"][0]
    assert weights.shape == (10, 8 + 7, 4, 4)  # windows, patches and tokens, latents, heads
    per_participant = perceiver.merge_windows(weights.sum(axis=1), inputs["row"], ROWS)
    np.testing.assert_allclose(per_participant[:3], 1.0, atol=1e-5)
    assert np.all(per_participant[3] == 0)


def test_remat_changes_nothing(inputs, params):
    def value_and_gradient(remat):
        model = build(remat=remat)
        loss = lambda p: model.apply({"params": p}, inputs)["score"].sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(params)

    (plain, plain_gradient), (value, gradient) = value_and_gradient(False), value_and_gradient(True)
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, plain_gradient)


def test_bfloat16_keeps_float32_parameters_and_is_close(inputs, params):
    model = build(dtype="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), inputs))} == {
        jnp.float32.dtype
    }
    full, half = (run(build(dtype=d), params, inputs)["score"] for d in ("float32", "bfloat16"))
    np.testing.assert_allclose(half, full, atol=0.15)
    assert half.dtype == jnp.float32


def test_dropouts_act_in_training_only_and_follow_the_key(inputs, params):
    model, rates = build(), Rates(0.2, 0.3, 0.0, 0.5)
    drop = jax.jit(lambda key: model.apply({"params": params}, inputs, rates, rngs={"dropout": key})["score"])
    one, again, two = drop(jax.random.key(1)), drop(jax.random.key(1)), drop(jax.random.key(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    run(model, params, inputs)  # without dropout no key is asked for


def test_modality_dropout_never_hides_the_only_modality():
    present = jnp.array([[True, False], [True, True], [False, False]])
    seen = set()
    for seed in range(30):
        kept = np.asarray(mental_perceiver.drop_modalities(jax.random.key(seed), present, 0.7))
        assert kept[0].tolist() == [True, False] and kept[2].tolist() == [False, False]
        seen.add(tuple(kept[1].tolist()))
    assert seen == {(True, True), (True, False), (False, True)}


def test_ids_are_summed_and_zero_means_nothing():
    adapter = perceiver.IdsAdapter(width=3, vocabulary=10)
    ids, length, row = jnp.array([[[1, 0], [2, 3]]]), jnp.array([1]), jnp.array([0])
    variables = adapter.init(jax.random.key(0), ids, length, row, 1, 0.0)
    tokens, mask, _ = adapter.apply(variables, ids, length, row, 1, 0.0)
    table = variables["params"]["embedding"]
    np.testing.assert_allclose(tokens[0], [table[1], table[2] + table[3]], rtol=1e-6)
    np.testing.assert_array_equal(mask[0], [True, False])


def test_the_bag_is_sublinear_tfidf_of_unit_length():
    rng = np.random.default_rng(0)
    ids, row = rng.integers(0, 6, size=(5, 5, 2)), np.array([0, 0, 1, 3, 3])
    idf = np.array([9.0, 1.0, 0.0, 2.0, 1.5, 1.2], np.float32)
    weights = perceiver.bag_weights(jnp.asarray(ids), jnp.asarray(row), 3, jnp.asarray(idf))
    for person in (0, 1):
        counts = np.bincount(ids[row == person].ravel(), minlength=6)
        bag = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0) * idf
        bag[0] = 0
        ours = np.bincount(ids[row == person].ravel(), weights=np.ravel(weights[row == person]), minlength=6)
        np.testing.assert_allclose(ours, bag / np.linalg.norm(bag), rtol=1e-5)
    empty = perceiver.bag_weights(jnp.zeros((1, 4, 2), jnp.int32), jnp.array([0]), 1, jnp.asarray(idf))
    assert np.all(empty == 0)


@pytest.mark.parametrize("kind", ["fourier", "learned", "none"])
def test_time_positions(kind):
    position = perceiver.TimePosition(kind, longest=100.0, bands=5)
    x, seconds = jnp.zeros((2, 4)), jnp.array([10.0, 90.0])
    params = position.init(jax.random.key(0), x, seconds)
    out = position.apply(params, x, seconds)
    assert np.array_equal(out[0], out[1]) == (kind == "none")
    if kind == "learned":  # halfway between entries 0 and 1 of a table over 100 s
        table = params["params"]["table"]
        np.testing.assert_allclose(
            position.apply(params, x[:1], jnp.array([12.5]))[0], (table[0] + table[1]) / 2, atol=1e-6
        )


def test_unknown_names_list_what_there_is():
    with pytest.raises(ValueError, match="choose one of: mental_perceiver"):
        models.build("perceiverio")
    with pytest.raises(ValueError, match=r"it takes .*latents"):
        build(n_latents=3)
