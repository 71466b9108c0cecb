"""`import mmpsy_jax as mp`: the verbs as functions, with frames and reports that show themselves."""

import ast
import json
import subprocess
import sys

import pandas
import pytest

import mmpsy_jax as mp
from tests import runs


def test_nothing_is_imported_before_it_is_asked_for():
    code = "import sys, mmpsy_jax; assert not {'numpy', 'jax', 'pandas'} & set(sys.modules); print(dir(mmpsy_jax))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=runs.ROOT)
    assert shown.returncode == 0 and "load_run" in shown.stdout, shown.stderr
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = mp.trian


def test_predictions_of_any_tool_are_scored_from_a_frame(tmp_path):
    n = 60
    frame = pandas.DataFrame(
        {"participant_id": [f"p{i}" for i in range(n)], "task": "screen", "y_true": [i % 2 for i in range(n)]}
    )
    frame["y_prob"] = [0.3 + 0.4 * (i % 2) + 0.2 * (i % 7 == 0) for i in range(n)]
    report = mp.evaluate(frame, output=tmp_path / "out")
    assert "screen" in report.summary() and "<pre>" in report._repr_html_()
    assert (tmp_path / "out" / "report.html").exists()
    bands = frame.assign(task="bands", y_pred=frame.y_prob).drop(columns="y_prob")
    assert mp.evaluate(bands, ordinal="bands")["tasks"]["bands"]["kind"] == "ordinal"
    with pytest.raises(mp.InputError, match="y_true"):
        mp.evaluate(frame.drop(columns="y_true"))


def test_a_config_is_given_by_name_and_fields():
    from mmpsy_jax.commands.train import configure

    config = configure("smoke", {"model.name": "lf_dnn", "model.fusion_width": 64, "cv.folds": 3})
    assert (config.model.name, config.model.fusion_width, config.cv.folds) == ("lf_dnn", 64, 3)
    with pytest.raises(mp.InputError, match=r"unknown config field 'cv.fold' \(did you mean 'cv.folds'\?\)"):
        configure("smoke", {"cv.fold": 3})
    with pytest.raises(mp.InputError, match=r"cv\.folds|int"):
        configure("smoke", {"cv.folds": "three"})


def test_a_run_trains_and_predicts(dataset, tmp_path, capsys):
    sizes = {f"model.{size}": 8 for size in runs.LEAN}
    fields = {"model.name": "lf_dnn", "data.parts": 1, "total": "2 epochs", "evaluation.bootstrap": 20, **sizes}
    run = mp.train("phq", fields | {"data.folder": dataset, "compile_cache": ""}, workdir=tmp_path / "run")
    told = capsys.readouterr().err
    assert all(f"evaluation, step {k} of 4: " in told for k in range(1, 5)) and "task 1 of " in told
    assert not any(name in told for name in run.predictions.participant_id)
    assert {"participant_id", "task", "y_true"} <= set(run.predictions.columns)
    assert "report.html" in run._repr_html_() and "phq" in repr(run)
    frame = mp.load_run(tmp_path / "run").predict(dataset)
    assert set(frame.participant_id) >= set(run.predictions.participant_id) and frame.attrs["left_out"] == []
    with pytest.raises(mp.InputError, match=r"no config\.json"):
        mp.load_run(tmp_path)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    """Cell by cell, as a notebook does; the last value of a cell shows itself."""
    cells = json.loads((runs.ROOT / "docs" / "tutorial.ipynb").read_text())["cells"]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), "tutorial", "exec"), names)
            shown = isinstance(last, ast.Expr)
            value = eval(ast.unparse(last), names) if shown else exec(ast.unparse(last), names)
            assert not shown or repr(value)
        assert not cell.get("outputs"), "clear the outputs before the notebook is kept"
    assert names["new"].participant_id.nunique() == 80
