"""PHQ-9: screening (score >= 10), severity bands and score, from speech and text together.

python launch.py --config=configs/phq.py                 the built-in demo corpus (SYNTHETIC)
python launch.py --config=configs/phq.py:released --config.data.source=DIR      the released MMPsy files
python launch.py --config=configs/phq.py:transcripts --config.data.source=DIR   transcripts alone, 5 folds
"""

from configs import presets
from mmpsy_jax.tasks import questionnaire, to_config


def get_config(corpus: str = "demo"):
    """`corpus` is "demo", "released" or "transcripts"."""
    config = presets.for_corpus(corpus)
    config.name = f"phq_{corpus}"
    config.tasks = to_config(questionnaire("phq9", "phq"))
    config.selection.metric = "loss"
    return presets.lock(config)
