"""Windows in memory: one gather for numpy, for jit and for a scan over an epoch."""

import jax
import numpy as np
import pytest
import small_corpus

from mmpsy_jax.data.in_memory import Resident, gather, select
from mmpsy_jax.data.plan import epoch_plan
from mmpsy_jax.io import InputError

SLOTS = {"audio": 11, "text": 13}
MEMBERS = np.arange(3, 25)


@pytest.fixture(scope="module")
def resident(corpus):
    """Some participants, with and without audio."""
    return Resident(corpus, MEMBERS)


@pytest.fixture(scope="module")
def plans(resident):
    """The plans of an epoch, [batches, G, ...]."""
    plan = epoch_plan(resident.pieces.counts, MEMBERS, batch_size=6, packs=2, slots=SLOTS)
    return resident.plan_arrays(plan, SLOTS)


def _assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        small_corpus.assert_same_values(a, b)


def test_windows_are_time_major_and_absent_ones_take_no_memory(corpus, resident):
    of_members = np.isin(np.repeat(np.arange(len(corpus)), corpus.n_windows), MEMBERS)
    held = {name: int((lengths[of_members] > 0).sum()) for name, lengths in corpus.window_lengths.items()}
    assert held["audio"] < held["text"] < of_members.sum()
    assert resident.arrays["values"]["audio"].shape == (held["audio"] + 1, 20, 6)
    assert resident.arrays["values"]["text"].shape == (held["text"] + 1, 5, 8)
    assert resident.nbytes == sum(leaf.nbytes for leaf in jax.tree.leaves(resident.arrays))


def test_numpy_jit_and_scan_gather_the_same(resident, plans):
    whole = gather(resident.arrays, plans, np)
    assert whole["audio"].shape[1:] == (2, 11, 20, 6) and whole["text"].shape[1:] == (2, 13, 5, 8)
    assert whole["labels"]["phq9"].shape[1:] == (2, 3)

    @jax.jit
    def epoch(arrays, plans):
        return jax.lax.scan(lambda _, plan: (None, gather(arrays, plan)), None, plans)[1]

    _assert_same(whole, epoch(resident.arrays, plans))
    for number in range(len(plans["index"])):
        plan = jax.tree.map(lambda leaf, number=number: leaf[number], plans)
        batch = gather(resident.arrays, plan, np)
        _assert_same(batch, jax.tree.map(lambda leaf, number=number: leaf[number], whole))
        _assert_same(batch, jax.jit(gather)(resident.arrays, plan))


def test_selected_arrays_are_not_copied(resident, plans):
    chosen = select(resident.arrays, ["text"], ["gad7"])
    assert chosen["values"]["text"] is resident.arrays["values"]["text"]
    whole = gather(resident.arrays, plans, np)
    expected = {name: leaf for name, leaf in whole.items() if not name.startswith("audio")}
    _assert_same(gather(chosen, plans, np), {**expected, "labels": {"gad7": whole["labels"]["gad7"]}})
    with pytest.raises(InputError, match="unknown modality or label in memory 'video'"):
        select(resident.arrays, ["video"], [])


def test_what_is_not_in_memory_cannot_be_planned(resident):
    with pytest.raises(InputError, match="not in memory"):
        resident.plan_arrays(np.array([[5, 1]]), SLOTS)
    with pytest.raises(InputError, match="slots 2"):
        resident.plan_arrays(np.array([[5, 6]]), {"text": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["video"]}, "unknown modality 'video'"),
        ({"labels": ["pcl5"]}, "unknown label 'pcl5'"),
        ({"max_windows": 0}, "max_windows 0"),
        ({"members": np.array([99])}, "between 0 and 29"),
        ({"parts": 4}, "parts 4"),
    ],
)
def test_unusable_arguments(corpus, options, message):
    with pytest.raises(InputError, match=message):
        Resident(corpus, **{"members": MEMBERS, **options})
