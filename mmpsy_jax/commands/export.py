"""`launch.py export`: takes a finished run out of this project."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end
from mmpsy_jax.inference.export import export


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py export", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run")
    parser.add_argument("--output", required=True, help="empty or new folder for programs, weights and loader")
    options = parser.parse_args(arguments)
    export(options.workdir, options.output)
    print_end(options.workdir, options.output)
    return 0
