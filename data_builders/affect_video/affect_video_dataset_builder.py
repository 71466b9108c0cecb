"""TFDS builder of clips with emotion labels: `launch.py build --dataset=affect_video/demo`, or stock TFDS."""

from data_builders.affect_video import source
from data_builders.common import builder


class Builder(builder.Builder):
    """Clips with log-mel sound and faces of the speaker, labelled with emotion, valence and arousal."""

    corpus = source.CORPUS
