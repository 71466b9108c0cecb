"""Is a hotline caller's turn negative? One two-way head (arXiv 2405.04128).

python launch.py --config=configs/hotline_negative.py                       the built-in demo (SYNTHETIC), HuBERT
python launch.py --config=configs/hotline_negative.py:whisper               or :wav2vec2
python launch.py --config=configs/hotline_negative.py:hubert --config.data.dataset=hotline/calls
  --config.data.source=DIR --config.model.folder=HF_FOLDER --config.optimizer.learning_rate=1e-5

As published: cross-entropy, argmax. The better-founded alternative: --config.objective.class_weights=positive
--config.evaluation.threshold=f1 (binary cross-entropy with a positive weight, threshold from validation). Best
published F1: 76.96 % (private data).

Splits and folds are by caller. The published code divides segments at random, so that a caller may be in both parts.
"""

from mmpsy_jax.projects.hotline import presets
from mmpsy_jax.tasks import Task


def get_config(encoder: str = "hubert"):
    """`encoder` is "hubert", "wav2vec2" or "whisper"."""
    return presets.experiment("hotline_negative", encoder, [Task("negative", "negative", "binary", (1,))]).lock()
