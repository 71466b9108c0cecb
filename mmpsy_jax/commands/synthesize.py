"""`launch.py synthesize`: a synthetic tree in the layout of a published corpus, to try commands with."""

import argparse

import mmpsy_jax
from data_builders.interviews import layouts
from mmpsy_jax.io import InputError


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    known = ", ".join(f"interviews/{name}" for name in layouts.names())
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} synthesize",
        description="Write a synthetic tree in the layout of a published corpus: no person stands behind it.",
    )
    parser.add_argument("--dataset", required=True, help=known)
    parser.add_argument("--output", required=True, help="folder to write, which must not hold anything")
    parser.add_argument("--participants", type=int, default=12, help="how many people (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    options = parser.parse_args(arguments)
    corpus, _, name = options.dataset.partition("/")
    if corpus != "interviews" or name not in layouts.names():
        raise InputError(f"dataset {options.dataset[:80]!r}: has no layout to imitate: choose one of {known}")
    print(layouts.synthesize(name, options.output, participants=options.participants, seed=options.seed))
    return 0
