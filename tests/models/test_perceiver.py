"""The network's promises: masks, missing modalities, padding, equal forms. All inputs are random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import models
from mmpsy_jax.models import mental_perceiver, perceiver
from mmpsy_jax.models.mental_perceiver import Head, Modality

HEADS = (
    Head("screen", "binary", 2, (-0.2, -1.6)),
    Head("bands", "ordinal", 4, (-1.0, 0.5, 2.0)),
    Head("score", "regression", 0, (0.25,)),
)
MODALITIES = (Modality("audio", "features", (8, 30), 1), Modality("text", "features", (7, 12), 0))


def build(**changes):
    arguments = {"width": 16, "latents": 4, "layers": 2, "patch": 4, "dropout": 0.2, **changes}
    modalities = arguments.pop("modalities", MODALITIES)
    return models.build("mental_perceiver", modalities=modalities, heads=HEADS, window_seconds=60.0, **arguments)


def batch(rng, b=4, w=2):
    made = {
        "audio": rng.normal(size=(b, w, 8, 30)).astype(np.float16),
        "audio_length": np.full((b, w), 30, np.int32),
        "text": rng.normal(size=(b, w, 7, 12)).astype(np.float16),
        "text_length": np.full((b, w), 7, np.int32),
        "window_start_s": np.tile(50.0 * np.arange(w, dtype=np.float32), (b, 1)),
    }
    made["audio_length"][1] = 0  # no audio
    made["text_length"][2] = 0  # no text
    made["audio_length"][3] = made["text_length"][3] = 0  # nothing at all
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


def test_a_row_with_nothing_to_attend_to_is_zero():
    attention = perceiver.Attention(width=8, heads=2)
    rng = np.random.default_rng(0)
    q, x = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 3, 8), (2, 5, 6)))
    mask = jnp.array([[True] * 3 + [False] * 2, [False] * 5])
    params = attention.init(jax.random.key(0), q, x, mask, True)
    out = attention.apply(params, q, x, mask, True)
    assert np.all(out[1] == 0)
    assert np.all(np.abs(out[0]).sum(-1) > 0)
    # The masked keys do not matter, and the gradient of an empty row is finite.
    other = x.at[0, 3:].set(99.0)
    np.testing.assert_allclose(attention.apply(params, q, other, mask, True)[0], out[0], atol=1e-6)
    gradient = jax.grad(lambda x: attention.apply(params, q, x, mask, True).sum())(x)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[1] == 0)


def test_attention_is_the_textbook_formula():
    attention = perceiver.Attention(width=8, heads=2)
    rng = np.random.default_rng(1)
    q, x = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((1, 3, 8), (1, 5, 6)))
    params = randomised_tree(attention.init(jax.random.key(0), q, x, None, True))
    p = params["params"]
    expected = 0
    for h in range(2):
        qh = q[0] @ p["query"]["kernel"][:, h] + p["query"]["bias"][h]
        kh = x[0] @ p["key"]["kernel"][:, h] + p["key"]["bias"][h]
        vh = x[0] @ p["value"]["kernel"][:, h] + p["value"]["bias"][h]
        weights = jax.nn.softmax(qh @ kh.T / 2.0, axis=-1)
        expected += weights @ vh @ p["out"]["kernel"][h]
    np.testing.assert_allclose(attention.apply(params, q, x, None, True)[0], expected, rtol=1e-4, atol=1e-5)


def randomised_tree(tree):
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), tree)


def test_output_shapes_and_order_of_ordinal_logits(inputs, params):
    outputs = run(build(), params, inputs)
    assert {k: v.shape for k, v in outputs.items()} == {"screen": (4, 2), "bands": (4, 3), "score": (4, 1)}
    assert np.all(np.diff(outputs["bands"], axis=1) < 0)
    assert all(np.all(np.isfinite(v)) for v in outputs.values())


def test_initial_outputs_are_the_biases(inputs):
    model = build(pooled_prior=True)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    params = {**params, "readout": jnp.zeros_like(params["readout"])}
    outputs = run(model, params, inputs)
    np.testing.assert_allclose(outputs["screen"], np.tile([-0.2, -1.6], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(outputs["bands"], np.tile([1.0, -0.5, -2.0], (4, 1)), atol=5e-3)
    np.testing.assert_allclose(outputs["score"], 0.25, atol=1e-6)


def test_what_is_masked_does_not_matter(inputs, params):
    model = build()
    base = run(model, params, inputs)
    changed = {k: np.array(v) for k, v in inputs.items()}
    changed["audio"][1] = 7
    changed["text"][2] = -7
    changed["audio"][3] = 5
    changed["text"][3] = 5
    for name, value in run(model, params, changed).items():
        np.testing.assert_allclose(value, base[name], atol=1e-5, err_msg=name)


def test_padding_windows_do_not_matter(inputs, params):
    model = build()
    wider = {k: np.concatenate([v, np.zeros_like(v)], axis=1) for k, v in inputs.items()}
    base = run(model, params, inputs)
    for name, value in run(model, params, wider).items():
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
    assert weights.shape == (4, 4, 4, 2 * 8 + 2 * 7)  # b, heads, latents, patches and tokens of both windows
    np.testing.assert_allclose(weights[:3].sum(-1), 1.0, atol=1e-5)
    assert np.all(weights[3] == 0)


def test_remat_changes_nothing(inputs, params):
    def value_and_gradient(remat):
        model = build(remat=remat, dropout=0.0)
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
    model = build(token_dropout=0.3, modality_dropout=0.5)
    drop = jax.jit(lambda key: model.apply({"params": params}, inputs, False, rngs={"dropout": key})["score"])
    one, again, two = drop(jax.random.key(1)), drop(jax.random.key(1)), drop(jax.random.key(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    run(model, params, inputs)  # without dropout no key is asked for


def test_modality_dropout_never_hides_the_only_modality():
    present = [jnp.array([[True], [True], [False]]), jnp.array([[False], [True], [False]])]
    seen = set()
    for seed in range(30):
        first, second = mental_perceiver.drop_modalities(jax.random.key(seed), present, 0.7)
        assert first[0, 0]  # its only modality
        assert first[1, 0] or second[1, 0]
        assert not first[2, 0] and not second[2, 0]
        seen.add((bool(first[1, 0]), bool(second[1, 0])))
    assert seen == {(True, True), (True, False), (False, True)}


def test_ids_are_summed_and_zero_means_nothing():
    adapter = perceiver.IdsAdapter(width=3, vocabulary=10)
    ids = jnp.array([[[[1, 0], [2, 3]]]])
    length = jnp.array([[1]])
    params = adapter.init(jax.random.key(0), ids, length, True)
    tokens, mask, _ = adapter.apply(params, ids, length, True)
    table = params["params"]["embedding"]
    np.testing.assert_allclose(tokens[0, 0], [table[1], table[2] + table[3]], rtol=1e-6)
    np.testing.assert_array_equal(mask[0, 0], [True, False])


def test_the_bag_is_sublinear_tf_of_unit_length():
    ids = np.random.default_rng(0).integers(0, 6, size=(3, 2, 5, 2))
    weights = perceiver.bag_weights(jnp.asarray(ids), 6)
    for person, weight in zip(ids, weights, strict=True):
        counts = np.bincount(person.ravel(), minlength=6)[1:]
        bag = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0)
        ours = np.bincount(person.ravel(), weights=np.ravel(weight), minlength=6)
        np.testing.assert_allclose(ours[1:], bag / np.linalg.norm(bag), rtol=1e-5)
        assert ours[0] == 0
    assert np.all(perceiver.bag_weights(jnp.zeros((1, 1, 4, 2), jnp.int32), 6) == 0)


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
