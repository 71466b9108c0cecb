"""`launch.py transfer`: scores finished runs on other built corpora."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end
from mmpsy_jax.evaluation.report import summary
from mmpsy_jax.evaluation.tables import to_text
from mmpsy_jax.inference.transfer import transfer
from mmpsy_jax.inference.transfer_table import FILE, tables, transfer_table
from mmpsy_jax.io import InputError


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} transfer", description="Finished runs on other corpora."
    )
    runs, corpora = (parser.add_mutually_exclusive_group(required=True) for _ in range(2))
    runs.add_argument("--workdir", help="of a finished run; all its folds and seeds are averaged")
    runs.add_argument("--workdirs", nargs="+", help="of several: a table of all runs on all --inputs")
    corpora.add_argument("--input", help="folder of built records of another corpus, or A,B for several as one")
    corpora.add_argument("--inputs", nargs="+", help="of several corpora, with --workdirs")
    parser.add_argument("--output", required=True, help="folder for report.html or, of a table, transfer.html")
    parser.add_argument(
        "--label", action="append", default=[], metavar="HERE:THERE", help="label of run and of records"
    )
    parser.add_argument(
        "--recalibrate", type=int, default=0, metavar="K", help="also recalibrated on K people of there"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw of those people (default: 0)")
    parser.add_argument("--subgroups", default=None, help="csv: participant_id and columns of categories")
    options = parser.parse_args(arguments)
    how = {"labels": read_labels(options.label), "recalibrated_on": options.recalibrate, "seed": options.seed}
    if options.workdirs or options.inputs:
        if not (options.workdirs and options.inputs) or options.subgroups:
            raise InputError(
                "a table needs --workdirs and --inputs, one run --workdir and --input; not both, and no "
                "--subgroups for a table"
            )
        content = transfer_table(options.workdirs, options.inputs, options.output, **how)
        print("\n\n".join(map(to_text, tables(content))))
        print_end(options.workdirs[0], f"{options.output}/{FILE}.html")
        return 0
    content = transfer(options.workdir, options.input, options.output, **how, subgroups=options.subgroups)
    print(summary(content))
    print_end(options.workdir, f"{options.output}/report.html")
    return 0


def read_labels(texts: list[str]) -> dict[str, str]:
    """Labels of a run and of records from `HERE:THERE`, several with commas between them.

    Raises:
      InputError: not of that form, or a label of the run twice.
    """
    labels: dict[str, str] = {}
    for text in filter(None, (part.strip() for one in texts for part in one.split(","))):
        here, _, there = map(str.strip, text.partition(":"))
        if not here or not there or here in labels:
            raise InputError(f"--label={text[:80]}: write HERE:THERE, the label of the run first, each once")
        labels[here] = there
    return labels
