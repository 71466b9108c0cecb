"""Anybody's interviews, from a manifest, as a TFDS dataset."""
