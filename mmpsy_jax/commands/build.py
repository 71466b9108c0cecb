"""`launch.py build`: builds TFDS records of a corpus."""

import argparse

from mmpsy_jax.commands.builders import builder


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status: 3 where somebody was left out."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", default="mmpsy/demo")
    folder = builder(parser.parse_known_args(arguments)[0].dataset).main_build(arguments)
    from data_builders.common.outcome import print_outcome  # TFDS takes over half a second

    return print_outcome(folder)
