"""The plan of an epoch: everyone once, whatever the batch size, the seed and the number of processes."""

import itertools

import numpy as np
import pytest

from mmpsy_jax.data.plan import bucket_sizes, epoch_plan, padding_report, rows_of_process
from mmpsy_jax.errors import InputError

N_WINDOWS = np.maximum(1, np.round(np.random.default_rng(0).lognormal(1, 0.7, 211))).astype(int)
BUCKETS = bucket_sizes(N_WINDOWS)
MEMBERS = np.random.default_rng(1).permutation(211)[:150]


def _plan(batch_size=16, n_windows=N_WINDOWS, members=MEMBERS, buckets=BUCKETS, **options):
    return epoch_plan(n_windows, members, batch_size=batch_size, buckets=buckets, **options)


def _slots(counts, buckets):
    return sum(buckets[np.searchsorted(buckets, n)] for n in counts)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_buckets_pad_least(most):
    counts = np.random.default_rng(most).integers(1, 10, 40)
    sizes = np.unique(counts)
    best = min(
        _slots(counts, (*inner, sizes[-1]))
        for k in range(most)
        for inner in itertools.combinations(sizes[:-1].tolist(), k)
    )
    assert _slots(counts, bucket_sizes(counts, most=most, spare=0)) == best


def test_buckets_are_few_and_ascending():
    assert len(BUCKETS) <= 6 and list(BUCKETS) == sorted(set(BUCKETS)) and BUCKETS[-1] == N_WINDOWS.max()
    assert bucket_sizes(N_WINDOWS, 4)[-1] == 4
    assert bucket_sizes(np.full(9, 3)) == (3,)
    assert len(bucket_sizes(N_WINDOWS, spare=0.5)) < len(BUCKETS)


@pytest.mark.parametrize("counts", [[], [0, 1]])
def test_buckets_of_nothing(counts):
    with pytest.raises(InputError, match="at least one window"):
        bucket_sizes(np.array(counts, int))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 64, 200])
def test_everyone_once_in_a_bucket_that_holds_them(batch_size, shuffle):
    plan = _plan(batch_size, shuffle=shuffle)
    seen = np.concatenate([batch.members for batch in plan])
    assert sorted(seen[seen >= 0]) == sorted(MEMBERS)
    for batch in plan:
        real = batch.members[batch.members >= 0]
        assert batch.members.shape == (batch_size,) and batch.members.dtype == np.int32
        assert len(real) and (batch.members[: len(real)] == real).all(), "padding rows come last"
        assert batch.windows in BUCKETS and N_WINDOWS[real].max() <= batch.windows


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_partition_every_batch(processes):
    for batch in _plan(16):
        parts = [batch.members[rows_of_process(16, p, processes)] for p in range(processes)]
        assert all(len(part) == 16 // processes for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), batch.members)


def test_order_depends_on_seed_and_epoch_only():
    def flat(**options):
        return np.concatenate([batch.members for batch in _plan(**options)]).tolist()

    assert flat(seed=3, epoch=5) == flat(seed=3, epoch=5)
    different = [flat(seed=3, epoch=5), flat(seed=3, epoch=6), flat(seed=4, epoch=5), flat(seed=5, epoch=3)]
    assert all(a != b for a, b in itertools.combinations(different, 2))
    assert flat(shuffle=False, epoch=1) == flat(shuffle=False, epoch=2, seed=9)


def test_every_epoch_has_the_same_shapes():
    shapes = [sorted(batch.windows for batch in _plan(seed=1, epoch=epoch)) for epoch in range(20)]
    assert all(one == shapes[0] for one in shapes)


def test_batches_of_different_buckets_are_mixed():
    order = [batch.windows for batch in _plan(4)]
    assert order != sorted(order)
    unshuffled = [batch.windows for batch in _plan(4, shuffle=False)]
    assert unshuffled == sorted(unshuffled)


def test_remainders_are_merged_only_where_that_pads_less():
    # Three of one window and five of two: merging makes 2 batches of 4 (16 slots); apart it is 3 batches (4 + 16).
    n_windows = np.array([1, 1, 1, 2, 2, 2, 2, 2])
    merged = _plan(4, n_windows, np.arange(8), (1, 2), shuffle=False)
    assert [(b.windows, (b.members >= 0).sum()) for b in merged] == [(2, 4), (2, 4)]
    # With four of two windows, merging would open a second batch of the bigger bucket.
    apart = _plan(4, n_windows[:7], np.arange(7), (1, 2), shuffle=False)
    assert [(b.windows, (b.members >= 0).sum()) for b in apart] == [(1, 3), (2, 4)]


def test_longer_interviews_go_to_the_last_bucket():
    plan = _plan(1, np.array([9, 1]), np.array([0, 1]), (1, 4), shuffle=False)
    assert [(batch.members.tolist(), batch.windows) for batch in plan] == [([1], 1), ([0], 4)]


def test_padding_report_by_hand():
    n_windows = np.array([1, 2, 2])
    plan = _plan(2, n_windows, np.arange(3), (2,), shuffle=False)
    report = padding_report(plan, n_windows, {"audio": (np.array([5, 20, 10]), 10)})
    assert report == {
        "batches": 2,
        "partial_batches": 1,
        "buckets": {2: 2},
        "rows": 0.25,
        "windows": 1 - 5 / 8,
        "tokens": {"audio": 1 - 35 / 80},
    }


def test_buckets_keep_the_padding_low():
    one, few = (padding_report(_plan(8, buckets=b), N_WINDOWS)["windows"] for b in ((int(N_WINDOWS.max()),), BUCKETS))
    assert few < 0.3 < 0.7 < one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": np.array([], int)}, "nobody"),
        ({"members": np.array([1, 1])}, "twice"),
        ({"members": np.array([500])}, "between 0 and 210"),
        ({"members": np.array([-1])}, "between 0 and 210"),
        ({"batch_size": 0}, "at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"buckets": (4, 2)}, "ascending"),
        ({"buckets": ()}, "at least one"),
        ({"buckets": range(1, 14)}, "13 buckets"),
    ],
)
def test_unusable_arguments(options, message):
    with pytest.raises(InputError, match=message):
        _plan(**options)


def test_batch_must_divide():
    with pytest.raises(InputError, match="batch_size 10 is not divisible by the 4 processes"):
        rows_of_process(10, 0, 4)
    with pytest.raises(InputError, match="process_index 4"):
        rows_of_process(8, 4, 4)
