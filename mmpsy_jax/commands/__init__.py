"""The verbs of the command line, one file each: its options, and what it prints."""

import sys
from collections.abc import Iterable
from typing import Any


def print_left_out(failures: Iterable[Any]) -> None:
    """Names on stderr each input that could not be used; a failure has `what` and `reason`."""
    for failure in failures:
        print(f"left out: {failure.what}: {failure.reason}", file=sys.stderr)
