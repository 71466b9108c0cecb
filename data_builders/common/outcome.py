"""What a build left out and noted, said after it; and a build without records, which is how a source is checked."""

import collections
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.common import local

LISTED = 20  # entries of a kind on a terminal


def print_outcome(folder: str | os.PathLike) -> int:
    """Says on stderr what a dataset lacks and what is odd about it, and counts that on the last line.

    Args:
      folder: of the built dataset.

    Returns:
      the exit status of a build: 3 where somebody was left out, else 0.
    """
    corpus = json.loads(Path(folder, local.CORPUS_FILE).read_text())
    skipped, notes = corpus["skipped"], list_notes(corpus)
    for lines in ([f"left out: {one['participant']}: {one['reason']}" for one in skipped], notes):
        more = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        print(*lines[:LISTED], *more, sep="\n", end="\n" if lines else "", file=sys.stderr)
    print(
        f"built {sum(corpus['participants'].values()):,}, left out {len(skipped):,}, notes {len(notes):,} (all of them "
        f"in {Path(folder, local.CORPUS_FILE)})",
        file=sys.stderr,
    )
    return 3 if skipped else 0


def list_notes(corpus: dict[str, Any]) -> list[str]:
    """The notes of a dataset, one line each; a note that several participants have is one line.

    Args:
      corpus: the content of `corpus.json`.
    """
    owners = collections.defaultdict(list)
    for entry in corpus.get("notes", []):
        owners[entry["note"]].append(entry["participant"])
    lines = []
    for note, participants in owners.items():
        several = f"note: {note} ({len(participants)} participants)"
        lines.append(several if len(participants) > 1 else f"note: {': '.join(filter(None, (*participants, note)))}")
    for content, counts in corpus.get("duplicates", {}).items():
        if counts["across_splits"]:
            lines.append(
                f"note: {counts['across_splits']} identical {content} of different participants lie in different "
                "splits (see the dataset's card)"
            )
    return lines


def rehearse(main_build: Callable[[Sequence[str]], Path], arguments: Sequence[str], skip_bad: bool) -> dict[str, Any]:
    """Reads a source as a build would, without writing records.

    Args:
      main_build: the command line of a builder.
      arguments: of it, after the verb.
      skip_bad: whether it can leave out participants, so that more than the first problem is found.

    Returns:
      "participants" by split, "labels", "notes", and "problems" of those who would be left out.

    Raises:
      InputError: what the build would raise.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        tfds.disable_progress_bar()
        local.LocalBuilder.keeps_records = False
        try:
            built = main_build([*arguments, f"--data_dir={folder}", *["--skip_bad"] * skip_bad])
        finally:
            local.LocalBuilder.keeps_records = True
            tfds.enable_progress_bar()
        corpus = json.loads(Path(built, local.CORPUS_FILE).read_text())
    return {
        "participants": corpus["participants"],
        "labels": corpus["labels"],
        "notes": [line.removeprefix("note: ") for line in list_notes(corpus)],
        "problems": [f"{one['participant']}: {one['reason']}" for one in corpus["skipped"]],
    }
