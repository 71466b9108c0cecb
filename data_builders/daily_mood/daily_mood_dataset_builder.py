"""TFDS builder of daily mood ratings: `launch.py build --dataset=daily_mood/demo_by_time`, or stock TFDS."""

from data_builders.common import builder
from data_builders.daily_mood import source


class Builder(builder.Builder):
    """Days with what sensors recorded and mood ratings; one day per record."""

    corpus = source.CORPUS
