"""What the configs of interviews share, whatever the questionnaire."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import default

CORPORA = ("demo", "released", "transcripts")


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
