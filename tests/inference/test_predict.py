"""Prediction with finished runs on transcripts (cross-validated, as replicas) and on records. All data is SYNTHETIC."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import scipy.special
import soundfile

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.features.mel import LogMel
from mmpsy_jax.features.text import NGrams
from mmpsy_jax.inference import confidence, interviews
from mmpsy_jax.inference.inputs import corpus_of, record_of
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.io import InputError
from mmpsy_jax.training import finished_run, run_files
from tests.features.test_mel import speech_like
from tests.inference.conftest import CHINESE
from tests.runs import bind_again, in_process


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_transcript_gives_the_bits_of_its_record(texts):
    table, built, _ = texts
    corpus = open_corpus(built)
    found, failures = interviews.find(table)
    assert not failures and len(found) == len(corpus)
    position = {name: i for i, name in enumerate(corpus.participants)}
    for one in found:
        record = corpus.read(position[one.participant])
        ours = record_of(one, corpus.modalities, {"text": NGrams()})
        for name in ("text", "text_length", "window_start_s"):
            assert ours[name].dtype == record[name].dtype and ours[name].tobytes() == record[name].tobytes()


def test_folds_and_seeds_are_averaged(texts, tmp_path):
    table, built, workdir = texts
    for name, given in (("table", table), ("records", built)):
        assert predict(workdir, given, tmp_path / f"{name}.csv", abstain=False) == []
    whole = read_csv(tmp_path / "table.csv")
    assert len(whole) == 40 * 3 and np.isnan(whole.y_true).all() and set(whole.seed) == {-1}
    key = lambda table: dict(zip(zip(table.participant_id, table.task, strict=True), table.y_prob, strict=True))  # noqa: E731
    records = key(read_csv(tmp_path / "records.csv"))
    # Of who is tested in one fold, the other fold's number must lie on the other side of the mean.
    tested = read_csv(workdir / "predictions.csv").select(split="test")
    singles = []
    for number in range(2):
        card = json.loads((workdir / "model.json").read_text())
        card["trainings"] = card["trainings"][number : number + 1]
        alone = tmp_path / f"alone_{number}"
        (alone / card["trainings"][0]["folder"]).mkdir(parents=True)
        folder = card["trainings"][0]["folder"]
        for file in ("config.json", f"{folder}/{run_files.WEIGHTS}", f"{folder}/{run_files.EMBEDDING}"):
            (alone / file).write_bytes((workdir / file).read_bytes())
        (alone / "model.json").write_text(json.dumps(card))
        bind_again(alone)
        predict(alone, table, tmp_path / f"{number}.csv", abstain=False)
        singles.append(key(read_csv(tmp_path / f"{number}.csv")))
    for at, value in key(whole).items():
        np.testing.assert_allclose(value, np.mean([one[at] for one in singles]), atol=1e-12)
        np.testing.assert_allclose(value, records[at], atol=1e-6)
    seen = [singles[fold][p, t] for p, t, fold in zip(tested.participant_id, tested.task, tested.fold, strict=True)]
    np.testing.assert_allclose(seen, tested.y_prob, atol=1e-5)
    assert np.nanmax(np.abs(np.subtract(list(singles[0].values()), list(singles[1].values())))) > 1e-4


def test_bad_files_are_listed_and_the_rest_goes_on(texts, mixed, tmp_path, capfd):
    arguments = ["predict", f"--workdir={texts[2]}", f"--input={mixed}", f"--output={tmp_path / 'out.csv'}"]
    assert in_process(*arguments) == 3
    shown, told = capfd.readouterr()
    listed = [line for line in told.splitlines() if line.startswith("left out: ")]
    for name, reason in (
        ("utf16.txt", "UTF-16"),
        ("empty", "the transcript is empty"),
        ("short.json", "not JSON"),
        ("shifted.csv", "line 2 has 3 cells, the header 2"),
        ("notes.md", "not read: no kind of file that is known"),
    ):
        assert sum(name in line and reason in line for line in listed) == 1, listed
    assert len(listed) == 5 and "secret" not in told and "Nobody" not in told
    assert "predicted 4/4" in told and "not a diagnostic device" in shown
    made = {(row["participant_id"], row["task"]): row for row in rows(tmp_path / "out.csv")}
    assert {name for name, _ in made} == {"good", "english", "p1", "'=p2"}
    assert 0 <= float(made["good", "phq_screen"]["y_prob"]) <= 1 and made["good", "phq_screen"]["y_pred"] == ""
    assert 0 <= float(made["good", "phq_score"]["y_pred"]) <= 27 and made["good", "phq_score"]["y_prob"] == ""


def with_limits(workdir, folder, factor):
    """A copy of a run whose limits of the embedding distance are multiplied."""
    shutil.copytree(workdir, folder, ignore=shutil.ignore_patterns("checkpoints", "replicas"))
    for file in folder.rglob(run_files.EMBEDDING):
        fitted = run_files.load_arrays(file)
        run_files.save_weights(file.parent, {**fitted, "limit": fitted["limit"] * factor}, file.name)
    bind_again(folder)
    return folder


def test_the_model_abstains_with_a_reason_unless_told_not_to(texts, mixed, tmp_path):
    workdir = with_limits(texts[2], tmp_path / "run", 100.0)  # two dozen participants say little of distances
    for name, abstain in (("kept", True), ("told", False)):
        predict(workdir, mixed, tmp_path / f"{name}.csv", abstain=abstain)
    for row in rows(tmp_path / "kept.csv"):
        strange = row["participant_id"] == "english"
        assert (row["y_prob"] + row["y_pred"] == "") is strange
        assert not (strange and any(row[name] for name in confidence.COLUMNS))
        assert ("unknown_pairs" in row["abstained"]) is strange and bool(row["abstained"]) is strange
    told = [row for row in rows(tmp_path / "told.csv") if row["participant_id"] == "english"]
    assert all(row["abstained"] and row["y_prob"] + row["y_pred"] for row in told) and len(told) == 3


def test_limits_of_the_embedding_are_those_of_who_is_not_tested_in_the_fold(texts):
    _, built, workdir = texts
    run, corpus = finished_run.load(workdir), open_corpus(built)
    _, distances = run.predict(run.select_modalities(corpus), np.arange(len(corpus)))
    for fold in range(2):
        names = read_csv(workdir / "predictions.csv").select(split="validation", fold=fold).participant_id
        ours = distances[fold][np.isin(corpus.participants, names)]
        names = read_csv(workdir / "predictions.csv").select(split="test", fold=fold).participant_id
        learned = distances[fold][~np.isin(corpus.participants, names)]
        assert np.quantile(ours, 0.999) <= 1 + 1e-3 and np.max(learned) == pytest.approx(1, rel=0.01)
        assert (distances[fold] > 0).all()


def test_the_model_abstains_far_from_the_embeddings_of_training(texts, tmp_path):
    table, _, workdir = texts
    for factor, strange in ((100.0, False), (1e-3, True)):
        predict(with_limits(workdir, tmp_path / str(strange), factor), table, tmp_path / "out.csv")
        for row in rows(tmp_path / "out.csv"):
            assert ("embedding distance" in row["abstained"]) is strange
            assert not strange or row["y_prob"] + row["y_pred"] == ""


def test_questions_and_lines_of_a_transcript(mixed):
    found = {one.participant: one for one in interviews.find(mixed)[0]}
    assert found["p1"].transcript.questions == (2, 2) and found["p1"].transcript.answers == (CHINESE, CHINESE)
    assert found["english"].transcript.questions == (1,)


def test_recordings_alone_are_read_and_the_text_is_masked(heard, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, rate in (("a.wav", 16000), ("b.flac", 22050), ("=c.mp3", 44100)):
        soundfile.write(folder / name, speech_like(65, rate), rate)
    (folder / "d").mkdir()
    for number in (10, 9):
        soundfile.write(folder / "d" / f"wav_{number}.wav", speech_like(30, 16000, number), 16000)
    (folder / "zero.wav").write_bytes(b"")
    failures = predict(heard[1], folder, tmp_path / "out.csv", abstain=False)
    assert [one.what for one in failures] == ["zero"] and "has zero length" in failures[0].reason
    made = read_csv(tmp_path / "out.csv").select(task="phq_score")
    assert sorted(made.participant_id) == ["=c", "a", "b", "d"] and np.isfinite(made.y_pred).all()
    found = {one.participant: one for one in interviews.find(folder)[0]}
    assert [path.name for path in found["d"].recordings] == ["wav_9.wav", "wav_10.wav"]
    # The same windows as built records without text.
    model = finished_run.load(heard[1])
    record = record_of(found["a"], model.modalities, {"audio": LogMel()})
    corpus = corpus_of(["a"], [record], model.modalities, model.card)
    said, _ = model.predict(corpus, np.arange(1))
    np.testing.assert_allclose(said["phq_score"].mean(), made.y_pred[made.participant_id == "a"], atol=1e-6)
    assert not corpus.has["text"][0] and corpus.has["audio"][0]


def test_numbers_come_with_calibrated_ones_and_bands(heard, tmp_path, capsys):
    assert predict(heard[1], heard[0], tmp_path / "out.csv", abstain=False) == []
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [
        "phq_screen: calibrated by temperatures fitted on validation",
        "phq_bands: y_set has the nominal coverage 90%, not measured",
        "phq_score: y_low to y_high has the nominal coverage 90%, not measured",
    ]
    card = json.loads((heard[1] / "model.json").read_text())["calibration"]["tasks"]
    for row in rows(tmp_path / "out.csv"):
        filled = {name for name in confidence.COLUMNS if row[name]}
        if row["task"] == "phq_screen":
            log_odds = scipy.special.logit(float(row["y_prob"])) / card["phq_screen"]["temperatures"]["0"]
            assert float(row["y_prob_calibrated"]) == pytest.approx(scipy.special.expit(log_odds), rel=1e-6)
            threshold = card["phq_screen"]["threshold"]
            assert int(row["y_positive"]) == (float(row["y_prob_calibrated"]) >= threshold)
            assert filled == {"y_prob_calibrated", "y_positive"}
        elif row["task"] == "phq_score":
            value, radius = float(row["y_pred"]), card["phq_score"]["radius"]
            assert [float(row["y_low"]), float(row["y_high"])] == [max(value - radius, 0), min(value + radius, 27)]
            assert filled == {"y_low", "y_high"}
        else:
            value, radius = float(row["y_pred"]), card["phq_bands"]["radius"]
            inside = [k for k in range(5) if abs(k - value) <= radius or k == math.floor(value + 0.5)]
            assert row["y_set"] == " ".join(map(str, inside)) and filled == {"y_set"}


def test_a_run_that_calibrates_nothing_says_why_once(texts, tmp_path, capsys):
    table, _, workdir = texts
    alone = tmp_path / "run"
    shutil.copytree(workdir, alone, ignore=shutil.ignore_patterns("checkpoints", "replicas"))
    for entry, message in (
        ({"level": 0.9, "tasks": {"phq_score": {"reason": "too few"}}}, "phq_score: no calibrated values (too few)"),
        (None, "phq_score: no calibrated values (the run is of an older version: run its command again)"),
    ):
        bind_again(alone, calibration=entry)
        predict(alone, table, tmp_path / "out.csv", abstain=False)
        assert capsys.readouterr().err.splitlines().count(message) == 1
        assert not any(row[name] for row in rows(tmp_path / "out.csv") for name in confidence.COLUMNS)


def test_a_run_that_needs_embeddings_says_so_once(heard, mixed, tmp_path):
    with pytest.raises(InputError, match=r"embeddings of a pretrained network.*--modalities=audio"):
        predict(heard[1], mixed, tmp_path / "out.csv")
    with pytest.raises(InputError, match=r"nobody to predict on is left"):
        predict(heard[1], mixed, tmp_path / "out.csv", modalities=("audio",))
    with pytest.raises(InputError, match=r"unknown modality 'video': choose one of: audio, text"):
        predict(heard[1], mixed, tmp_path / "out.csv", modalities=("video",))


def test_foreign_records_are_refused(texts, heard, tmp_path):
    with pytest.raises(InputError, match=r"modality 'audio' is absent, but the run was trained on"):
        predict(heard[1], texts[1], tmp_path / "out.csv")
