"""`launch.py adapt`: layers of new people from a few rated days."""

from mmpsy_jax.commands import parser_of, print_end
from mmpsy_jax.io import InputError
from mmpsy_jax.projects.daily_mood.adapt import adapt, summary


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = parser_of(
        "adapt",
        workdir="of a finished run of a macro_micro config, without folds",
        source="folder of built records of days",
        output="folder for predictions and adaptation.json",
    )
    parser.add_argument("--days", required=True, help="rated days of each person to adapt to; several with commas")
    parser.add_argument("--split", default="test", help="of the records; all for everybody; default: test")
    options = parser.parse_args(arguments)
    try:
        days = [int(text) for text in options.days.split(",")]
    except ValueError as error:
        raise InputError(f"--days={options.days}: give whole numbers with commas, for example 3,7") from error
    print(summary(adapt(options.workdir, options.input, options.output, days=days, split=options.split)))
    print_end(options.workdir, options.output)
    return 0
