"""`launch.py report`: sets finished runs beside each other, or writes the page of a report.json anew."""

import argparse

import mmpsy_jax
from mmpsy_jax.evaluation import persons
from mmpsy_jax.evaluation.report import summary, write_page
from mmpsy_jax.evaluation.run_comparison import compare_runs
from mmpsy_jax.io import InputError


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} report", description="Compares runs with the first of them."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdirs", nargs="+", help="folders of runs on the same participants")
    source.add_argument("--json", metavar="FILE", help="any report.json of ours: writes its report.html and tables/")
    parser.add_argument("--output", default=None, help="folder; default: runs/comparison, with --json that of the file")
    parser.add_argument("--person-level", action="store_true", help="of one run: persons.html in it, PERSONAL DATA")
    options = parser.parse_args(arguments)
    if options.person_level:
        if len(options.workdirs or ()) != 1:
            raise InputError(
                f"--person-level is for one run, not {len(options.workdirs or ())}: give one of --workdirs"
            )
        print(f"personal data, keep them safe: {persons.write(options.workdirs[0])}")
        return 0
    if options.json:
        print(f"report: {write_page(options.json, options.output)}")
        return 0
    output = options.output or "runs/comparison"
    print(summary(compare_runs(options.workdirs, output)))
    print(f"\nreport: {output}/report.html")
    return 0
