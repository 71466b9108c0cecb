"""Seconds from the command to the line of the first step, with an empty and with a full compile cache.

    python benchmarks/start.py --dataset_dir=DATA_DIR/mmpsy/demo/1.0.0 [--rounds=3] [--no_bytecode]

A run is `launch.py --config=configs/phq.py --config.log.every="1 steps"` in a new process, on built records (SYNTHETIC
where DATA_DIR holds the demo corpus) and in a new workdir; it is ended when the loop has printed its first step, which
it does while the second one is computed. The first run has an empty compile cache, the others the one that it left.
The process is this file again, which notes the time before and after the parts and then does what launch.py does. It is
started with the settings of malloc for which launch.py starts itself again.

Python compiles a module that it imports where no bytecode lies beside it. It does here: an unmeasured process writes
it first. `--no_bytecode` measures without, as on a machine on which PYTHONDONTWRITEBYTECODE is set.

Prints a Markdown table: wall time, CPU time of the process, which other load disturbs less, and where they go.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mmpsy_jax.__main__ import MALLOC  # noqa: E402

# What jax.monitoring calls the parts; backend_compile is also what loads from the cache.
EVENTS = {
    "trace": "/jax/core/compile/jaxpr_trace_duration",
    "lower": "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "compile or load": "/jax/core/compile/backend_compile_duration",
}
MISS = "/jax/compilation_cache/cache_misses"
COLUMNS = ("wall s", "CPU s", "imports", "corpus", *EVENTS, "rest", "programs compiled anew")


def child(began: float, arguments: list[str]) -> None:
    """Trains until the first step is printed; prints the seconds of each part as JSON."""
    spent = dict.fromkeys(COLUMNS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            before = time.time()
            result = function(*arguments, **more)
            spent[name] += time.time() - before
            return result

        return run

    before = time.time()
    import tensorflow_datasets.core  # noqa: F401  open_corpus imports it
    from jax import monitoring

    import launch
    from data_builders.common import cli  # noqa: F401  launch.py looks for the records with it
    from mmpsy_jax.training import loop, run, sweep  # noqa: F401

    spent["imports"] = time.time() - before

    def took(event: str, seconds: float, **_: Any) -> None:
        for name, ours in EVENTS.items():
            spent[name] += seconds if event == ours else 0.0

    def happened(event: str, **_: Any) -> None:
        spent["programs compiled anew"] += event == MISS

    monitoring.register_event_duration_secs_listener(took)
    monitoring.register_event_listener(happened)
    run.open_corpora, loop._loader = timed("corpus", run.open_corpora), timed("corpus", loop._loader)
    log = loop._log

    def end(fetched: list[Any], *more: Any) -> None:
        log(fetched, *more)
        if not fetched:  # no step is done yet
            return
        spent["wall s"], spent["CPU s"] = time.time() - began, time.process_time()
        parts = ("imports", "corpus", *EVENTS)
        spent["rest"] = spent["wall s"] - sum(spent[name] for name in parts)
        print(json.dumps(spent), flush=True)
        os._exit(0)  # the loop's threads are in the middle of their work

    loop._log = end
    launch.main(arguments)


def start(folder: Path, bytecode: bool, *arguments: str) -> str:
    """What the child prints, in a new process.

    Args:
      folder: of the bytecode.
      bytecode: whether it is written.
    """
    environment = {**os.environ, "GLIBC_TUNABLES": MALLOC}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": "" if bytecode else "1"}
    command = [sys.executable, __file__, "--child", repr(time.time()), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(dataset_dir: str, folder: Path, bytecode: bool) -> dict[str, float]:
    """One run in a new process and a new workdir; the compile cache and the bytecode lie in `folder`."""
    config = {"data.folder": Path(dataset_dir).absolute(), "compile_cache": folder / "cache", "log.every": "1 steps"}
    options = [f"--config.{name}={value}" for name, value in config.items()]
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        return json.loads(start(folder, bytecode, "--config=configs/phq.py", f"--workdir={workdir}", *options))


def main() -> None:
    """Prints the table."""
    if sys.argv[1:2] == ["--child"]:
        return child(float(sys.argv[2]), sys.argv[3:])
    from benchmarks import harness  # which takes time to import

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="built records, of mmpsy/demo (SYNTHETIC)")
    parser.add_argument("--rounds", type=int, default=3, help="runs with a full compile cache")
    parser.add_argument("--no_bytecode", action="store_true", help="Python compiles all that it imports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.no_bytecode:
            start(folder, True, "--help")
        runs = [measure(options.dataset_dir, folder, not options.no_bytecode) for _ in range(1 + options.rounds)]
    rows = []
    for state, some in (("empty", runs[:1]), (f"full, median of {options.rounds}", runs[1:])):
        medians = [statistics.median(run[name] for run in some) for name in COLUMNS]
        rows.append([state, *(f"{seconds:.1f}" for seconds in medians[:-1]), f"{medians[-1]:.0f}"])
    harness.print_table(["compile cache", *COLUMNS], rows)


if __name__ == "__main__":
    main()
