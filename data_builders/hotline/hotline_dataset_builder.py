"""TFDS builder of hotline segments: `launch.py build --dataset=hotline/demo`, or stock TFDS."""

from data_builders.common import builder
from data_builders.hotline import source


class Builder(builder.Builder):
    """Turns of hotline callers with binary labels of emotion; one segment per record."""

    corpus = source.CORPUS
