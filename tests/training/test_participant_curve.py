"""The curve over participants: nested parts, whole test parts, one program, and what is refused. SYNTHETIC data."""

import dataclasses
import json

import numpy as np
import pytest

from mmpsy_jax.commands.curve import read_reliability
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.training import participant_curve, run
from mmpsy_jax.training.participant_curve import choose_sizes, nested
from tests.runs import in_process, lean


def test_a_larger_part_holds_the_smaller_ones_and_clusters_whole(dataset):
    corpus, members = open_corpus(dataset), np.arange(10, 80, dtype=np.int32)
    parts = nested(corpus, members, [20, 40, 70], seed=3)
    assert [len(part) for part in parts] == [20, 40, 70]
    assert set(parts[0]) < set(parts[1]) < set(parts[2]) == set(members)
    assert not np.array_equal(parts[0], nested(corpus, members, [20], seed=4)[0])
    families = dataclasses.replace(corpus, cluster=tuple(f"f{i // 3}" for i in range(len(corpus))))
    (part,) = nested(families, members, [20], seed=3)
    owners = np.array(families.cluster)
    assert 20 <= len(part) <= 22
    assert not set(owners[part]) & set(owners[np.setdiff1d(members, part)])


def test_sizes_are_from_a_hundred_on_or_an_eighth_of_all():
    assert choose_sizes((), 816) == [100, 169, 286, 483]
    assert choose_sizes((), 200) == [25, 42, 71, 119]
    assert choose_sizes((200, 100), 816) == [100, 200]
    for asked, most in (((100, 816), 816), ((5,), 816), ((50, 50), 816), ((), 9)):
        with pytest.raises(InputError, match="give different numbers from 10"):
            choose_sizes(asked, most)


def test_reliabilities_are_of_one_label_or_all():
    assert read_reliability(["0.86"]) == {"": 0.86} and read_reliability(["phq9:0.86", "gad7:.9"])["gad7"] == 0.9
    for texts in (["high"], ["phq9:"], ["0.8", "0.9"]):
        with pytest.raises(InputError, match="--reliability"):
            read_reliability(texts)
    with pytest.raises(InputError, match="above 0 and at most 1"):
        participant_curve._reliabilities({"": 1.4}, ["phq9"])
    with pytest.raises(InputError, match="label in --reliability"):
        participant_curve._reliabilities({"bdi": 0.9}, ["phq9"])


def test_a_curve_is_trained_on_parts_and_tested_on_all(dataset, tmp_path):
    config = lean(dataset)
    fields = {"cv.folds": 3, "selection.metric": "step", "cv.validation_fraction": 0.0, "total": "2 epochs"}
    config.update_from_flattened_dict({**fields, "evaluation.bootstrap": 20})
    asked = {"sizes": (16, 24, 40), "reliability": {"": 0.81}}
    use = lambda *opened: participant_curve.curve(*opened, **asked)  # noqa: E731
    content = run.with_corpus(use, config, dataset, tmp_path / "curve")
    assert content["sizes"] == [16, 24, 40, 64] and content["trainings"] == 12
    entry = next(iter(content["tasks"].values()))
    predictors = entry["metrics"]["ccc"]["predictors"]
    assert next(iter(predictors)) == "model" and "prior" in predictors and len(predictors["model"]["sizes"]) == 4
    assert predictors["model"]["gain"] is not None and entry["metrics"]["ccc"]["ceiling"] == pytest.approx(0.9)
    whole = {one for fold in range(3) for one in ids_of(tmp_path / "curve/all", fold)}
    for name in ("n_16", "n_24", "n_40"):
        assert {one for fold in range(3) for one in ids_of(tmp_path / "curve" / name, fold)} == whole
    assert len(whole) == 96
    assert len(list((tmp_path / "curve/replicas_16_24_40").iterdir())) == 1, "one program"
    page = (tmp_path / "curve/curve.html").read_text()
    assert "SYNTHETIC" in page and "extrapolation" in page and "://" not in page.replace("http://www.w3.org", "")
    assert json.loads((tmp_path / "curve/curve.json").read_text()) == content
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "curve").rglob("predictions.csv")}
    assert run.with_corpus(use, config, dataset, tmp_path / "curve") == content
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing is trained again"


def ids_of(folder, fold):
    return set(read_csv(folder / f"fold_{fold}/seed_0/predictions.csv").select(split="test").participant_id.tolist())


def test_bad_options_end_before_anything_is_trained(dataset, tmp_path, capsys):
    for option, message in (("--sizes=ten", "--sizes=ten"), ("--more=-1", "--more=-1"), ("--reliability=x", "=x")):
        workdir = tmp_path / option
        status = in_process(
            "curve", "--config=smoke", f"--config.data.folder={dataset}", f"--workdir={workdir}", option
        )
        assert status == 2 and message in capsys.readouterr().err and not workdir.exists()
