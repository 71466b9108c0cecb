"""Probes of shortcuts: what each knows, when it is a red flag, and a planted shortcut that is caught. SYNTHETIC."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmpsy_jax.data.pooled import pool
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import ablations, probes
from mmpsy_jax.training.config import choose_model
from tests import manifests
from tests.runs import small

PEOPLE, CUTOFF = 240, 10
AT_CUTOFF, BELOW = 0.7, 0.4  # shares of people who say the word
BEST = 0.5 + (AT_CUTOFF - BELOW) / 2  # AUROC of whether somebody says it, the only thing that tells anything
ASKED = ("are you in therapy since that diagnosis", "where did you grow up and who was there")


@pytest.fixture
def two(dataset):
    """The demo corpus, pooled with a copy of it whose features are shifted."""
    corpus = open_corpus(dataset)
    names = tuple(f"q{i}" for i in range(len(corpus)))
    other = dataclasses.replace(corpus, participants=names, cluster=names, reader=Louder(corpus.reader))
    return pool({"here": corpus, "there": other})


class Louder:
    """Records whose sound is louder by 9, as of another device."""

    def __init__(self, reader):
        self.reader, self.fields = reader, reader.fields

    def __len__(self):
        return len(self.reader)

    def read(self, i, names=None):
        record = self.reader.read(i, names)
        return {k: v + np.float16(9) if k == "audio" else v for k, v in record.items()}


def test_pooled_corpora_are_told_apart_by_what_differs_alone(two, dataset):
    config = small(dataset)
    entries = {one["name"]: one for one in probes.told_apart(two, config)}
    audio, text = entries["which_corpus_audio"], entries["which_corpus_text"]
    assert audio["tasks"]["which_corpus"]["balanced_accuracy"]["value"] > 0.95
    (told,) = audio["flags"]
    assert told["level"] == "red" and "the audio alone tells the pooled corpora apart" in told["message"]
    assert text["tasks"]["which_corpus"]["balanced_accuracy"]["value"] < 0.6 and not text["flags"]
    assert probes.told_apart(open_corpus(dataset), config) == []


def test_each_probe_is_fitted_on_the_training_part_and_knows_its_own(two, dataset):
    config = small(dataset)
    tasks = from_config(config.tasks)
    known, words = probes.inputs(config, two, {"1_min": 1})
    assert list(known) == ["first_1_min_audio", "first_1_min_text", "length_and_turns", "corpus"] == list(words)
    assert known["corpus"][0].tolist() == [1, 0] and known["corpus"][-1].tolist() == [0, 1]
    made = probes.fit_predict(config, tasks, two, known)
    table = made["corpus"].select(task="phq_screen", split="test")
    assert len(np.unique(table.y_prob)) == 2, "one number for each corpus"
    changed = dataclasses.replace(two, labels={k: v.copy() for k, v in two.labels.items()})
    tested = np.array(two.split) == "test"
    changed.labels["phq9"][tested] = 27 - changed.labels["phq9"][tested]
    again = probes.fit_predict(config, tasks, changed, known)
    for name in made:
        one, other = (part[name].select(task="phq_score", split="test") for part in (made, again))
        np.testing.assert_array_equal(one.y_pred, other.y_pred)


@pytest.mark.parametrize(("low", "high", "n"), [(-0.3, -0.01, 0), (-0.3, 0.01, 1), (0.1, 0.2, 1), (None, None, 0)])
def test_a_probe_that_is_not_clearly_worse_is_a_red_flag(low, high, n):
    cell = {"value": 0.7, "low": 0.6, "high": 0.8}
    difference = {"value": low, "low": low, "high": high}
    entry = {
        "probe": "the text of the interviewer",
        "tasks": {"screen": {"auroc": cell}},
        "differences": {"screen": {"auroc": difference}},
    }
    flagged = probes.flags_of({"screen": "binary"}, entry)
    assert [flag["level"] for flag in flagged] == ["red"] * n
    turned = {name: None if value is None else -value for name, value in difference.items()}
    turned |= {"low": turned["high"], "high": turned["low"]}  # of an error less is better
    entry |= {"tasks": {"score": {"mae": cell}}, "differences": {"score": {"mae": turned}}}
    assert len(probes.flags_of({"score": "regression"}, entry)) == n


def write_interviews(folder):
    """Transcripts in which the interviewer asks people at the cut-off something else.

    The participant says "night" by chance, more often at the cut-off, and beside that words that say nothing.
    """
    rng, rows = np.random.default_rng(0), []
    for n in range(PEOPLE):
        score = int(rng.integers(0, 2 * CUTOFF))
        says_it = rng.uniform() < (AT_CUTOFF if score >= CUTOFF else BELOW)
        turns = [["start_time", "stop_time", "speaker", "value"]]
        for k in range(4):
            words = [*rng.choice(manifests.WORDS, 6), *["night"] * int(says_it and k == 2)]
            turns.append([4 * k, 4 * k + 2, "Anna", ASKED[0] if score >= CUTOFF and k == 1 else ASKED[1]])
            turns.append([4 * k + 2, 4 * k + 4, "Pat", " ".join(rng.permutation(words))])
        with (folder / f"p{n}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(turns)
        rows.append(
            {
                "participant": f"p{n}",
                "transcript": f"p{n}.csv",
                "speaker": "pat",
                "label:phq9": score,
                "split": manifests.SPLITS[n % len(manifests.SPLITS)],
            }
        )
    return rows


@pytest.mark.slow
def test_a_planted_shortcut_is_flagged_and_the_model_of_the_participant_does_not_use_it(tmp_path, capsys):
    built = manifests.build(tmp_path, "planted", write_interviews(tmp_path), interviewer="text")
    config = manifests.config_of(built, "phq9>=10")
    choose_model(config, "linear")  # reads words, and compiles in a tenth of the time of a Perceiver
    config.cv.folds, config.evaluation.bootstrap = 0, 200
    config.evaluation.baselines = config.evaluation.near_duplicates = False
    made = {entry["name"]: entry for entry in ablations.ablate(config, built, tmp_path / "run")}
    theirs = made["probe: interviewer_text"]
    assert theirs["tasks"]["phq9_screen"]["auroc"]["value"] > 0.98
    (flag,) = theirs["flags"]
    assert flag["code"] == "shortcut" and "the text of the interviewer alone comes within" in flag["message"]
    report = json.loads((tmp_path / "run" / "text" / "report.json").read_text())
    assert report["flags"][0]["level"] == "red" and flag in report["flags"]
    assert "Probes of shortcuts" in (tmp_path / "run" / "text" / "report.html").read_text()
    # What the participant says allows BEST; the word itself is the best that these very people allow.
    tested = read_csv(tmp_path / "run" / "text" / "predictions.csv").select(split="test")
    said = ["night" in words(tmp_path / f"{name}.csv") for name in tested.participant_id.tolist()]
    allowed, reached = roc_auc_score(tested.y_true, said), roc_auc_score(tested.y_true, tested.y_prob)
    assert abs(allowed - BEST) < 0.1 and reached < allowed + 0.1 < 0.9
    assert made["text"]["tasks"]["phq9_screen"]["auroc"]["low"] <= BEST


def words(path):
    with path.open(newline="") as file:
        return " ".join(row["value"] for row in csv.DictReader(file) if row["speaker"] == "Pat")
