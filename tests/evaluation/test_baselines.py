"""Baselines: what they predict, and that nothing but the training split reaches them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeCV
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from mmpsy_jax.evaluation import baselines
from mmpsy_jax.evaluation.baselines import Covariates, fit_predict
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, questionnaire

TASKS = questionnaire("phq9", "phq")
REAL = Path(__file__).parents[3] / "shared" / "data" / "mmpsy" / "wav_select.json"


def covariates(n=120, seed=0, **changes):
    """Participants whose texts and lengths both tell something of the score."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 28, n).astype(float)
    texts = {
        f"p{i}": "".join(rng.choice(list("abcdef"), 40)) + "uvw" * int(scores[i] // 3 + rng.integers(0, 3))
        for i in range(n)
    }
    given = {
        "participant_id": [f"p{i}" for i in range(n)],
        "split": np.array(["train", "train", "validation", "test"])[np.arange(n) % 4],
        "scores": {"phq9": scores},
        "n_characters": [len(texts[f"p{i}"]) for i in range(n)],
        "texts": texts,
    }
    return Covariates(**{**given, **changes})


def test_names_rows_and_columns():
    made = fit_predict(covariates(), TASKS, fold=3, seed=5)
    assert list(made) == ["prior", "length", "tfidf_logistic", "tfidf_ridge"]
    assert set(made["tfidf_logistic"].task.tolist()) == {"phq_screen"}
    for name, table in made.items():
        assert set(table.split.tolist()) == {"validation", "test"}
        assert set(table.fold.tolist()) == {3} and set(table.seed.tolist()) == {5}
        assert len(table.select(task="phq_screen")) == 60, name
    without = fit_predict(covariates(texts=None), TASKS)
    assert list(without) == ["prior", "length"]


def test_baselines_of_a_nominal_task_name_classes():
    given = covariates()
    task = Task("emotion", "emotion", "nominal", classes=("joy", "fear", "anger"))
    classes = np.minimum(given.scores["phq9"] // 6, 2)  # most are of class 2
    made = fit_predict(dataclasses.replace(given, scores={"emotion": classes}), [task])
    assert list(made) == ["prior", "length", "tfidf_logistic"]
    assert set(made["prior"].y_pred) == {2.0}
    train, rest = given.split == "train", given.split != "train"
    x = np.log1p(given.n_characters)[:, None]
    x = (x - x[train].mean()) / x[train].std()
    expected = LogisticRegression().fit(x[train], classes[train]).predict(x[rest])
    np.testing.assert_array_equal(made["length"].y_pred, expected)
    right = {name: np.mean(table.y_pred == table.y_true) for name, table in made.items()}
    assert right["tfidf_logistic"] > right["prior"]


def test_prior_is_the_training_mean():
    given = covariates()
    train = given.split == "train"
    made = fit_predict(given, TASKS)["prior"]
    scores = given.scores["phq9"][train]
    assert np.unique(made.select(task="phq_screen").y_prob) == pytest.approx((scores >= 10).mean())
    assert np.unique(made.select(task="phq_score").y_pred) == pytest.approx(scores.mean())
    bands = np.asarray(TASKS[1].targets(scores), float)
    assert np.unique(made.select(task="phq_bands").y_pred) == pytest.approx(bands.mean())


def test_length_is_linear_in_log_characters():
    given = covariates()
    train = given.split == "train"
    x = np.log1p(given.n_characters)
    slope, intercept = np.polyfit(x[train], given.scores["phq9"][train], 1)
    rows = fit_predict(given, TASKS)["length"].select(task="phq_score", split="test")
    np.testing.assert_allclose(rows.y_pred, intercept + slope * x[given.split == "test"], rtol=1e-8)


def mel(n=120, seed=3):
    """Statistics of recordings that tell something of the score; a quarter of the participants has none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 6)) + 0.2 * covariates(n).scores["phq9"][:, None] * np.arange(6)
    values[rng.random(n) < 0.25] = np.nan
    return values


def test_answers_and_mel_are_linear_models_of_standardised_numbers():
    n_answers = np.random.default_rng(4).integers(4, 11, 120)
    given = covariates(n_answers=n_answers, mel=mel())
    train, test = given.split == "train", given.split == "test"
    made = fit_predict(given, TASKS)
    assert list(made) == ["prior", "length", "answers", "mel_linear", "tfidf_logistic", "tfidf_ridge"]
    scores = given.scores["phq9"]
    slope, intercept = np.polyfit(n_answers[train], scores[train], 1)
    rows = made["answers"].select(task="phq_score", split="test")
    np.testing.assert_allclose(rows.y_pred, intercept + slope * n_answers[test], rtol=1e-8)

    there = train & np.isfinite(given.mel[:, 0])
    filled = np.where(np.isfinite(given.mel), given.mel, given.mel[there].mean(axis=0))
    x = (filled - given.mel[there].mean(axis=0)) / given.mel[there].std(axis=0)
    linear = Ridge(baselines.MEL_ALPHA).fit(x[train], scores[train])
    logistic = LogisticRegression(C=baselines.MEL_C).fit(x[train], scores[train] >= 10)
    score, screen = (made["mel_linear"].select(task=f"phq_{name}", split="test") for name in ("score", "screen"))
    np.testing.assert_allclose(score.y_pred, linear.predict(x[test]), rtol=1e-8)
    np.testing.assert_allclose(screen.y_prob, logistic.predict_proba(x[test])[:, 1], rtol=1e-4)
    assert roc_auc_score(screen.y_true, screen.y_prob) > 0.7


def test_functionals_are_a_linear_model_too_without_what_nobody_knows():
    """A column that no training participant has, such as the pitch of whispers, is left out; others are filled in."""
    given = covariates(n_characters=None, functionals={"egemaps": mel()})
    pitch = np.where((given.split == "test")[:, None], 5.0, np.nan)
    made = fit_predict(given, TASKS)
    assert list(made) == ["prior", "egemaps", "tfidf_logistic", "tfidf_ridge"], "no length without characters"
    more = covariates(functionals={"egemaps": np.concatenate([mel(), pitch], axis=1)})
    np.testing.assert_array_equal(fit_predict(more, TASKS)["egemaps"].y_pred, made["egemaps"].y_pred)
    linear = fit_predict(covariates(mel=mel()), TASKS)["mel_linear"]
    np.testing.assert_array_equal(made["egemaps"].y_prob, linear.y_prob)
    assert "egemaps" not in fit_predict(covariates(functionals={"egemaps": pitch}), TASKS)
    with pytest.raises(InputError, match="one value per participant"):
        covariates(functionals={"egemaps": mel()[:5]})


def test_mel_of_others_cannot_reach_a_prediction_and_none_in_training_leaves_it_out():
    given = covariates(mel=mel())
    other = np.where((given.split == "test")[:, None] & (np.arange(120) > 60)[:, None], 99.0, given.mel)
    one, two = (fit_predict(covariates(mel=m), TASKS)["mel_linear"] for m in (given.mel, other))
    kept = np.isin(one.participant_id, [f"p{i}" for i in range(61)])
    np.testing.assert_array_equal(one.y_pred[kept], two.y_pred[kept])
    without = np.where((given.split == "train")[:, None], np.nan, given.mel)
    assert "mel_linear" not in fit_predict(covariates(mel=without), TASKS)
    with pytest.raises(InputError, match="one value per participant"):
        covariates(mel=given.mel[:5])


def test_ridge_is_ridge_and_its_ranking_is_the_binary_score():
    given = covariates()
    texts = baselines._Texts(given)
    fit_on = np.flatnonzero(given.split == "train")
    matrix = texts.matrix(fit_on)
    expected = Ridge(alpha=baselines.RIDGE_ALPHA, tol=1e-10).fit(matrix[fit_on], given.scores["phq9"][fit_on])
    rows = fit_predict(given, TASKS)["tfidf_ridge"]
    score, screen = rows.select(task="phq_score", split="test"), rows.select(task="phq_screen", split="test")
    np.testing.assert_allclose(score.y_pred, expected.predict(matrix[given.split == "test"]), rtol=1e-4)
    assert np.array_equal(np.argsort(score.y_pred), np.argsort(screen.y_prob))
    # A predicted score at the cut-off (half a point below it, scores being whole) is as likely positive as not.
    assert np.all((screen.y_prob >= 0.5) == (score.y_pred >= 9.5))


def test_ridge_error_is_the_leave_one_out_error():
    given = covariates(40)
    texts = baselines._Texts(given)
    fit_on = np.flatnonzero(given.split == "train")
    matrix, y = texts.matrix(fit_on)[fit_on].toarray(), given.scores["phq9"][fit_on]
    residuals = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        model = Ridge(alpha=baselines.RIDGE_ALPHA, solver="cholesky").fit(matrix[rest], y[rest])
        residuals.append(y[i] - model.predict(matrix[[i]])[0])
    assert texts.ridge(TASKS[2], fit_on, y)[1] == pytest.approx(np.sqrt(np.mean(np.square(residuals))), rel=1e-6)


def test_validation_and_test_content_cannot_reach_a_baseline():
    given = covariates()
    rng = np.random.default_rng(1)
    outside = given.split != "train"
    scores = given.scores["phq9"].copy()
    scores[outside] = rng.permutation(scores[outside])
    one = fit_predict(given, TASKS)
    two = fit_predict(covariates(scores={"phq9": scores}), TASKS)
    for name in one:
        np.testing.assert_array_equal(one[name].y_prob, two[name].y_prob)
        np.testing.assert_array_equal(one[name].y_pred, two[name].y_pred)
    # Other texts of other test participants leave the predictions of the rest as they are.
    texts = dict(given.texts)
    changed = np.flatnonzero(given.split == "test")[:10]
    for i in changed:
        texts[f"p{i}"] = "zzzqqq" * 30
    three = fit_predict(covariates(texts=texts), TASKS)
    rows, other = one["tfidf_ridge"], three["tfidf_ridge"]
    same = ~np.isin(rows.participant_id, [f"p{i}" for i in changed])
    np.testing.assert_array_equal(rows.y_pred[same], other.y_pred[same])


def test_missing_labels_are_left_out():
    scores = covariates().scores["phq9"].copy()
    scores[:8] = -1
    made = fit_predict(covariates(scores={"phq9": scores}), TASKS)["prior"]
    rows = made.select(task="phq_score")
    assert np.isnan(rows.y_true).sum() == 4
    train = (np.arange(120) % 4 < 2) & (scores >= 0)
    assert rows.y_pred[0] == pytest.approx(scores[train].mean())


def test_one_class_in_training_gives_the_prior_and_unused_participants_are_ignored():
    scores = np.where(np.arange(120) % 4 < 2, 3.0, 15.0)
    made = fit_predict(covariates(scores={"phq9": scores}), TASKS[:1])
    for name in ("prior", "length", "tfidf_logistic"):
        assert set(made[name].y_prob.tolist()) == {0.0}
    split = covariates().split.copy()
    split[:20] = ""
    assert len(fit_predict(covariates(split=split), TASKS[:1])["prior"]) == 50


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"participant_id": ["same"] * 120}, "occurs twice"),
        ({"split": ["dev"] * 120}, "unknown split 'dev'"),
        ({"n_characters": [1.0]}, "one value per participant"),
        ({"n_characters": [-1.0] * 120}, "0 or more"),
        ({"texts": {}}, "120 of 120 participants have no text"),
    ],
)
def test_bad_covariates(changes, says):
    with pytest.raises(InputError, match=says):
        covariates(**changes)


def test_bad_tasks_and_texts():
    with pytest.raises(InputError, match="label 'gad7': the scores given are phq9"):
        fit_predict(covariates(), questionnaire("gad7", "gad"))
    with pytest.raises(InputError, match="no participant of the training split"):
        fit_predict(covariates(split=["test"] * 120), TASKS)
    with pytest.raises(InputError, match="no character n-gram"):
        fit_predict(covariates(texts={f"p{i}": "" for i in range(120)}), TASKS)


def test_baselines_of_counts_are_poisson_regressions():
    known = covariates()
    table = fit_predict(known, (Task("n", "phq9", "count"),))
    assert list(table) == list(fit_predict(known, TASKS[2:]))
    train = known.split == "train"
    assert np.allclose(table["prior"].y_pred, known.scores["phq9"][train].mean()) and table["length"].y_pred.min() > 0
    x = np.log1p(known.n_characters)[:, None]
    model = PoissonRegressor(alpha=0, max_iter=1000).fit(x[train], known.scores["phq9"][train])
    np.testing.assert_allclose(
        table["length"].y_pred, model.predict(x[np.isin(known.split, ["validation", "test"])]), rtol=1e-3
    )


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not on this machine")
def test_ridge_ranks_real_participants():
    """400 of the released transcripts, a quarter held out; all 1,020 in five folds give 0.853."""
    people = json.loads(REAL.read_text(encoding="utf-8"))
    people = [people[i] for i in np.random.default_rng(0).permutation(len(people))[:400]]
    texts = {p["user_id"]: "".join(p["audios"].values()) for p in people}
    given = Covariates(
        participant_id=list(texts),
        split=np.where(np.arange(len(texts)) % 4 == 0, "test", "train"),
        scores={"phq9": [p["phq-label"]["score"] for p in people]},
        n_characters=[len(text) for text in texts.values()],
        texts=texts,
    )
    made = fit_predict(given, (Task("screen", "phq9", "binary", (10,)),), splits=("test",))
    areas = {name: roc_auc_score(table.y_true, table.y_prob) for name, table in made.items()}
    assert areas["tfidf_ridge"] > 0.7
    assert areas["tfidf_ridge"] > areas["length"] > areas["prior"] == 0.5


def test_a_probe_of_what_hardly_anybody_says_tells_nobody_apart():
    used = scipy.sparse.csr_matrix(([True], [7], [0, 1, *[1] * 119]), (120, 30), dtype=bool)
    predicted = fit_predict(covariates(texts=None, probes={"interviewer_text": used}), TASKS)["interviewer_text"]
    assert np.ptp(predicted.select(task="phq_screen").y_prob) == 0


def test_bands_are_no_constant_and_have_the_shares_of_the_training_split():
    """Many weak numbers, shrunk hard: the expected band is the same for nearly everybody, the cut one is not."""
    rng = np.random.default_rng(0)
    score = np.clip(rng.gamma(2.0, 4.0, 400).round(), 0, 27)
    x = rng.normal(size=(400, 60)) + 0.12 * ((score - score.mean()) / score.std())[:, None]
    task = questionnaire("phq9", "phq", kinds=["ordinal"])[0]
    bands, train = np.asarray(task.targets(score), float), np.arange(400) < 200
    plain = RidgeCV(alphas=[100.0]).fit(x[train], bands[train]).predict(x[~train])
    model = task.linear_model(100.0, 200).fit(x[train], bands[train])
    cut = model.predict(x[~train])
    kappa = [cohen_kappa_score(bands[~train], np.floor(p + 0.5), weights="quadratic") for p in (plain, cut)]
    assert kappa[1] > kappa[0] + 0.05 > 0.15, kappa
    shares = [np.bincount(b.astype(int), minlength=5) / 200 for b in (bands[train], cut)]
    assert np.abs(shares[0] - shares[1]).max() < 0.12 and set(cut) <= set(range(5))


def test_cut_points_are_of_people_who_were_left_out():
    """As many numbers as people: predictions of those who were fitted say nothing, those of the others do."""
    rng = np.random.default_rng(1)
    x, bands = rng.normal(size=(80, 80)), rng.integers(0, 3, 80).astype(float)
    model = questionnaire("gad7", "gad", kinds=["ordinal"])[0].linear_model(1e-3, 80).fit(x, bands)
    left_out = [Ridge(1e-3).fit(np.delete(x, i, 0), np.delete(bands, i)).predict(x[i : i + 1])[0] for i in range(80)]
    np.testing.assert_allclose(model.cuts, np.quantile(left_out, np.cumsum(np.bincount(bands.astype(int)))[:-1] / 80))
    only = questionnaire("gad7", "gad", kinds=["ordinal"])[0].linear_model(0.0, 80).fit(x[:, :1], np.zeros(80))
    assert set(only.predict(x[:, :1])) == {0.0}
