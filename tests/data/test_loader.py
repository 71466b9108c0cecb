"""The loader: equal bytes from every placement, exactly once, resumable, packed and divided as promised."""

import itertools
import json
import threading

import jax
import numpy as np
import pytest
import small_corpus
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmpsy_jax.data import splits
from mmpsy_jax.data.in_memory import Resident
from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError

MEMORY_AND_DISK = ("host", "device", "stream")


@pytest.fixture
def no_implicit_transfers():
    """Global, unlike `with jax.transfer_guard(...)`, so that it binds the prefetching threads as well."""
    jax.config.update("jax_transfer_guard", "disallow")
    yield
    jax.config.update("jax_transfer_guard", "allow")


@pytest.fixture(scope="module")
def sharding():
    """Eight devices along the batch axis."""
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def _everyone(corpus):
    return np.arange(len(corpus))


def _batches(corpus, members=None, count=None, **options):
    members = _everyone(corpus) if members is None else members
    with make_loader(corpus, members, **{"batch_size": 8, "epochs": 1, **options}) as loader:
        return list(itertools.islice(loader, count))


def _assert_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        jax.tree.map(small_corpus.assert_same_values, one, other)


# --- what a batch is --------------------------------------------------------------------------------------------------


NAMES = ("audio", "text")


