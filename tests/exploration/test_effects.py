"""Effects, separability and oddness against scipy, scikit-learn and planted signals. SYNTHETIC."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from mmpsy_jax.exploration import statistics
from mmpsy_jax.exploration.people import People

N = 80


def people(rng, n=N, rows=1, **changes):
    """Persons with so many rows each, a measure that goes with the score and one that does not."""
    score = np.repeat(rng.integers(0, 28, n).astype(float), rows)
    noise = rng.normal(size=(2, n * rows))
    names = tuple(f"p{i}" for i in range(n * rows))
    about = {
        "title": "small/one",
        "synthetic": True,
        "unit": "participants" if rows == 1 else "clips",
        "participants": names,
        "cluster": tuple(f"c{i // rows}" for i in range(n * rows)),
        "split": ("",) * (n * rows),
        "scores": {"phq9": score},
        "classes": {},
        "groups": {},
        "numbers": {"quiet_share": score / 10 + noise[0], "pitch_sd": noise[1]},
        "means": {},
        "has": {"audio": np.ones(n * rows, bool)},
        "duplicates": {},
        "texts": None,
    }
    return People(**{**about, **changes})


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)


def test_effects_are_those_of_scipy():
    one = people(np.random.default_rng(0))
    entries = {(e["question"], e["measure"]): e for e in statistics.effects(one, {"phq9": 10.0})}
    score = one.scores["phq9"]
    for name, x in one.numbers.items():
        rho = entries["phq9, score", name]
        assert rho["value"] == pytest.approx(scipy.stats.spearmanr(score, x).statistic)
        u = scipy.stats.mannwhitneyu(x[score >= 10], x[score < 10]).statistic
        delta = entries["phq9 >= 10", name]
        assert delta["value"] == pytest.approx(2 * u / ((score >= 10).sum() * (score < 10).sum()) - 1)
        assert delta["n_event"] == (score >= 10).sum()
    assert entries["phq9, score", "quiet_share"]["p_holm"] < 0.001 < 0.05 < entries["phq9, score", "pitch_sd"]["p_holm"]
    assert all(e["low"] <= e["value"] <= e["high"] for e in entries.values())


def test_p_values_keep_their_level_without_an_effect():
    rng, p = np.random.default_rng(1), []
    for _ in range(40):
        one = people(rng, 40, numbers={"pitch_sd": rng.normal(size=40)})
        p += [e["p"] for e in statistics.effects(one, {})]
    assert 0 <= np.mean(np.array(p) < 0.05) <= 0.15 and 0.3 < np.median(p) < 0.7


def test_an_interval_that_ends_at_one_has_a_small_p_value():
    """In Fisher's z the end of the interval is infinitely far; as a width it would make the strongest effects void."""
    strong = statistics.p_value(0.99, 0.955, 1.0)
    assert strong == pytest.approx(statistics.p_value(-0.99, -1.0, -0.955)) and strong < 1e-6
    assert statistics.p_value(0.4, 0.0, 1.0) == pytest.approx(0.05)
    assert statistics.p_value(1.0, 1.0, 1.0) is None


def test_rows_of_a_person_are_drawn_together():
    """A hundred copies of each person say no more than one."""
    rng = np.random.default_rng(2)
    one = people(rng, 30)
    copies = {
        "scores": {"phq9": np.repeat(one.scores["phq9"], 20)},
        "numbers": {name: np.repeat(x, 20) for name, x in one.numbers.items()},
    }
    many = people(rng, 30, 20, **copies)
    single, several = (statistics.effects(p, {})[0] for p in (one, many))
    assert several["value"] == pytest.approx(single["value"])
    width = single["high"] - single["low"]
    assert several["high"] - several["low"] == pytest.approx(width, rel=0.35)


def test_classes_and_two_values_are_groups():
    rng = np.random.default_rng(3)
    classes = {"emotion": ("angry", "calm", "sad")}
    one = people(rng, scores={"emotion": rng.integers(0, 3, N).astype(float), "ill": rng.integers(0, 2, N) * 1.0})
    one = dataclasses.replace(one, classes=classes)
    asked = [question for _, question, kind, _ in statistics.questions(one, {}) if kind == "cliff"]
    assert asked == ["emotion: angry", "emotion: calm", "emotion: sad", "ill 1 against 0"]
    few = dataclasses.replace(one, scores={"ill": np.r_[np.ones(9), np.zeros(N - 9)]}, classes={})
    assert statistics.effects(few, {}) == []


