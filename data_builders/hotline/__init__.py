"""Segments of hotline calls with emotion labels, from per-caller tables and wav files, or a synthetic demo."""
