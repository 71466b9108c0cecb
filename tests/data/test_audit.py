"""Counts and quantiles of a corpus, against the same counted over its records."""

import dataclasses
import json

import numpy as np
import pytest

from mmpsy_jax.data.audit import audit
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.tasks import questionnaire

TASKS = questionnaire("phq9", "phq")


@pytest.fixture(scope="module")
def corpus(dataset):
    opened = open_corpus(dataset)
    labels = {name: values.copy() for name, values in opened.labels.items()}
    labels["phq9"][[0, 1, len(opened) - 1]] = np.nan
    columns = {name: values.copy() for name, values in opened.columns.items()}
    columns["duration_s"][0] = 0.0
    has = {name: values.copy() for name, values in opened.has.items()}
    has["audio"][0] = False
    skipped = [
        {"participant": "user_7", "reason": "np_data/user_7/audio.npy: user_7 has no window: remove it"},
        {"participant": "user_8", "reason": "np_data/user_8/audio.npy: user_8 has no window: remove it"},
        {"participant": "user_9", "reason": "user_9 is empty"},
    ]
    card = {**opened.card, "skipped": skipped}
    return dataclasses.replace(opened, labels=labels, columns=columns, has=has, card=card)


def test_counts_are_those_of_the_records(corpus):
    made = audit(corpus, TASKS)
    assert list(made["splits"]) == ["train", "validation", "test"]
    for split, part in made["splits"].items():
        members = [i for i, name in enumerate(corpus.split) if name == split]
        scores = [float(corpus.labels["phq9"][i]) for i in members]
        known = [score for score in scores if score == score]
        assert part["participants"] == len(members)
        assert part["labels"]["phq9"]["known"] == len(known)
        assert part["labels"]["phq9"]["missing"] == len(members) - len(known)
        assert part["labels"]["phq9"]["scores"]["median"] == pytest.approx(float(np.median(known)))
        events = {"known": len(known), "missing": len(members) - len(known), "events": sum(s >= 10 for s in known)}
        assert part["events"] == {"phq_screen": events}
        lengths = [int(corpus.columns["n_characters"][i]) for i in members]
        sizes = part["sizes"]["n_characters"]
        assert (sizes["min"], sizes["max"]) == (min(lengths), max(lengths))
    train = made["splits"]["train"]
    assert train["without"] == {"audio": 1, "text": 0} and train["sizes"]["duration_s"]["min"] > 0


def test_sizes_of_transcripts_are_left_out_where_there_are_none(corpus):
    columns = corpus.columns | {"n_characters": np.zeros(len(corpus), int), "n_answers": np.ones(len(corpus), int)}
    for part in audit(dataclasses.replace(corpus, columns=columns), TASKS)["splits"].values():
        assert set(part["sizes"]) == {"n_windows", "duration_s"}


def test_reasons_are_counted_and_name_nobody(corpus):
    made = audit(corpus, TASKS)
    assert made["left_out"] == {"... has no window: remove it": 2, "... is empty": 1}
    text = json.dumps(made, allow_nan=False)
    assert "user_" not in text and not any(f'"{one}"' in text for one in corpus.participants)
