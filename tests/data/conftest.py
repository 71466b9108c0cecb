"""One small corpus for all data tests; tests that damage it copy it first."""

import shutil
from pathlib import Path

import pytest
import small_corpus

from mmpsy_jax.data.records import open_corpus
from tests.sharing import shared


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory):
    """A corpus of 30 participants, never to be changed."""
    return Path(shared(tmp_path_factory, "small_corpus", small_corpus.build))


@pytest.fixture(scope="session")
def corpus(corpus_folder):
    """The opened corpus."""
    return open_corpus(corpus_folder)


@pytest.fixture
def copy(corpus_folder, tmp_path):
    """A copy of the corpus that a test may damage, without the index."""
    folder = shutil.copytree(corpus_folder, tmp_path / "small" / "demo" / "1.0.0")
    (folder / "index.npz").unlink(missing_ok=True)
    return folder
