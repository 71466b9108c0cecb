"""Gaps, limits, scores, percentages and ranks of clips against direct formulas; tables and page."""

import csv

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
from sklearn.metrics import roc_auc_score

from mmpsy_jax.io import InputError
from mmpsy_jax.projects.affect import measures, page
from mmpsy_jax.projects.affect.measures import Clip, Frames

NAMES = ("angry", "happy", "sad")
NAN = float("nan")


def make_clip(rng, number=0, split="test", fold=0, segments=2, mismatch=0.0, apart=0.0, before=True):
    draw = lambda n: rng.dirichlet(np.ones(3), n)  # noqa: E731
    seen, ratings = draw(segments), rng.uniform(-1, 1, (segments, 2))
    frames = lambda n: Frames(np.arange(n) / 10, draw(n), rng.uniform(-1, 1, (n, 2)))  # noqa: E731
    return Clip(
        participant=f"clip_{number}",
        cluster=f"speaker_{number // 2}",
        split=split,
        fold=fold,
        emotion=float(number % 3),
        mismatch=mismatch,
        start_s=4.0 * np.arange(segments),
        seen=seen,
        heard=draw(segments),
        seen_ratings=ratings,
        heard_ratings=ratings + apart,
        seen_frames=40.0 - 10 * np.arange(segments),
        heard_frames=120.0 - 30 * np.arange(segments),
        after=frames(7),
        before=frames(9) if before else None,
    )


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    validation = [make_clip(rng, i, "validation", mismatch=float(i == 3), apart=0.1 * i) for i in range(6)]
    tested = [make_clip(rng, 6 + i, mismatch=float(i % 3 == 0), apart=0.2 * i, before=i > 0) for i in range(8)]
    return [*validation, *tested, make_clip(rng, 14, segments=0)]


def test_the_gap_is_how_unlikely_one_emotion_is():
    clip = make_clip(np.random.default_rng(1), segments=5, apart=0.3)
    middle = (clip.seen + clip.heard) / 2
    kl = lambda p, q: scipy.stats.entropy(p, q, axis=1)  # noqa: E731
    np.testing.assert_allclose(clip.divergence, (kl(clip.seen, middle) + kl(clip.heard, middle)) / 2)
    np.testing.assert_allclose(clip.distance, 0.3 * np.sqrt(2))
    one = [sum(p * q for p, q in zip(*both, strict=True)) for both in zip(clip.seen, clip.heard, strict=True)]
    np.testing.assert_allclose(np.exp(-clip.gap), one)
    # Networks that exclude each other leave a number.
    object.__setattr__(clip, "seen", np.eye(3)[[0] * 5])
    object.__setattr__(clip, "heard", np.eye(3)[[0, 1, 1, 1, 1]])
    assert clip.gap[0] == 0 and np.isfinite(clip.gap).all() and clip.gap[1] > 20


