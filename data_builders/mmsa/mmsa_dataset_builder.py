"""TFDS builder of MMSA's feature files: `launch.py build --dataset=mmsa/demo`, or stock TFDS."""

from data_builders.common import builder
from data_builders.mmsa import source


class Builder(builder.Builder):
    """Clips with a rated sentiment, one per record."""

    corpus = source.CORPUS
