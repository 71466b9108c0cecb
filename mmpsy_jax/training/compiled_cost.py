"""What a compiled program holds, does and sends on each device, as its compiler tells; nothing is run."""

import math
import re
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(r"(?:body|condition|calls|to_apply|called_computations)=\{?%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+?(\d+)\w*)\[([\d,]*)\]")


class Chip(NamedTuple):
    """Peaks of a chip by its data sheet: FLOP/s in bfloat16, bytes/s of its memory and its links, bytes it holds."""

    flops: float
    memory: float
    links: float
    holds: float


# https://cloud.google.com/tpu/docs/v5e and the pages of the other generations; the first part of a topology's name.
CHIPS = {
    "v4": Chip(275e12, 1.2e12, 300e9, 32e9),
    "v5e": Chip(197e12, 0.819e12, 200e9, 16e9),
    "v5p": Chip(459e12, 2.765e12, 600e9, 95e9),
    "v6e": Chip(918e12, 1.64e12, 400e9, 32e9),
}


class Cost(NamedTuple):
    """Of one device that runs a program once.

    Attributes:
      bytes_held: arguments, results and what it computes between; memory that is used again counts once.
      flops: floating-point operations.
      moved: bytes read from and written to memory.
      sent: by kind of collective operation how often and how many bytes; `sent_inside`, those within loops.
      seconds: the compiler's estimate of all operations that it has one of; 0 where it has none.
      unestimated: operations that it has no estimate of.
    """

    bytes_held: int
    flops: float
    moved: float
    sent: dict[str, tuple[int, int]]
    sent_inside: dict[str, tuple[int, int]]
    seconds: float
    unestimated: int

    def least_seconds(self, chip: Chip | None) -> float:
        """What a run takes at least: the estimate, or arithmetic or memory at their peaks, and then what is sent."""
        if chip is None:
            return self.seconds
        sent = sum(size for _, size in self.sent.values())
        return max(self.seconds, self.flops / chip.flops, self.moved / chip.memory) + sent / chip.links


def of(compiled: Any) -> Cost:
    """The cost of a `jax.stages.Compiled`."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    resident = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    seconds, unestimated = split_estimate(cost.get("optimal_seconds", 0.0))
    text = compiled.as_text()
    return Cost(
        bytes_held=resident - memory.alias_size_in_bytes,
        flops=max(0.0, cost.get("flops", 0.0)),
        moved=max(0.0, cost.get("bytes accessed", 0.0)),
        sent=collectives(text),
        sent_inside=collectives(text, inside=True),
        seconds=seconds,
        unestimated=unestimated,
    )


def split_estimate(seconds: float) -> tuple[float, int]:
    """The seconds of all operations that have an estimate, and how many have none: each of these adds -1 s.

    Operations with an estimate are taken to last less than a second together.
    """
    if not math.isfinite(seconds):
        return 0.0, 1
    without = max(0, math.ceil(-seconds))
    return seconds + without, without


def collectives(text: str, *, inside: bool = False) -> dict[str, tuple[int, int]]:
    """How often a compiled program (as HLO text) sends, and how many bytes, by kind of operation.

    An operation in a loop counts as often as the loop turns, where the compiler knows that.

    Args:
      inside: only those in loops.
    """
    lines, entry, name = defaultdict(list), "", ""
    for line in text.splitlines():
        begins = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if begins:
            name = begins[2]
            entry = name if begins[1] else entry
        lines[name].append(line)
    totals: dict[str, list[int]] = {}

    def add(name: str, times: int, looping: bool) -> None:
        for line in lines[name]:
            sends = _COLLECTIVE.search(line)
            if sends and (looping or not inside):
                size = bytes_of(sends[1]) // (2 if sends[3] and sends[2] != "all-reduce" else 1)
                total = totals.setdefault(sends[2], [0, 0])
                total[0], total[1] = total[0] + times, total[1] + times * size
            turns = _TRIPS.search(line)
            for called in _CALLED.findall(line) if not sends else ():
                loops = " while(" in line
                add(called, times * (int(turns[1]) if loops and turns else 1), looping or loops)

    add(entry, 1, False)
    return {kind: tuple(total) for kind, total in totals.items()}


def bytes_of(types: str) -> int:
    """Bytes of the arrays that a type of HLO names, such as `(f32[2,3]{1,0}, bf16[])`."""
    size = lambda kind, bits: 1 if kind == "pred" else 2 if kind == "bf16" else max(1, int(bits) // 8)  # noqa: E731
    return sum(
        size(kind, bits) * math.prod(int(n) for n in shape.split(",") if n)
        for kind, bits, shape in _ARRAY.findall(types)
    )


def text_of(sent: dict[str, tuple[int, int]]) -> str:
    """`1 all-reduce, 1.4 MB; 5 all-gather, 0.0 MB`, or `nothing`."""
    parts = [f"{count} {kind}, {mega(size)}" for kind, (count, size) in sorted(sent.items())]
    return "; ".join(parts) or "nothing"


def mega(size: float) -> str:
    """Bytes in MB, three digits."""
    return f"{float(np.format_float_positional(size / 1e6, 3, fractional=False)):g} MB"