def test_the_divergence_ends_at_ln_2():
    clip = make_clip(np.random.default_rng(1))
    object.__setattr__(clip, "seen", np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    object.__setattr__(clip, "heard", np.array([[0, 0.5, 0.5], [0, 1.0, 0]]))
    np.testing.assert_allclose(clip.divergence, [np.log(2), 0], atol=1e-7)


def test_the_limit_is_of_normal_validation_segments(clips):
    gaps = np.concatenate([c.gap for c in clips if c.split == "validation" and c.mismatch == 0])
    assert len(gaps) == 10
    assert measures.limits(clips) == {0: pytest.approx(np.percentile(gaps, 95))}
    # Without a label of mismatches all are taken to be normal; what test clips say never counts.
    for clip in clips:
        object.__setattr__(clip, "mismatch", NAN)
    everyone = np.concatenate([c.gap for c in clips if c.split == "validation"])
    assert measures.limits([*clips, make_clip(np.random.default_rng(2))]) == {
        0: pytest.approx(np.percentile(everyone, 95))
    }
    with pytest.raises(InputError, match="fold 0: no segment of a validation clip"):
        measures.limits([c for c in clips if c.split == "test"])


def test_each_fold_has_its_limit():
    rng = np.random.default_rng(3)
    folds = [make_clip(rng, i, "validation", fold=i % 2) for i in range(6)]
    for clip in folds[1::2]:
        object.__setattr__(clip, "seen", np.eye(3)[[0, 0]])
        object.__setattr__(clip, "heard", np.eye(3)[[1, 1]])
    low, high = measures.limits(folds).values()
    assert low < 5 < 20 < high


def test_scores_of_a_clip(clips):
    clip, limit = clips[8], float(np.mean(clips[8].gap))
    made = measures.score(clip, limit)
    # Outputs for the clip: means of logits and ratings over frames, of which the second segment has 3 to 4.
    weights = np.array([[4], [3]]) / 7
    p, q = (scipy.special.softmax((weights * np.log(x)).sum(axis=0)) for x in (clip.seen, clip.heard))
    divergence = scipy.spatial.distance.jensenshannon(p, q) ** 2
    distance = np.linalg.norm((weights * (clip.seen_ratings - clip.heard_ratings)).sum(axis=0))
    assert made == {
        "gap": pytest.approx(-np.log(p @ q)),
        "share_above": 0.5,
        "divergence": pytest.approx(divergence),
        "distance": pytest.approx(distance),
    }
    assert all(np.isnan(value) for value in measures.score(clips[-1], limit).values())


def test_mismatches_are_found_as_scikit_learn_counts(clips):
    tested = [c for c in clips if c.split == "test"]
    made = measures.mismatches(tested, {0: 1.0}, resamples=200)
    scored = [c for c in tested if len(c.start_s)]
    for name in measures.SCORES:
        values = [measures.score(c, 1.0)[name] for c in scored]
        assert made[name]["value"] == pytest.approx(roc_auc_score([c.mismatch for c in scored], values))
        assert made[name]["low"] <= made[name]["value"] <= made[name]["high"]
    assert measures.mismatches([c for c in tested if c.mismatch == 0], {0: 1.0}, resamples=200) == {}


def test_percentages_add_up_and_rank_one_is_the_largest(clips):
    frames = clips[0].after.emotions
    percent = measures.percentages(frames)
    assert percent.sum() == pytest.approx(100) and percent == pytest.approx(100 * frames.mean(axis=0))
    # The example of the seed.
    shown = np.array([1.409846, 0.185263, 24.042019, 1.127031, 0.080902, 0.090263, 73.064676])
    assert measures.ranks(shown).tolist() == [3, 5, 2, 4, 7, 6, 1]
    of_label = measures.by_label(clips)
    own = [measures.percentages(c.after.emotions) for c in clips if c.emotion == 1]
    assert of_label[1][0] == len(own) and of_label[1][1] == pytest.approx(np.mean(own, axis=0))


def test_changes_count_steps_to_another_emotion():
    tops = np.eye(3)[[0, 0, 1, 1, 2]]
    assert Frames(np.arange(5.0), tops, np.zeros((5, 0))).changes() == 0.5
    assert np.isnan(Frames(np.arange(1.0), tops[:1], np.zeros((1, 0))).changes())


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_and_page(clips, tmp_path):
    limits, tested = measures.limits(clips), [c for c in clips if c.split == "test"]
    measures.write_tables(tmp_path, tested, limits, NAMES)
    of_clips, segments = read(tmp_path / measures.CLIPS), read(tmp_path / measures.SEGMENTS)
    gaps = [float(row["gap"]) for row in of_clips]
    assert [int(row["rank"]) for row in of_clips] == list(range(1, 9)) and gaps == sorted(gaps, reverse=True)
    own = [row for row in segments if row["participant_id"] == of_clips[0]["participant_id"]]
    np.testing.assert_allclose([float(row["gap"]) for row in own], tested[measures.order(tested, limits)[0]].gap)
    assert np.mean([int(row["above"]) for row in own]) == float(of_clips[0]["share_above"])
    emotions, by_label = read(tmp_path / measures.EMOTIONS), read(tmp_path / measures.BY_LABEL)
    assert len(emotions) == 9 * 3 and len(by_label) == 3 * 3
    assert sum(float(row["percent"]) for row in by_label) == pytest.approx(300)

    report = measures.summary(tested, limits, resamples=50)
    assert (report["clips"], report["clips_with_both"], report["segments"]) == (9, 8, 16)
    changes = [c.before.changes() for c in tested if c.before is not None]
    assert report["changes_per_step"]["before"] == pytest.approx(np.mean(changes))
    above = [(c.gap > limits[0]).mean() for c in tested if len(c.start_s)]
    assert report["share_above"] == pytest.approx(np.mean(above))
    report |= {"synthetic": True, "trainings": 2, "optimum": {"population": 0.96, "test": 0.97}}
    html = page.render(report, clips, limits, emotions=NAMES, ratings=("valence", "arousal"))
    assert "estimates of emotions" in html and "questionnaire" not in html
    assert "SYNTHETIC" in html and "0.970" in html and "acting" in html.lower()
    assert "Rank 1 of 8" in html and html.count("<svg") == 1 + 4
    assert "clip_" not in html and "speaker_" not in html and "http://" not in html.replace("http://www.w3.org", "")


def test_a_page_without_mismatches_ratings_or_gaps():
    rng = np.random.default_rng(4)
    clips = [make_clip(rng, i, split, mismatch=NAN, before=False) for i, split in enumerate(("validation", "test"))]
    for clip in clips:
        for name in ("seen_ratings", "heard_ratings"):
            object.__setattr__(clip, name, np.zeros((2, 0)))
        object.__setattr__(clip, "after", Frames(clip.after.seconds, clip.after.emotions, np.zeros((7, 0))))
    limits = measures.limits(clips)
    report = measures.summary(clips[1:], limits, resamples=50)
    report |= {"synthetic": False, "trainings": 1, "optimum": {}}
    html = page.render(report, clips, limits, emotions=NAMES, ratings=())
    assert "No clip is known to disagree" in html and "SYNTHETIC" not in html and "all of which" in html
