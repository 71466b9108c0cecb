"""Windows per second of every way to read a corpus, side by side.

    python benchmarks/input_pipeline.py --dataset_dir=DATA_DIR/mmpsy/demo/1.0.0 [--batch_size=32] [--parts=5]

Every round runs each reader once over all participants, in turn, so that other load on the machine meets all of them;
printed are the medians over the rounds, and the median of the per-round ratios to plain TFDS. What is counted is real
windows, not padding, in however many parts our batches hold them. The rows named "to device" end with the batch as a
jax array on the default device, ready. Where PyTorch can be imported, its DataLoader reads the same windows from a .npy
file each, padded as `torch_peer.collate` does; where TensorFlow can, tf.data reads the records through a generator.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmpsy_jax.data.loader import make_loader
from mmpsy_jax.data.pieces import default_parts
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.io import InputError

REFERENCE = "tfds.as_data_source, padded and stacked by hand"
PACKAGES = ("jax", "grain", "array_record", "tensorflow-datasets", "numpy")


def readers(corpus: Corpus, batch_size: int, parts: int, workers: int) -> dict[str, Callable[[], None]]:
    """The contestants by name; calling one reads every participant once."""
    everyone = np.arange(len(corpus))
    mesh = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.local_devices()[:1])
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    splits = [(corpus.reference(name), corpus.split.count(name)) for name in dict.fromkeys(corpus.split)]

    def raw() -> None:
        for i in everyone:
            corpus.reader.raw(int(i))

    def decoded() -> None:
        for i in everyone:
            corpus.read(int(i))

    def tfds() -> None:
        for source, count in splits:
            for i in range(count):
                source[i]

    def tfds_batches(put: Callable[[dict], object] = lambda batch: batch) -> None:
        for source, count in splits:
            for start in range(0, count, batch_size):
                put(_pad([source[i] for i in range(start, min(start + batch_size, count))], corpus))

    def ours(**options) -> Callable[[], None]:
        loader = make_loader(corpus, everyone, batch_size=batch_size, parts=parts, epochs=1, **options)

        def read() -> None:
            loader.rewind()
            for batch in loader:
                jax.block_until_ready(batch)

        return read

    made = {
        "array_record bytes only (the bound of reading)": raw,
        "zero-copy decoding, record by record": decoded,
        "tfds.as_data_source, record by record": tfds,
        REFERENCE: tfds_batches,
        f"{REFERENCE}, to device": lambda: tfds_batches(
            lambda batch: jax.block_until_ready(jax.device_put(batch, jax.local_devices()[0]))
        ),
        "stream": ours(placement="stream"),
        "host": ours(placement="host"),
        "stream to device": ours(placement="stream", sharding=sharding),
        "host to device": ours(placement="host", sharding=sharding),
        "device": ours(placement="device", sharding=sharding),
    }
    if workers:
        made[f"stream, {workers} worker processes (start included)"] = ours(placement="stream", workers=workers)
    return made


class NpyParticipants:
    """A map-style dataset of PyTorch's: the windows of one participant, each from a file of its own."""

    def __init__(self, folder: Path, names: Sequence[str], windows: Sequence[int]):
        self.folder, self.names, self.windows = folder, names, windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        made: dict[str, Any] = {
            name: np.stack([np.load(self.folder / f"{name}_{i}_{w}.npy") for w in range(self.windows[i])])
            for name in self.names
        }
        lengths = {f"{name}_length": np.load(self.folder / f"{name}_{i}_length.npy") for name in self.names}
        return made | lengths | {"window_start_s": np.load(self.folder / f"start_{i}.npy"), "labels": {}}


def torch_readers(corpus: Corpus, batch_size: int, folder: Path) -> dict[str, Callable[[], None]]:
    """PyTorch's DataLoader over .npy files, which are written here first, with 0 and 2 worker processes."""
    from torch.utils.data import DataLoader

    from benchmarks import torch_peer

    names = tuple(corpus.modalities)
    for i in range(len(corpus)):
        record = corpus.read(i)
        np.save(folder / f"start_{i}.npy", record["window_start_s"])
        for name in names:
            np.save(folder / f"{name}_{i}_length.npy", record[f"{name}_length"])
            for w, window in enumerate(record[name]):
                np.save(folder / f"{name}_{i}_{w}.npy", window)
    dataset = NpyParticipants(folder, names, corpus.n_windows.tolist())
    collate = functools.partial(torch_peer.collate, names=names)

    def reader(workers: int) -> Callable[[], None]:
        apart = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collate, num_workers=workers, **apart)

        def read() -> None:
            for _ in loader:
                pass

        return read

    return {f"PyTorch DataLoader over .npy files, {workers} workers": reader(workers) for workers in (0, 2)}


