"""Subgroups: against a direct computation on the rows of a group, and what must not be shown."""

import json

import numpy as np
import pytest
from evaluation_samples import TASKS, cross_validation, one_run
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score

from mmpsy_jax.evaluation import page, report, scoring, subgroups, tables
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.io import InputError

FAST = {"n_bootstrap": 100}


def of_sizes(**sizes):
    """Test participants of `one_run` (p80, p81, ...) in groups of these sizes."""
    names = np.repeat(list(sizes), list(sizes.values()))
    return subgroups.Subgroups(np.array([f"p{80 + i}" for i in range(len(names))]), {"sex": names})


def test_metrics_are_those_of_the_rows_of_the_group():
    made, given = one_run(), of_sizes(a=70, b=50)
    found = subgroups.evaluate(made, TASKS, given, **FAST)
    assert found["n_unknown"] == 0 and list(found["columns"]) == ["sex"]
    json.dumps(found, allow_nan=False)
    for name, own in (("a", slice(0, 70)), ("b", slice(70, 120))):
        entry = {task: splits["test"] for task, splits in found["columns"]["sex"].items()}
        screen, score = (next(e for e in entry[t] if e["subgroup"] == name) for t in ("phq_screen", "phq_score"))
        rows = made.select(task="phq_screen", split="test").take(np.arange(120)[own])
        assert screen["n"] == len(rows) and screen["n_events"] == rows.y_true.sum()
        cells = screen["metrics"]
        assert list(cells) == ["auroc", "brier", "sensitivity", "specificity"]
        assert cells["auroc"]["value"] == pytest.approx(roc_auc_score(rows.y_true, rows.y_prob))
        assert cells["brier"]["value"] == pytest.approx(brier_score_loss(rows.y_true, rows.y_prob))
        whole = scoring.evaluate(made, TASKS[:1], **FAST)["tasks"]["phq_screen"]["thresholds"]["model"][0]["value"]
        positive = rows.y_true == 1
        assert cells["sensitivity"]["value"] == pytest.approx((rows.y_prob[positive] >= whole).mean())
        assert cells["specificity"]["value"] == pytest.approx((rows.y_prob[~positive] < whole).mean())
        assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in cells.values())
        rows = made.select(task="phq_score", split="test").take(np.arange(120)[own])
        assert score["metrics"]["mae"]["value"] == pytest.approx(mean_absolute_error(rows.y_true, rows.y_pred))
        assert "n_events" not in score and list(score["metrics"]) == ["mae", "ccc"]
    assert [e["subgroup"] for e in found["columns"]["sex"]["phq_bands"]["validation"]] == ["not given"]


def test_one_group_of_everybody_is_the_whole_report():
    made = cross_validation()
    everybody = np.unique(made.participant_id)
    given = subgroups.Subgroups(everybody, {"all": np.full(len(everybody), "x")})
    found = subgroups.evaluate(made, TASKS, given, **FAST)["columns"]["all"]
    whole = scoring.evaluate(made, TASKS, **FAST)["tasks"]
    for task in TASKS:
        (entry,) = found[task.name]["test"]
        model = whole[task.name]["splits"]["test"]["model"]
        assert entry["metrics"] == {metric: model[metric] for metric in task.subgroup_metrics}


@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        ({"a": 60, "b": 60}, set()),
        ({"a": 60, "b": 5}, set()),
        ({"a": 60, "b": 4}, {"a", "b"}),  # 4 is what is left of the whole
        ({"a": 60, "b": 4, "c": 30}, {"b", "c"}),
        ({"a": 60, "b": 4, "c": 1}, {"b", "c"}),
        ({"a": 60, "b": 1, "c": 2, "d": 9}, {"b", "c", "d"}),  # 1 + 2 is found by subtraction and too few
        ({"b": 2}, {"b"}),
    ],
)
def test_small_groups_cannot_be_found_by_subtraction(sizes, hidden):
    assert subgroups.suppressed(sizes) == hidden
    entries = subgroups.evaluate(one_run(), TASKS[2:], of_sizes(**sizes), **FAST)["columns"]["sex"]["phq_score"]["test"]
    shown = {e["subgroup"] for e in entries if "n" in e}
    # Who is not in the file is a group too.
    rest = 120 - sum(sizes.values())
    everyone = {**sizes, "not given": rest} if rest else sizes
    assert shown == set(everyone) - subgroups.suppressed(everyone)
    assert all(e == {"subgroup": e["subgroup"], "suppressed": True} for e in entries if "n" not in e)


def test_unknown_participants_are_counted_only():
    given = subgroups.Subgroups(np.array(["p80", "stranger", "other"]), {"sex": np.array(["a", "a", "b"])})
    found = subgroups.evaluate(one_run(), TASKS[2:], given, **FAST)
    assert found["n_unknown"] == 2
    assert "stranger" not in json.dumps(found)


def test_without_a_file_nothing_is_assessed():
    assert "not assessable" in subgroups.evaluate(one_run(), TASKS, None)["reason"]


