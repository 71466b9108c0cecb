"""The loader: equal bytes from every placement, exactly once, resumable, padded and divided as promised."""

import itertools
import json
import threading

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmpsy_jax.data import splits
from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.errors import InputError

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
    with make_loader(corpus, members, **{"batch_size": 8, "epochs": 1, "buckets": 3, **options}) as loader:
        return list(itertools.islice(loader, count))


def _assert_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        jax.tree.map(_assert_same_bytes, one, other)


def _assert_same_bytes(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


# --- what a batch is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_the_records_of_tfds_padded(corpus, placement, shuffle):
    seen = []
    for batch in jax.device_get(_batches(corpus, placement=placement, shuffle=shuffle)):
        assert batch["audio"].shape[:2] == batch["audio_length"].shape == batch["window_start_s"].shape
        for row, member in enumerate(batch["index"]):
            assert batch["valid"][row] == (member >= 0)
            if member < 0:
                assert all(np.isnan(scores[row]) for scores in batch["labels"].values())
                assert not any(batch[n][row].any() for n in ("audio", "audio_length", "text", "text_length"))
                continue
            seen.append(int(member))
            record = corpus.read_reference(member)
            for name in ("audio", "audio_length", "text", "text_length", "window_start_s"):
                values, windows = batch[name][row], record["n_windows"]
                assert values.dtype == record[name].dtype
                assert values[:windows].tobytes() == record[name].tobytes(), name
                assert not values[windows:].any(), name
            for label, scores in batch["labels"].items():
                assert scores.dtype == np.float32
                np.testing.assert_equal(scores[row], np.nan if record[label] < 0 else record[label])
    assert sorted(seen) == _everyone(corpus).tolist()


def test_missing_modality_and_missing_window_have_length_zero(corpus):
    for batch in _batches(corpus):
        for row, member in enumerate(batch["index"]):
            assert batch["audio_length"][row].any() == (member >= 0 and corpus.has["audio"][member])
            if member == 3:
                assert batch["text_length"][row, 1] == 0 and not batch["text"][row, 1].any()
    assert not corpus.has["audio"].all()


def test_placements_give_the_same_bytes_on_a_mesh(corpus, sharding, no_implicit_transfers):
    options = {"epochs": 2, "seed": 5}
    reference = _batches(corpus, placement="host", **options)
    for placement in MEMORY_AND_DISK:
        sharded = _batches(corpus, placement=placement, sharding=sharding, **options)
        for leaf in jax.tree.leaves(sharded):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
        _assert_same(reference, sharded)


@pytest.mark.slow
def test_streaming_with_worker_processes(corpus):
    reference = _batches(corpus, placement="host", epochs=2)
    _assert_same(reference, _batches(corpus, placement="stream", epochs=2, workers=2))


def test_chosen_labels_and_modalities(corpus):
    batch = _batches(corpus, labels=["gad7"], modalities=["text"])[0]
    assert list(batch["labels"]) == ["gad7"] and "text" in batch and not any(name.startswith("audio") for name in batch)


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
def test_max_windows_keeps_the_first(corpus, placement):
    for batch in jax.device_get(_batches(corpus, placement=placement, max_windows=2)):
        assert batch["text"].shape[1] <= 2
        for row, member in enumerate(batch["index"]):
            if member >= 0:
                kept = min(2, int(corpus.n_windows[member]))
                assert batch["text"][row, :kept].tobytes() == corpus.read(member)["text"][:kept].tobytes()


# --- exactly once, and independent of the processes -------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
def test_everyone_once_per_epoch(corpus, batch_size):
    members = splits.by_name(corpus)["train"]
    with make_loader(corpus, members, batch_size=batch_size, seed=2) as loader:
        for epoch in range(3):
            seen = []
            for _ in range(loader.batches_per_epoch):
                assert loader.epoch_of(loader.state()["position"]) == epoch
                seen.append(next(loader)["index"])
            seen = np.concatenate(seen)
            assert sorted(seen[seen >= 0]) == members.tolist()


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_read_the_batches_of_one(corpus, processes, placement):
    whole = jax.device_get(_batches(corpus, placement=placement, seed=7))
    parts = [
        jax.device_get(_batches(corpus, placement=placement, seed=7, process_index=p, process_count=processes))
        for p in range(processes)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share["index"]) == 8 // processes for share in shares)
        _assert_same([batch], [jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares)])


