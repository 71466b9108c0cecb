"""`launch.py audit`: what a finished cross-validation gives away of whom it was trained on."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} audit",
        description="Membership inference: do its predictions tell who was in the training part? Trains nothing.",
    )
    parser.add_argument("--workdir", required=True, help="of a finished cross-validation with repeats")
    parser.add_argument("--input", default="", help="folder of the records that it was trained on, if moved")
    options = parser.parse_args(arguments)
    from mmpsy_jax.evaluation import membership, tables
    from mmpsy_jax.training.membership import FILE, audit

    content = audit(options.workdir, options.input)
    print("membership inference, 95 % intervals over participants in brackets")
    print("\n\n".join(tables.to_text(table) for table in membership.sections({"membership": content})))
    print(f"\nalso in report.html and README.md; {options.workdir}/{FILE}")
    print_end(options.workdir, f"{options.workdir}/report.html")
    return 0
