"""The settings that MMSA publishes of its models, one table for all corpora: `published.csv`."""

import ast
import csv
from pathlib import Path
from typing import Any

CORPORA = ("mosi", "mosei", "sims", "simsv2")
_LINES = Path(__file__).with_suffix(".csv").read_text(encoding="utf-8").splitlines()
_ROWS = list(csv.DictReader(line for line in _LINES if not line.startswith("#")))
MODELS = tuple(dict.fromkeys(row["model"] for row in _ROWS))
# These need labels of each modality, which MMSA has of SIMS and SIMSv2 alone.
UNIMODAL_LABELS = tuple(row["model"] for row in _ROWS if row["field"] == "objective.weights.sentiment_text")


def settings(model: str, corpus: str) -> dict[str, Any]:
    """Config fields by name, such as "model.rank"; empty where nothing is published of a model for that corpus."""
    rows = (row for row in _ROWS if row["model"] == model and row[corpus])
    return {row["field"]: _value(row[corpus]) for row in rows}


def _value(cell: str) -> Any:
    return cell if cell.isidentifier() else ast.literal_eval(cell)
