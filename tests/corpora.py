"""Small corpora for the tests of whole runs: the demo generator with small windows. SYNTHETIC."""

from pathlib import Path

from ml_collections import ConfigDict

from data_builders.common import cli

PARTICIPANTS, AUDIO, TEXT = 96, (16, 60), (12, 24)


def build(folder: Path) -> Path:
    """The version folder of a demo corpus of `PARTICIPANTS` people."""
    return cli.build(
        "mmpsy/demo", folder, participants=PARTICIPANTS, audio_shape=AUDIO, text_shape=TEXT, workers=0, seed=0
    )


def shrink(config: ConfigDict, dataset: Path) -> ConfigDict:
    """A shipped config, small enough for a test, without dropout: masks take two fifths of compiling a step."""
    config.data.folder = str(dataset)
    config.data.batch_size = 16
    config.model.update({"width": 16, "latents": 4, "layers": 1, "patch": 10})
    config.model.update({name: 0.0 for name in config.model if name.endswith("dropout")})
    config.replicas.layout = "sequence"  # trying both compiles both
    config.total = "3 epochs"
    config.evaluation.bootstrap = 50
    config.compile_cache = ""
    return config
