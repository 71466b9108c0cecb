"""Pooled corpora: who is in them, that their bytes are those of each corpus, and what cannot be pooled. SYNTHETIC."""

import dataclasses
import json
import pickle
import shutil

import jax
import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.pooled import folders_of, open_corpora, pool
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from tests import manifests


def rename(corpus, **changes):
    """The corpus with other people, and other entries of its card."""
    names = tuple(f"q{i}" for i in range(len(corpus)))
    return dataclasses.replace(corpus, participants=names, cluster=names, card={**corpus.card, **changes})


@pytest.fixture
def both(corpus):
    return pool({"here": corpus, "there": rename(corpus)})


def test_participants_keep_the_split_and_the_record_of_their_corpus(corpus, both):
    n = len(corpus)
    assert len(both) == 2 * n and both.participants[0] == f"here/{corpus.participants[0]}"
    assert both.participants[n] == "there/q0" and both.split == corpus.split * 2
    assert both.origin == ("here",) * n + ("there",) * n
    for i in (0, n - 1, n, 2 * n - 1):
        record, expected = both.read(i), corpus.read(i % n)
        np.testing.assert_array_equal(record["audio"], expected["audio"])
        np.testing.assert_array_equal(record["text_length"], expected["text_length"])
        name = "here" if i < n else "there"
        assert record["participant"].decode() == f"{name}/{expected['participant'].decode()}"
    again = pickle.loads(pickle.dumps(both.reader))
    assert again.read(n)["participant"] == both.read(n)["participant"]


def test_streamed_batches_are_those_in_memory(both):
    members = np.arange(len(both))
    options = {"batch_size": 8, "seed": 3, "epochs": 1}
    one, other = (make_loader(both, members, placement=place, **options) for place in ("host", "stream"))
    for a, b in zip(one, other, strict=True):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_folds_keep_the_share_of_each_corpus(corpus):
    small = pool({"here": corpus, "there": rename(corpus)})
    origin = np.array(small.origin)
    for fold in splits.folds(small, 3, seed=0):
        counts = np.unique(origin[fold["test"]], return_counts=True)[1]
        assert counts.tolist() == [10, 10]
    splits.by_name(small)


def test_labels_that_one_corpus_lacks_are_missing_there(corpus):
    other = rename(corpus, labels=["phq9"])
    other = dataclasses.replace(other, labels={"phq9": corpus.labels["phq9"]})
    both = pool({"here": corpus, "there": other})
    assert np.isnan(both.labels["gad7"][len(corpus) :]).all() and not np.isnan(both.labels["gad7"][0])


def test_classes_are_united_by_name(corpus):
    known = np.where(np.isnan(corpus.labels["phq9"]), np.nan, 0).astype(np.float32)
    one = dataclasses.replace(
        corpus, labels={"mood": known}, card={**corpus.card, "classes": {"mood": ["sad", "glad"]}}
    )
    other = dataclasses.replace(rename(corpus, classes={"mood": ["calm", "sad"]}), labels={"mood": known + 1})
    both = pool({"here": one, "there": other})
    assert both.card["classes"] == {"mood": ["sad", "glad", "calm"]}
    np.testing.assert_array_equal(both.labels["mood"], np.concatenate([known, known]))
    number = dataclasses.replace(rename(corpus), labels={"mood": known})
    with pytest.raises(InputError, match="'mood' is one of classes in here and a number in there"):
        pool({"here": one, "there": number})


def test_the_same_people_are_refused_by_what_they_said(corpus):
    # One of the 30 has said nothing.
    with pytest.raises(
        InputError, match=r"here and there hold the same 29 people \(p000, p001, p002, p003, p004, \.\.\."
    ):
        pool({"here": corpus, "there": corpus})


