"""What the benchmarks share: contestants that take turns, medians and ratios, Markdown tables, points of a growth.

Contestants take turns, so that other load on the machine meets all of them; every other round goes backwards, so that
nobody always follows the same neighbour. A ratio is the median of the ratios of each round.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Times = dict[str, list[float]]


def bind_to_one_core() -> None:
    """For a machine that other processes use, too; before JAX and PyTorch count the cores."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine(*packages: str) -> str:
    """Versions of Python and of packages, those that are installed, cores and load."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages if installed(name)]
    load = os.getloadavg()[0]
    return f"{', '.join(versions)}, Python {platform.python_version()}; {os.cpu_count()} cores, load {load:.1f}"


def installed(package: str) -> bool:
    """Whether a package (or distribution) can be imported."""
    return importlib.util.find_spec(package.replace("-", "_")) is not None


def seconds(turn: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long a call takes by a clock."""
    began = clock()
    turn()
    return clock() - began


def take_turns(
    turns: Mapping[str, Callable[[], Any]],
    rounds: int,
    timer: Callable[[Callable[[], Any]], float] = seconds,
    *,
    limit: float = float("inf"),
) -> Times:
    """What `timer` says of each contestant, one number per round; a first round compiles and fills caches.

    Args:
      limit: seconds after which no further round begins.
    """
    for turn in turns.values():
        turn()
    times: Times = {name: [] for name in turns}
    deadline = time.perf_counter() + limit
    for number in range(rounds):
        for name in list(turns)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(timer(turns[name]))
        if time.perf_counter() > deadline:
            break
    return times


def ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(values, reference, strict=True))


def spread(values: Sequence[float], form: str = ",.1f") -> tuple[str, str]:
    """The median, and the lowest to the highest."""
    return f"{statistics.median(values):{form}}", f"{min(values):{form}} to {max(values):{form}}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A Markdown table, each row as soon as it is there."""
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def print_point(values: Mapping[str, float]) -> None:
    """What a process that measures one point of `grow` prints: its numbers and its peak memory."""
    print(json.dumps({**values, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def grow(name: str, counts: Sequence[int], arguments: Sequence[str], **environment: str) -> None:
    """Prints how numbers grow with a count, each point from a separate process, and the exponents of the growth.

    An exponent of 1 is linear growth: the slope of a straight line through the logarithms.

    Args:
      name: of the count.
      counts: of the points.
      arguments: of Python, in which "{count}" is the count; the process ends with `print_point`.
      environment: variables of the processes, in which "{count}" is the count.

    Raises:
      RuntimeError: a process failed.
    """
    points = []
    for count in counts:
        command = [sys.executable, *(text.replace("{count}", str(count)) for text in arguments)]
        variables = os.environ | {key: value.replace("{count}", str(count)) for key, value in environment.items()}
        run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{name} = {count} failed:\n{run.stderr[-2000:]}")
        points.append(json.loads(run.stdout.strip().splitlines()[-1]))
    logs = np.log([list(point.values()) for point in points])
    slopes = np.polyfit(np.log(counts), logs, 1)[0]
    rows = [[f"{n:,}", *(f"{x:.4g}" for x in point.values())] for n, point in zip(counts, points, strict=True)]
    print_table([name, *points[0]], [*rows, ["exponent", *(f"{slope:.2f}" for slope in slopes)]])
