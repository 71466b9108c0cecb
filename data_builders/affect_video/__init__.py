"""Clips of people speaking, with emotion and valence-arousal labels: faces and sound, as a TFDS dataset."""
