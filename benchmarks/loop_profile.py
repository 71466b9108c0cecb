"""A profile of the training loop: is the state donated, does the host ever wait, how much of the time is computed.

    python benchmarks/loop_profile.py --dataset_dir=DATA_DIR/mmpsy/demo/1.0.0

Runs `training/loop.py` itself on `configs/phq.py` (SYNTHETIC data where DATA_DIR holds the demo corpus), on whatever
device jax takes, and records some of its steps with `jax.profiler`. Only `update` is wrapped, to mark the steps in the
trace and to look at the state that was given away. A turn of the loop begins with a step and ends where the next
begins. The metrics of past steps are read every `LOG` steps (in place of every epoch): those turns may wait, no others.

Prints a Markdown table. (Not called profile.py, which would hide a module of the standard library.)
"""

import argparse
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax

from benchmarks import harness
from configs import phq
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import loop, plan_runs, run
from mmpsy_jax.training import step as steps
from mmpsy_jax.training.memory import bytes_of

FIRST, STEPS, LOG = 6, 40, 10  # step that is recorded first, how many are, steps between two read-outs
READ_OUTS = sum(step % LOG == 0 and step > LOG for step in range(FIRST, FIRST + STEPS))  # as the loop decides
MARK = "train"
MARKED = re.compile(f"^{MARK}$")
# What the host does in the trace when it waits for a device or moves data.
WAITS = re.compile(r"np\.asarray|await|block.*until|ToLiteral|to.?host|D2H|H2D|DevicePut|FromHost", re.IGNORECASE)
# What computes: the streams of a GPU, the operations of a TPU; of a CPU, the threads of XLA.
COMPUTES = re.compile("Stream|XLA Ops|tf_XLA(PjRtCpuClient|Eigen)")


class Recorded(Exception):
    """Enough steps are in the trace."""


class Donation(NamedTuple):
    """What became of the states that were given away.

    Attributes:
      deleted: steps after which every array of the old state was deleted.
      aliased, state: bytes of results that take the place of arguments, as XLA reports, and of the state.
    """

    deleted: int
    aliased: int
    state: int


class Times(NamedTuple):
    """Milliseconds and counts of the recorded steps.

    Attributes:
      wall: from the first step's start to the end of the last computation.
      busy: in which the device computes.
      gap: the longest in which it does not.
      dispatch: in which the host hands over a step, mean.
      waiting: turns in which the loop's thread waits for a device or moves data.
      waited: in which it does.
    """

    wall: float
    busy: float
    gap: float
    dispatch: float
    waiting: int
    waited: float


def record(dataset_dir: str, folder: Path) -> Donation:
    """Trains until enough steps are recorded; the trace is written into `folder`."""
    config = phq.get_config()
    config.data.folder = dataset_dir
    config.log.every, config.selection.every = f"{LOG} steps", f"{FIRST + STEPS + LOG} steps"
    run.use_compile_cache(config.compile_cache)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    deleted: list[bool] = []
    donations: list[Donation] = []

    def compile_for(*arguments: Any, **more: Any) -> steps.Programs:
        programs = steps.compile_for(*arguments, **more)

        def update(state: Any, batch: Any) -> Any:
            number = len(deleted) + 1
            if number == FIRST:
                jax.block_until_ready(state)
                jax.profiler.start_trace(folder, profiler_options=options)
            with jax.profiler.StepTraceAnnotation(MARK, step_num=number):
                new = programs.update(state, batch)
            deleted.append(all(leaf.is_deleted() for leaf in jax.tree.leaves(state)))
            if number == FIRST + STEPS - 1:
                jax.block_until_ready(new)
                jax.profiler.stop_trace()
                memory = programs.update.lower(new[0], batch).compile().memory_analysis()
                donations.append(Donation(sum(deleted), memory.alias_size_in_bytes, bytes_of(new[0])))
                raise Recorded
            return new

        return programs._replace(update=update)

    corpus = open_corpus(dataset_dir)
    config = run.with_packs(config, folder)
    planned, _ = plan_runs.plan(config, from_config(config.tasks), corpus, folder / "run")
    original: Callable[..., steps.Programs] = loop.compile_for
    loop.compile_for = compile_for
    try:
        loop.train(planned[0])
    except Recorded:
        return donations[0]
    finally:
        loop.compile_for = original
    sys.exit(f"error: {dataset_dir}: the training has fewer than {FIRST + STEPS} steps: take a larger corpus")


def read(trace: Path) -> Times:
    """Reads the times out of a trace that `record` has written."""
    planes = list(jax.profiler.ProfileData.from_file(str(trace)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    (host,) = (plane for plane in planes if plane.name == "/host:CPU")
    lines = (line for plane in devices or [host] for line in plane.lines if COMPUTES.match(line.name))
    computing = [span for line in lines for span in _spans(line, re.compile(""))]
    (looping,) = (line for line in host.lines if _spans(line, MARKED))
    return _times(_spans(looping, MARKED), _spans(looping, WAITS), computing)


def _spans(line: Any, names: re.Pattern[str]) -> list[tuple[float, float]]:
    """Start and end, in milliseconds, of the events of a line that have such names; in order."""
    return sorted((e.start_ns / 1e6, e.end_ns / 1e6) for e in line.events if names.search(e.name))


def _times(
    steps: Sequence[tuple[float, float]],
    waits: Sequence[tuple[float, float]],
    computing: Sequence[tuple[float, float]],
) -> Times:
    """All as (start, end) in milliseconds: steps in the loop's thread, its waits, and what the device does."""
    starts = [start for start, _ in steps] + [steps[-1][1]]
    waits = union(span for span in waits if starts[0] <= span[0] < starts[-1])
    turns = {max(i for i, start in enumerate(starts) if start <= span[0]) for span in waits}
    busy = union((max(start, starts[0]), end) for start, end in computing if end > starts[0])
    free = [later[0] - earlier[1] for earlier, later in itertools.pairwise(busy)]
    return Times(
        wall=busy[-1][1] - starts[0],
        busy=sum(end - start for start, end in busy),
        gap=max(free, default=0.0),
        dispatch=sum(end - start for start, end in steps) / len(steps),
        waiting=len(turns),
        waited=sum(end - start for start, end in waits),
    )


def union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that overlap or touch, joined; in order."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def show(donation: Donation, times: Times) -> None:
    """Prints the table."""
    rows = {
        "steps recorded": f"{STEPS}",
        "steps after which all arrays of the old state were deleted": f"{donation.deleted} of {FIRST + STEPS - 1}",
        "bytes of arguments that results are written into, of the state": f"{donation.aliased:,} of {donation.state:,}",
        "turns in which the loop's thread waits or moves data": f"{times.waiting} (read-outs: {READ_OUTS})",
        "of the wall time, ms": f"{times.waited:.1f} of {times.wall:.1f}",
        "ms to hand over a step": f"{times.dispatch:.2f}",
        "ms of wall time per step": f"{times.wall / STEPS:.1f}",
        "share of the wall time in which the device computes": f"{times.busy / times.wall:.1%}",
        "longest pause of the device, ms": f"{times.gap:.2f}",
    }
    device = jax.devices()[0]
    harness.print_table([f"{device.platform}: {device.device_kind}, jax {jax.__version__}", ""], rows.items())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="built records, of mmpsy/demo (SYNTHETIC)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        donation = record(options.dataset_dir, Path(folder))
        (trace,) = Path(folder).rglob("*.xplane.pb")
        show(donation, read(trace))


if __name__ == "__main__":
    main()
