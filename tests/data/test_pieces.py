"""Windows in pieces: nothing valid is lost, what is left out was empty, and less is computed in vain."""

import itertools

import numpy as np
import pytest

from mmpsy_jax.data.in_memory import Resident
from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.pieces import cut, default_parts
from mmpsy_jax.io import InputError

PARTS = 5
STEPS = {"audio": 20, "text": 5}


def _batches(corpus, **options):
    with make_loader(corpus, np.arange(len(corpus)), **{"batch_size": 8, "epochs": 1, **options}) as loader:
        return list(loader)


@pytest.mark.parametrize("placement", ["host", "device", "stream"])
def test_pieces_put_together_are_the_windows_of_the_records(corpus, placement):
    seen = 0
    for batch in _batches(corpus, placement=placement, parts=PARTS):
        for row in np.flatnonzero(batch["valid"][0]):
            record = corpus.read(int(batch["index"][0, row]))
            rebuilt = {"audio": np.zeros_like(record["audio"].swapaxes(1, 2)), "text": np.zeros_like(record["text"])}
            lengths = {name: np.zeros(record["n_windows"], np.int32) for name in rebuilt}
            for name, values in rebuilt.items():
                steps = STEPS[name] // PARTS
                for slot in np.flatnonzero(batch[f"{name}_row"][0] == row):
                    # Windows of this corpus begin every 60 s, so that 12 s are one of five parts.
                    window, part = divmod(round(float(batch[f"{name}_start_s"][0, slot]) / 12), PARTS)
                    values[window, part * steps : (part + 1) * steps] = batch[name][0, slot]
                    lengths[name][window] += batch[f"{name}_length"][0, slot]
            # Equal lengths: whatever was left out had none.
            for name, expected in (("audio", record["audio"].swapaxes(1, 2)), ("text", record["text"])):
                np.testing.assert_array_equal(rebuilt[name], expected)
                np.testing.assert_array_equal(lengths[name], record[f"{name}_length"])
            seen += 1
    assert seen == len(corpus)


@pytest.mark.parametrize("modalities", [None, ["text"], ["audio"]])
@pytest.mark.parametrize("max_windows", [None, 2])
@pytest.mark.parametrize("parts", [1, 5])
def test_counts_and_lengths_by_hand(corpus, modalities, max_windows, parts):
    pieces = cut(corpus, modalities, parts, max_windows)
    assert pieces.modalities.keys() == pieces.counts.keys() == set(modalities or STEPS)
    for name, i in itertools.product(pieces.modalities, range(len(corpus))):
        record, steps, found = corpus.read(i), STEPS[name] // parts, []
        for window, part in np.ndindex(min(record["n_windows"], max_windows or 99), parts):
            length = int(np.clip(record[f"{name}_length"][window] - part * steps, 0, steps))
            if length:
                found.append((window, part, length))
        own = pieces.of(name, i)
        columns = (pieces.window[name], pieces.part[name], pieces.length[name])
        assert list(zip(*(column[own].tolist() for column in columns), strict=True)) == found
        assert pieces.counts[name][i] == len(found)
        assert pieces.valid(name)[i] == sum(length for *_, length in found)
    for name, counts in cut(corpus, modalities, parts, max_windows).counts.items():
        np.testing.assert_array_equal(counts, pieces.counts[name])
        assert counts.dtype == np.int32


def test_who_has_nothing_takes_no_slot_and_is_there(corpus):
    nothing, partly = corpus.participants.index("p024"), corpus.participants.index("p003")
    counts = cut(corpus).counts
    assert counts["audio"][nothing] == counts["text"][nothing] == 0
    assert counts["text"][partly] == counts["audio"][partly] - 1 == corpus.n_windows[partly] - 1
    found = next(batch for batch in _batches(corpus, parts=PARTS, shuffle=False) if nothing in batch["index"])
    (row,) = np.flatnonzero(found["index"][0] == nothing)
    assert found["valid"][0, row]
    assert not any((found[f"{name}_row"] == row).any() for name in STEPS)


def test_resident_pieces_take_less_memory_as_foretold(corpus):
    members = np.arange(4, 29)
    sizes = []
    for parts in (1, PARTS):
        resident = Resident(corpus, members, parts=parts)
        values = resident.arrays["values"]
        assert values["audio"].shape[1:] == (20 // parts, 6) and values["text"].shape[1:] == (5 // parts, 8)
        sizes.append(sum(leaf[:-1].nbytes for leaf in values.values()))
        assert sizes[-1] == resident.pieces.nbytes(members)
    assert sizes[1] < 0.8 * sizes[0]


def test_pieces_of_a_record_are_views(corpus):
    pieces, record = cut(corpus, parts=PARTS), corpus.read(3)
    for name, shape in (("audio", (6, 4)), ("text", (1, 8))):
        split = pieces.split(name, record[name])
        assert np.shares_memory(split, record[name]) and split.shape == (record["n_windows"], PARTS, *shape)
        assert pieces.shape(name) == shape


def test_less_is_computed_in_vain(corpus):
    shares = []
    for parts in (1, PARTS):
        with make_loader(corpus, np.arange(len(corpus)), batch_size=8, parts=parts) as loader:
            shares.append(loader.padding_report()["tokens"])
    assert all(shares[1][name] < shares[0][name] - 0.1 for name in STEPS)


@pytest.mark.parametrize("parts", [0, -5, 2, 3, 10, 20])
def test_parts_that_do_not_divide(corpus, parts):
    with pytest.raises(InputError, match=rf"parts {parts} does not divide .*choose one of: 1, 5$"):
        cut(corpus, parts=parts)


def test_other_unusable_arguments(corpus):
    with pytest.raises(InputError, match="unknown modality 'video'"):
        cut(corpus, ["video"])
    with pytest.raises(InputError, match="unknown modality 'video'"):
        default_parts(corpus, ["video"])
    with pytest.raises(InputError, match="max_windows 0"):
        cut(corpus, max_windows=0)


def test_default_parts(corpus):
    assert default_parts(corpus) == default_parts(corpus, ["text"]) == 5
    assert default_parts(corpus, ["audio"], {"audio": 5}) == 4
    assert default_parts(corpus, ["audio"], {"audio": 5}, most=3) == 2
    assert default_parts(corpus, None, {"audio": 4}) == 5
    assert default_parts(corpus, None, {"audio": 5}) == default_parts(corpus, most=4) == 1
