"""Predictions in, numbers and a report out: tables are read, never models; no jax (`docs/evaluation.md`)."""
