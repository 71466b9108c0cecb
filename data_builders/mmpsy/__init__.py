"""The MMPsy corpus (and its synthetic twin) as a TFDS dataset."""
