"""Teacher and student: nothing passes between clips, frames without a face count nowhere, traces agree with clips."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax.models import build
from mmpsy_jax.models.base import EMBEDDING, Head, Modality
from mmpsy_jax.projects.affect.models import audio_visual
from mmpsy_jax.projects.affect.models.audio_visual import HEARD, SEEN, SHIFT, Model, traces
from tests.networks import draw_variables, variable_shapes

B, N, T = 3, 5, 12
HEADS = (Head("emotion", "nominal", 7), Head("valence", "regression", 0))
FACE, AUDIO = Modality("face", "features", (N, 144)), Modality("audio", "frames", (T, 8))
SIZES = {"width": 8, "stride": 2, "face_channels": (4, 4), "speech_channels": (4, 4)}
ROWS = {"face": [0, 0, 2, B], "audio": [0, 0, 1, 2]}  # clip 1 has no face
LENGTHS = {"face": [5, 3, 5, 0], "audio": [12, 7, 12, 9]}


jitted = jax.jit(traces, static_argnums=0)


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    batch = {"valid": np.ones(B, bool)}
    for modality in (FACE, AUDIO):
        name = modality.name
        batch[f"{name}_row"], batch[f"{name}_length"] = (np.array(x[name], np.int32) for x in (ROWS, LENGTHS))
        batch[f"{name}_start_s"] = np.array([0, 4, 0, 0], np.float32)
        batch[name] = rng.uniform(0.1, 1, (4, *modality.shape)).astype(np.float32)
    batch["face"][0, 2] = 0  # a frame without a face
    return jax.device_put(batch)


def make(part="joint", teacher=""):
    names = {"teacher": (FACE,), "student": (AUDIO, FACE) if teacher else (AUDIO,), "joint": (AUDIO, FACE)}
    return Model(names[part], HEADS, 4.0, part=part, teacher=teacher, **SIZES)


def random_params(model, batch):
    return draw_variables(model, batch)["params"]


@pytest.fixture(scope="module")
def joint():
    model, batch = make(), make_batch()
    params = random_params(model, batch)
    return model, params, batch, jax.jit(lambda batch: model.apply({"params": params}, batch))


def test_a_clip_depends_on_nothing_but_itself(joint):
    *_, batch, run = joint
    outputs, other = run(batch), dict(batch)
    for name in ("face", "audio"):
        other[name] = jnp.where((batch[f"{name}_row"] == 0)[:, None, None], batch[name], 0.5)
    again = run(other)
    for name, value in outputs.items():
        np.testing.assert_allclose(again[name][0], value[0], rtol=1e-5, atol=1e-6)
        assert name in (SEEN, HEARD) or not np.allclose(again[name][2], value[2])
    assert outputs[SEEN].ravel().tolist() == [1, 0, 1] and outputs[HEARD].ravel().tolist() == [1, 1, 1]
    assert {name: value.shape[1] for name, value in outputs.items() if not name.startswith("teacher_")} == {
        "emotion": 7, "valence": 1, EMBEDDING: 8, SEEN: 1, HEARD: 1,
    }  # fmt: skip


def test_padding_and_frames_without_a_face_count_nowhere(joint):
    *_, batch, run = joint
    outputs = run(batch)
    # Beyond the length, in a slot that nobody uses, and a frame that is no longer empty.
    hidden = {
        **batch,
        "face": batch["face"].at[1, 3:].set(9.0).at[3].set(9.0),
        "audio": batch["audio"].at[1, 7:].set(9.0),
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), run(hidden), outputs)
    shown = run({**batch, "face": batch["face"].at[0, 2].set(0.7)})
    assert not np.allclose(shown["teacher_valence"][0], outputs["teacher_valence"][0])
    np.testing.assert_array_equal(shown["valence"], outputs["valence"])  # the student does not see


def test_a_clip_is_the_mean_over_frames_of_its_segments_and_these_of_their_frames(joint):
    model, params, batch, run = joint
    made, outputs = jitted(model, {"params": params}, batch), run(batch)
    np.testing.assert_array_equal(made.faces.sum(axis=1), [4, 3, 5, 0])
    for name in ("emotion", "valence"):
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
        close(outputs[f"teacher_{name}"][0], np.average(made.watched[name][:2], axis=0, weights=[4, 3]))
        close(outputs[f"teacher_{name}"][2], made.watched[name][2])
        close(outputs[name][0], np.average(made.heard[name][:2], axis=0, weights=[12, 7]))
        low, high = made.frames[name][2].min(axis=0), made.frames[name][2].max(axis=0)
        assert np.all(low < made.watched[name][2]) and np.all(made.watched[name][2] < high)
    # A frame alone in its segment is the segment.
    alone = {**batch, "face": batch["face"].at[2, 1:].set(0.0)}
    single = jitted(model, {"params": params}, alone)
    np.testing.assert_allclose(single.watched["emotion"][2], made.frames["emotion"][2, 0], rtol=1e-4, atol=1e-5)


def test_a_frozen_teacher_is_the_network_of_its_run():
    batch, teacher, student = make_batch(), make("teacher"), make("student", "runs/teacher")
    frozen = random_params(teacher, batch)
    params = random_params(student, batch)
    variables = {"params": params, "fitted": {"teacher": frozen}}
    assert jax.tree.structure(params) == jax.tree.structure(variable_shapes(make("student"), batch)["params"])
    run = lambda model, variables: jax.jit(model.apply)(variables, batch)  # noqa: E731
    outputs, theirs = run(student, variables), run(teacher, {"params": frozen})
    alone = run(make("student"), {"params": params})
    for name in ("emotion", "valence", EMBEDDING):
        np.testing.assert_allclose(outputs[f"teacher_{name}"], theirs[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outputs[name], alone[name], rtol=1e-5, atol=1e-6)
    keep = jax.jit(lambda frozen: teacher.apply({"params": frozen}, batch, mutable=["intermediates"])[1])
    frames = keep(frozen)["intermediates"]["frames"][0]["valence"]
    np.testing.assert_allclose(jitted(student, variables, batch).frames["valence"], frames, rtol=1e-5, atol=1e-6)


def test_the_number_of_segments_may_be_open_as_in_an_export(joint):
    model, params, batch, _ = joint
    slots = {"valid": B} | dict(zip(("face", "audio"), jax.export.symbolic_shape("s, a"), strict=True))
    shape = lambda name, x: jax.ShapeDtypeStruct((slots[name.split("_")[0]], *x.shape[1:]), x.dtype)  # noqa: E731
    opened = {name: shape(name, x) for name, x in batch.items()}
    made = jax.eval_shape(lambda batch: model.apply({"params": params}, batch), opened)
    assert made["valence"].shape == made["teacher_valence"].shape == (B, 1)


def test_in_training_crops_are_mirrored_and_moved_and_frames_left_out(joint):
    model, params, batch, _ = joint
    crops = np.asarray(np.random.default_rng(2).uniform(size=(4, 2, 12, 12)), np.float32)
    mirrored, move = set(), jax.jit(audio_visual.moved)
    for key in jax.random.split(jax.random.key(0), 6):
        made = np.asarray(move(key, crops))
        found = [
            (flip, down, right)
            for flip in (1, -1)
            for down in range(-SHIFT, SHIFT + 1)
            for right in range(-SHIFT, SHIFT + 1)
            if np.array_equal(made[0], np.roll(crops[0, ..., ::flip], (down, right), axis=(1, 2)))
        ]
        assert len(found) == 1  # nothing but this happens to them
        mirrored.add(found[0])
    assert len({flip for flip, *_ in mirrored}) == 2 and len(mirrored) > 3
    run = jax.jit(lambda key: model.apply({"params": params}, batch, rngs={"dropout": key}, mutable=["intermediates"]))
    outputs, kept = run(jax.random.key(0))
    assert kept["intermediates"]["faces"][0].shape == (4, 2) and outputs["teacher_valence"].shape == (B, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"part": "joint", "teacher": "x"}, "set teacher = ''"),
        ({"part": "teacher"}, "config.data.modalities"),
        ({"part": "joint", "stride": N + 1}, "at most the 5 frames"),
        ({"part": "joint", "modalities": (AUDIO, FACE._replace(shape=(N, 145)))}, "no squares"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    given = {"modalities": (AUDIO, FACE), "heads": HEADS, "window_seconds": 4.0, **arguments}
    with pytest.raises(ValueError, match=message):
        build(audio_visual.__name__.split(".")[-1], **given)


def test_a_segment_is_described_by_its_valid_frames_alone():
    rng = np.random.default_rng(0)
    mel, length = rng.normal(size=(3, 40, 4)).astype(np.float32), np.array([40, 25, 0], np.int32)
    described = jax.jit(audio_visual.described)
    features = np.asarray(described(mel, length))
    frames = [part[:n] for part, n in zip(mel, length, strict=True)]
    for row, part in zip(features, frames[:2], strict=False):
        np.testing.assert_allclose(row[:4], part.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(row[4:8], part.std(axis=0), atol=1e-4)
        np.testing.assert_allclose((row[8:] ** 2).mean(), 1, rtol=1e-4)
    assert not features[2].any()
    mel[1, 25:] = 9.0
    np.testing.assert_array_equal(described(mel, length), features)


def test_rhythm_is_where_a_voice_comes_and_goes_whatever_its_strength():
    per_second = 30
    seconds = np.arange(120) / per_second
    mel = np.sin(2 * np.pi * np.array([2.0, 3.5, 3.5])[:, None] * seconds)[..., None] * np.ones(4)
    mel[2] = 5 * mel[2] + 3
    rhythm = np.asarray(jax.jit(audio_visual.described)(mel.astype(np.float32), np.full(3, 120)))[:, 8:]
    assert (rhythm.argmax(axis=1) * per_second / 120).tolist() == [2.0, 3.5, 3.5]
    np.testing.assert_allclose(rhythm[2], rhythm[1], atol=2e-3)
