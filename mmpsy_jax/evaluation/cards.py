"""The model card that a training leaves in its workdir: `README.md` with the header that Hugging Face reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from mmpsy_jax.evaluation import page, wording
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
    loader = jinja2.FileSystemLoader(page.TEMPLATES)
    # Markdown, not HTML: escaping would put &gt; into code spans.
    environment = jinja2.Environment(
        loader=loader, autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    context = report["context"]
    corpus = context["corpus"]
    split = wording.headline_split(report)
    return environment.get_template("model_card.md").render(
        title=wording.title(context),
        synthetic=report["synthetic"],
        disclaimer=wording.disclaimer(report),
        corpus=corpus,
        dataset=wording.dataset(corpus) or "unnamed corpus",
        config=context["config"],
        environment=context["environment"],
        split=split,
        targets={name: wording.target(entry) for name, entry in report["tasks"].items()},
        results=_results(report, split),
        baselines=[TITLES.get(name, name) for name in report["baselines"]],
        interval_note=wording.interval_note(report),
        spread_note=wording.spread_note(report),
        flags=report["flags"],
        intended_use=wording.intended_use(report),
        methods=(*page.METHODS, *page.TRAINING_METHODS),
    )


def _results(report: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """A row per task and headline metric."""
    rows = []
    for name, scored, metric in wording.headline(report, split):
        beside = [scored["baselines"].get(baseline) for baseline in report["baselines"]]
        rows.append(
            {
                "task": name,
                "kind": report["tasks"][name]["kind"],
                "participants": scored["n_participants"],
                "metric": metric,
                "label": wording.label(metric),
                "value": scored["model"][metric]["value"],
                "shown": wording.estimate(metric, scored["model"][metric]),
                "baselines": ["-" if one is None else wording.estimate(metric, one[metric]) for one in beside],
            }
        )
    return rows


def _code(value: Any) -> str:
    """A code span on one line that its content cannot leave."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "/")
    return f"`{text}`" if text else ""