def _of_records(record, parts=1):
    """The windows of a record of TFDS as a batch has them: time-major, in pieces, without those that hold nothing."""
    windows = {"audio": record["audio"].swapaxes(1, 2), "text": record["text"]}
    made = {f"{name}{what}": [] for name in windows for what in ("", "_length", "_start_s")}
    for (name, values), window, part in itertools.product(windows.items(), range(record["n_windows"]), range(parts)):
        n = values.shape[1] // parts
        length = min(max(record[f"{name}_length"][window] - part * n, 0), n)
        if length:
            made[name].append(values[window, part * n : (part + 1) * n])
            made[f"{name}_length"].append(length)
            made[f"{name}_start_s"].append(record["window_start_s"][window] + part * 60 / parts)
    kinds = {"length": np.int32, "s": np.float32, "audio": np.float16, "text": np.float16}
    return {key: np.array(values, kinds[key.split("_")[-1]]) for key, values in made.items()}


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("packs", "parts"), [(1, 1), (2, 1), (1, 5), (2, 5)])
def test_batches_are_the_records_of_tfds_packed(corpus, placement, shuffle, packs, parts):
    seen, records = [], small_corpus.reference(corpus)
    for batch in jax.device_get(_batches(corpus, placement=placement, shuffle=shuffle, packs=packs, parts=parts)):
        rows = 8 // packs
        assert batch["index"].shape == batch["valid"].shape == (packs, rows)
        for name in NAMES:
            row = batch[f"{name}_row"]
            assert row.shape == batch[name].shape[:2] and row.dtype == np.int32
            assert row.shape == batch[f"{name}_length"].shape == batch[f"{name}_start_s"].shape
            assert (np.diff(row, axis=1) >= 0).all(), "rows ascend, unused slots last"
            assert not any(batch[f"{name}{what}"][row == rows].any() for what in ("", "_length", "_start_s"))
        assert batch["audio"].shape[2:] == (20 // parts, 6) and batch["text"].shape[2:] == (5 // parts, 8)
        np.testing.assert_array_equal(batch["valid"], batch["index"] >= 0)
        for pack, row in np.ndindex(packs, rows):
            member = batch["index"][pack, row]
            slots = {name: np.flatnonzero(batch[f"{name}_row"][pack] == row) for name in NAMES}
            if member < 0:
                assert not any(map(len, slots.values())) and (batch["index"][pack, row:] < 0).all()
                assert all(np.isnan(scores[pack, row]) for scores in batch["labels"].values())
                continue
            seen.append(int(member))
            record = records[member]
            for name, expected in _of_records(record, parts).items():
                own = slots[name.split("_")[0]]
                of_member = batch[name][pack, own]
                assert len(own) == len(expected)
                small_corpus.assert_same_values(of_member, expected.reshape(of_member.shape))
            for label, scores in batch["labels"].items():
                assert scores.dtype == np.float32
                np.testing.assert_equal(scores[pack, row], np.nan if record[label] < 0 else record[label])
    assert sorted(seen) == _everyone(corpus).tolist()


def test_missing_modality_and_missing_window_take_no_slot(corpus):
    for batch in _batches(corpus):
        for row, member in enumerate(batch["index"][0]):
            slots = {name: int((batch[f"{name}_row"][0] == row).sum()) for name in NAMES}
            assert (slots["audio"] > 0) == (member >= 0 and corpus.has["audio"][member])
            if member == 3:
                assert slots["text"] == slots["audio"] - 1 == corpus.n_windows[3] - 1
    assert not corpus.has["audio"].all()


def test_every_batch_has_one_shape(corpus):
    members = splits.by_name(corpus)
    made = [
        *_batches(corpus, members["train"], epochs=2),
        *_batches(corpus, members["test"], shuffle=False),
    ]
    assert len({tuple(leaf.shape for leaf in jax.tree.leaves(batch)) for batch in made}) == 1


@pytest.mark.parametrize("parts", [1, 5])
def test_placements_give_the_same_bytes_on_a_mesh(corpus, sharding, no_implicit_transfers, parts):
    options = {"epochs": 2, "seed": 5, "batch_size": 16, "packs": 8, "parts": parts}
    reference = _batches(corpus, placement="host", **options)
    for placement in MEMORY_AND_DISK:
        sharded = _batches(corpus, placement=placement, sharding=sharding, **options)
        for leaf in jax.tree.leaves(sharded):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
        _assert_same(reference, sharded)


@pytest.mark.slow
def test_streaming_with_worker_processes(corpus):
    options = {"epochs": 2, "parts": 5}
    reference = _batches(corpus, placement="host", **options)
    _assert_same(reference, _batches(corpus, placement="stream", **options, workers=2))


def test_chosen_labels_and_modalities(corpus):
    batch = _batches(corpus, labels=["gad7"], modalities=["text"])[0]
    assert list(batch["labels"]) == ["gad7"] and "text" in batch and not any(name.startswith("audio") for name in batch)


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
def test_max_windows_keeps_the_first(corpus, placement):
    for batch in jax.device_get(_batches(corpus, placement=placement, max_windows=2)):
        assert batch["text"].shape[1] < 8 * 2
        for row, member in enumerate(batch["index"][0]):
            if member >= 0:
                record = corpus.read(member)
                expected = record["text"][:2][record["text_length"][:2] > 0]
                small_corpus.assert_same_values(batch["text"][0, batch["text_row"][0] == row], expected)


# --- exactly once, and independent of the processes -------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
def test_everyone_once_per_epoch(corpus, batch_size):
    members = splits.by_name(corpus)["train"]
    with make_loader(corpus, members, batch_size=batch_size, seed=2) as loader:
        for epoch in range(3):
            seen = []
            for _ in range(loader.batches_per_epoch):
                assert loader.state()["position"] // loader.batches_per_epoch == epoch
                seen.append(next(loader)["index"])
            seen = np.concatenate(seen)
            assert sorted(seen[seen >= 0]) == members.tolist()


def test_batches_are_at_least_as_many_as_wanted(corpus):
    with make_loader(corpus, _everyone(corpus), batch_size=8, batches=9, epochs=2) as loader:
        made = list(loader)
    assert loader.batches_per_epoch == 9 and len(made) == 18
    assert all(batch["valid"].any() for batch in made)
    assert sorted(np.concatenate([batch["index"][batch["valid"]] for batch in made[:9]])) == _everyone(corpus).tolist()


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_read_the_batches_of_one(corpus, processes, placement):
    options = {"placement": placement, "seed": 7, "packs": 4, "parts": 5}
    whole = jax.device_get(_batches(corpus, **options))
    parts = [
        jax.device_get(_batches(corpus, **options, process_index=p, process_count=processes)) for p in range(processes)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share["index"]) == 4 // processes for share in shares)
        _assert_same([batch], [jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares)])


