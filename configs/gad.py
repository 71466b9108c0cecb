"""GAD-7: screening (score >= 10), severity bands and score.

python launch.py --config=configs/gad.py                                        the built-in demo corpus (SYNTHETIC)
python launch.py --config=configs/gad.py:released --config.data.source=DIR      the released MMPsy files
python launch.py --config=configs/gad.py:transcripts --config.data.source=DIR   transcripts alone, 5 folds
"""

from mmpsy_jax.tasks import questionnaire
from mmpsy_jax.training import presets


def get_config(corpus: str = "demo"):
    """`corpus` is "demo", "released" or "transcripts"."""
    return presets.experiment("gad", corpus, questionnaire("gad7", "gad"))
