"""The tables beside a report: the numbers of the report, safe in a spreadsheet, plain in LaTeX."""

import copy
import csv
import re
import shutil
import subprocess

import pytest
from evaluation_samples import TASKS, cross_validation, one_run, with_later_keys

from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation import tables, wording


@pytest.fixture(scope="module")
def report():
    beside = {"=cmd": one_run(noise=30.0, rng_seed=1)}
    return with_later_keys(reports.evaluate(one_run(), TASKS, baselines=beside, n_bootstrap=50, synthetic=True))


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_the_report_is_in_a_table(report, tmp_path):
    tables.write_tables(tmp_path, report)
    names = {"headline", "metrics", "operating_points", "comparisons", "subgroups"}
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.{end}" for name in names for end in ("csv", "tex")}
    found = {
        (row["task"], row["split"], row["predictor"], row["metric"]): row for row in rows(tmp_path / "metrics.csv")
    }
    n = 0
    for task, entry in report["tasks"].items():
        for split, scored in entry["splits"].items():
            parts = {"model": scored["model"], "'=cmd": scored["baselines"]["=cmd"]}
            for predictor, cells in {**parts, "model - =cmd": scored["differences"]["=cmd"]}.items():
                for metric, cell in cells.items():
                    row = found[task, split, predictor, metric]
                    n += 1
                    for name in ("value", "low", "high"):
                        assert row[name] == ("" if cell[name] is None else repr(cell[name]))
    assert n == len(found)
    headline = rows(tmp_path / "headline.csv")
    assert {(row["split"], row["predictor"]) for row in headline} == {("test", "model"), ("test", "'=cmd")}
    assert {row["metric"] for row in headline} == {"auroc", "auprc", "qwk", "macro_mae", "mae", "ccc"}
    assert len(rows(tmp_path / "operating_points.csv")) == 2 * 4 * 6
    assert rows(tmp_path / "comparisons.csv")[0]["p_holm"] == "0.0312"
    (group,) = rows(tmp_path / "subgroups.csv")
    assert group["subgroup"] == "<younger>" and group["events"] == "12" and group["value"] == "0.8125"


def test_folds_and_seeds(tmp_path):
    report = reports.evaluate(cross_validation(), TASKS, n_bootstrap=50)
    (tmp_path / "subgroups.tex").write_text("of an earlier report")
    tables.write_tables(tmp_path, report)
    assert not (tmp_path / "subgroups.tex").exists()
    spread = report["tasks"]["phq_score"]["splits"]["test"]
    found = {
        (row["unit"], row["id"]): float(row["value"])
        for row in rows(tmp_path / "folds_and_seeds.csv")
        if (row["task"], row["split"], row["metric"]) == ("phq_score", "test", "mae")
    }
    assert [found["fold", str(i)] for i in range(3)] == spread["folds"]["model"]["mae"]["values"]
    assert [found["seed", str(i)] for i in range(2)] == spread["seeds"]["model"]["mae"]["values"]
    assert found["fold", "sd"] == spread["folds"]["model"]["mae"]["sd"]


def test_latex_is_escaped_and_rectangular(report):
    text = tables.to_latex(tables.tables(report)["subgroups"], report["synthetic"])
    assert "$<$younger$>$" in text and "phq\\_screen" in text and text.startswith("% SYNTHETIC")
    assert "0.812 [0.713, 0.912]" in text
    nasty = tables.Table("", ("task", "n"), [('a&b%c$d#e_f{g}h~i^j\\k<l>m|n"o', None)])
    body = tables.to_latex(nasty).splitlines()
    assert body[4] == (
        r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k$<$l$>$m$|$n''o &  \\"
    )
    for table in tables.tables(report).values():
        lines = tables.to_latex(table).splitlines()
        width = len(re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0]).group(1))
        cells = [line for line in lines if line.endswith(r"\\")]
        assert len(cells) == len(table.rows) + 1
        assert all(len(re.findall(r"(?<!\\)&", line)) == width - 1 for line in cells)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: apt-get install texlive-latex-base")
def test_latex_compiles_without_packages(report, tmp_path):
    tables.write_tables(tmp_path, report)
    inputs = "\n\n".join(rf"\input{{{path.name}}}" for path in sorted(tmp_path.glob("*.tex")))
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\begin{{document}}{inputs}\end{{document}}", encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_method_that_took_over_is_named_in_every_form(report):
    """An interval that was widened as far as its estimate says so in CSV, in LaTeX and in one line of text."""
    report = copy.deepcopy(report)
    reason = "percentile interval, widened to the estimate: nearly all resamples lie above it"
    cell = {"value": 0.039, "low": 0.039, "high": 0.08, "interval": "widened", "reason": reason}
    report["tasks"]["phq_screen"]["splits"]["test"]["model"]["ece"] = cell
    table = tables.tables(report)["metrics"]
    assert f"ece,0.039,0.039,0.08,widened,{chr(34)}{reason}{chr(34)}" in tables.to_csv(table)
    assert "0.039 [0.039, 0.080; percentile, widened]" in tables.to_latex(table)
    assert "widened" not in wording.estimate("ece", {**cell, "reason": "", "interval": "bca"})
    shown = wording.cell("ece", cell)
    assert shown["reason"] == reason, "on the page"
    terminal = tables.to_text(tables.Table("", ["metric", "model"], [["ECE", shown]]))
    assert terminal.splitlines()[1] == "ECE      0.039 [0.039, 0.080; percentile, widened]"
