"""The plan of an epoch: everyone once, in packs whose pieces fit, whatever the seed and the number of processes."""

import itertools
import time

import numpy as np
import pytest

from mmpsy_jax.data.plan import (
    batches_needed,
    epoch_plan,
    limited,
    packs_of_process,
    padding_report,
    rows_of_slots,
    window_slots,
)
from mmpsy_jax.io import InputError


def _interviews(n, seed=0):
    return np.maximum(1, np.round(np.random.default_rng(seed).lognormal(1, 0.7, n))).astype(np.int32)


def _of_two(n, seed=0):
    """Pieces of two modalities; every tenth participant lacks the first one, some the second, and 7 has nothing."""
    audio, text = _interviews(n, seed), _interviews(n, seed + 1)
    audio[::10] = text[3::20] = 0
    audio[7] = text[7] = 0
    return {"audio": audio, "text": text}


COUNTS = {"text": _interviews(211)}
OF_TWO = _of_two(211)
MEMBERS = np.random.default_rng(1).permutation(211)[:150]


def _plan(batch_size=16, packs=1, counts=COUNTS, members=MEMBERS, slots=None, **options):
    slots = slots or window_slots(counts, batch_size, packs)
    return epoch_plan(counts, members, batch_size=batch_size, packs=packs, slots=slots, **options)


def _text(*counts):
    return {"text": np.array(counts)}


def _members(plan):
    return np.asarray(plan)


def test_slots_are_those_of_average_participants_but_hold_the_longest():
    assert window_slots(_text(*[3] * 9), 8, 2, spare=0) == {"text": 12}
    assert window_slots(_text(*[3] * 9), 8, 2, spare=0.1) == {"text": 14}
    counts = {"audio": np.array([0, 0, 0]), "text": np.array([1, 1, 9])}
    assert window_slots(counts, 4, 4) == {"audio": 1, "text": 9}, "one where nobody has the modality"


def test_windows_beyond_a_limit_are_cut_off():
    assert limited(np.array([1, 1, 9]), 2).tolist() == [1, 1, 2]


