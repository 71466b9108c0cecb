"""The audit of a finished cross-validation: controls, refusals, and where its numbers stand. SYNTHETIC data."""

import json
import shutil

import pytest

from data_builders.common import cli
from mmpsy_jax.io import InputError
from mmpsy_jax.training import membership, run
from tests import corpora
from tests.runs import in_process, lean


def trained(dataset, workdir, rate, **fields):
    config = lean(dataset)
    shared = {"cv.folds": 3, "cv.repeats": 2, "cv.validation_fraction": 0.0, "seeds": 2, "selection.metric": "step"}
    shared |= {"selection.every": "100 percent", "evaluation.near_duplicates": False, "optimizer.schedule": "constant"}
    shared |= {"optimizer.learning_rate": rate, "total": "15 epochs", "model.dropout": 0.0}
    config.update_from_flattened_dict(shared | fields)
    run.run(config, dataset, workdir)
    return workdir


@pytest.fixture(scope="module")
def overfitted(dataset, tmp_path_factory):
    return trained(dataset, tmp_path_factory.mktemp("overfitted") / "run", 1e-2)


def test_a_network_that_has_learned_its_people_by_heart_gives_them_away(overfitted, capsys):
    assert in_process("audit", f"--workdir={overfitted}") == 0
    printed = capsys.readouterr().out
    content = json.loads((overfitted / "membership.json").read_text())
    assert (content["participants"], content["trainings"], content["repeats"], content["seeds"]) == (96, 12, 2, 2)
    for name, predictors in content["tasks"].items():
        attacked = predictors["model"]
        assert attacked["likelihood_ratio"]["auc"]["low"] > 0.6, name
        assert abs(attacked["exchanged"]["auc"]["value"] - 0.5) < 0.1, name
        assert (attacked["n_in"], attacked["n_out"]) == (8 * 96, 4 * 96)
        assert "1 shadow model" in predictors["mel_linear"]["reason"], "a baseline has no seeds"
    report = json.loads((overfitted / "report.json").read_text())
    assert report["membership"] == content
    value = f"{attacked['likelihood_ratio']['auc']['value']:.3f}"
    card, page = ((overfitted / file).read_text() for file in ("README.md", "report.html"))
    assert f"AUC {value}" in card and "was not measured" not in card
    assert value in page and "Membership inference" in page and value in printed


def test_a_network_that_has_learned_nothing_gives_nobody_away(dataset, tmp_path):
    workdir = trained(dataset, tmp_path / "run", 0.0, **{"evaluation.baselines": False, "total": "1 epochs"})
    assert "was not measured" in (workdir / "README.md").read_text()
    content = membership.audit(workdir)
    for predictors in content["tasks"].values():
        assert list(predictors) == ["model"]
        assert abs(predictors["model"]["likelihood_ratio"]["auc"]["value"] - 0.5) < 0.1


def test_what_cannot_be_audited_is_refused(dataset, overfitted, tmp_path):
    for fields, message in (
        ({"cv.folds": 0}, "share one training part"),
        ({"cv.repeats": 1}, "1 x 3 folds and 2 seed"),
        ({"seeds": 1}, "leave 1 model"),
    ):
        config = lean(dataset)
        config.update_from_flattened_dict({"cv.folds": 3, "cv.repeats": 2, "seeds": 2, **fields})
        with pytest.raises(InputError, match=message):
            membership._refuse_too_few(tmp_path, config)
    cut = tmp_path / "run"
    shutil.copytree(overfitted, cut)
    (cut / "model.json").unlink()
    with pytest.raises(InputError, match=r"model\.json"):
        membership.audit(cut)


def test_records_of_other_people_are_refused(overfitted, tmp_path):

    other = cli.build(
        "mmpsy/demo", tmp_path, participants=60, audio_shape=corpora.AUDIO, text_shape=corpora.TEXT, workers=0, seed=3
    )
    before = (overfitted / "report.json").read_bytes()
    with pytest.raises(InputError, match="other people or labels"):
        membership.audit(overfitted, other)
    assert (overfitted / "report.json").read_bytes() == before
