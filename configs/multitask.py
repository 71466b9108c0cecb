"""PHQ-9 and GAD-7 together, every kind of task, with learned uncertainty weights (Kendall 2018).

python launch.py --config=configs/multitask.py                                  the built-in demo corpus (SYNTHETIC)
python launch.py --config=configs/multitask.py:released --config.data.source=DIR
python launch.py --config=configs/multitask.py:transcripts --config.data.source=DIR
"""

from mmpsy_jax.tasks import questionnaire
from mmpsy_jax.training import presets


def get_config(corpus: str = "demo"):
    """`corpus` is "demo", "released" or "transcripts"."""
    config = presets.experiment("multitask", corpus, questionnaire("phq9", "phq") + questionnaire("gad7", "gad"))
    config.objective.weighting = "uncertainty"
    return config
