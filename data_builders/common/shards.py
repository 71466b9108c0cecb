"""The records of one shard, read by worker processes ahead of the writer, in a fixed order.

A `ShardReader` is what TFDS calls to fill a shard. It leaves a small report beside the shards (who was skipped and why,
digests of what was read), because under Beam it runs on another machine and has no other way back; the builder collects
the reports and removes them before the dataset is renamed into place.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from data_builders.common.examine import Record, Spec, read_participant
from mmpsy_jax.io import InputError, write_json

# A shard is held in memory once while it is written (TFDS counts it by a tee), so its size bounds the builder's memory:
# 64 participants of three windows are about 110 MB in float16.
PARTICIPANTS_PER_SHARD = 64
SHARD_BYTES = 2**28

REPORT_PREFIX = ".report-"

# What `examine` may say of a participant beside the record.
EXAMINED = ("windows", "transcripts", "notes")


def _start_worker() -> None:
    """Runs in each worker: a parent that is killed cannot tell its workers, and they would wait for ever.

    There is a worker for each core, so one thread each for linear algebra.
    """
    threadpoolctl.threadpool_limits(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """Spawned workers: forking a process that has read records crashes it (`docs/mmpsy.md`)."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def default_workers(participants: int, few: int = 200) -> int:
    """Workers for a corpus of this size; 0 (this process alone) where starting them costs more than it saves.

    Args:
      participants: of the corpus.
      few: so many do not need workers.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16) if participants > few and cores > 1 else 0


def examine_all(spec: Spec, participants: Sequence[str], few: int = 200) -> tuple[list[str], list[str]]:
    """What would stop a build, and what is odd: each message once.

    Args:
      spec: of the source.
      participants: all of its participants.
      few: as of `default_workers`.
    """
    workers = default_workers(len(participants), few)
    with make_pool(workers) if workers else contextlib.nullcontext() as pool:
        run = functools.partial(pool.map, chunksize=8) if pool else map
        found = list(run(_examine, [spec] * len(participants), participants))
    return tuple(list(dict.fromkeys(one for kind in kinds for one in kind)) for kinds in zip(*found, strict=True))


def _examine(spec: Spec, participant: str) -> tuple[list[str], list[str]]:
    try:
        return [], [f"{participant}: {note}" for note in read_participant(spec, participant)[1].get("notes", ())]
    except InputError as error:
        return [str(error)], []


@dataclasses.dataclass(frozen=True)
class ShardReader:
    """Yields the records of one shard; picklable as long as it has no pool.

    Attributes:
      spec: the source.
      members: (id in the source, id in the record) of the shard's participants, in order.
      report: where the report goes.
      skip_bad: leave out participants that cannot be read, instead of failing.
      pool: worker processes; None reads in this process.
      lookahead: participants that are read ahead of the writer; bounds memory.
      progress: called after each participant.
      labels: names of the scores, whose ends are reported.
      features: of participants, by id in the source: what depends on others, and so is not in the record that is read.
    """

    spec: Spec
    members: tuple[tuple[str, str], ...]
    report: str
    skip_bad: bool = False
    pool: concurrent.futures.Executor | None = None
    lookahead: int = 4
    progress: Callable[[], Any] | None = None
    labels: tuple[str, ...] = ()
    features: Mapping[str, Record] = dataclasses.field(default_factory=dict)

    def __call__(self) -> Iterator[tuple[str, Record]]:
        """(id, record) of every participant that could be read."""
        report: dict[str, Any] = {"skipped": [], "written": [], **{kind: [] for kind in EXAMINED}, "labels": {}}
        for (original, name), read in zip(self.members, self._reads(), strict=True):
            try:
                record, digests = read()
            except InputError as error:
                if not self.skip_bad:
                    raise InputError(
                        f"{error} (`check` lists all such cases; --skip_bad leaves these participants out)"
                    ) from error
                # The source's folder and, where ids are hashed, the id itself stay out of the dataset's card.
                reason = str(error).replace(f"{self.spec.root}{os.sep}", "").replace(original, name)
                report["skipped"].append({"participant": name, "reason": reason})
            except BrokenProcessPool as error:
                raise InputError(
                    "a worker process died, most likely for lack of memory: give --workers=1, or 0 for none"
                ) from error
            else:
                for kind, values in digests.items():
                    report[kind] += [[value, name] for value in values]
                report["written"].append(name)
                widen(report["labels"], self.labels, record)
                yield name, record | {"participant": name} | self.features.get(original, {})
            finally:
                if self.progress:
                    self.progress()
        write_json(self.report, report)

    def _reads(self) -> Iterator[Callable[[], tuple[Record, dict[str, list[str]]]]]:
        originals = [original for original, _ in self.members]
        if self.pool is None:
            for original in originals:
                yield lambda original=original: read_participant(self.spec, original)
            return
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        try:
            for original in originals:
                waiting.append(self.pool.submit(read_participant, self.spec, original))
                if len(waiting) >= self.lookahead:
                    yield waiting.popleft().result
            while waiting:
                yield waiting.popleft().result
        finally:
            for future in waiting:
                future.cancel()


def plan(
    members_of: dict[str, list[tuple[str, str]]], participant_bytes: float, **options: Any
) -> dict[str, list[ShardReader]]:
    """Cuts every split into shards.

    Args:
      members_of: {split: (id in the source, id in the record) pairs in the order of the records}.
      participant_bytes: size of an average record.
      **options: of `ShardReader`; `report_folder` says where the reports go.

    Returns:
      {split: one reader per shard}.
    """
    folder = Path(options.pop("report_folder"))
    most = max(1, min(PARTICIPANTS_PER_SHARD, int(SHARD_BYTES / participant_bytes)))
    shards: dict[str, list[ShardReader]] = {}
    for split, members in members_of.items():
        # Shards of equal size, so that the last is not a stub.
        count = -(-len(members) // most)
        bounds = [len(members) * i // count for i in range(count + 1)]
        shards[split] = [
            ShardReader(
                members=tuple(members[start:stop]), report=str(folder / f"{REPORT_PREFIX}{split}-{i}.json"), **options
            )
            for i, (start, stop) in enumerate(itertools.pairwise(bounds))
        ]
    return shards


def widen(ends: dict[str, list[float]], labels: Iterable[str], record: Mapping[str, Any]) -> None:
    """Widens the least and largest value of each label to hold that of a record; -1 of whole numbers is missing."""
    for name in labels:
        value = record[name]
        if np.isnan(value) or (value == -1 and np.issubdtype(np.asarray(value).dtype, np.integer)):
            continue
        low, high = ends.get(name, (value, value))
        ends[name] = [float(min(low, value)), float(max(high, value))]


def collect_reports(folder: Path, expected: int) -> dict[str, Any]:
    """Reads, joins and removes the reports of all shards.

    Returns:
      {"skipped": [...], "members": {split: ids}, "labels": {label: [least, largest]} of the training split}, and by
      each kind of `EXAMINED` [(digest or note, id)].
    """
    paths = sorted(folder.glob(f"{REPORT_PREFIX}*.json"))
    if len(paths) != expected:
        raise InputError(
            f"{folder}: {len(paths)} of {expected} shards left a report: a part of the build was lost; build again"
        )
    joined: dict[str, Any] = {"skipped": [], "members": {}, "labels": {}, **{kind: [] for kind in EXAMINED}}
    for path in paths:
        report = json.loads(path.read_text())
        for key in ("skipped", *EXAMINED):
            joined[key] += report[key]
        split = path.name.removeprefix(REPORT_PREFIX).split("-")[0]
        joined["members"].setdefault(split, []).extend(report["written"])
        for name, ends in report["labels"].items() if split == "train" else ():
            for value in ends:
                widen(joined["labels"], [name], {name: value})
        path.unlink()
    joined["skipped"].sort(key=lambda entry: entry["participant"])
    return joined