def test_a_process_reads_only_its_groups(corpus, monkeypatch):
    read = []
    original = type(corpus.reader).read
    monkeypatch.setattr(
        type(corpus.reader), "read", lambda self, i, names=None: read.append(i) or original(self, i, names)
    )
    mine = _batches(corpus, placement="stream", packs=2, process_index=1, process_count=2)
    index = np.concatenate([batch["index"] for batch in mine])
    assert sorted(read) == sorted(index[index >= 0])


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize(("handed_out", "parts"), [(0, 1), (3, 5), (7, 1), (9, 5)])
def test_resume_is_exact(corpus, placement, handed_out, parts):
    options = {"batch_size": 8, "seed": 11, "epochs": 3, "placement": placement, "packs": 2, "parts": parts}
    whole = _batches(corpus, **options)
    with make_loader(corpus, _everyone(corpus), **options) as first:
        list(itertools.islice(first, handed_out))
        state = json.loads(json.dumps(first.state()))
    assert state["position"] == handed_out
    with make_loader(corpus, _everyone(corpus), **options) as second:
        next(second)  # whatever it did before
        second.restore(state)
        _assert_same(list(second), whole[handed_out:])


def test_state_fits_another_placement_and_other_processes(corpus):
    options = {"batch_size": 8, "packs": 2}
    with make_loader(corpus, _everyone(corpus), **options, placement="host") as loader:
        next(loader)
        state, expected = loader.state(), next(loader)
    with make_loader(
        corpus, _everyone(corpus), **options, placement="stream", process_index=0, process_count=2
    ) as loader:
        loader.restore(state)
        _assert_same([next(loader)], [jax.tree.map(lambda leaf: leaf[:1], expected)])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 4},
        {"shuffle": False},
        {"packs": 2},
        {"slots": {"audio": 40, "text": 41}},
        {"batches": 7},
        {"parts": 5},
        {"members": np.arange(9)},
    ],
)
def test_state_of_another_run_is_refused(corpus, change):
    options = {"members": _everyone(corpus), "batch_size": 8, "seed": 0}
    with make_loader(corpus, **options) as loader:
        state = loader.state()
    with make_loader(corpus, **{**options, **change}) as loader, pytest.raises(InputError, match=next(iter(change))):
        loader.restore(state)


@pytest.mark.parametrize("position", [-1, 1e3, None, "3"])
def test_impossible_position_is_refused(corpus, position):
    loader = make_loader(corpus, _everyone(corpus), batch_size=8, epochs=1)
    with loader, pytest.raises(InputError, match="position"):
        loader.restore({**loader.state(), "position": position})


def test_evaluation_can_be_repeated(corpus):
    with make_loader(corpus, _everyone(corpus), batch_size=8, shuffle=False, epochs=1) as loader:
        first = list(loader)
        assert list(loader) == []
        loader.rewind()
        _assert_same(first, list(loader))


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_auto_takes_memory_where_it_fits(corpus, sharding):
    def placed(**options):
        with make_loader(corpus, _everyone(corpus), batch_size=8, packs=8, **options) as loader:
            return loader.placement

    needed = sum(int((corpus.window_lengths[n] > 0).sum()) * m.window_bytes for n, m in corpus.modalities.items())
    assert needed < corpus.n_windows.sum() * sum(m.window_bytes for m in corpus.modalities.values())
    assert placed(memory_limit_bytes=needed) == "host"
    assert placed(memory_limit_bytes=needed - 1) == "stream"
    in_memory = placed(sharding=sharding)
    assert in_memory in ("host", "device")
    assert placed(sharding=sharding, memory_limit_bytes=1000) == "stream"
    assert placed(memory_limit_bytes=needed - 1, parts=5) == "host", "pieces take less"


def test_padding_report(corpus):
    with make_loader(corpus, _everyone(corpus), batch_size=8) as loader:
        report = loader.padding_report()
        assert report["batches"] == loader.batches_per_epoch and 0 < report["rows"] < 1
        assert all(0 < report["slots"][name] < report["tokens"][name] < 1 for name in NAMES)
    first = corpus.window_lengths["text"][np.cumsum(corpus.n_windows) - corpus.n_windows].sum()
    with make_loader(corpus, _everyone(corpus), batch_size=8, max_windows=1) as loader:
        report = loader.padding_report()
        computed = loader.batches_per_epoch * loader.packs * loader.slots["text"] * 5
    assert report["tokens"]["text"] == pytest.approx(1 - first / computed)


def test_close_leaves_no_thread(corpus, sharding):
    before = set(threading.enumerate())
    loader = make_loader(corpus, _everyone(corpus), batch_size=8, packs=8, placement="stream", sharding=sharding)
    next(loader)
    loader.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    left = [thread.name for thread in set(threading.enumerate()) - before if "grain" in thread.name]
    assert not left
    with pytest.raises(StopIteration):
        next(loader)


