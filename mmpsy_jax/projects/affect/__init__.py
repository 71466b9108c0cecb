"""A teacher that sees the face and a student that hears speech: emotion, valence and arousal (docs/affect_video.md)."""
