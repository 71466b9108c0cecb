"""What a corpus asks for, whatever the questionnaire; the other files of this folder start from it."""

from ml_collections import ConfigDict

from mmpsy_jax.errors import one_of
from mmpsy_jax.training.config import default

CORPORA = ("demo", "released", "transcripts")


def for_corpus(corpus: str) -> ConfigDict:
    """The default config with the sizes and length of training that suit a corpus."""
    config = default()
    if corpus not in CORPORA:
        raise one_of("argument of the config", corpus, CORPORA)
    config.data.dataset = f"mmpsy/{corpus}"
    if corpus == "transcripts":
        config.cv.folds = 5
        config.model.longest_seconds = 600.0
    return config


def lock(config: ConfigDict) -> ConfigDict:
    """Makes every later assignment to an unknown field, or of another type, an error."""
    config.lock()
    return config
