"""What a corpus asks for, whatever the questionnaire; the other files of this folder start from it."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from mmpsy_jax.errors import one_of
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
    if corpus == "transcripts":
        config.cv.folds = 5
        config.model.longest_seconds = 600.0
    return config.lock()
