"""Finished runs that the tests of this room share. All data is SYNTHETIC."""

import pytest

from data_builders.mmpsy import cli
from mmpsy_jax.training import run
from tests.data_builders.small_source import entry, write_table
from tests.runs import small


def config_of(built):
    config = small(built)
    config.cv.folds, config.total = 2, "1 epochs"
    config.evaluation.baselines = False
    config.replicas.layout = "sequence"
    return config


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A table of transcripts, its records, and a run on them: two folds with one seed, as replicas."""
    folder = tmp_path_factory.mktemp("texts")
    table = write_table(folder, [entry(number, answers=2 + number % 4) for number in range(1, 41)])
    built = cli.build("mmpsy/transcripts", folder / "data_dir", source=str(table), workers=0)
    run.run(config_of(built), built, folder / "run")
    return table, built, folder / "run"


@pytest.fixture(scope="session")
def heard(tmp_path_factory):
    """Records with log-mel windows of the released size, and a single training on them."""
    folder = tmp_path_factory.mktemp("heard")
    built = cli.build(
        "mmpsy/demo", folder / "data_dir", participants=40, audio_shape=(80, 1800), text_shape=(12, 24), workers=0
    )
    config = small(built)
    config.total, config.model.patch = "1 epochs", 60
    config.evaluation.baselines = False
    run.run(config, built, folder / "run")
    return built, folder / "run"
