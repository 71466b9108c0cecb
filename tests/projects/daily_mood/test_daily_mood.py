"""A whole run of configs/daily_mood.py on a small SYNTHETIC table."""

import importlib

import numpy as np

from data_builders.common import cli
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.training import finished_run, run
from tests.runs import final_state


def test_a_run_names_its_splits_and_leaves_a_model(tmp_path, one_device):
    dataset = cli.build("daily_mood/demo_by_time", tmp_path / "data", participants=12, days=10)
    config = importlib.import_module("configs.daily_mood").get_config()
    config.data.folder, config.total, config.compile_cache = str(dataset), "3 epochs", ""
    config.model.linear = False  # layers of people by steps
    config.data.modalities = ("zcm", "speech", "person")
    config.tasks, config.log.tensorboard = config.tasks[:2], False  # nine compile three times as long
    config.evaluation.bootstrap, config.evaluation.baselines = 20, False
    report = run.run(config, dataset, tmp_path / "run")
    assert len(report["tasks"]) == 2 and report["synthetic"]
    assert [one["message"] for one in report["flags"] if one["code"] == "split_rule"] == [
        "the records are divided by time within each person: the first days train, the last ones test; every person is "
        "in every split."
    ]
    codes = {one["code"] for one in report["flags"]}
    assert report["within_clusters"] and not codes & {"participant_in_two_splits", "threshold_on_test"}
    together = report["together"]["test"]
    assert (together["n_tasks"], together["n_clusters"], together["n_participants"]) == (2, 12, 24)
    _, state = final_state(tmp_path / "run")
    assert len({*state["['params']['objective']['sigma']"].tolist()}) == 2 and state["['weighting']['previous']"].all()
    level = state["['params']['network']['micro_level']"]
    assert not level[0].any() and level[1:].all()
    assert finished_run.load(tmp_path / "run").config.model.name == "macro_micro"
    predict(tmp_path / "run", dataset, tmp_path / "out.csv", abstain=False)
    made, theirs = read_csv(tmp_path / "out.csv"), read_csv(tmp_path / "run" / "predictions.csv")
    said = {(p, t): v for p, t, v in zip(made.participant_id, made.task, made.y_pred, strict=True)}
    ours = [said[at] for at in zip(theirs.participant_id, theirs.task, strict=True)]
    np.testing.assert_allclose(ours, theirs.y_pred, atol=1e-3)
