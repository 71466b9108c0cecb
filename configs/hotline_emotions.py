"""Emotions of a hotline caller's turns, any number of which may hold at once (arXiv 2405.04128).

python launch.py --config=configs/hotline_emotions.py                       the built-in demo (SYNTHETIC), HuBERT
python launch.py --config=configs/hotline_emotions.py:whisper               or :wav2vec2
python launch.py --config=configs/hotline_emotions.py:hubert --config.data.dataset=hotline/calls
  --config.data.source=DIR --config.model.folder=HF_FOLDER --config.cv.folds=5 --config.optimizer.learning_rate=1e-4

python launch.py --config=configs/hotline_emotions.py:hubert,joy,anger --config.data.source=DIR
                                                                            your own emotions, by their columns

As published: two-way heads, the sum of their cross-entropies, argmax. The better-founded alternative:
--config.objective.class_weights=positive --config.evaluation.threshold=f1 (binary cross-entropy with positive weights,
thresholds from validation). Best published weighted F1: 41.74 % (private data).

Splits and folds are by caller, and every fold trains a new model. The published code does neither: its five folds are
blocks of rows, and one model goes through all of them, so that from the second on it is evaluated on rows that it was
trained on.
"""

from data_builders.hotline.columns import EMOTIONS
from mmpsy_jax.projects.hotline import presets
from mmpsy_jax.tasks import Task


def get_config(argument: str = "hubert"):
    """`argument` is "hubert", "wav2vec2" or "whisper", then names of your own labels, with commas."""
    encoder, *labels = (part.strip() for part in argument.split(","))
    names = labels or EMOTIONS
    config = presets.experiment("hotline_emotions", encoder, [Task(name, name, "binary", (1,)) for name in names])
    if labels:
        config.data.dataset = "hotline/calls"
    if encoder == "hubert":
        config.model.dropout = 0.0
    config.evaluation.multilabel = True
    return config.lock()
