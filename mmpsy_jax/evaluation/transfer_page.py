"""What a report shows of a run that is scored on another corpus than its own."""

from collections.abc import Mapping
from typing import Any

from mmpsy_jax.evaluation.tables import Table


def sections(report: Mapping[str, Any]) -> list[Table]:
    """Who was scored, and with which label each task was compared; nothing for a report of a run at home."""
    about = report.get("transfer")
    if not about:
        return []
    people = [[about[name] for name in ("home", "corpus", "people", "left_out", "recalibrated_on", "scored")]]
    columns = ["trained on", "scored on", "people there", "left out: of the training data", "recalibrated on", "scored"]
    tasks = [[name, one["run"], one["records"], one["scale"] or "the same"] for name, one in about["tasks"].items()]
    return [
        Table("People", columns, people, opened=True),
        Table("Labels", ["task", "label of the run", "label of the records", "scale"], tasks, opened=True),
    ]
