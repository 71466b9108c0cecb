"""What a run tells at its end is seen in one reading of the records."""

from collections import Counter

import numpy as np
import pytest

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import results, run_card
from mmpsy_jax.training.job import TrainJob
from tests.runs import small


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


@pytest.fixture
def job(dataset, corpus, tmp_path):
    parts = {name: np.flatnonzero(np.array(corpus.split) == name) for name in ("train", "validation", "test")}
    return TrainJob(small(dataset), corpus, parts, tmp_path)


def test_each_record_is_read_once_for_baselines_leaks_and_members(corpus, job, monkeypatch):
    members = run_card.Members(job.config, corpus, [job])
    times, read = Counter(), corpus.reader.read
    monkeypatch.setattr(type(corpus.reader), "read", lambda self, i, names=None: times.update([i]) or read(i, names))
    known = results.fit_references(job.config, from_config(job.config.tasks), corpus, [job], [members])
    assert known.heard is not None and set(times.values()) == {1} and len(times) == len(corpus)
    trained = job.splits["train"]
    assert members.interviews == run_card.interviews_of(corpus, trained, list(corpus.modalities))
    usual = members.usual()
    assert usual == members.usual() and set(usual) == set(corpus.modalities)
    lengths = [int(corpus.read(i)["text_length"].sum()) for i in trained]
    assert usual["text"]["quantiles"]["length"] == pytest.approx(np.quantile(lengths, run_card.QUANTILES))
