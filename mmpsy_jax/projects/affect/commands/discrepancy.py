"""`launch.py discrepancy`: where face and voice disagree."""

from mmpsy_jax.commands import parser_of, print_end
from mmpsy_jax.projects.affect.discrepancy import PAGE, discrepancy


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = parser_of(
        "discrepancy",
        workdir="of a finished run with a teacher and a student",
        source="folder of built records with validation and test clips",
        output="folder for page, tables and JSON file; the tables name clips",
    )
    options = parser.parse_args(arguments)
    report = discrepancy(options.workdir, options.input, options.output)
    if gap := report["mismatch"].get("gap"):
        print(f"AUROC of planted disagreements: {gap['value']:.3f}")
    print_end(options.workdir, f"{options.output}/{PAGE}")
    return 0
