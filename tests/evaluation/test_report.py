"""The written report: parsed as a reader's browser would, and searched for what must and must not be there."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation_samples import AUDIT, CURVES, EMOTION, TASKS, cross_validation, emotions, one_run

import launch
import mmpsy_jax
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation import wording
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.io import InputError

VOID = {"meta", "br", "link", "img", "input", "hr"}
OPTIMUM = {
    "how": "posterior given the planted cues",
    "cutoff": 10,
    "population": {
        "phq9": {m: {"auroc": 0.901, "auprc": 0.7, "ccc": 0.6, "mae": 2.1} for m in ("audio", "text", "both")},
        "emotion": {"face": {"accuracy": 0.777}},  # another metric in the same table
    },
    "test": {"participants": 120, "phq9": {"both": {"auroc": 0.912, "auprc": 0.7, "ccc": 0.6, "mae": 2.1}}},
}


class Page(HTMLParser):
    """Elements, attributes and visible text; checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"unclosed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def write(folder, *, synthetic=True, made=None, name="phq", tasks=TASKS, **context):
    made = made or one_run()
    beside = {"length": one_run(noise=30.0, rng_seed=1), "prior": one_run(noise=500.0, rng_seed=2)}
    report = reports.evaluate(made, tasks, baselines=beside, n_bootstrap=100, synthetic=synthetic)
    card = {
        "dataset": "mmpsy",
        "config": "demo",
        "synthetic": synthetic,
        "skipped": [{"participant": "user_secret", "reason": "no windows"}],
        "quality": {"duplicates": ["user_secret"]},
    }
    if synthetic:
        card["optimum"] = OPTIMUM
    context = {
        "config": {"name": name, "data": {"modalities": ["audio", "text"]}},
        "environment": {"jax": "0.10.2", "revision": "abc123"},
        "corpus": card,
        **context,
    }
    reports.write_report(
        folder, report, made, tasks, trainings={"": {**CURVES, "moved": [MOVED]}}, context=context, baselines=beside
    )
    return (folder / "report.html").read_text(encoding="utf-8"), json.loads((folder / "report.json").read_text())


MOVED = {"step": 1, "labels/limits": [0.0, 1.0], "labels/text": [1, 2], "changes/text": [3, 0]}
POINTS = [{"model.width": 8, "optimizer.learning_rate": 0.001}, {"model.width": 16, "optimizer.learning_rate": 0.1}]
SWEEP = {"metric": "auroc", "inner_folds": 2, "points": POINTS, "scores": [[0.5, None], [0.6, 0.7]], "chosen": [0, 0]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("synthetic"), audit=AUDIT, sweep=SWEEP)


def test_page_is_balanced_and_loads_nothing(written):
    html, _ = written
    page = Page(html)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    for tag, name, value in page.attributes:
        if name in loading:
            assert value.startswith(("#", "data:")), (tag, name)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert "@import" not in html
    assert all(target.startswith(("#", "'#", '"#')) for target in re.findall(r"url\(([^)]*)\)", html))
    remote = re.findall(r"https?://[^\s\"'<]+", html)
    assert set(remote) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "only the names of namespaces"
    assert html.count("<svg") >= 10


def test_page_says_what_must_be_said(written):
    html, content = written
    page = Page(html)
    assert content["disclaimer"] in page.text and "must not be used for decisions about an individual" in page.text
    assert "SYNTHETIC DATA" in page.text
    assert "0.912 (both)" in page.text, "the constructed optimum stands beside the result"
    assert "0.901" in page.text and "0.777" in page.text and "posterior given the planted cues" in page.text
    auroc = content["tasks"]["phq_screen"]["splits"]["test"]["model"]["auroc"]
    assert f"{auroc['value']:.3f}" in page.text and f"[{auroc['low']:.3f}, {auroc['high']:.3f}]" in page.text
    for text in (
        "transcript length only",
        "0.10.2",
        "abc123",
        "Learning curves",
        "chosen on validation",
        "too good here",
    ):
        assert text in page.text
    for label in ("ROC curve", "Precision-recall", "Reliability", "Confusion", "true score", "Bland-Altman", "loss"):
        assert any(label in value for _, name, value in page.attributes if name == "aria-label"), label
    assert 'name="viewport"' in html and "prefers-color-scheme: dark" in html and "@media print" in html


def test_real_data_is_not_called_synthetic(tmp_path):
    html, content = write(tmp_path, synthetic=False, tasks=TASKS[2:])
    assert "SYNTHETIC" not in html and content["synthetic"] is False
    assert "best possible" not in html