def tensorflow_readers(corpus: Corpus, batch_size: int) -> dict[str, Callable[[], None]]:
    """tf.data over the records through a generator (TFDS gives it no ArrayRecord files), padded by `padded_batch`."""
    import tensorflow as tf

    sources = [corpus.reference(name) for name in dict.fromkeys(corpus.split)]
    signature = {
        name: tf.TensorSpec((None, *modality.shape), modality.dtype) for name, modality in corpus.modalities.items()
    }

    def records() -> Iterator[dict[str, np.ndarray]]:
        for source in sources:
            for i in range(len(source)):
                record = source[i]
                yield {name: record[name] for name in signature}

    def read() -> None:
        data = tf.data.Dataset.from_generator(records, output_signature=signature)
        for _ in data.padded_batch(batch_size).prefetch(2).as_numpy_iterator():
            pass

    return {"tf.data.from_generator, padded_batch": read}


def _pad(records: list[dict], corpus: Corpus) -> dict[str, np.ndarray]:
    windows = max(record["n_windows"] for record in records)
    batch = {}
    for name, modality in corpus.modalities.items():
        batch[name] = np.zeros((len(records), windows, *modality.shape), modality.dtype)
        for row, record in enumerate(records):
            batch[name][row, : record["n_windows"]] = record[name]
    return batch


def measure(contestants: dict[str, Callable[[], None]], windows: int, rounds: int) -> dict[str, list[float]]:
    """Windows per second by contestant and round; one unmeasured round first fills caches and compiles."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, read in contestants.items():
            began = time.perf_counter()
            read()
            if round_:
                rates[name].append(windows / (time.perf_counter() - began))
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """A Markdown table of medians and of median ratios to `REFERENCE`."""
    lines = ["| reader | windows/s | lowest to highest | ratio to plain TFDS |", "|---|---|---|---|"]
    for name, own in rates.items():
        ratio = statistics.median(a / b for a, b in zip(own, rates[REFERENCE], strict=True))
        lines.append(f"| {name} | {statistics.median(own):,.0f} | {min(own):,.0f} to {max(own):,.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--parts", type=int, help="of a window; by default as many as training takes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=0, help="also time this many spawned worker processes")
    arguments = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # grain 0.2.18 reads absl flags
    try:
        corpus = open_corpus(arguments.dataset_dir)
        parts = arguments.parts or default_parts(corpus)
        contestants = readers(corpus, arguments.batch_size, parts, arguments.workers)
    except InputError as error:
        sys.exit(f"error: {error}")
    windows = int(corpus.n_windows.sum())
    with make_loader(corpus, np.arange(len(corpus)), batch_size=arguments.batch_size, parts=parts) as loader:
        padding = loader.padding_report()
        slots = ", ".join(f"{n} of {name} ({padding['slots'][name]:.0%} empty)" for name, n in loader.slots.items())
    vain = ", ".join(f"{share:.0%} of {name}" for name, share in padding["tokens"].items())
    size = sum(int(corpus.n_windows[corpus.has[n]].sum()) * m.window_bytes for n, m in corpus.modalities.items())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{versions}, Python {platform.python_version()}; {os.cpu_count()} cores, jax on {jax.devices()[0]}")
    print(
        f"{len(corpus)} participants, {windows} windows, {size / 1e6:.0f} MB; batch {arguments.batch_size} in "
        f"slots for pieces of 1/{parts} window: {slots}; padding {vain}; "
        f"{arguments.rounds} rounds\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("torch"):
            contestants |= torch_readers(corpus, arguments.batch_size, Path(folder))
        if importlib.util.find_spec("tensorflow"):
            contestants |= tensorflow_readers(corpus, arguments.batch_size)
        print(table(measure(contestants, windows, arguments.rounds)))


if __name__ == "__main__":
    main()
