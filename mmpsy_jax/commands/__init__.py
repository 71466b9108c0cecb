"""The verbs of the command line, one file each: its options, and what it prints."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mmpsy_jax


def parser_of(verb: str, *, output: str, workdir: str = "", source: str | None = "") -> argparse.ArgumentParser:
    """A parser of a verb that uses a finished run.

    Args:
      verb: its name.
      output: help of `--output`.
      workdir: help of `--workdir`, where it must be a run of some kind.
      source: help of `--input`, where it is not what `predict` takes; None for no such option.
    """
    parser = argparse.ArgumentParser(prog=f"{mmpsy_jax.program()} {verb}", description=mmpsy_jax.DISCLAIMER)
    whole = "of a finished run; all its folds and seeds are averaged"
    parser.add_argument("--workdir", required=True, help=workdir or whole)
    if source is not None:
        either = "folder or file of interviews, or a folder of built records"
        parser.add_argument("--input", required=True, help=source or either)
    parser.add_argument("--output", required=True, help=output)
    return parser


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how interviews become inputs of a run."""
    parser.add_argument("--modalities", type=names, help="names with commas: read these only, the rest is absent")
    parser.add_argument("--encoder", nargs="+", default=(), help="folders of the networks that embed, if moved")
    parser.add_argument("--ignore", type=names, default=(), help="manifest: columns that are not read, a,b,...")
    add_layout(parser)


NO_LAYOUT = "none"


def add_layout(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says in whose layout a folder is."""
    parser.add_argument(
        "--layout", default="", help=f"of the folder, such as daic_woz, or {NO_LAYOUT}; default: a run's"
    )


def find_published(source: str, layout: str, workdir: str = "") -> Any:
    """Who lies in a folder in the layout of a published corpus, as a `features.manifest.Manifest`; None of any other.

    Args:
      source: the folder.
      layout: its name; `NO_LAYOUT` for none; "" for that of the corpus of a run, where it has one and finds anybody.
      workdir: of the run.

    Raises:
      InputError: no such layout, or as it reads the folder.
    """
    from data_builders.interviews import layouts
    from mmpsy_jax.inference import inputs
    from mmpsy_jax.io import InputError
    from mmpsy_jax.training import run_files

    if layout not in ("", NO_LAYOUT):
        return layouts.read(layout, source, scored=False)
    if layout or not workdir or not Path(source).is_dir() or inputs.is_records(Path(source)):
        return None
    try:
        card = run_files.read_card(Path(workdir))
    except InputError:  # said where the run is loaded
        return None
    if card["dataset"] != "interviews" or card["config"] not in layouts.names():
        return None
    try:
        return layouts.read(card["config"], source, scored=False)
    except layouts.NobodyError:
        return None


def names(text: str) -> tuple[str, ...]:
    """Names with commas."""
    return tuple(text.split(","))


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
    from mmpsy_jax.training import run_files

    tasks = read_json(Path(workdir, run_files.CONFIG), run_files.RESTORE)["tasks"]
    if run_files.read_card(Path(workdir))["synthetic"]:
        print(run_files.SYNTHETIC, file=sys.stderr)
    print(f"{place}\n{disclaimer_of([task['label'] for task in tasks])}")