def test_a_synthetic_corpus_card_overrides(tmp_path):
    made = one_run()
    report = reports.evaluate(made, TASKS, n_bootstrap=50, synthetic=False)
    reports.write_report(tmp_path, report, made, TASKS, context={"corpus": {"synthetic": True}})
    assert "SYNTHETIC DATA" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["synthetic"] is True


def test_no_participant_id_in_either_file(written):
    html, content = written
    everything = html + json.dumps(content)
    assert "user_secret" not in everything
    assert not re.search(r"\bp\d{1,3}\b", Page(html).text + json.dumps(content))
    assert content["context"]["corpus"]["n_skipped"] == 1


def test_text_from_outside_is_escaped(tmp_path):
    html, _ = write(
        tmp_path, name="<script>alert(1)</script>", tasks=TASKS[:1], extra={"note": "<img src=http://x.example/a>"}
    )
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "img" not in Page(html).tags


def test_cross_validation_page_and_summary(tmp_path):
    made = cross_validation()
    report = reports.evaluate(made, TASKS, n_bootstrap=100)
    reports.write_report(tmp_path, report, made, TASKS)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "of 3 folds are pooled" in text and "of 2 seeds are averaged" in text
    assert "Each fold alone" in text and "Each seed alone" in text and "in fold 2" in text
    lines = reports.summary(report)
    value = report["tasks"]["phq_screen"]["splits"]["test"]["model"]["auroc"]
    assert f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" in lines
    assert re.search(r"\nphq_screen \(participants: 150, 98 events\) +AUROC", lines) and "SYNTHETIC" not in lines
    assert reports.summary({**report, "synthetic": True}).startswith("SYNTHETIC DATA")
    assert max(map(len, lines.splitlines())) <= 100


def test_undefined_metrics_are_drawn_and_said(tmp_path):
    made = Predictions.build([f"p{i}" for i in range(20)], "phq_screen", 0, y_prob=np.linspace(0, 1, 20))
    report = reports.evaluate(made, TASKS[:1], n_bootstrap=50)
    reports.write_report(tmp_path, report, made, TASKS[:1])
    text = Page((tmp_path / "report.html").read_text()).text
    assert "undefined" in text and "all participants belong to one class" in text and "Red flag" in text
    assert "undefined" in reports.summary(report)


