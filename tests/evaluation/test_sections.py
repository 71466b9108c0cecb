"""Sections of the page that stand there only where `report.json` has their key."""

import copy

import pytest
from evaluation_samples import AUDIT, TASKS, cross_validation, estimate, one_run, with_later_keys

from mmpsy_jax.evaluation import audit_page, page, split_page, wording
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation.curves import of_tasks

BESIDE = {"length": one_run(noise=30.0, rng_seed=1), "prior": one_run(noise=500.0, rng_seed=2)}


@pytest.fixture(scope="module")
def plain():
    return reports.evaluate(one_run(), TASKS, baselines=BESIDE, n_bootstrap=50, synthetic=True)


@pytest.fixture(scope="module")
def full(plain):
    return {**with_later_keys(plain), "context": {"audit": AUDIT}}


def render(report, tasks=TASKS):
    curves = {"curves": of_tasks(one_run(), tasks, BESIDE, 0)}
    report = {**report, **curves, "tasks": {task.name: report["tasks"][task.name] for task in tasks}}
    return page.render(report)


@pytest.fixture(scope="module")
def full_page(full):
    ablations = [{"name": "both", "workdir": "x", "tasks": {"phq_score": {"mae": estimate(2.5)}}}]
    return render({**full, "ablations": ablations})


TITLES_OF_LATER_KEYS = (
    "Decision curve",
    "Operating points",
    "Calibration before and after",
    "Tests against the others",
    "Each band",
    "Bland-Altman: bias",
    "% conformal",
    "<h2>Subgroups",
    "<h2>Data<",
    "<h2>Ablations",
)


def test_sections_stand_only_where_their_key_is(plain, full_page):
    report = copy.deepcopy(plain)
    for entry in report["tasks"].values():
        for scored in entry["splits"].values():
            for key in ("operating_points", "decision_curve", "recalibration", "bands", "conformal", "agreement"):
                scored.pop(key, None)
            scored.pop("comparisons", None)
    without = render(report)
    for title in TITLES_OF_LATER_KEYS:
        assert title not in without and title in full_page, title
    assert "Intended use" in without and "TRIPOD+AI" in without


def test_values_reach_the_page(full_page):
    for text in (
        "90% conformal intervals: coverage measured 88.7%, mean width 9.5 points (80 validation participants).",
        "90% conformal sets of bands: coverage measured 91.3%, mean size 2.2",
        "bias -0.42 points, 95 % limits of agreement -6.25 to 5.41",
        "sensitivity of at least 0.90",
        "p &lt; 0.001, Holm 0.031",
        "paired bootstrap",
        "&lt;younger&gt;",
        "too few to show",
        "fitted on validation participants",
        "0.247",
        "left out: no window can be read",
        "50 events, prevalence 0.253",
    ):
        assert text in full_page, text


def test_what_could_not_be_fitted_says_why(full):
    report = copy.deepcopy(full)
    splits = report["tasks"]["phq_screen"]["splits"]
    splits["test"]["recalibration"] = {"fitted_on": None, "reason": "no validation rows in fold 3"}
    conformal = {"level": 0.9, "coverage": None, "mean_width": None, "n_calibration": 4, "reason": "4 rows are too few"}
    report["tasks"]["phq_score"]["splits"]["test"]["conformal"] = conformal
    html = render(report, (TASKS[0], TASKS[2]))
    assert "Not recalibrated: no validation rows in fold 3." in html
    assert "No conformal intervals: 4 rows are too few." in html


def test_subgroups_that_cannot_be_assessed(plain):
    assert "no subgroups file was given" in render(
        {**plain, "subgroups": {"reason": "no subgroups file was given"}}, TASKS[2:]
    )


def test_ablations_show_the_difference_to_the_first(plain):
    cells = {"phq_score": {"mae": estimate(2.5), "ccc": estimate(0.5)}}
    ablations = [
        {"name": "both", "workdir": "a", "tasks": cells},
        {"name": "audio_only", "workdir": "b", "tasks": cells, "differences": {"phq_score": {"mae": estimate(0.75)}}},
    ]
    (table,) = page.ablations({**plain, "ablations": ablations}, every=True)
    assert table.columns == ["run", "MAE: run - both", "MAE", "CCC"]
    assert [row[1] and row[1]["value"] for row in table.rows] == [None, "+0.75"]


@pytest.mark.parametrize(
    ("low", "high", "sign", "said"),
    [
        (0.1, 0.2, 1, "better"),
        (0.1, 0.2, -1, "worse"),
        (-0.2, -0.1, -1, "better"),
        (-0.1, 0.2, 1, "not told apart"),
        (None, None, 1, ""),
        (-0.2, -0.1, 0, ""),
    ],
)
def test_verdicts(low, high, sign, said):
    assert split_page.verdict({"low": low, "high": high}, sign) == said