def test_a_process_reads_only_its_rows(corpus, monkeypatch):
    read = []
    original = type(corpus.reader).read
    monkeypatch.setattr(
        type(corpus.reader), "read", lambda self, i, names=None: read.append(i) or original(self, i, names)
    )
    mine = _batches(corpus, placement="stream", process_index=1, process_count=2)
    index = np.concatenate([batch["index"] for batch in mine])
    assert sorted(read) == sorted(index[index >= 0])


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", MEMORY_AND_DISK)
@pytest.mark.parametrize("handed_out", [0, 3, 7, 9])
def test_resume_is_exact(corpus, placement, handed_out):
    options = {"batch_size": 8, "seed": 11, "epochs": 3, "placement": placement, "buckets": 3}
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
    with make_loader(corpus, _everyone(corpus), batch_size=8, placement="host") as loader:
        next(loader)
        state, expected = loader.state(), next(loader)
    with make_loader(
        corpus, _everyone(corpus), batch_size=8, placement="stream", process_index=0, process_count=2
    ) as loader:
        loader.restore(state)
        _assert_same([next(loader)], [jax.tree.map(lambda leaf: leaf[:4], expected)])


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"batch_size": 4}, {"shuffle": False}, {"buckets": 1}, {"members": np.arange(9)}]
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
        with make_loader(corpus, _everyone(corpus), batch_size=8, **options) as loader:
            return loader.placement

    windows = int(corpus.n_windows.sum())
    needed = sum(int(corpus.n_windows[corpus.has[n]].sum()) * m.window_bytes for n, m in corpus.modalities.items())
    assert needed < windows * sum(m.window_bytes for m in corpus.modalities.values())
    assert placed(memory_limit_bytes=needed) == "host"
    assert placed(memory_limit_bytes=needed - 1) == "stream"
    in_memory = placed(sharding=sharding)
    assert in_memory in ("host", "device")
    assert placed(sharding=sharding, memory_limit_bytes=1000) == "stream"


def test_padding_report(corpus):
    with make_loader(corpus, _everyone(corpus), batch_size=8) as loader:
        report = loader.padding_report()
        assert report["batches"] == loader.batches_per_epoch and report["partial_batches"] >= 1
        assert 0 < report["windows"] < report["tokens"]["text"] < 1
    with make_loader(corpus, _everyone(corpus), batch_size=8, max_windows=1) as loader:
        assert loader.padding_report()["tokens"] == {}


def test_close_leaves_no_thread(corpus, sharding):
    before = set(threading.enumerate())
    loader = make_loader(corpus, _everyone(corpus), batch_size=8, placement="stream", sharding=sharding)
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
        ({"batch_size": 12, "sharding": True}, "12 is not divisible by the 8 devices"),
        ({"process_index": 0, "process_count": 3}, "8 is not divisible by the 3 processes"),
        ({"placement": "gpu"}, "unknown placement 'gpu': choose one of: auto, device, host, stream"),
        ({"labels": ["pcl5"]}, "unknown label 'pcl5'"),
        ({"modalities": ["video"]}, "unknown modality 'video'"),
        ({"max_windows": 0}, "max_windows 0"),
        ({"epochs": 0}, "epochs 0"),
        ({"buckets": (8,), "max_windows": 4}, "exceed max_windows"),
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


def test_only_the_batch_axis_may_be_divided(corpus):
    mesh = jax.make_mesh((4, 2), ("data", "model"), (AxisType.Auto,) * 2)
    with pytest.raises(InputError, match="first axis"):
        make_loader(
            corpus, _everyone(corpus), batch_size=8, sharding=NamedSharding(mesh, PartitionSpec("data", "model"))
        )
    batches = _batches(corpus, sharding=NamedSharding(mesh, PartitionSpec("data")), placement="device")
    _assert_same(_batches(corpus, placement="host"), batches)
