"""What the configs of hotline calls share."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, default

# What is not trained, as published: the convolutions of HuBERT and wav2vec 2.0, the encoder of Whisper.
FROZEN = {"hubert": "front_end/.*", "wav2vec2": "front_end/.*", "whisper": "encoder/.*|conv_./.*|position_table"}
# Dropout of the published heads: that of config.final_dropout, but none for Whisper and the fine-grained HuBERT.
DROPOUT = {"hubert": 0.1, "wav2vec2": 0.1, "whisper": 0.0}


def experiment(name: str, encoder: str, tasks: Iterable[Task]) -> ConfigDict:
    """One encoder on the demo.

    Args:
      name: of the workdir below runs/, followed by the encoder.
      encoder: one of `FROZEN`.
      tasks: what is predicted, all binary.

    Raises:
      InputError: an unknown encoder.
    """
    if encoder not in FROZEN:
        raise one_of("argument of the config", encoder, FROZEN)
    config = default()
    config.name = f"{name}_{encoder}"
    config.tasks = to_config(tasks)
    config.data.dataset = "hotline/demo"
    config.data.parts = 1  # an encoder hears whole windows
    config.data.batch_size = 16
    choose_model(config, "speech_emotion", encoder=encoder, freeze=FROZEN[encoder], dropout=DROPOUT[encoder])
    # One training after another: replicas would each hold an encoder.
    config.replicas.layout = "off"
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "linear", "warmup": "0 steps", "weight_decay": 0.0})
    config.optimizer.b2 = 0.999
    config.total = "30 epochs"
    config.evaluation.threshold = "argmax"
    return config
