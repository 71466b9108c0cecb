"""`launch.py curve`: how a model and its baselines get better with more participants."""

import functools
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from mmpsy_jax.commands import train
from mmpsy_jax.io import InputError

OPTIONS = (
    "  --sizes=100,200,400      training participants; all of a training part are added (default: five sizes)\n"
    "  --more=100               extrapolate to so many participants beyond all\n"
    "  --reliability=0.86       of the questionnaire, or phq9:0.86,gad7:0.9: the ceiling of correlations is drawn\n"
)


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    return train.main(arguments, train.Verb("curve", _define, _curve, OPTIONS, "_curve"))


def _define() -> None:
    flags.DEFINE_list("sizes", [], "training participants, for example 100,200,400")
    flags.DEFINE_string("more", "100", "participants beyond all to extrapolate to")
    flags.DEFINE_list("reliability", [], "of the questionnaire: 0.86, or phq9:0.86,gad7:0.9")


def _curve(config: ConfigDict, workdir: Path) -> int:
    from mmpsy_jax.evaluation import learning_curve, tables
    from mmpsy_jax.training import run
    from mmpsy_jax.training.participant_curve import FILE, curve

    sizes = [_whole("sizes", text) for text in flags.FLAGS.sizes]
    options = {"sizes": sizes, "more": _whole("more", flags.FLAGS.more)}
    options["reliability"] = read_reliability(flags.FLAGS.reliability)
    use = functools.partial(curve, **options)
    content = train.train(config, workdir, functools.partial(run.with_corpus, use))
    if content:
        print("test parts, 95% intervals in brackets; the last column is extrapolation")
        print("\n\n".join(map(tables.to_text, learning_curve.sections(content))))
        print(f"\ncurve: {workdir / FILE}.html")
    return 0


def _whole(option: str, text: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise InputError(f"--{option}={text[:80]}: give whole numbers above 0, for example --{option}=100")
    return int(text)


def read_reliability(texts: list[str]) -> dict[str, float]:
    """Reliabilities by label, or of all labels under "".

    Raises:
      InputError: no number, or a label twice.
    """
    known: dict[str, float] = {}
    for text in texts:
        label, _, number = text.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = None
        if value is None or label.strip() in known:
            raise InputError(f"--reliability={text[:80]}: give a number such as 0.86, or one per label: phq9:0.86")
        known[label.strip()] = value
    return known
