"""The model card: a header that YAML reads, the numbers of the report, and what must be said."""

import pytest
import yaml
from evaluation_samples import TASKS, one_run

from mmpsy_jax.evaluation import report as reports

CORPUS = {
    "dataset": "mmpsy",
    "config": "demo",
    "version": "1.0.0",
    "participants": {"train": 377, "test": 310},
    "n_skipped": 2,
    "modalities": {"audio": {"shape": [80, 1800]}},
    "window_seconds": 60.0,
}
CONFIG = {
    "name": 'phq: "`|x',
    "model": {"name": "mental_perceiver"},
    "total": "3 epochs",
    "optimizer": {"learning_rate": 0.001},
    "seeds": 1,
    "cv": {"folds": 0},
    "data": {"batch_size": 32},
}
ENVIRONMENT = {"mmpsy_jax": "0.1.0", "revision": "abc123", "devices": "1 x cpu"}


def card(synthetic, **context):
    beside = {"length": one_run(noise=30.0, rng_seed=1)}
    report = reports.evaluate(one_run(), TASKS, baselines=beside, n_bootstrap=50, synthetic=synthetic)
    text = reports.model_card({**report, "context": context})
    _, header, body = text.split("---\n", 2)
    return report, yaml.safe_load(header), body


@pytest.mark.parametrize("synthetic", [True, False])
def test_card(synthetic):
    report, header, body = card(synthetic, corpus=CORPUS, config=CONFIG, environment=ENVIRONMENT)
    assert ("synthetic" in header["tags"]) == synthetic and ("**SYNTHETIC DATA.**" in body) == synthetic
    assert header["license"] == ("apache-2.0" if synthetic else "other")
    assert ("terms of the corpus" in body) == (not synthetic)
    (index,) = header["model-index"]
    assert index["name"] == 'phq: "`|x on mmpsy/demo'
    values = {(one["task"]["name"], m["type"]): m["value"] for one in index["results"] for m in one["metrics"]}
    tested = {name: entry["splits"]["test"]["model"] for name, entry in report["tasks"].items()}
    assert values == {
        (name, metric): tested[name][metric]["value"]
        for name, metrics in {
            "phq_screen": ("auroc", "auprc"), "phq_bands": ("qwk", "macro_mae"), "phq_score": ("mae", "ccc"),
        }.items()
        for metric in metrics
    }  # fmt: skip
    cell = tested["phq_screen"]["auroc"]
    assert f"**{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]**" in body
    for text in (
        "not be used for decisions about", "## Intended use",
        "377 train, 310 test, 2 left out", "`mental_perceiver`", "`abc123`",
        "learning rate 0.001", "windows of 60.0 s: `audio` `[80, 1800]`", "`transcript length only`",
        "Not for diagnosis",
    ):  # fmt: skip
        assert text in body, text
    assert "{{" not in body and "{%" not in body


def test_the_table_of_results_has_one_row_per_metric():
    *_, body = card(True, corpus=CORPUS, config=CONFIG, environment=ENVIRONMENT)
    lines = [line for line in body.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6 and {line.count("|") for line in lines} == {6}