@pytest.mark.parametrize("counts", [[], [0, 1]])
def test_windows_of_nothing(counts):
    with pytest.raises(InputError, match="at least one window"):
        limited(np.array(counts, int), None)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "packs"), [(1, 1), (2, 2), (7, 1), (16, 1), (16, 4), (64, 2), (200, 8), (200, 200)]
)
@pytest.mark.parametrize("counts", [COUNTS, OF_TWO], ids=["one", "two"])
def test_everyone_once_in_a_group_that_holds_them(batch_size, packs, shuffle, counts):
    slots = window_slots(counts, batch_size, packs)
    members = _members(_plan(batch_size, packs, counts, shuffle=shuffle))
    assert members.dtype == np.int32 and members.shape[1:] == (packs, batch_size // packs)
    assert sorted(members[members >= 0]) == sorted(MEMBERS)
    for name, of_all in counts.items():
        assert np.where(members >= 0, of_all[members], 0).sum(-1).max() <= slots[name]
    assert (np.diff((members < 0).astype(int), axis=-1) >= 0).all(), "padding rows come last"
    assert (members >= 0).any((1, 2)).all(), "a batch without anybody"


@pytest.mark.parametrize("counts", [COUNTS, OF_TWO], ids=["one", "two"])
def test_every_epoch_and_seed_has_the_same_number_of_batches(counts):
    longest = {name: int(n.max()) for name, n in counts.items()}
    more = {name: n + 2 for name, n in longest.items()}
    for batch_size, packs, slots in [(16, 1, None), (16, 8, None), (8, 2, more), (4, 2, longest)]:
        options = {"counts": counts, "slots": slots}
        made = {len(_plan(batch_size, packs, **options, seed=s, epoch=e)) for s in range(5) for e in range(10)}
        assert len(made) == 1
        turned = _plan(batch_size, packs, **options, members=MEMBERS[::-1], shuffle=False)
        assert made == {len(_plan(batch_size, packs, **options, shuffle=False))} == {len(turned)}


def test_as_few_batches_as_rows_or_windows_allow():
    assert len(_plan(16, 1)) == -(-150 // 16)
    # Four of two windows in packs of three slots: two rows, but one participant each.
    assert len(_plan(2, 1, _text(2, 2, 2, 2), np.arange(4), slots={"text": 3})) == 4
    # Three and one, three and one: only if the longest waits for the shortest.
    assert len(_plan(2, 1, _text(1, 3, 1, 3), np.arange(4), slots={"text": 4})) == 2
    # Who has the audio meets who has the text: by the sum of both, all four are alike.
    counts = {"audio": np.array([4, 4, 0, 0]), "text": np.array([0, 0, 4, 4])}
    assert len(_plan(2, 1, counts, np.arange(4), slots={"audio": 4, "text": 4})) == 2


def test_a_long_interview_does_not_cost_batches():
    # It fills a pack alone, in rounds of one participant for every pack it would not fit.
    assert len(_plan(8, 2, _text(*[2] * 60, 8), np.arange(61), slots={"text": 8})) == 8


def test_wanted_batches_are_made():
    assert len(_plan(16, batches=3)) == 10
    plan = _members(_plan(16, 2, batches=14))
    assert len(plan) == 14 and (plan >= 0).any((1, 2)).all()
    assert sorted(plan[plan >= 0]) == sorted(MEMBERS)
    # As for folds of a cross-validation.
    slots = window_slots(COUNTS, 16, 2)
    folds = [np.delete(np.arange(211), np.s_[start : start + 30 + start]) for start in (0, 60, 120)]
    needed = [batches_needed(COUNTS, fold, batch_size=16, packs=2, slots=slots) for fold in folds]
    assert len(set(needed)) > 1
    assert {len(_plan(16, 2, members=fold, batches=max(needed))) for fold in folds} == {max(needed)}


def test_few_participants_are_spread_over_the_wanted_batches():
    plan = _members(_plan(16, 8, members=MEMBERS[:5], batches=4))
    assert plan.shape == (4, 8, 2) and sorted((plan >= 0).sum((1, 2))) == [1, 1, 1, 2]


def test_order_depends_on_seed_and_epoch_only():
    def flat(**options):
        return _members(_plan(**options)).ravel().tolist()

    assert flat(seed=3, epoch=5) == flat(seed=3, epoch=5)
    different = [flat(seed=3, epoch=5), flat(seed=3, epoch=6), flat(seed=4, epoch=5), flat(seed=5, epoch=3)]
    assert all(a != b for a, b in itertools.combinations(different, 2))
    assert flat(shuffle=False, epoch=1) == flat(shuffle=False, epoch=2, seed=9)


def test_others_meet_in_the_next_epoch():
    def pairs(epoch):
        return {
            frozenset(pair)
            for batch in _plan(16, epoch=epoch)
            for pair in itertools.combinations(batch[batch >= 0].tolist(), 2)
        }

    # By chance 15 of 149 would meet again.
    first, second = pairs(0), pairs(1)
    assert len(first & second) < 0.2 * len(first)


def test_inside_a_group_the_order_is_kept_without_shuffling_and_random_with():
    place = np.full(211, 999)
    place[MEMBERS] = np.arange(150)

    def ascending(members):
        return (np.diff(np.where(members >= 0, place[members], 999)) >= 0).mean()

    assert ascending(_members(_plan(16, shuffle=False))) == 1
    assert 0.4 < ascending(_members(_plan(16))) < 0.7


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_partition_every_batch(processes):
    for batch in _plan(16, 8):
        parts = [batch[packs_of_process(8, p, processes)] for p in range(processes)]
        assert all(len(part) == 8 // processes for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), batch)


def test_rows_of_slots_by_hand():
    assert rows_of_slots(np.array([[2, 1, 0], [0, 0, 0], [1, 1, 3]]), 5).tolist() == [
        [0, 0, 1, 3, 3],
        [3, 3, 3, 3, 3],
        [0, 1, 2, 2, 2],
    ]
    assert rows_of_slots(np.array([2, 1]), 4).tolist() == [0, 0, 1, 2]
    assert rows_of_slots(np.ones((4, 3, 2), int), 2).shape == (4, 3, 2)
    with pytest.raises(InputError, match="a pack has 3 pieces"):
        rows_of_slots(np.array([[2, 1]]), 2)


def test_padding_report_by_hand():
    counts = {"audio": np.array([1, 2, 2]), "text": np.array([0, 1, 3])}
    slots = {"audio": 4, "text": 3}
    plan = _plan(2, 1, counts, np.arange(3), slots=slots, shuffle=False)
    report = padding_report(plan, counts, slots, {"audio": (np.array([5, 20, 10]), 10)})
    empty = {"audio": 1 - 5 / 8, "text": 1 - 4 / 6}
    assert report == {"batches": 2, "rows": 0.25, "slots": empty, "tokens": {"audio": 1 - 35 / 80}}


@pytest.mark.parametrize("n", [1275, 10_000])
@pytest.mark.parametrize("of_two", [False, True])
def test_little_padding(n, of_two):
    counts = _of_two(n) if of_two else {"text": _interviews(n)}
    report = padding_report(_plan(32, 1, counts, np.arange(n)), counts, window_slots(counts, 32, 1), {})
    assert max(report["slots"].values()) < 0.1 and report["rows"] < 0.06


def test_a_million_participants_are_planned_in_a_moment():
    counts = {"text": _interviews(1_000_000)}
    began = time.process_time()
    _plan(32, 1, counts, np.arange(1_000_000))
    assert time.process_time() - began < 5  # half a second on an idle core


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": np.array([], int)}, "nobody"),
        ({"members": np.array([1, 1])}, "twice"),
        ({"members": np.array([500])}, "between 0 and 210"),
        ({"members": np.array([-1])}, "between 0 and 210"),
        ({"batch_size": 0, "slots": {"text": 20}}, "at least 1"),
        ({"packs": 0, "slots": {"text": 20}}, "at least 1"),
        ({"packs": 3, "slots": {"text": 20}}, "batch_size 16 is not divisible by the 3 packs"),
        ({"seed": -1}, "seed -1"),
        ({"batches": 0}, "batches 0"),
        ({"slots": {"text": 4}}, "slots 4 of text: a participant has 11 pieces"),
    ],
)
def test_unusable_arguments(options, message):
    with pytest.raises(InputError, match=message):
        _plan(**options)


def test_groups_must_divide():
    with pytest.raises(InputError, match="packs 10 is not divisible by the 4 processes"):
        packs_of_process(10, 0, 4)
    with pytest.raises(InputError, match="process_index 4"):
        packs_of_process(8, 4, 4)
