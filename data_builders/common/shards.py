"""The records of one shard, read by worker processes ahead of the writer, in a fixed order.

A `ShardReader` is what TFDS calls to fill a shard. It leaves a small report beside the shards (who was skipped and why,
digests of what was read), because under Beam it runs on another machine and has no other way back; the builder collects
the reports and removes them before the dataset is renamed into place.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from data_builders.common.examine import OMITTED, Record, content_digests
from data_builders.common.source import Source
from mmpsy_jax.io import InputError, write_json

# A shard is held in memory once while it is written (TFDS counts it by a tee), so its size bounds the builder's memory:
# 64 participants of three windows are about 110 MB in float16.
SHARD_BYTES = 2**28

REPORT_PREFIX = ".report-"


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


@dataclasses.dataclass(frozen=True)
class ShardReader:
    """Yields the records of one shard; picklable as long as it has no pool.

    Attributes:
      source: that is read.
      members: participants of the shard, in order.
      names: their ids and those of their clusters in the records.
      report: where the report goes.
      skip_bad: leave out participants that cannot be read, instead of failing.
      strict: what would be noted of a participant is an error.
      include_text: records carry the transcript.
      pool: worker processes; None reads in this process.
      lookahead: participants that are read ahead of the writer; bounds memory.
      progress: called after each participant.
    """

    source: Source
    members: tuple[str, ...]
    names: Mapping[str, str]
    report: str
    skip_bad: bool = False
    strict: bool = False
    include_text: bool = False
    pool: concurrent.futures.Executor | None = None
    lookahead: int = 4
    progress: Callable[[], Any] | None = None

    def __call__(self) -> Iterator[tuple[str, Record]]:
        """(id, record) of every participant that could be read."""
        source = self.source
        kinds = ("skipped", "written", "windows", "transcripts", "notes", OMITTED)
        report: dict[str, Any] = {kind: [] for kind in kinds} | {"labels": {}, "has": {}}
        for original, read in zip(self.members, self._reads(), strict=True):
            name = self.names[original]
            try:
                record, notes, digests = read()
                if notes and self.strict:
                    raise InputError(f"{name}: {'; '.join(notes)}: mend this, or build without --strict")
            except InputError as error:
                if not self.skip_bad:
                    raise InputError(
                        f"{error} (`check` lists all such cases; --skip_bad leaves these participants out)"
                    ) from error
                # The source's folder and, where ids are hashed, the id itself stay out of the dataset's card.
                reason = without_names(str(error), source, self.names)
                report["skipped"].append({"participant": name, "reason": reason})
            except BrokenProcessPool as error:
                raise InputError(
                    "a worker process died, most likely for lack of memory: give --workers=1, or 0 for none"
                ) from error
            else:
                for kind, values in digests.items():
                    report[kind] += [[value, name] for value in values]
                report["notes"] += [[without_names(note, source, self.names), name] for note in notes]
                report["written"].append(name)
                for modality in source.modalities:
                    report["has"][modality] = report["has"].get(modality, 0) + bool(record[f"has_{modality}"])
                widen(report["labels"], source.labels, record)
                record["participant"] = name
                if source.cluster:
                    record[source.cluster] = self.names[record[source.cluster]]
                yield name, record
            finally:
                if self.progress:
                    self.progress()
        write_json(self.report, report)

    def _reads(self) -> Iterator[Callable[[], tuple[Record, list[str], dict[str, list[str]]]]]:
        if self.pool is None:
            for original in self.members:
                yield functools.partial(read_participant, self.source, original, self.include_text)
            return
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        try:
            for original in self.members:
                waiting.append(self.pool.submit(read_participant, self.source, original, self.include_text))
                if len(waiting) >= self.lookahead:
                    yield waiting.popleft().result
            while waiting:
                yield waiting.popleft().result
        finally:
            for future in waiting:
                future.cancel()


def read_participant(
    source: Source, participant: str, include_text: bool = False
) -> tuple[Record, list[str], dict[str, list[str]]]:
    """Record of one participant, notes, and `content_digests`, with what was left out.

    Raises:
      InputError: as `Source.read`.
    """
    record, notes = source.read(participant)
    words, omitted = record.pop("transcript", ""), record.pop(OMITTED, None)
    digests = content_digests(record, words) | ({OMITTED: [omitted]} if omitted else {})
    return record | ({"transcript": words} if include_text else {}), notes, digests


def without_names(message: str, source: Source, names: Mapping[str, str]) -> str:
    """A message without the folder of the source and, where ids are hashed, with these instead."""
    message = message.replace(f"{source.root}{os.sep}", "")
    for original, name in names.items():
        if original != name:
            message = re.sub(rf"(?<!\w){re.escape(original)}(?!\w)", name, message)
    return message


def cut(members: Sequence[str], most: int) -> list[Sequence[str]]:
    """Shards of equal size, so that the last is not a stub.

    Args:
      members: of a split, in order.
      most: of a shard.
    """
    count = -(-len(members) // most)
    bounds = [len(members) * i // count for i in range(count + 1)]
    return [members[start:stop] for start, stop in itertools.pairwise(bounds)]


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
      {"skipped": [...], "members": {split: ids}, "labels": {label: [least, largest]} of the training split, "has":
      {modality: participants that have it}}, and in "windows", "transcripts", "notes" and "omitted" [(value, id)].
    """
    paths = sorted(folder.glob(f"{REPORT_PREFIX}*.json"))
    if len(paths) != expected:
        raise InputError(
            f"{folder}: {len(paths)} of {expected} shards left a report: a part of the build was lost; build again"
        )
    lists = ("skipped", "windows", "transcripts", "notes", OMITTED)
    joined: dict[str, Any] = {"members": {}, "labels": {}, "has": collections.Counter(), **{kind: [] for kind in lists}}
    for path in paths:
        report = json.loads(path.read_text())
        for kind in lists:
            joined[kind] += report[kind]
        joined["has"].update(report["has"])
        split = path.name.removeprefix(REPORT_PREFIX).split("-")[0]
        joined["members"].setdefault(split, []).extend(report["written"])
        for name, ends in report["labels"].items() if split == "train" else ():
            for value in ends:
                widen(joined["labels"], [name], {name: value})
        path.unlink()
    joined["skipped"].sort(key=lambda entry: entry["participant"])
    return joined
