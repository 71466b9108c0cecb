"""`launch.py build`: builds TFDS records of a corpus."""

from data_builders.common import cli


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status: 3 where somebody was left out."""
    return cli.print_outcome(cli.main_build(arguments))
