"""The SYNTHETIC clips of affect_video/demo, and whether `optimum` is one."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from data_builders.affect_video import demo, demo_truth, source, voice
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError

OPTIONS = {"participants": 6, "seconds": (1.0, 2.4), "window_seconds": 2.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers with ten short clips each."""
    return open_corpus(cli.build("affect_video/demo", tmp_path_factory.mktemp("demo"), **OPTIONS))


@pytest.fixture(scope="module")
def population():
    """Clips as in validation and test, and their likelihoods."""
    clips = demo_truth.draw(np.random.default_rng(7), 40_000, demo_truth.MISMATCH_RATE)
    return clips, demo_truth.likelihoods(clips)


def test_records_are_those_of_the_contract(corpus):
    card = corpus.card
    assert card["synthetic"] is True and card["cluster"] == "speaker"
    text = (corpus.path / "README.md").read_text() + (corpus.path / "DATASHEET.md").read_text()
    parts = ("SYNTHETIC", "One made-up clip of a speaker.", "with the same `speaker` belong", "| mismatch | both |")
    for said in parts:
        assert said in text
    assert card["labels"] == ["emotion", "valence", "arousal", "mismatch"]
    assert card["classes"] == {"emotion": ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]}
    assert card["modalities"]["audio"]["shape"] == [80, 60] and card["modalities"]["audio"]["time_axis"] == 1
    for name in ("face", "any_face"):
        assert card["modalities"][name]["shape"] == [20, 2304] and card["modalities"][name]["time_axis"] == 0
    assert len(corpus) == 60
    assert len(set(zip(corpus.cluster, corpus.split, strict=True))) == len(set(corpus.cluster)) == 6
    differs = 0
    for i in range(len(corpus)):
        record = corpus.read(i)
        windows = record["n_windows"]
        assert windows == (1 if record["duration_s"] <= 2.0 else 2)
        frames = round(10 * float(record["duration_s"]))
        face, anybody = (record[name].reshape(20 * windows, -1).astype(float) for name in ("face", "any_face"))
        assert record["face_length"].sum() == record["any_face_length"].sum() == frames
        assert face.min() >= 0 and face.max() <= 1 and not face[frames:].any() and not anybody[frames:].any()
        seen = face.any(axis=1)
        assert seen[:frames].mean() > 0.3 and (anybody.any(axis=1) >= seen).all()
        differs += (face != anybody).any()
        assert abs(record["audio_length"].sum() - 30 * record["duration_s"]) < 1.5
    assert 0.2 < differs / len(corpus) < 0.6  # two fifths have a second person


def test_mismatches_are_planted_outside_training_only(corpus):
    split, mismatch = np.array(corpus.split), corpus.labels["mismatch"]
    assert not mismatch[split == "train"].any()
    for name in ("validation", "test"):
        assert mismatch[split == name].sum() == round(demo_truth.MISMATCH_RATE * (split == name).sum())
    assert (mismatch[split == "test"]).sum() > 0


def test_a_clip_is_made_from_cues_speaker_and_noise_alone():
    assigned = demo.divide(6)
    clip, again = demo.draw(assigned, seed=3)[0][:2]
    other = dataclasses.replace(clip, labels=again.labels, name="x", split="test")
    first, second = (demo.content(one, 2.0, (1.0, 1.5)) for one in (clip, other))
    np.testing.assert_array_equal(first.sound.values, second.sound.values)
    for name in first.faces:
        np.testing.assert_array_equal(first.faces[name], second.faces[name])
    moved = dataclasses.replace(clip, face_cues=again.face_cues)
    third = demo.content(moved, 2.0, (1.0, 1.5))
    np.testing.assert_array_equal(first.sound.values, third.sound.values)
    assert (first.faces["face"] != third.faces["face"]).any()