def test_tables_for_a_terminal():
    report = scoring.evaluate(one_run(), TASKS, n_bootstrap=20)
    report["subgroups"] = subgroups.evaluate(one_run(), TASKS, of_sizes(a=70, b=47, c=3), **FAST)
    table = next(one for one in page.subgroups(report) if one.title == "sex: phq_screen, test")
    entry = report["subgroups"]["columns"]["sex"]["phq_screen"]["test"][0]
    cell = entry["metrics"]["auroc"]
    title, header, *rows = map(str.split, tables.to_text(table).splitlines())
    assert " ".join(title) == table.title and header[:4] == ["subgroup", "participants", "events", "AUROC"]
    assert rows[0][:4] == ["a", "70", str(entry["n_events"]), f"{cell['value']:.3f}"]
    assert [" ".join(row) for row in rows[1:]] == ["b too few to show - - - - -", "c too few to show - - - - -"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column participant_id"),
        ("id,sex\na,f\n", "no column participant_id"),
        ("participant_id\na\n", "no column of subgroups"),
        ("participant_id,\na,f\n", "unknown column ''"),
        ("participant_id,sex\n", "only a header"),
        ("participant_id,sex,sex\na,f,f\n", "the header repeats sex"),
        ("participant_id,sex\na,f\nb,m\na,f\n", "lines 2 and 4: the same participant twice"),
        ("participant_id,sex\n ,f\n", "line 2: participant_id is empty"),
        ("participant_id,sex\na,f,1\n", "line 2 has 3 cells"),
        ("participant_id,age\n" + "".join(f"p{i},{i}\n" for i in range(30)), "'age' has 30 different values"),
        ("participant_id,said\na," + "I feel low " * 5 + "\n", "'said' has a value of 54 characters"),
    ],
)
def test_malformed_files(tmp_path, text, says):
    path = tmp_path / "subgroups.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"groups\.csv: ") as caught:
        subgroups.read_subgroups(path)
    assert says in str(caught.value) and "feel" not in str(caught.value)


def test_subgroups_beside_corpora_are_those_that_all_of_them_have(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, text in ((a, "participant_id,sex,site\np1,f,x\np2,,y\n"), (b, "participant_id,sex\np1,m\n")):
        folder.mkdir()
        (folder / subgroups.FILE).write_text(text)
    one = subgroups.beside({a: ["p2", "p1"]}, ["p2", "p1"])
    assert {name: groups.tolist() for name, groups in one.columns.items()} == {"sex": ["", "f"], "site": ["y", "x"]}
    both = subgroups.beside({a: ["p1", "p2"], b: ["p1", "p3"]}, ["a/p1", "a/p2", "b/p1", "b/p3"])
    assert {name: groups.tolist() for name, groups in both.columns.items()} == {"sex": ["f", "", "m", ""]}
    assert both.of("sex", np.array(["b/p1", "b/p3"])).tolist() == ["m", subgroups.NOT_GIVEN]
    (b / subgroups.FILE).unlink()
    assert subgroups.beside({a: ["p1"], b: ["p1"]}, ["a/p1", "b/p1"]) is None


def test_a_column_of_persons_whom_splits_divide_is_flagged():
    names = np.array([f"s{i}" for i in range(24)])
    persons = np.array([f"anna{i // 2}" for i in range(24)])  # two sessions each

    def flags_of(split, **columns):
        made = Predictions.build(names, "t", np.arange(24) % 2, y_prob=0.5, split=split)
        return subgroups.flags_of(made, subgroups.Subgroups(names, {name: np.array(v) for name, v in columns.items()}))

    apart = np.where(np.arange(24) < 16, "train", "test")
    divided = apart.copy()
    divided[[1, 3]] = "test"  # the second sessions of two persons
    (found,) = flags_of(divided, person=persons, sex=["f", "m"] * 12)
    assert found["level"] == "red" and found["code"] == "group_in_two_splits"
    assert "groups of person are small" in found["message"] and "and 2 of them stand" in found["message"]
    assert not flags_of(apart, person=persons) and not flags_of(divided, site=["a", "b", "c"] * 8)
    assert not flags_of(divided, person=np.where(np.isin(persons, ["anna0", "anna1"]), "", persons))
    assert subgroups.flags_of(Predictions.build(names, "t", np.zeros(24), y_prob=0.5), None) == []


def test_a_file_of_groups_reaches_the_report(tmp_path):
    write_csv(tmp_path / "p.csv", one_run())
    lines = [f"p{i},{'f' if i % 2 else 'm'},{'x' if i < 83 else ''}" for i in range(80, 200)]
    (tmp_path / "subgroups.csv").write_text("\n".join(["participant_id,sex,site", *lines]))
    made = report.evaluate_file(tmp_path / "p.csv", subgroups=tmp_path / "subgroups.csv", output=tmp_path, **FAST)
    assert [e["n"] for e in made["subgroups"]["columns"]["sex"]["phq_score"]["test"]] == [60, 60]
    assert all(e["suppressed"] for e in made["subgroups"]["columns"]["site"]["phq_score"]["test"])
    assert json.loads((tmp_path / "report.json").read_text())["subgroups"] == made["subgroups"]
    assert "reason" in report.evaluate_file(tmp_path / "p.csv", **FAST)["subgroups"]
