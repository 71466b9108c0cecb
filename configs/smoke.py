"""Does the installation work? A tiny network, a few steps, a tiny demo corpus (SYNTHETIC): its scores mean nothing.

python launch.py --config=configs/smoke.py
"""

from mmpsy_jax.tasks import questionnaire
from mmpsy_jax.training import presets


def get_config():
    """Takes no argument."""
    config = presets.experiment("smoke", "demo", questionnaire("phq9", "phq") + questionnaire("gad7", "gad"))
    config.data.data_dir = "data/smoke"
    config.data.participants = 64
    config.data.batch_size = 8
    config.model.width = 16
    config.model.latents = 4
    config.model.layers = 1
    config.model.patch = 60
    config.total = "2 epochs"
    config.evaluation.bootstrap = 200
    return config
