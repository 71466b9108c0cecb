"""`launch.py ablate`: what each modality, and each minute, gives."""

import functools
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from mmpsy_jax.commands import train
from mmpsy_jax.io import InputError

OPTIONS = (
    "  --minutes=1,2,5          also train on the first minutes alone\n"
    "  --interviewer            also train on what the interviewer says alone, where records have it\n"
)


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    return train.main(arguments, train.Verb("ablate", _define, _ablate, OPTIONS, "_ablations"))


def _define() -> None:
    flags.DEFINE_list("minutes", [], "also train on the first minutes alone, for example 1,2,5")
    flags.DEFINE_bool("interviewer", False, "also train on what the interviewer says alone, where records have it")


def _ablate(config: ConfigDict, workdir: Path) -> int:
    from mmpsy_jax.evaluation import page, tables, wording
    from mmpsy_jax.training import ablations

    minutes = flags.FLAGS.minutes
    try:
        first = [float(text) for text in minutes]
    except ValueError as error:
        raise InputError(f"--minutes={','.join(minutes)}: give numbers, for example --minutes=1,2.5") from error
    entries = train.train(
        config, workdir, functools.partial(ablations.ablate, minutes=first, interviewer=flags.FLAGS.interviewer)
    )
    if entries:
        print("test split, 95% intervals in brackets")
        runs = {"tasks": {task["name"]: {"kind": task["kind"]} for task in config.tasks}, "ablations": entries}
        print("\n".join(map(tables.to_text, [*page.ablations(runs), *page.told_apart(entries)])))
        for flag in (flag for entry in entries for flag in entry.get("flags", ())):
            print(": ".join(filter(None, (flag["level"], wording.place(flag), flag["message"]))))
        print(f"\nablations: {workdir / ablations.FILE}")
    return 0
