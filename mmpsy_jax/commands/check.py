"""`launch.py check`: looks at a source before it is built."""

from data_builders.mmpsy import cli


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    cli.main_check(arguments)
    return 0