def test_numbers_for_people():
    assert wording.number("auroc", -0.0004) == "0.000" and wording.number("mae", 1.005) == "1.00"
    assert wording.number("auroc", None) == "undefined"
    assert [wording.p_value(p) for p in (0.0009, 0.001, None)] == ["< 0.001", "0.001", "undefined"]
    assert wording.estimate("ccc", {"value": 0.5, "low": None, "high": None}) == "0.500"


def test_flow_adds_up(full):
    flow, labels, sizes = audit_page.sections(full)
    assert flow.rows[0] == ["found in the source", 200 + 82 + 122 + 4]
    assert flow.rows[3:5] == [["in the corpus", 404], ["with phq9", 398]]
    assert ["in the test split", 122] in flow.rows
    assert ["validation", "audio", 81, 1, "", ""] in labels.rows
    assert ["train", "audio in minutes", "1.00", "2.00", "4.00", "5.00", "10.00"] in sizes.rows
    assert all(row[1] != "windows" for row in sizes.rows), "of what nobody has there are no sizes"


def test_flow_of_a_cross_validation_counts_each_participant_once(full):
    made = reports.evaluate(cross_validation(), TASKS, n_bootstrap=50)
    flow = audit_page.sections({**made, "context": full["context"]})[0]
    assert ["in the test part of some of the 3 folds, with a label", 150] in flow.rows
    assert not any("split" in row[0] for row in flow.rows)


def test_tripod_items_are_all_there_and_filled_in_where_known(full):
    blank = {one["number"]: one["text"] for one in wording.tripod({**full, "context": {}})}
    assert len(blank) == 52 and {int("".join(filter(str.isdigit, number))) for number in blank} == set(range(1, 28))
    assert all(one["asks"] for one in wording.tripod(full))
    by_people = ("2", "3a", "4", "5b", "17", "18a", "19", "25", "26")
    assert all(blank[number] == "" for number in by_people)
    of_trainings = ("7", "12a", "12c", "12g", "18f", "22", "27a")
    assert all(blank[number] == "" for number in of_trainings), "not known of a foreign table"
    assert blank["12f"].endswith("fitted on validation: phq_screen.") and blank["24"].endswith("phq_screen.")
    config = {"model": {"name": "perceiver"}, "total": "3 epochs", "objective": {"class_weights": "none"}}
    corpus = {"dataset": "mmpsy", "config": "demo", "modalities": {"audio": {"shape": [80, 1800]}}}
    environment = {"mmpsy_jax": "0.1.0", "revision": "abc"}
    known = {"config": config, "corpus": corpus, "environment": environment, "audit": AUDIT}
    filled = {one["number"]: one["text"] for one in wording.tripod({**full, "context": known})}
    assert "120 participants" in filled["10"] and "AUROC" in filled["23a"] and "by age" in filled["14"]
    assert "perceiver" in filled["12c"] and "abc" in filled["18f"] and "none" in filled["13"] and filled["20a"]
    assert filled["12a"].startswith("By participants: one division")
    assert "launch.py export" in filled["22"] and "abstains" in filled["27a"] and "predictions.csv" in filled["12g"]
    assert "[80, 1800]" in filled["9b"] and "Synthetic" in filled["5a"]


def test_what_only_a_training_does_is_not_said_of_other_predictions(plain):
    said = "Baselines are fitted on the training split alone"
    assert said not in render(plain, TASKS[2:])
    assert said in render({**plain, "context": {"config": {"name": "phq"}}}, TASKS[2:])


def test_rows_are_called_what_they_are(full):
    """Clips of speakers, also of a card that is too old to say so; nothing is read that the run does not read."""
    shaped = {"text": {"kind": "ids", "shape": [5, 4]}, "audio": {"kind": "frames", "shape": [8, 9]}}
    about = {"corpus": {"dataset": "mmsa", "modalities": shaped}, "config": {"data": {"modalities": ["audio"]}}}
    about["config"] |= {"model": {"name": "perceiver"}, "total": "3 epochs", "objective": {"class_weights": "none"}}
    report = {**full, "context": about, "bootstrap": {**full["bootstrap"], "unit": "clusters of participants"}}
    assert wording.unit(report) == "clips" and wording.unit({**full, "context": {"corpus": {"unit": "days"}}}) == "days"
    assert page.headline(report)[0].columns[1] == "clips" and "over clusters of clips" in wording.interval_note(report)
    assert any(text.startswith("Clusters of clips are the unit of resampling") for text in wording.methods(report))
    html = page.render(report)
    assert "<p>120 clips" in html and "120 participants" not in html
    filled = {one["number"]: one["text"] for one in wording.tripod(report)}
    assert "spectrum" in filled["27a"] and "language" not in filled["27a"] and "120 clips" in filled["10"]
    assert "from audio, on groups" in wording.intended_use(report)[0]
    assert (
        wording.disclaimer(report).startswith("Research software: it estimates phq9, which people")
        and "speech" not in html
    )
