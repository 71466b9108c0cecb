"""TFDS builder of anybody's interviews: `launch.py build --dataset=interviews/NAME --source=manifest.csv`."""

from data_builders.common import builder
from data_builders.interviews import source


class Builder(builder.Builder):
    """Interviews with scores, one participant per record, from recordings and transcripts that a manifest names."""

    corpus = source.CORPUS
