"""`launch.py discrepancy`: where face and voice disagree."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end
from mmpsy_jax.projects.affect.discrepancy import PAGE, discrepancy


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py discrepancy", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run with a teacher beside the student")
    parser.add_argument("--input", required=True, help="folder of built records with validation and test clips")
    parser.add_argument("--output", required=True, help="folder for page, tables and JSON file; the tables name clips")
    options = parser.parse_args(arguments)
    report = discrepancy(options.workdir, options.input, options.output)
    if found := report["mismatch"].get("gap"):
        print(f"AUROC of planted disagreements: {found['value']:.3f}")
    print_end(options.workdir, f"{options.output}/{PAGE}")
    return 0
