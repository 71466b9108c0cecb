"""What a corpus asks for, whatever the questionnaire; the other files of this folder start from it."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from data_builders.affect_video.clips import EMOTIONS
from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, default

CORPORA = ("demo", "released", "transcripts")
# What stays as it is, as published: the convolutions of HuBERT and wav2vec 2.0, Whisper's encoder.
FROZEN = {"hubert": "front_end/.*", "wav2vec2": "front_end/.*", "whisper": "encoder/.*|conv_./.*|position_table"}
# Dropout of the published heads: that of config.final_dropout, but none for Whisper and the fine-grained HuBERT.
DROPOUT = {"hubert": 0.1, "wav2vec2": 0.1, "whisper": 0.0}


def experiment(name: str, corpus: str, tasks: Iterable[Task]) -> ConfigDict:
    """A locked config: these tasks on that corpus, with the sizes and length of training that suit it.

    Args:
      name: of the workdir below runs/, followed by the corpus.
      corpus: one of `CORPORA`.
      tasks: what is predicted.
    """
    if corpus not in CORPORA:
        raise one_of("argument of the config", corpus, CORPORA)
    config = default()
    config.name = f"{name}_{corpus}"
    config.tasks = to_config(tasks)
    config.data.dataset = f"mmpsy/{corpus}"
    config.total = "12 epochs"
    if corpus == "transcripts":  # docs/transcripts.md tells how these were chosen
        config.cv.folds, config.seeds = 5, 3
        config.cv.validation_fraction = 0.1  # for the threshold only: the last epoch is taken
        config.selection.metric = "step"
        config.selection.every = "50 percent"
        config.total = "10 epochs"
        config.data.max_windows = 12  # 2,100 characters: all of 99 % of the transcripts
        config.model.update({"latents": 8, "layers": 1, "position": "none"})
        config.model.update({"dropout": 0.4, "token_dropout": 0.5, "ngram_dropout": 0.5})
        config.optimizer.update({"learning_rate": 1e-2, "eps": 1e-3, "weight_decay": 0.05})
    return config.lock()


def hotline(name: str, encoder: str, tasks: Iterable[Task]) -> ConfigDict:
    """A locked config of one encoder on the demo.

    Args:
      name: of the workdir below runs/, followed by the encoder.
      encoder: one of `FROZEN`.
      tasks: what is predicted, all binary.
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


def affect(name: str, part: str, modalities: tuple[str, ...], labels: str) -> ConfigDict:
    """A config of emotion, valence and arousal of the demo's clips.

    Args:
      name: of the workdir below runs/.
      part: of the network, "teacher", "student" or "joint".
      modalities: that are read.
      labels: "emotion" for clips without valence and arousal, such as MELD's; "" for all three.
    """
    if labels not in ("", "emotion"):
        raise one_of("labels in the argument of the config", labels, ("emotion",))
    config = default()
    config.name = name
    ratings = [Task(rating, rating, "regression", maximum=1.0, minimum=-1.0) for rating in ("valence", "arousal")]
    config.tasks = to_config([Task("emotion", "emotion", "nominal", classes=EMOTIONS), *([] if labels else ratings)])
    config.data.dataset = "affect_video/demo"
    config.data.participants = 60  # speakers: the demo's 24 say too little about planted disagreements
    config.data.modalities = modalities
    config.data.parts = 1  # a piece is a segment
    config.data.batch_size = 16
    choose_model(config, "audio_visual", part=part)
    config.objective.delta = 0.25  # the ratings go from -1 to 1
    config.optimizer.learning_rate = 2e-3
    config.total = "30 epochs"
    config.evaluation.near_duplicates = False  # there are no transcripts
    return config