def test_cues_change_the_voice_as_their_names_say():
    rate, speaker = 16_000, voice.draw_voice(np.random.default_rng(0))

    def spoken(**cues):
        values = [cues.get(name, 0.0) for name in demo_truth.VOICE_CUES]
        return voice.speak(np.random.default_rng(1), speaker, np.array(values), np.ones(2 * rate), rate).astype(float)

    def centroid(sound):
        power = np.abs(np.fft.rfft(sound)) ** 2
        return (power * np.fft.rfftfreq(len(sound), 1 / rate)).sum() / power.sum()

    def pitch(sound):
        middle = sound[rate // 2 : rate]
        lags = np.correlate(middle, middle, "full")[len(middle) - 1 :]
        return rate / (30 + np.argmax(lags[30:200]))

    assert np.std(spoken(energy=1)) > 1.5 * np.std(spoken())
    assert centroid(spoken(brightness=1)) > 1.2 * centroid(spoken())
    assert pitch(spoken(pitch=1)) / pitch(spoken()) == pytest.approx(2**0.5, rel=0.1)


def test_likelihoods_are_those_of_sampled_deviations(population):
    """The Gaussians, against an average over drawn deviations d of what is independent given d."""
    clips, likelihood = population
    d = demo_truth._DEVIATION * np.random.default_rng(0).normal(size=(20_000, 2))
    for i in range(3):
        for emotion in (0, 3):
            face = stats.norm(demo_truth._FACES[emotion] + d @ demo_truth._FACE_SLOPES.T, demo_truth._FACE_NOISE)
            heard = stats.norm(demo_truth._VOICES[emotion] + d @ demo_truth._VOICE_SLOPES.T, demo_truth._VOICE_NOISE)
            seen, said = face.logpdf(clips.face[i]).sum(axis=1), heard.logpdf(clips.voice[i]).sum(axis=1)
            for wanted, got in ((seen, likelihood.face), (said, likelihood.voice), (seen + said, likelihood.same)):
                assert np.exp(got[i, emotion]) == pytest.approx(np.exp(wanted).mean(), rel=0.1, abs=1e-12)


def test_posteriors_are_calibrated(population):
    """An exact posterior is right as often as it says: of the emotion, and of the mismatch."""
    clips, likelihood = population
    rate = demo_truth.MISMATCH_RATE
    for score in demo_truth.emotion_scores(likelihood, rate).values():
        posterior = np.exp(score - score.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        right = posterior.argmax(axis=1) == clips.emotion
        for low, high in ((0, 0.6), (0.6, 0.9), (0.9, 1)):
            chosen = (posterior.max(axis=1) > low) & (posterior.max(axis=1) <= high)
            if chosen.sum() > 500:
                assert right[chosen].mean() == pytest.approx(posterior.max(axis=1)[chosen].mean(), abs=0.03)
    ratio = demo_truth.mismatch_score(likelihood) - np.log(len(source.EMOTIONS) - 1)
    odds = ratio + np.log(rate / (1 - rate))
    said = 1 / (1 + np.exp(-odds))
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1)):
        chosen = (said > low) & (said <= high)
        assert clips.mismatch[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.05)


def test_no_other_detector_has_a_higher_auroc(population):
    clips, likelihood = population
    best = roc_auc_score(clips.mismatch, demo_truth.mismatch_score(likelihood))
    face, heard = (np.exp(v - v.max(axis=1, keepdims=True)) for v in (likelihood.face, likelihood.voice))
    face, heard = face / face.sum(axis=1, keepdims=True), heard / heard.sum(axis=1, keepdims=True)
    middle = (face + heard) / 2
    others = {
        "disagreement": 1 - (face * heard).sum(axis=1),
        "divergence": stats.entropy(face.T, middle.T) + stats.entropy(heard.T, middle.T),
        "class": (face.argmax(axis=1) != heard.argmax(axis=1)).astype(float),
    }
    for name, score in others.items():
        assert 0.6 < roc_auc_score(clips.mismatch, score) < best, name
    assert 0.9 < best < 0.99


def test_expected_ratings_are_expectations(population):
    clips, likelihood = population
    expected = demo_truth.expected_ratings(clips, likelihood)
    for k in range(2):
        slope, intercept = np.polyfit(expected[:, k], clips.ratings[:, k], 1)
        assert slope == pytest.approx(1, abs=0.02) and intercept == pytest.approx(0, abs=0.02)


def test_the_optimum_of_the_card_is_that_of_its_test_clips(corpus):
    optimum = corpus.card["optimum"]
    assigned = dict(zip(corpus.cluster, corpus.split, strict=True))
    named = {name: assigned[name] for name in demo.divide(6)}
    _, tested = demo.draw(named, seed=0)
    rows = [i for i, split in enumerate(corpus.split) if split == "test"]
    assert sorted(corpus.labels["emotion"][rows]) == sorted(tested.emotion)
    score = demo_truth.emotion_scores(demo_truth.likelihoods(tested), 0.15)["face"]
    assert optimum["test"]["emotion"]["face"]["accuracy"] == pytest.approx((score.argmax(1) == tested.emotion).mean())
    assert 0.85 < optimum["population"]["emotion"]["face"]["accuracy"] < 0.95
    assert 0.6 < optimum["population"]["emotion"]["audio"]["accuracy"] < 0.85
    assert set(optimum["population"]["mismatch"]["both"]) == {"auroc"}


def test_the_demo_is_built_once_and_refused_when_it_differs(corpus):
    data_dir = corpus.path.parents[2]
    assert cli.build("affect_video/demo", data_dir, **OPTIONS) == corpus.path
    with pytest.raises(InputError, match="seed"):
        cli.build("affect_video/demo", data_dir, **OPTIONS, seed=1)
