"""One modality of another participant: what is exchanged, what stays, and that batches show it."""

import pickle

import numpy as np
import pytest

from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.permute_modality import permute_modality
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def exchanged(corpus):
    """The corpus with the audio exchanged."""
    return permute_modality(corpus, "audio", seed=0)


def owner_of(corpus, record):
    """Position of the participant whose audio this is."""
    found = []
    for i in np.flatnonzero(corpus.has["audio"]):
        theirs = corpus.read(i)["audio"]
        if np.array_equal(record["audio"][: len(theirs)], theirs) and not record["audio"][len(theirs) :].any():
            found.append(int(i))
    assert len(found) == 1
    return found[0]


def test_audio_is_that_of_another_of_the_split_and_everything_else_stays(corpus, exchanged):
    owners = []
    for i in range(len(corpus)):
        own, record = corpus.read(i), exchanged.read(i)
        assert record.keys() == own.keys()
        owner = owner_of(corpus, record) if corpus.has["audio"][i] else i
        theirs = corpus.read(owner)
        owners.append(owner)
        assert (owner != i) == corpus.has["audio"][i]
        assert corpus.split[owner] == corpus.split[i]
        for name in ("participant", "phq9", "gad7", "n_answers", "n_characters", "has_audio", "has_text"):
            assert record[name] == own[name], name
        assert record["n_windows"] == max(own["n_windows"], theirs["n_windows"])
        assert record["duration_s"] == theirs["duration_s"]
        for name, source in (("text", own), ("text_length", own), ("audio", theirs), ("audio_length", theirs)):
            assert len(record[name]) == record["n_windows"] and record[name].dtype == source[name].dtype
            np.testing.assert_array_equal(record[name][: source["n_windows"]], source[name])
            assert not record[name][source["n_windows"] :].any()
        np.testing.assert_array_equal(record["window_start_s"], np.arange(record["n_windows"]) * 60.0)
    assert sorted(owners) == list(range(len(corpus))), "every recording is there once"


def test_columns_are_those_of_the_records(corpus, exchanged):
    first = 0
    for i in range(len(exchanged)):
        record = exchanged.read(i)
        n = record["n_windows"]
        for name in ("n_windows", "duration_s", "n_answers", "n_characters"):
            assert exchanged.columns[name][i] == record[name]
        for name in ("audio", "text"):
            np.testing.assert_array_equal(
                exchanged.window_lengths[name][first : first + n], record[f"{name}_length"], err_msg=name
            )
            assert exchanged.has[name][i] == record[f"has_{name}"]
        first += n
    assert exchanged.window_lengths["audio"].dtype == corpus.window_lengths["audio"].dtype
    assert exchanged.participants == corpus.participants and exchanged.labels is corpus.labels


def test_the_seed_decides(corpus, exchanged):
    again, other = permute_modality(corpus, "audio", seed=0), permute_modality(corpus, "audio", seed=1)
    same = [np.array_equal(exchanged.read(i)["audio"], again.read(i)["audio"]) for i in range(len(corpus))]
    differ = [not np.array_equal(exchanged.read(i)["audio"], other.read(i)["audio"]) for i in range(len(corpus))]
    assert all(same) and any(differ)


@pytest.mark.parametrize("placement", ["host", "stream"])
def test_batches_hold_own_text_and_labels_and_the_audio_of_others(corpus, exchanged, placement):
    options = {"batch_size": 30, "shuffle": False, "epochs": 1, "placement": placement}
    with make_loader(exchanged, np.arange(len(corpus)), **options) as loader:
        batch = next(loader)
    for row, i in enumerate(batch["index"][0].tolist()):
        own, record = corpus.read(i), exchanged.read(i)
        np.testing.assert_equal(batch["labels"]["phq9"][0, row], corpus.labels["phq9"][i])
        for name, axis, source in (("text", 1, own), ("audio", 2, record)):
            slots, there = batch[f"{name}_row"][0] == row, source[f"{name}_length"] > 0
            np.testing.assert_array_equal(
                batch[name][0][slots], np.moveaxis(source[name], axis, 1)[there], err_msg=name
            )
            starts = source["window_start_s"][there]
            np.testing.assert_array_equal(batch[f"{name}_start_s"][0][slots], starts, err_msg=name)


def test_workers_can_have_the_reader(exchanged):
    again = pickle.loads(pickle.dumps(exchanged.reader))
    assert len(again) == len(exchanged)
    np.testing.assert_array_equal(again.read(4)["audio"], exchanged.read(4)["audio"])


def test_an_unknown_modality(corpus):
    with pytest.raises(InputError, match=r"unknown modality .* 'video': choose one of: audio, text"):
        permute_modality(corpus, "video", seed=0)
