"""Emotions of the segments of hotline calls by fine-tuned speech encoders (docs/hotline.md)."""