@pytest.mark.parametrize("placement", ["host", "stream"])
def test_damaged_shard_stops_the_loader_by_name(copy, placement):
    opened = open_corpus(copy)
    shard = next(copy.glob("*validation*"))
    shard.write_bytes(shard.read_bytes()[:40_000])
    with pytest.raises(InputError, match=shard.name):
        _batches(opened, placement=placement)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packs": 4, "sharding": True}, "packs 4 is not divisible by the 8 devices"),
        ({"packs": 4, "process_index": 0, "process_count": 3}, "packs 4 is not divisible by the 3 processes"),
        ({"packs": 3}, "batch_size 8 is not divisible by the 3 packs"),
        ({"slots": {"audio": 9, "text": 3}}, "slots 3 of text: a participant has 6 pieces"),
        ({"batches": 0}, "batches 0"),
        ({"placement": "gpu"}, "unknown placement 'gpu': choose one of: auto, device, host, stream"),
        ({"labels": ["pcl5"]}, "unknown label 'pcl5'"),
        ({"modalities": ["video"]}, "unknown modality 'video'"),
        ({"max_windows": 0}, "max_windows 0"),
        ({"parts": 3}, r"parts 3 does not divide .*\(audio 20, text 5\): choose one of: 1, 5"),
        ({"epochs": 0}, "epochs 0"),
        ({"members": np.array([], int)}, "nobody"),
        ({"members": np.array([99])}, "between 0 and 29"),
    ],
)
def test_unusable_arguments(corpus, sharding, options, message):
    options = {"members": _everyone(corpus), "batch_size": 8, **options}
    if options.get("sharding"):
        options["sharding"] = sharding
    with pytest.raises(InputError, match=message):
        make_loader(corpus, **options)


def test_only_the_group_axis_may_be_divided(corpus):
    mesh = jax.make_mesh((4, 2), ("data", "model"), (AxisType.Auto,) * 2)
    with pytest.raises(InputError, match="first axis"):
        make_loader(
            corpus,
            _everyone(corpus),
            batch_size=8,
            packs=4,
            sharding=NamedSharding(mesh, PartitionSpec("data", "model")),
        )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    batches = _batches(corpus, packs=4, sharding=sharding, placement="device")
    _assert_same(_batches(corpus, packs=4, placement="host"), batches)


# --- windows that are in memory already -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resident(corpus):
    """Everybody's windows."""
    return Resident(corpus, _everyone(corpus))


@pytest.mark.parametrize("placement", ["host", "device", "auto"])
def test_resident_windows_are_not_read_again(corpus, resident, sharding, placement, monkeypatch):
    monkeypatch.setattr(type(corpus.reader), "raw", lambda *_: pytest.fail("a record was read"))
    options = {"placement": placement, "batch_size": 16, "packs": 8, "sharding": sharding, "resident": resident}
    members = splits.by_name(corpus)
    made = {name: _batches(corpus, part, **options) for name, part in members.items()}
    chosen = _batches(corpus, members["test"], **options, modalities=["text"], labels=["gad7"])
    assert not any("audio" in batch for batch in chosen)
    monkeypatch.undo()
    del options["resident"]
    _assert_same(_batches(corpus, members["test"], **options, modalities=["text"], labels=["gad7"]), chosen)
    for name, part in members.items():
        _assert_same(_batches(corpus, part, **options), made[name])


def test_loaders_share_one_copy_on_the_device(corpus, resident, sharding):
    copies = {id(resident.on_device(sharding)["values"]["audio"])}
    again = NamedSharding(jax.make_mesh((8,), ("data",), (AxisType.Auto,)), PartitionSpec("data"))
    copies.add(id(resident.on_device(again)["values"]["audio"]))
    assert len(copies) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "stream"}, "leave one of the two out"),
        ({"max_windows": 2}, "another max_windows than 2"),
        ({"parts": 5}, "other parts than 5"),
        ({"members": np.arange(20)}, "not in memory"),
        ({"labels": ["phq9"]}, "unknown modality or label in memory 'phq9'"),
    ],
)
def test_unusable_resident(corpus, options, message):
    some = Resident(corpus, np.arange(10), modalities=["text"], labels=["gad7"])
    options = {"members": np.arange(5), "labels": ["gad7"], "modalities": ["text"], **options}
    with pytest.raises(InputError, match=message):
        make_loader(corpus, batch_size=8, resident=some, **options)