def test_evaluate_file_infers_tasks(tmp_path):
    made = one_run()
    write_csv(tmp_path / "p.csv", made)
    report = reports.evaluate_file(tmp_path / "p.csv", n_bootstrap=50)
    kinds = {name: entry["kind"] for name, entry in report["tasks"].items()}
    assert kinds == {"phq_screen": "binary", "phq_bands": "regression", "phq_score": "regression"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv"], "nothing is written unless asked for"
    write_csv(tmp_path / "other.csv", one_run(noise=9.0, rng_seed=1))
    report = reports.evaluate_file(
        tmp_path / "p.csv", output=tmp_path / "out", compare=tmp_path / "other.csv", n_bootstrap=50
    )
    assert "other" in report["tasks"]["phq_screen"]["splits"]["test"]["differences"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "tables"]


def test_evaluate_file_takes_tasks_and_the_synthetic_mark_from_our_own_report(tmp_path, written):
    (tmp_path / "report.json").write_text(json.dumps(written[1]))
    write_csv(tmp_path / "predictions.csv", one_run())
    report = reports.evaluate_file(tmp_path / "predictions.csv", n_bootstrap=50)
    assert report["synthetic"] and report["tasks"]["phq_bands"]["kind"] == "ordinal"
    assert report["task_definitions"][0]["cutoffs"] == [10]
    (tmp_path / "report.json").write_text('{"foreign": 1}')
    assert not reports.evaluate_file(tmp_path / "predictions.csv", n_bootstrap=50)["synthetic"]
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        reports.evaluate_file(tmp_path / "predictions.csv", n_bootstrap=50)


def test_the_room_never_imports_jax():
    import subprocess
    import sys

    code = (
        "import sys, mmpsy_jax.evaluation.report, mmpsy_jax.evaluation.baselines\n"
        "assert not {'jax', 'flax', 'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reports_speak_of_what_the_tasks_are_about(tmp_path):
    """Emotions of recordings: no questionnaire, no transcript, no PHQ-9 in any form of the report."""
    made = emotions()
    report = reports.evaluate(made, [EMOTION], baselines={"prior": emotions(right=0.1)}, n_bootstrap=50)
    context = {"corpus": {"dataset": "calls", "modalities": {"audio": {"shape": [16000, 1]}}, "synthetic": False}}
    reports.write_report(tmp_path, report, made, [EMOTION], context=context)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for form in (text, (tmp_path / "report.json").read_text(), reports.summary(report)):
        for word in ("PHQ", "GAD", "questionnaire", "depression"):
            assert word not in form, word
    assert "Its estimates of emotion are no findings about a person" in text
    assert "how far emotion can be estimated from audio" in text
    about = {"tasks": {str(k): {"label": f"label_{k}"} for k in range(8)}}
    assert "label_0, label_1, label_2, label_3, label_4 and 3 more" in wording.disclaimer(about)
    assert wording.disclaimer({"tasks": {"x": {"label": "PHQ8"}}}) == mmpsy_jax.DISCLAIMER


def test_the_page_lists_what_was_checked_and_what_was_not(written, tmp_path):
    html, content = written
    text = Page(html).text
    assert "Checked: participants shared between splits, thresholds chosen" in text
    assert "Not checked: near-duplicate transcripts across splits (only a training looks for them)" in text
    assert content["checks"]["auroc_too_good"] == "the data are synthetic"


def test_notes_of_tables_reach_terminal_and_report_without_folders(tmp_path):
    write_csv(tmp_path / "p.csv", one_run())
    table = (tmp_path / "p.csv").read_text().replace(",", ";").replace("participant_id", "Participant_ID")
    (tmp_path / "mine.csv").write_text(table)
    report = reports.evaluate_file(tmp_path / "mine.csv", output=tmp_path / "out", n_bootstrap=20)
    notes = [flag["message"] for flag in report["flags"] if flag["code"] == "table"]
    assert notes[0] == "mine.csv: cells are read as separated by semicolons."
    assert "Participant_ID as participant_id" in notes[1] and all(
        note in " ".join(reports.summary(report).split()) for note in notes
    )
    assert str(tmp_path) not in (tmp_path / "out" / "report.json").read_text()


def test_the_page_is_a_function_of_report_json(written, tmp_path, capsys):
    """Byte for byte, of a run (with a sweep, curves, labels that moved) and of a foreign table."""
    html, content = written
    write_csv(tmp_path / "p.csv", emotions())
    reports.evaluate_file(tmp_path / "p.csv", [EMOTION], output=tmp_path / "table", n_bootstrap=20)
    output = tmp_path / "again"
    assert launch.main(["report", f"--json={tmp_path / 'table' / 'report.json'}", f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"report: {output / 'report.html'}\n"
    assert not (output / "report.json").exists()
    for file in ("report.html", "tables/metrics.csv", "tables/headline.tex"):
        assert (output / file).read_bytes() == (tmp_path / "table" / file).read_bytes()
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert launch.main(["report", f"--json={tmp_path / 'report.json'}"]) == 0
    assert (tmp_path / "report.html").read_text() == html
    for title in ("Settings tried", "Generated labels", "Learning curves", "Flow of participants"):
        assert title in html, title


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: None, "no report of ours"),
        (lambda content: {**content, "format": 99}, "no report of ours"),
        (lambda content: {**content, "tasks": 7}, "damaged"),
        (lambda content: {**content, "flags": [{}]}, "damaged"),
        (lambda content: {**content, "curves": {"phq_screen": {"test": {"roc": {}}}}}, "damaged"),
        (lambda content: {**content, "task_definitions": [{"name": "x"}]}, "damaged"),
        (lambda content: {**content, "bootstrap": {}}, "damaged"),
    ],
)
def test_a_foreign_or_damaged_report_is_one_line(written, tmp_path, capsys, change, says):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(change(written[1])))
    assert launch.main(["report", "--json", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error and str(file) in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]


def test_a_report_without_pictures_of_an_older_version_is_shown(written, tmp_path):
    old = {k: v for k, v in written[1].items() if k not in ("curves", "learning_curves", "label_updates", "checks")}
    old["subgroups"] = {"columns": {"sex": {"phq_screen": {"test": [{"group": "unknown to us", "suppressed": True}]}}}}
    (tmp_path / "report.json").write_text(json.dumps(old))
    html = reports.write_page(tmp_path / "report.json").read_text()
    assert (
        "unknown to us" in html and "Operating points" in html and "ROC curve" not in html and "Decision curve" in html
    )
