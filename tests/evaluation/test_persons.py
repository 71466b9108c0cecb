"""The person-level page: written only where it is asked for, true to the predictions, and said to be personal data."""

import re

import numpy as np
import pytest
from evaluation_samples import EMOTION, TASKS, cross_validation, emotions

import launch
from mmpsy_jax.evaluation import persons
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation.predictions import write_csv
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder, predictions = tmp_path_factory.mktemp("run"), cross_validation()
    write_csv(folder / "predictions.csv", predictions)
    made = reports.evaluate(predictions, TASKS, n_bootstrap=50, synthetic=True)
    reports.write_report(folder, made, predictions, TASKS)
    return folder


def test_a_report_has_no_person_level_page_of_its_own(workdir):
    assert not list(workdir.rglob("persons*"))


def test_each_participant_has_a_row_per_task(workdir, capsys):
    assert launch.main(["report", "--workdirs", str(workdir), "--person-level"]) == 0
    assert "personal data" in capsys.readouterr().out
    html = (workdir / persons.FILE).read_text()
    assert "<b>Personal data</b>" in html and "SYNTHETIC DATA" in html and "not a diagnostic device" in html
    test = cross_validation().select(split="test").over_seeds("binary")
    for task in TASKS:
        rows = test.select(task=task.name)
        table = html.split(f"<h2>{task.name}, test</h2>")[1].split("</table>")[0]
        found = {
            (name, int(fold)): cells
            for name, fold, *cells in re.findall(
                r"<tr><th scope=\"row\">(.*?)</th>" + r"<td>(.*?)</td>" * 4 + "</tr>", table
            )
        }
        assert len(found) == len(rows)
        value = np.where(np.isnan(rows.y_prob), rows.y_pred, rows.y_prob)
        for i in range(len(rows)):
            truth, said, _ = found[rows.participant_id[i], rows.fold[i]]
            assert said == f"{value[i]:.3f}"
            assert truth == ("not known" if np.isnan(rows.y_true[i]) else f"{rows.y_true[i]:g}")


def test_classes_are_named(tmp_path):
    made = emotions()
    write_csv(tmp_path / "predictions.csv", made)
    reports.write_report(tmp_path, reports.evaluate(made, [EMOTION], n_bootstrap=50), made, [EMOTION])
    html = persons.write(tmp_path).read_text()
    rows, names = made.select(split="test"), ("joy", "&lt;fear&gt;", "anger")
    for who, true, said in zip(rows.participant_id, rows.y_true.astype(int), rows.y_pred.astype(int), strict=True):
        assert f"{who}</th><td>0</td><td>{names[true]}</td><td>{names[said]}</td></tr>" in html


def test_it_is_of_one_finished_run(workdir, tmp_path, capsys):
    assert launch.main(["report", "--workdirs", str(workdir), str(tmp_path), "--person-level"]) == 2
    assert "--person-level is for one run, not 2" in capsys.readouterr().err
    (tmp_path / "predictions.csv").write_bytes((workdir / "predictions.csv").read_bytes())
    with pytest.raises(InputError, match=r"no report\.json of ours"):
        persons.write(tmp_path)
