"""How the profile of the training loop counts: on spans made by hand."""

from benchmarks.loop_profile import _times, union


def test_spans_that_touch_are_one():
    assert union([(5.0, 6.0), (1.0, 2.0), (1.5, 4.0), (2.0, 3.0), (6.0, 7.0)]) == [(1.0, 4.0), (5.0, 7.0)]


def test_times_of_three_steps():
    # Steps at 10, 20 and 30; the device computes 12-18 on two threads, 18-29, and 31-40. The host waits in the turn of
    # the second step, twice, and before the first step, which does not count.
    made = _times(
        [(10.0, 11.0), (20.0, 23.0), (30.0, 32.0)],
        [(8.0, 9.0), (24.0, 26.0), (27.0, 28.0)],
        [(5.0, 9.0), (12.0, 18.0), (12.5, 17.0), (18.0, 29.0), (31.0, 40.0)],
    )
    assert (made.wall, made.busy, made.gap) == (30.0, 26.0, 2.0)
    assert (made.dispatch, made.waiting, made.waited) == (2.0, 1, 3.0)