def test_what_is_told_apart_and_what_is_not():
    rng = np.random.default_rng(4)
    site = np.array(["a", "b"])[rng.integers(0, 2, N)]
    shifted = {"quiet_share": rng.normal(size=N) + 3 * (site == "a"), "pitch_sd": rng.normal(size=N)}
    coin = np.array(["x", "y", "z"])[rng.integers(0, 3, N)]
    tiny = np.array(["m"] * (N - 2) + ["f"] * 2)
    one = people(rng, numbers=shifted, groups={"site": site, "coin": coin, "sex": tiny})
    by_column = {entry["column"]: entry for entry in statistics.told_apart(one)}
    assert by_column["site"]["value"] > 0.9 and by_column["site"]["low"] > 0.8
    assert 0.25 < by_column["coin"]["value"] < 0.7 and "value" not in by_column["sex"]
    assert "f" not in statistics.shown_categories(tiny)


def test_a_person_is_not_recognised_again():
    """Clips of a person are all alike and in one site: only models of other persons judge them."""
    rng = np.random.default_rng(5)
    own = np.repeat(rng.normal(size=(4, 40)), 5, axis=1)
    site = np.repeat(np.array(["a", "b"])[rng.integers(0, 2, 40)], 5)
    one = people(rng, 40, 5, numbers={f"m{i}_spread_": x for i, x in enumerate(own)}, groups={"site": site})
    (entry,) = statistics.told_apart(one)
    assert entry["value"] < 0.75


def test_the_map_holds_everybody_and_no_small_category():
    rng = np.random.default_rng(6)
    x = rng.normal(size=N)
    x[:3] = np.nan
    one = people(rng, numbers={"pitch_sd": x, "quiet_share": 2 * x + 0.01 * rng.normal(size=N), "level_sd": x * np.nan})
    one = dataclasses.replace(
        one, groups={"site": ["a"] * (N - 3) + ["b"] * 3}, means={"text": rng.normal(size=(N, 4))}
    )
    drawn = statistics.map_of(one)
    assert sum(drawn["all"]["n"]) == N == sum(drawn["scores"]["phq9"]["n"]) and drawn["features"] == 6
    assert drawn["explained"][0] > 0.4 and drawn["groups"]["site"] == {}
    assert statistics.map_of(people(rng, 2)) is None


def test_who_is_odd():
    rng = np.random.default_rng(7)
    x = rng.normal(size=N)
    x[5] = 40.0
    entries = statistics.odd(people(rng, numbers={"pitch_sd": x, "n_words": np.exp(rng.normal(5, 0.5, N))}))
    assert entries[0]["row"] == 5 and entries[0]["z"] > 20 and len({one["row"] for one in entries}) < 5
    assert statistics.odd(people(rng, numbers={"pitch_sd": np.r_[np.zeros(N - 1), 1.0]})) == []


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_few_people_of_whom_little_is_known(n):
    """No number is invented, none is drawn that is not there, and nothing fails."""
    from mmpsy_jax.exploration import explore, page

    rng = np.random.default_rng(n)
    half = np.where(np.arange(n) % 2, np.nan, 1.0)
    one = people(
        rng,
        n,
        scores={"phq9": half, "gad7": np.full(n, np.nan), "emotion": half},
        classes={"emotion": ("calm", "sad")},
        numbers={"quiet_share": half, "n_words": np.arange(n) * 1.0, "pitch_sd": np.ones(n)},
        groups={"site": ["a"] * n, "sex": [""] * n},
        means={"text": np.full((n, 3), np.nan)},
    )
    content = explore.explore(one)
    assert content["effects"] == [] == content["correlations"] and all("value" not in e for e in content["told_apart"])
    assert page.render(content) and page.summary(content).startswith("SYNTHETIC")
