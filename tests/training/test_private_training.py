"""Differentially private training: the mechanism on its own, a whole run, and what is refused. SYNTHETIC data."""

import dataclasses
import functools
import importlib.util
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mmpsy_jax.data.plan import poisson_plan
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.training import finished_run, privacy, run
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.participant_curve import curve
from tests.runs import in_process, lean

N = 6
needs_jax_privacy = pytest.mark.skipif(
    importlib.util.find_spec("jax_privacy") is None,
    reason="jax-privacy is an optional extra: pip install 'mmpsy_jax[privacy]'",
)


def test_everybody_is_drawn_by_themselves_with_one_probability():
    members, counts = np.arange(3, 103, dtype=np.int32), {"text": np.ones(200, int)}
    options = {"rate": 0.3, "batch_size": 60, "packs": 60, "slots": {"text": 4}, "batches": 400}
    plan = poisson_plan(counts, members, **options, seed=1)
    assert plan.shape == (400, 60, 1) and set(np.unique(plan)) == {-1, *members}
    drawn = np.stack([np.isin(members, batch) for batch in plan])
    sizes, share = drawn.sum(axis=1), drawn.mean()
    assert abs(share - 0.3) < 0.01 and abs(sizes.std() - np.sqrt(100 * 0.3 * 0.7)) < 1, "sizes vary as a binomial"
    pairs = (drawn[:, :50] & drawn[:, 50:]).mean()
    assert abs(pairs - 0.09) < 0.01, "independently of each other"
    for batch in plan:
        of_people = batch[batch >= 0]
        assert len(np.unique(of_people)) == len(of_people)
    np.testing.assert_array_equal(plan, poisson_plan(counts, members, **options, seed=1))
    assert not np.array_equal(plan, poisson_plan(counts, members, **options, seed=1, epoch=1))
    assert (poisson_plan(counts, members, **{**options, "rate": 0.9}, seed=0) >= 0).all(), "no more than there is room"
    with pytest.raises(InputError, match="a pack per participant"):
        poisson_plan(counts, members, **{**options, "packs": 30}, seed=0)


def one_loss(params, batch, key):
    error = batch["x"][0] @ params["w"] - batch["y"][0]
    loss = jnp.where(batch["valid"][0, 0], error**2, 0.0)
    return loss, {"task": jnp.stack([loss, jnp.float32(1)])}


def problem(seed=0):
    rng = np.random.default_rng(seed)
    batch = {"x": rng.standard_normal((N, 3)), "y": 10 * rng.standard_normal(N), "valid": np.ones((N, 1), bool)}
    return {"w": jnp.ones(3)}, jax.tree.map(jnp.asarray, batch)


def gradients(batch, params, noise=0.0, clip=1.0, key=0):
    mechanism = ConfigDict({"clip": clip, "noise_multiplier": noise})
    return privacy.gradients(one_loss, params, batch, jax.random.key(key), privacy=mechanism, expected=4)


@needs_jax_privacy
def test_each_participant_moves_the_sum_by_the_clipping_norm_at_most():
    params, batch = problem()
    loss, whole, norm, sums = gradients(batch, params, clip=0.5)
    each = [jax.grad(lambda w, i=i: (batch["x"][i] @ w - batch["y"][i]) ** 2)(params["w"]) for i in range(N)]
    clipped = sum(g * min(1, 0.5 / np.linalg.norm(g)) for g in each) / 4
    np.testing.assert_allclose(whole["w"], clipped, rtol=1e-5)
    assert norm == pytest.approx(float(np.linalg.norm(clipped)), rel=1e-5)
    assert sums["task"][1] == N and loss == pytest.approx(float(sums["task"][0]) / N, rel=1e-5)
    for i in range(N):
        without = {**batch, "valid": batch["valid"].at[i].set(False)}
        moved = 4 * np.linalg.norm(whole["w"] - gradients(without, params, clip=0.5)[1]["w"])
        assert moved == pytest.approx(0.5, rel=1e-4), "all of these gradients are larger than the norm"


@needs_jax_privacy
def test_the_noise_has_the_size_that_was_calibrated_and_nan_is_heard():
    params, batch = problem()
    still = gradients(batch, params)[1]["w"]
    noisy = jax.vmap(lambda k: gradients(batch, params, 2.0, 0.5, k)[1]["w"])(jnp.arange(2000))
    still = gradients(batch, params, clip=0.5)[1]["w"]
    np.testing.assert_allclose((noisy - still).std(axis=0), 2.0 * 0.5 / 4, rtol=0.1)
    np.testing.assert_allclose((noisy - still).mean(axis=0), 0, atol=0.03)
    broken = {**batch, "y": batch["y"].at[1].set(jnp.nan)}
    assert jnp.isnan(gradients(broken, params)[2]), "jax-privacy would take it for zero"
    absent = {**broken, "valid": broken["valid"].at[1].set(False)}
    assert jnp.isfinite(gradients(absent, params)[2])


