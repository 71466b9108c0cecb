"""The verbs of the command line, one file each: its options, and what it prints."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def print_left_out(failures: Iterable[Any]) -> None:
    """Names on stderr each input that could not be used; a failure has `what` and `reason`."""
    for failure in failures:
        print(f"left out: {failure.what}: {failure.reason}", file=sys.stderr)


def print_end(workdir: str, place: str) -> None:
    """Says where the results of a finished run lie, what its estimates must not be used for, and if they are synthetic.

    Args:
      workdir: of the run.
      place: of the results.
    """
    from mmpsy_jax.evaluation.wording import disclaimer_of
    from mmpsy_jax.io import read_json
    from mmpsy_jax.training import finished_run, run_files

    tasks = read_json(Path(workdir, run_files.CONFIG), run_files.RESTORE)["tasks"]
    if run_files.read_card(Path(workdir))["synthetic"]:
        print(finished_run.SYNTHETIC, file=sys.stderr)
    print(f"{place}\n{disclaimer_of([task['label'] for task in tasks])}")
