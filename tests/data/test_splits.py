"""Splits and folds: by participant, disjoint, covering, stratified, deterministic."""

import dataclasses

import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.io import InputError


@pytest.fixture(scope="module")
def big(corpus):
    """A corpus of 400 participants as far as splits look at it."""
    rng = np.random.default_rng(0)
    phq = np.round(np.minimum(27, rng.exponential(6, 400))).astype(np.float32)
    gad = np.clip(np.round(0.7 * phq + rng.normal(0, 2, 400)), 0, 21).astype(np.float32)
    gad[:30] = np.nan
    names = tuple(map(str, range(400)))
    labels = {"phq9": phq, "gad7": gad}
    return dataclasses.replace(corpus, participants=names, split=("train",) * 400, cluster=names, labels=labels)


STRATA = [("phq9", 10), ("gad7", 10)]


def test_by_name(corpus):
    split = splits.by_name(corpus)
    assert [len(split[name]) for name in ("train", "validation", "test")] == [17, 6, 7]
    assert all(corpus.split[i] == name for name, part in split.items() for i in part)


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("stratify_by", [(), STRATA])
def test_folds_are_disjoint_and_cover(big, k, stratify_by):
    made = splits.folds(big, k, 0, stratify_by, 0.15)
    assert len(made) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([split["test"] for split in made])), np.arange(400))
    for split in made:
        assert sorted(np.concatenate(list(split.values()))) == list(range(400))
        assert len(split["validation"]) == round(0.15 * (400 - len(split["test"])))


def test_published_folds(big, tmp_path):
    path, rows = tmp_path / "folds.csv", [f"{i},fold{i % 10 + 1}" for i in range(400)]

    def read(lines, k=10, corpus=big):
        path.write_text("\n".join(["participant,fold", *lines, "somebody_else,fold1"]))
        return splits.read_folds(corpus, str(path), k)

    fold_of = read(rows)
    assert fold_of.tolist() == [i % 10 for i in range(400)]  # fold10 is the last
    made = splits.folds(big, 10, 0, STRATA, 0.2, fold_of)
    for number, split in enumerate(made):
        assert (split["test"] % 10 == number).all() and len(split["test"]) == 40 and len(split["validation"]) == 72
    for lines, k, message in (
        (rows[1:], 10, "1 of 400 participants are not listed"),
        (rows, 5, "holds 10 folds of these participants: set config.cv.folds=10"),
        ([*rows, "3,fold1"], 10, "line 402: a participant is in no fold, or in another one"),
        (["3,", *rows], 10, "line 2: a participant is in no fold"),
    ):
        with pytest.raises(InputError, match=message):
            read(lines, k)
    with pytest.raises(InputError, match="a cluster of participants is in two folds"):
        read(rows, 10, dataclasses.replace(big, cluster=("a",) * 2 + big.cluster[2:]))
    with pytest.raises(InputError, match="holds no folds"):
        splits.read_folds(big, splits.PUBLISHED, 5)


def test_folds_are_stratified(big):
    high = {name: np.nan_to_num(big.labels[name]) >= 10 for name in ("phq9", "gad7")}
    missing = np.isnan(big.labels["gad7"])
    for split in splits.folds(big, 5, 3, STRATA, 0.2):
        for part in split.values():
            for flags in (*high.values(), missing):
                assert abs(flags[part].mean() - flags.mean()) < 0.03


def test_folds_depend_on_the_seed_only(big):
    one, same, other = (splits.folds(big, 4, seed, STRATA) for seed in (1, 1, 2))
    assert all(np.array_equal(a[p], b[p]) for a, b in zip(one, same, strict=True) for p in a)
    assert not all(np.array_equal(a["test"], b["test"]) for a, b in zip(one, other, strict=True))


def test_rare_strata_do_not_stop_a_small_corpus(corpus):
    made = splits.folds(corpus, 5, 0, STRATA, 0.1)
    assert [len(split["test"]) for split in made] == [6] * 5


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (1, {}, "between 2 and"),
        (300, {}, "between 2 and half"),
        (5, {"validation_fraction": 1}, "validation_fraction 1"),
        (5, {"stratify_by": [("pcl5", 33)]}, "unknown label to stratify by 'pcl5'.*gad7, phq9"),
    ],
)
def test_unusable_arguments(big, k, options, message):
    with pytest.raises(InputError, match=message):
        splits.folds(big, k, 0, **options)


def test_overlap_is_noticed():
    with pytest.raises(AssertionError, match="not disjoint"):
        splits.check({"train": np.array([0, 1]), "test": np.array([1])}, "ab")


def test_no_validation_part_where_nothing_is_selected(big):
    for split in splits.folds(big, 5, 0, STRATA, 0):
        assert len(split["validation"]) == 0 and len(split["train"]) + len(split["test"]) == 400


def test_groups_stay_together(big):
    callers = np.random.default_rng(1).integers(0, 40, 400)
    grouped = dataclasses.replace(big, cluster=tuple(map(str, callers)))
    made = splits.folds(grouped, 4, 0, STRATA, 0.2)
    np.testing.assert_array_equal(np.sort(np.concatenate([split["test"] for split in made])), np.arange(400))
    for split in made:
        owners = [set(callers[part]) for part in split.values()]
        assert all(owners) and sum(map(len, owners)) == len(set.union(*owners)) == 40
        assert 0.1 < len(split["validation"]) / (400 - len(split["test"])) < 0.3
    for split in splits.inner(grouped, made[0]["train"], 3, 0, STRATA):
        assert not set(callers[split["train"]]) & set(callers[split["validation"]])
    with pytest.raises(InputError, match=r"half the number of participants or clusters \(20\)"):
        splits.folds(grouped, 21, 0)
    divided = dataclasses.replace(big, split=("train", "test") * 200, cluster=("same",) * 400)
    with pytest.raises(AssertionError, match="share a cluster"):
        splits.by_name(divided)
    within = dataclasses.replace(divided, card={**big.card, "within_clusters": True, "split_rule": "by time"})
    assert len(splits.by_name(within)["test"]) == 200
    for fold in (lambda: splits.folds(within, 2, 0), lambda: splits.inner(within, np.arange(20), 2, 0)):
        with pytest.raises(InputError, match=r"divide each cluster \(by time\), folds keep clusters whole"):
            fold()