@needs_jax_privacy
def test_the_noise_is_that_of_an_accountant():
    # Of dp-accounting by itself: 32 of 1,020, noise 1.1, 1,550 steps and delta 1e-4 give epsilon 5.94.
    assert privacy.noise_multiplier(5.94, 1e-4, 32 / 1020, 1550) == pytest.approx(1.1, rel=0.02)
    assert privacy.noise_multiplier(2.0, 1e-2, 0.3, 40) > privacy.noise_multiplier(8.0, 1e-2, 0.3, 40)


@needs_jax_privacy
@pytest.mark.parametrize("seeds", [1, 2], ids=["alone", "as replicas"])
def test_a_run_trains_privately_and_says_what_that_covers(dataset, tmp_path, seeds):
    config = lean(dataset)
    fields = {"privacy.epsilon": 8.0, "seeds": seeds, "total": "2 epochs", "evaluation.baselines": False}
    if seeds == 2:  # nobody validates: thresholds from tested rows would tell of who is trained on elsewhere
        fields |= {"cv.folds": 2, "cv.validation_fraction": 0.0, "selection.metric": "step"}
    config.update_from_flattened_dict(fields)
    report = run.run(config, dataset, tmp_path / "run")
    (note,) = (flag for flag in report["flags"] if flag["code"] == "private")
    assert "(epsilon, delta) = (8," in note["message"] and "not covered" in note["message"]
    card = json.loads((tmp_path / "run/model.json").read_text())
    for training in card["trainings"]:
        assert training["fields"]["privacy.noise_multiplier"] > 0.3 and training["fields"]["privacy.delta"] < 0.1
        assert training["fields"]["privacy.rows"] % jax.device_count() == 0
    loaded, corpus = finished_run.load(tmp_path / "run"), open_corpus(dataset)
    values, _ = loaded.predict(loaded.select_modalities(corpus), np.arange(10, dtype=np.int32))
    assert all(
        np.isfinite(one).all() and one.shape[:2] == (seeds * max(config.cv.folds, 1), 10) for one in values.values()
    )


@needs_jax_privacy
def test_what_the_corpus_contradicts_is_refused(dataset):
    config, corpus = lean(dataset), open_corpus(dataset)
    config.privacy.epsilon = 8.0
    families = dataclasses.replace(corpus, cluster=("one", *corpus.cluster[1:-1], "one"))
    calibrated = functools.partial(privacy.calibrated, sizes=[70])
    with pytest.raises(InputError, match="would protect single records"):
        calibrated(config, families)
    with pytest.raises(InputError, match="must be below 1"):
        calibrated(overlay(config, {"data.batch_size": 80}), corpus)
    with pytest.raises(InputError, match="must be below 1, and should be at most"):
        calibrated(overlay(config, {"privacy.delta": 1.5}), corpus)
    with pytest.raises(InputError, match="does not train privately"):  # of a config that nobody calibrated
        curve(config, corpus, dataset, sizes=[20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config.privacy.epsilon=-1"], r"epsilon = -1"),
        (["--config.privacy.epsilon=much"], "much"),
        (["--config.privacy.epsilon="], "epsilon"),
        (["--config.privacy.epsilon=nan"], "epsilon = nan"),
        (["--config.privacy.delta=0.001"], "give config.privacy.epsilon too"),
        (["--config.privacy.epsilon=8", "--config.privacy.clip=0"], "clip"),
        (["--config.privacy.epsilon=8", "--config.objective.weighting=uncertainty"], "learn from the losses"),
        (["--config.privacy.epsilon=8", "--config.objective.class_weights=balanced"], "counted without noise"),
        (["--config.privacy.epsilon=8", "--config.privacy.rate=0.5"], "leave them at 0"),
    ],
)
def test_contradictions_are_refused_in_one_line(dataset, tmp_path, capsys, options, message):
    config = ["--config=smoke", f"--config.data.folder={dataset}", f"--workdir={tmp_path / 'run'}"]
    assert in_process(*config, *options) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_without_the_extra_the_remedy_is_named(dataset, monkeypatch):
    config = lean(dataset)
    config.privacy.epsilon = 8.0
    monkeypatch.setitem(sys.modules, "jax_privacy", None)
    with pytest.raises(InputError, match=r"pip install 'mmpsy_jax\[privacy\]'"):
        privacy.check(config)