def test_the_same_people_are_refused_by_the_card(corpus):
    order = np.roll(np.arange(len(corpus)), 1)
    columns = {name: values[order] for name, values in corpus.columns.items()}
    card = {**corpus.card, "config": "extended", "same_people_as": ["small/demo"]}
    other = dataclasses.replace(corpus, columns=columns, card={**corpus.card, "config": "other"})
    assert len(pool({"here": corpus, "there": other})) == 60, "equal ids alone are chance"
    for parts in ((corpus, dataclasses.replace(other, card=card)), (dataclasses.replace(other, card=card), corpus)):
        with pytest.raises(InputError, match="hold the same 30 people"):
            pool(dict(zip(("here", "there"), parts, strict=True)))


def with_window(corpus, **changes):
    card = json.loads(json.dumps(corpus.card))
    card["modalities"]["audio"] |= changes
    return rename(dataclasses.replace(corpus, card=card))


def test_what_cannot_be_pooled_is_named(corpus):
    text_only = {"text": corpus.modalities["text"]}
    lacks = dataclasses.replace(rename(corpus), modalities=text_only)
    extracted = {"name": "log_mel", "bands": 40}
    cases = {
        "corpus here has modality 'audio', there does not: give --config.data.modalities=text": lacks,
        "other windows .*extractor.bands absent, not 40.*--settings=FILE": with_window(corpus, extractor=extracted),
        "window_seconds 60, not 30": rename(corpus, window_seconds=30.0),
        "here is synthetic, there is not": rename(corpus, synthetic=False),
        "there is divided within clusters, here is not": rename(corpus, within_clusters=True),
        r"label 'phq9' goes from 0 to 27 in here and from 0 to 80 in there.*--ranges": rename(
            corpus, label_ranges={"phq9": {"low": 0, "high": 80, "source": "given"}}
        ),
    }
    for message, other in cases.items():
        with pytest.raises(InputError, match=message):
            pool({"here": corpus, "there": other})
    assert list(pool({"here": corpus, "there": lacks}, ["text"]).modalities) == ["text"]


def test_folders_are_listed_with_commas(corpus_folder, tmp_path):
    comma = shutil.copytree(corpus_folder, tmp_path / "a,b")
    assert folders_of(comma) == [str(comma)] and folders_of("a, b,") == ["a", "b"]
    assert len(open_corpora(comma)) == len(open_corpus(corpus_folder))
    with pytest.raises(InputError, match="the same corpus twice"):
        open_corpora(f"{corpus_folder},{corpus_folder.parent}")
    with pytest.raises(InputError, match="no such folder"):
        open_corpora(f"{corpus_folder},{tmp_path / 'c'}")


def test_manifests_are_pooled_by_name(tmp_path):
    built = [manifests.build(tmp_path, f"site_{name}", manifests.people(6, seed)) for seed, name in enumerate("ab")]
    both = open_corpora(",".join(map(str, built)))
    assert both.card["config"] == "site_a+site_b" and both.cluster == both.participants
    assert both.card["participants"] == {"train": 6, "validation": 2, "test": 4}
    assert both.ranges["phq9"].high == 27
    rows = [{**row, "cluster": f"family_{i // 2}"} for i, row in enumerate(manifests.people(6, 2))]
    for row, split in zip(rows, ("train", "train", "validation", "validation", "test", "test"), strict=True):
        row["split"] = split
    families = manifests.build(tmp_path, "site_c", rows)
    clustered = open_corpora(f"{built[0]},{families}")
    assert clustered.cluster[:1] == ("site_a/p1",) and clustered.cluster[6:8] == ("site_c/family_0",) * 2


def test_the_interviewer_is_kept_where_all_have_it_and_left_out_else(corpus):
    card = json.loads(json.dumps(corpus.card))
    card["modalities"]["audio"]["role"] = "interviewer"
    here = dataclasses.replace(corpus, card=card)
    lacks = dataclasses.replace(rename(here), modalities={"text": corpus.modalities["text"]})
    assert list(pool({"here": here, "there": lacks}).modalities) == ["text"]
    assert list(pool({"here": here, "there": rename(here)}, ["text"]).modalities) == list(corpus.modalities)
