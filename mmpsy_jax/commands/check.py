"""`launch.py check`: looks at a source before it is built.

Manifests and the MMPsy release are described in detail, in seconds. Any other corpus is read as a build would read it.
"""

from data_builders.common import cli


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status: 3 where a build would refuse something."""
    return 3 if cli.main_check(arguments)["problems"] else 0
