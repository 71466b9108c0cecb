"""`launch.py build`: builds TFDS records of a corpus."""

import argparse

from mmpsy_jax.commands.builders import builder


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", default="mmpsy/demo")
    builder(parser.parse_known_args(arguments)[0].dataset).main_build(arguments)
    return 0
