"""Windows per second of every way to read a corpus, side by side.

    python benchmarks/input_pipeline.py --dataset_dir=DATA_DIR/mmpsy/demo/1.0.0 [--batch_size=32] [--parts=5]

Every turn is once over all participants; printed are the medians over the rounds (`harness.py`) and the ratios to plain
TFDS. What is counted is real windows, not padding, in however many parts our batches hold them. The rows named "to
device" end with the batch as a jax array on the default device, ready. Where PyTorch can be imported, its DataLoader
reads the same windows from a .npy file each, padded as `torch_peer.collate` does; where TensorFlow can, tf.data reads
the records through a generator.
"""

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks import harness
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
    splits = [(source, corpus.split.count(name)) for name, source in _sources(corpus).items()]

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

    ways = {
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
        ways[f"stream, {workers} worker processes (start included)"] = ours(placement="stream", workers=workers)
    return ways


def torch_readers(corpus: Corpus, batch_size: int, folder: Path) -> dict[str, Callable[[], None]]:
    """PyTorch's DataLoader over .npy files, which are written here first, with 0 and 2 worker processes."""
    from torch.utils.data import DataLoader

    from benchmarks import torch_peer

    names = tuple(corpus.modalities)
    people = [torch_peer.write_windows(folder, i, corpus.read(i), names) for i in range(len(corpus))]
    dataset = torch_peer.NpyParticipants(folder, names, people)
    collate = functools.partial(torch_peer.collate, names=names)

    def reader(workers: int) -> Callable[[], None]:
        apart = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collate, num_workers=workers, **apart)

        def read() -> None:
            for _ in loader:
                pass

        return read

    return {f"PyTorch DataLoader over .npy files, {workers} workers": reader(workers) for workers in (0, 2)}


def _sources(corpus: Corpus) -> dict[str, Any]:
    """`tfds.data_source` of each split, in the order of the corpus."""
    import tensorflow_datasets as tfds

    sources = tfds.builder_from_directory(corpus.path).as_data_source()
    return {name: sources[name] for name in dict.fromkeys(corpus.split)}


def tensorflow_readers(corpus: Corpus, batch_size: int) -> dict[str, Callable[[], None]]:
    """tf.data over the records through a generator (TFDS gives it no ArrayRecord files), padded by `padded_batch`."""
    import tensorflow as tf

    sources = list(_sources(corpus).values())
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
    print(f"{harness.machine(*PACKAGES)}; jax on {jax.devices()[0]}")
    print(
        f"{len(corpus)} participants, {windows} windows, {size / 1e6:.0f} MB; batch {arguments.batch_size} in "
        f"slots for pieces of 1/{parts} window: {slots}; padding {vain}; "
        f"{arguments.rounds} rounds\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        if harness.installed("torch"):
            contestants |= torch_readers(corpus, arguments.batch_size, Path(folder))
        if harness.installed("tensorflow"):
            contestants |= tensorflow_readers(corpus, arguments.batch_size)
        times = harness.take_turns(contestants, arguments.rounds)
    rows = []
    for name, taken in times.items():
        rates = [windows / seconds for seconds in taken]
        rows.append([name, *harness.spread(rates, ",.0f"), f"{harness.ratio(times[REFERENCE], taken):.2f}"])
    harness.print_table(["reader", "windows/s", "lowest to highest", "ratio to plain TFDS"], rows)


if __name__ == "__main__":
    main()
