"""`launch.py check`: looks at a source before it is built.

Manifests and the MMPsy release are described in detail, in seconds. Any other corpus is read as its builder would read
it, with the options of that builder.
"""

import argparse
import inspect
import json
from typing import Any

from data_builders.mmpsy import cli
from data_builders.mmpsy.check import list_problems
from mmpsy_jax.commands.builders import builder

_DETAILED = ("interviews", "mmpsy/released", "mmpsy/released_float32", "mmpsy/transcripts")


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status: 3 where a build would refuse something."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", default="")
    dataset = parser.parse_known_args(arguments)[0].dataset
    if dataset:
        builder(dataset)
    if not dataset or dataset.startswith(_DETAILED):
        report = cli.main_check(arguments)
    else:
        report = _rehearse(dataset, [argument for argument in arguments if argument != "--deep"])
    return 3 if report["problems"] else 0


def _rehearse(dataset: str, arguments: list[str]) -> dict[str, Any]:
    from data_builders.common.outcome import rehearse  # TFDS takes over half a second

    lib, options = builder(dataset), [argument for argument in arguments if argument != "--json"]
    report = rehearse(lib.main_build, options, skip_bad="skip_bad" in inspect.signature(lib.build).parameters)
    print(json.dumps(report, indent=2, ensure_ascii=False) if len(options) < len(arguments) else _render(report))
    return report


def _render(report: dict[str, Any]) -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in report["participants"].items())
    lines = [
        f"participants  {sum(report['participants'].values()):,}: {counts}",
        f"labels        {', '.join(report['labels'])}",
    ]
    lines += [f"note          {note}" for note in report["notes"]]
    return "\n".join(lines + list_problems(report["problems"]))
