"""Ablations: which apply to a corpus, what their configs change, and that differences are paired. SYNTHETIC data."""

import json

import numpy as np
import pytest

from mmpsy_jax.data.permute_modality import permute_modality
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation import page, report, tables
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError, flatten
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import ablations, run
from mmpsy_jax.training.config import jsonable
from tests.runs import small

ONCE = {"evaluation.baselines": False, "evaluation.near_duplicates": False}


def changes(config, made):
    """Fields in which each config differs from the given one."""
    before = flatten(jsonable(config))
    after = {name: flatten(jsonable(one)) for name, one in made.items()}
    return {name: {f: fields[f] for f in before if fields[f] != before[f]} for name, fields in after.items()}


def test_what_applies_to_a_corpus_of_two_modalities(dataset):
    config, corpus = small(dataset), open_corpus(dataset)
    starts = corpus.read(int(np.argmax(corpus.n_windows)))["window_start_s"]
    assert list(starts[:3]) == [0, 50, 100], "windows of 60 s overlap by 10 s"
    made, left_out = ablations.plan(config, corpus, [1, 2, 2.5])
    assert not left_out
    assert changes(config, made) == {
        "both": {},
        "audio_only": {"data.modalities": ["audio"], **ONCE},
        "text_only": {"data.modalities": ["text"], **ONCE},
        "audio_shuffled": {"data.permute_modality": "audio", **ONCE},
        "first_1_min": {"data.max_windows": 1, **ONCE},
        "first_2_min": {"data.max_windows": 2, **ONCE},
        "first_2.5_min": {"data.max_windows": 2, **ONCE},
    }
    config.data.max_windows = 1  # never more than the run on everything reads
    assert ablations.plan(config, corpus, [2])[0]["first_2_min"].data.max_windows == 1
    with pytest.raises(InputError, match=r"minutes 0\.5: shorter than a window of 60 s"):
        ablations.plan(config, corpus, [0.5])


def test_what_applies_to_one_modality_is_said(dataset):
    config, corpus = small(dataset), open_corpus(dataset)
    config.data.modalities = ("text",)
    made, left_out = ablations.plan(config, corpus, [1])
    assert list(made) == ["text", "first_1_min"]
    assert [why.split(":")[0] for why in left_out] == ["only text is read", "no audio is read"]
    corpus.columns["duration_s"][:] = 0
    made, left_out = ablations.plan(config, corpus, [1])
    assert list(made) == ["text"] and "no recordings" in left_out[2]


def test_the_interviewer_alone_is_trained_on_where_it_is_asked_for(dataset):
    config, corpus = small(dataset), open_corpus(dataset)
    assert "interviewer_only" not in ablations.plan(config, corpus)[0]
    assert "nothing of the interviewer" in ablations.plan(config, corpus, interviewer=True)[1][-1]
    corpus.card["modalities"]["text"]["role"] = "interviewer"
    made, _ = ablations.plan(config, corpus, interviewer=True)
    assert made["interviewer_only"].data.modalities == ("text",) and "text_only" not in made
    assert "interviewer_only" not in ablations.plan(config, corpus)[0]


def fake_run(config, dataset_dir, workdir):
    """Predictions that are better the more is read, written and scored as `run.run` does."""
    (task,) = from_config(config.tasks)
    corpus = open_corpus(dataset_dir)
    noise = 2.0 if not config.data.modalities and not config.data.permute_modality else 8.0
    truth = corpus.labels["phq9"].astype(float)
    guess = truth + np.random.default_rng(0).normal(0, noise, len(truth))
    made = Predictions.build(corpus.participants, task.name, truth, y_pred=guess)
    write_csv(workdir / "predictions.csv", made)
    return report.evaluate(made, [task], seed=config.seed, n_bootstrap=config.evaluation.bootstrap)


def test_every_run_is_compared_in_pairs_with_that_on_everything(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", fake_run)
    config = small(dataset)
    config.tasks = config.tasks[2:]
    made = ablations.ablate(config, dataset, tmp_path)
    assert json.loads((tmp_path / "ablations.json").read_text()) == made
    assert "differences" not in made[0]
    probed = [entry for entry in made if "probe" in entry]
    assert [entry["name"] for entry in probed] == [
        "probe: first_60_s_audio",
        "probe: first_60_s_text",
        "probe: length_and_turns",
    ]
    for entry in probed:  # of an error less is better
        assert bool(entry["flags"]) == (entry["differences"]["phq_score"]["mae"]["low"] <= 0)
    made = [entry for entry in made if "probe" not in entry]
    assert [entry["name"] for entry in made] == ["both", "audio_only", "text_only", "audio_shuffled"]
    both, audio = (read_csv(tmp_path / name / "predictions.csv") for name in ("both", "audio_only"))
    errors = [np.abs(table.y_pred - table.y_true).mean() for table in (both, audio)]
    cell = made[1]["differences"]["phq_score"]["mae"]
    assert cell["value"] == pytest.approx(errors[1] - errors[0]) and cell["low"] > 0
    assert made[1]["tasks"]["phq_score"]["mae"]["value"] == pytest.approx(errors[1])
    assert made[1]["workdir"] == str(tmp_path / "audio_only")
    assert "audio_shuffled, 4 of 4" in capsys.readouterr().err
    (table,) = page.ablations({"tasks": {"phq_score": {"kind": "regression"}}, "ablations": made})
    lines = tables.to_text(table).splitlines()
    assert lines[0] == "phq_score" and " ".join(lines[1].split()) == "run MAE: run - both MAE" and len(lines) == 6
    assert lines[3].startswith("audio_only ")
    assert f"+{cell['value']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}] " in lines[3]


class Planned(Exception):
    """Stops a run where its trainings are planned, and holds the corpus that they get."""


def test_a_run_trains_on_the_exchanged_corpus(dataset, tmp_path, monkeypatch):
    def stop(config, tasks, corpus, workdir):
        raise Planned(corpus)

    monkeypatch.setattr(run.plan_runs, "plan", stop)
    config = small(dataset)
    config.data.permute_modality = "audio"
    with pytest.raises(Planned) as caught:
        run.run(config, dataset, tmp_path / "shuffled")
    (given,), plain = caught.value.args, open_corpus(dataset)
    expected = permute_modality(plain, "audio", config.seed)
    np.testing.assert_array_equal(given.read(3)["audio"], expected.read(3)["audio"])
    assert not np.array_equal(given.read(3)["audio"], plain.read(3)["audio"])
    np.testing.assert_array_equal(given.labels["phq9"], plain.labels["phq9"])
    config.data.permute_modality = "video"
    with pytest.raises(InputError, match="unknown modality to permute"):
        run.run(config, dataset, tmp_path / "video")
