"""`launch.py evaluate`: scores the predictions of any tool."""

import argparse

import mmpsy_jax
from mmpsy_jax.evaluation import page, tables
from mmpsy_jax.evaluation.infer_tasks import options as kind_options
from mmpsy_jax.evaluation.infer_tasks import read_kinds
from mmpsy_jax.evaluation.report import evaluate_file, summary


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} evaluate", description="Scores a predictions.csv of any tool."
    )
    parser.add_argument("--predictions", required=True, help="csv: participant_id, task, y_true, y_prob | y_pred, ...")
    parser.add_argument("--output", default=None, help="folder for report.json and report.html; default: only print")
    parser.add_argument("--compare", default=None, help="another predictions.csv of the same participants, in pairs")
    parser.add_argument("--subgroups", "--groups", default=None, help="csv: participant_id and columns of categories")
    several = {"action": "append", "default": []}
    for kind, meaning in kind_options().items():
        parser.add_argument(f"--{kind}", metavar="TASK", **several, help=meaning)
    parser.add_argument("--maximum", metavar="TASK:N", **several, help="its highest possible score, or band")
    options = parser.parse_args(arguments)
    kinds = read_kinds(options.maximum, **{kind: getattr(options, kind) for kind in kind_options()})
    files = {"output": options.output, "compare": options.compare, "subgroups": options.subgroups}
    report = evaluate_file(options.predictions, kinds=kinds, **files)
    print(summary(report))
    if options.subgroups:
        unknown = report["subgroups"]["n_unknown"]
        print("\n\n".join(map(tables.to_text, page.subgroups(report))))
        print(f"{unknown} participants of the subgroups file have no prediction")
    return 0
