"""The small columns of a corpus: one scan over the records, checked against the record contract and cached.

Sorting participants into batches needs to know how much of every window is valid, and the labels are needed before the
first batch; both are spread over shards of gigabytes. One scan (a second for 1,275 participants in the page cache)
collects them into `index.npz` beside the shards.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.data.reader import REBUILD, RecordReader
from mmpsy_jax.io import InputError, open_npz, write_npz

FILE = "index.npz"
COUNTS = {"n_answers": np.int32, "n_characters": np.int32, "duration_s": np.float32, "n_windows": np.int32}
# Only of interviews whose transcripts name the speakers; elsewhere 0.
TURNS = {"n_turns": np.int32, "n_interviewer_characters": np.int32}
_FORMAT = "5"
_log = logging.getLogger(__name__)


def load(
    folder: Path, reader: RecordReader, labels: list[str], modalities: Mapping[str, Any], cluster: str | None = None
) -> dict[str, np.ndarray]:
    """The columns of all participants in the order of the reader, from `<folder>/index.npz` or by a scan.

    Args:
      folder: of the corpus.
      reader: over all shards, without expected participants.
      labels: names of the score columns.
      modalities: by name; each has `shape` and `steps` of one window.
      cluster: name of the text feature that says who belongs together; None where everybody stands alone.

    Returns:
      `participant` <U [N], and `cluster` <U [N] where one is named; `label_<name>` [N], i32 with -1 or f32 with NaN
      where missing; the columns of `COUNTS` and `TURNS` [N]; `has_<modality>` bool [N]; `finite_<modality>` bool [N],
      whether all numbers of its windows are; `lengths_<modality>` i32 [sum of n_windows], valid frames or tokens of
      every window, one participant after the other.

    Raises:
      InputError: a damaged shard, or a record that breaks the contract; names the shard and the position.
    """
    fingerprint = _fingerprint(folder, reader)
    cached = _read_cache(folder / FILE, fingerprint)
    if cached is not None:
        return cached
    columns = _scan(reader, labels, modalities, cluster)
    try:
        write_npz(folder / FILE, fingerprint=np.array(fingerprint), **columns)
    except OSError as error:
        _log.warning("%s cannot be written (%s): the index stays in memory", folder / FILE, error.strerror or error)
    return columns


def _fingerprint(folder: Path, reader: RecordReader) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    for name in ("dataset_info.json", "features.json", "corpus.json"):
        digest.update((folder / name).read_bytes())
    for shard in reader.shards:
        digest.update(f"{Path(shard.filename).name} {os.path.getsize(shard.filename)} {shard.take}\n".encode())
    return digest.hexdigest()


def _read_cache(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    try:
        with open_npz(path, "scanning the records again") as file:
            columns = dict(file)
    except InputError as error:
        _log.warning("%s", error)
        return None
    stored = columns.pop("fingerprint", None)
    if stored is None or str(stored) != fingerprint:
        _log.info("%s is of another state of the corpus: scanning the records again", path)
        return None
    return columns


def _scan(
    reader: RecordReader, labels: list[str], modalities: Mapping[str, Any], cluster: str | None
) -> dict[str, np.ndarray]:
    n = len(reader)
    columns = {f"label_{name}": np.zeros(n, reader.fields[name].dtype) for name in labels}
    columns |= {name: np.zeros(n, dtype) for name, dtype in (COUNTS | TURNS).items()}
    columns |= {f"{kind}_{name}": np.zeros(n, bool) for kind in ("has", "finite") for name in modalities}
    participants, clusters = [], []
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in modalities}
    for i in range(n):
        record = reader.read(i)
        try:
            _check(record, modalities)
        except ValueError as error:
            shard, position = reader.locate(i)
            raise InputError(f"{reader.shards[shard].filename}: record {position}: {error}: {REBUILD}") from error
        participants.append(record["participant"].decode())
        if cluster:
            clusters.append(record[cluster].decode())
        for name in labels:
            columns[f"label_{name}"][i] = record[name]
        for name in (*COUNTS, *TURNS):
            columns[name][i] = record.get(name, 0)
        for name in modalities:
            columns[f"has_{name}"][i] = record[f"has_{name}"]
            columns[f"finite_{name}"][i] = _finite(record[name])
            lengths[name].append(record[f"{name}_length"].astype(np.int32))
    columns |= {f"lengths_{name}": np.concatenate(parts) for name, parts in lengths.items()}
    columns["participant"] = np.array(participants, dtype=np.str_)
    if cluster:
        columns["cluster"] = np.array(clusters, dtype=np.str_)
    return columns


def _finite(values: np.ndarray) -> bool:
    """Whether all numbers are finite; of float16 by their exponents, which takes a tenth of the time."""
    if values.dtype == np.float16:
        return not values.size or int((values.view(np.uint16) & np.uint16(0x7C00)).max()) < 0x7C00
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _check(record: Mapping[str, Any], modalities: Mapping[str, Any]) -> None:
    """Raises ValueError where a record breaks docs/architecture.md, "A record"."""
    windows = record["n_windows"]
    if windows < 1:
        raise ValueError(f"n_windows is {windows}, it must be at least 1")
    if record["window_start_s"].shape != (windows,):
        raise ValueError(f"window_start_s has shape {record['window_start_s'].shape}, it must be ({windows},)")
    for name, modality in modalities.items():
        values, lengths = record[name], record[f"{name}_length"]
        if values.shape != (windows, *modality.shape):
            raise ValueError(f"{name} has shape {values.shape}, it must be {(windows, *modality.shape)}")
        # A gather of JAX gives NaN for an id beyond its table, where PyTorch raises.
        if modality.vocabulary and not 0 <= values.min() <= values.max() < modality.vocabulary:
            where = f"{values.min()} to {values.max()}"
            raise ValueError(f"{name} has ids from {where}, they must be 0 to {modality.vocabulary - 1}")
        if lengths.shape != (windows,) or lengths.min() < 0 or lengths.max() > modality.steps:
            raise ValueError(f"{name}_length must be {windows} numbers between 0 and {modality.steps}")
        if not record[f"has_{name}"] and lengths.any():
            raise ValueError(f"has_{name} is false although {name}_length is not 0 everywhere")
