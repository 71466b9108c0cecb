"""TFDS builder of the MMPsy corpus: `launch.py build --dataset=mmpsy/demo`, or stock TFDS."""

from data_builders.common import builder
from data_builders.mmpsy import source


class Builder(builder.Builder):
    """Interviews of Chinese middle-school students with PHQ-9 and GAD-7 scores; one participant per record."""

    corpus = source.CORPUS
