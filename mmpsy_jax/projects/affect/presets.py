"""What the configs of clips with faces share."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, default

# Peak of the learning rate and length by part: a student learns by heart soon, faces take long.
LENGTHS = {"teacher": (3e-3, "20 epochs"), "student": (2e-3, "10 epochs"), "joint": (2e-3, "30 epochs")}


def experiment(name: str, part: str, modalities: Sequence[str], emotions: Sequence[str], labels: str) -> ConfigDict:
    """Emotion, valence and arousal of the clips of the demo.

    Args:
      name: of the workdir below runs/.
      part: of the network, "teacher", "student" or "joint".
      modalities: that are read.
      emotions: their names.
      labels: "emotion" for clips without valence and arousal, such as MELD's; "" for all three.

    Raises:
      InputError: other labels.
    """
    if labels not in ("", "emotion"):
        raise one_of("labels in the argument of the config", labels, ("emotion",))
    config = default()
    config.name = name
    ratings = [Task(rating, rating, "regression", maximum=1.0, minimum=-1.0) for rating in ("valence", "arousal")]
    config.tasks = to_config([Task("emotion", "emotion", "nominal", classes=emotions), *([] if labels else ratings)])
    config.data.dataset = "affect_video/demo"
    config.data.participants = 240  # speakers: the networks learn too little from the clips of the demo's 24
    config.data.modalities = tuple(modalities)
    config.data.parts = 1  # a piece is a segment
    config.data.batch_size = 16
    choose_model(config, "audio_visual", part=part)
    config.objective.delta = 0.25  # the ratings go from -1 to 1
    config.optimizer.learning_rate, config.total = LENGTHS[part]
    config.evaluation.near_duplicates = False  # there are no transcripts
    return config
