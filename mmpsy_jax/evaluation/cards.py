"""The model card that a training leaves in its workdir: `README.md` with the header that Hugging Face reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.baselines import TITLES
from mmpsy_jax.io import write_atomically


def write_card(workdir: str | os.PathLike, report: Mapping[str, Any]) -> None:
    """Writes `README.md` beside the report of a training.

    Args:
      workdir: folder of the run.
      report: content of `report.json`, with the "context" of a training.
    """
    write_atomically(Path(workdir) / "README.md", render(report))


def render(report: Mapping[str, Any]) -> str:
    """The card as Markdown; what comes from outside is written as JSON strings in the header and as code below."""
    context = report["context"]
    split = wording.headline_split(report)
    return wording.template("model_card.md").render(
        report=report,
        title=wording.title(context),
        disclaimer=wording.disclaimer(report),
        corpus=context["corpus"],
        dataset=wording.dataset(context["corpus"]) or "unnamed corpus",
        config=context["config"],
        environment=context["environment"],
        split=split,
        results=list(wording.headline(report, split)),
        titles=TITLES,
        interval_note=wording.interval_note(report),
        intended_use=wording.intended_use(report),
        methods=wording.methods(report),
    )
