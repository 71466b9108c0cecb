"""`launch.py report`: sets finished runs beside each other."""

import argparse

from mmpsy_jax.evaluation import persons
from mmpsy_jax.evaluation.report import summary
from mmpsy_jax.evaluation.run_comparison import compare_runs
from mmpsy_jax.io import InputError


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py report", description="Compares runs with the first of them.")
    parser.add_argument("--workdirs", required=True, nargs="+", help="folders of runs on the same participants")
    parser.add_argument("--output", default="runs/comparison", help="folder for report.html, report.json and tables/")
    parser.add_argument("--person-level", action="store_true", help="of one run: persons.html in it, PERSONAL DATA")
    options = parser.parse_args(arguments)
    if options.person_level:
        if len(options.workdirs) != 1:
            raise InputError(f"--person-level is for one run, not {len(options.workdirs)}: give one of --workdirs")
        print(f"personal data, keep them safe: {persons.write(options.workdirs[0])}")
        return 0
    print(summary(compare_runs(options.workdirs, options.output)))
    print(f"\nreport: {options.output}/report.html")
    return 0
