"""Real questionnaires through `evaluate`, beside outside tools: scikit-learn, scipy and those of requirements.txt.

Depression by the usual cut-off is predicted from other columns of two published tables, out of fold, by two logistic
regressions each: CES-D >= 16 of 453 people of a clinical trial (90 % are above), BDI >= 10 of 231 students (23 %).
"""

import csv
import json

import numpy as np
import pytest

from tests.real import tables

pytestmark = pytest.mark.real
RESAMPLES = 2000


@pytest.fixture(scope="module", params=["cesd", "bdi"])
def inference_params(request, assets, launch, tmp_path_factory):
    """Truth, probabilities of two models, and what our report says of them."""
    if request.param == "cesd":
        table, first, second = tables.help_trial(assets), ["age", "female", "pcs", "pss_fr", "indtot", "i1"], ["mcs"]
        truth, shape = np.asarray(table["cesd"] >= 16, int), (453, 407)
    else:
        table, second = tables.psych_tools(assets, "epi.bfi"), ["bfneur"]
        first = [name for name in table.columns if name.startswith(("epi", "bf"))]
        truth, shape = np.asarray(table["bdi"] >= 10, int), (231, 53)
    assert (len(truth), truth.sum()) == shape
    models = [out_of_fold(table[names].to_numpy(float), truth) for names in (first, second)]
    folder = tmp_path_factory.mktemp(request.param)
    for name, probabilities in zip(("first", "second"), models, strict=True):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["participant_id", "task", "y_true", "y_prob"])
            rows = enumerate(zip(truth.tolist(), probabilities.tolist(), strict=True))
            writer.writerows([number, request.param, *row] for number, row in rows)
    files = (f"--predictions={folder / 'first.csv'}", f"--compare={folder / 'second.csv'}", f"--output={folder}")
    print(launch("evaluate", *files).stdout)
    report = json.loads((folder / "report.json").read_text())
    return truth, *models, report["tasks"][request.param]["splits"]["test"]


def out_of_fold(columns, truth):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_predict(model, columns, truth, cv=folds, method="predict_proba")[:, 1]


def test_values_are_those_of_scikit_learn_and_confidenceinterval(evaluated):
    import confidenceinterval as ci
    from sklearn import metrics

    truth, probabilities, _, report = evaluated
    called, ours = (probabilities >= 0.5).astype(int), {name: one["value"] for name, one in report["model"].items()}
    for name, theirs in {
        "auroc": metrics.roc_auc_score(truth, probabilities),
        "auprc": metrics.average_precision_score(truth, probabilities),
        "brier": metrics.brier_score_loss(truth, probabilities),
        "log_loss": metrics.log_loss(truth, probabilities),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, called),
        "mcc": metrics.matthews_corrcoef(truth, called),
        "f1": ci.f1_score(truth, called, average="binary")[0],
        "sensitivity": ci.tpr_score(truth, called)[0],
        "specificity": ci.tnr_score(truth, called)[0],
        "ppv": ci.ppv_score(truth, called)[0],
        "npv": ci.npv_score(truth, called)[0],
    }.items():
        assert ours[name] == pytest.approx(theirs, abs=1e-7), name  # its ppv adds a small number to the denominator


def test_intervals_of_auroc_are_those_of_scipy_and_confidenceinterval(evaluated):
    import confidenceinterval as ci
    from scipy import stats

    truth, probabilities, _, report = evaluated
    ours = report["model"]["auroc"]
    (value, (low, high)) = ci.roc_auc_score(truth, probabilities)  # DeLong, symmetric
    print(f"AUROC {value:.4f}, DeLong [{low:.3f}, {high:.3f}], ours [{ours['low']:.3f}, {ours['high']:.3f}]")
    assert abs(ours["low"] - low) < 0.025 and abs(ours["high"] - high) < 0.025

    def auroc(y, p):
        events = int(y.sum())
        ranks = stats.rankdata(p)
        return (ranks[y == 1].sum() - events * (events + 1) / 2) / (events * (len(y) - events))

    made = stats.bootstrap(
        (truth, probabilities), auroc, paired=True, vectorized=False, n_resamples=RESAMPLES, method="BCa", rng=0
    ).confidence_interval
    print(f"scipy's BCa [{made.low:.3f}, {made.high:.3f}]")
    assert abs(ours["low"] - made.low) < 0.01 and abs(ours["high"] - made.high) < 0.01


def test_net_benefit_is_that_of_dcurves(evaluated):
    import dcurves
    import pandas

    truth, probabilities, _, report = evaluated
    thresholds = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    theirs = dcurves.dca(
        data=pandas.DataFrame({"y": truth, "p": probabilities}), outcome="y", modelnames=["p"], thresholds=thresholds
    )
    theirs = theirs[theirs["model"] == "p"].sort_values("threshold")["net_benefit"]
    curve = report["decision_curve"]
    at = np.searchsorted(curve["thresholds"], np.array(thresholds) - 1e-9)
    np.testing.assert_allclose(np.array(curve["thresholds"])[at], thresholds, atol=1e-9)
    np.testing.assert_allclose(np.array(curve["model"])[at], theirs, atol=1e-9)


def test_the_comparison_of_two_models_is_that_of_mlstatkit(evaluated):
    import MLstatkit

    truth, first, second, report = evaluated
    made = report["comparisons"]["second"]
    _, p, *_ = MLstatkit.Delong_test(truth, first, second)
    print(f"difference {made['difference']:.4f}, p {made['p']:.5f}, MLstatkit's {p:.5f}")
    assert made["test"] == "delong" and made["p"] == pytest.approx(p, rel=1e-6)
