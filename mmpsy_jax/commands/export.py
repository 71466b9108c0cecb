"""`launch.py export`: takes a finished run out of this project."""

from mmpsy_jax.commands import parser_of, print_end
from mmpsy_jax.inference.export import export


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    where = "empty or new folder for programs, weights and loader"
    options = parser_of("export", output=where, workdir="of a finished run", source=None).parse_args(arguments)
    export(options.workdir, options.output)
    print_end(options.workdir, options.output)
    return 0
