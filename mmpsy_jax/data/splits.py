"""Who trains, who selects, who is tested. The unit is the participant, always, and that is asserted."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from mmpsy_jax.data.records import SPLITS, Corpus
from mmpsy_jax.errors import InputError, one_of

Split = dict[str, Int32[np.ndarray, " m"]]


def by_name(corpus: Corpus) -> Split:
    """The splits that the corpus was built with: positions of the participants by `train`, `validation`, `test`."""
    names = np.array(corpus.split)
    split = {name: np.flatnonzero(names == name).astype(np.int32) for name in SPLITS}
    check(split, len(corpus))
    return split


def folds(
    corpus: Corpus,
    k: int,
    seed: int,
    stratify_by: Sequence[tuple[str, float]] = (),
    validation_fraction: float = 0.1,
) -> list[Split]:
    """K-fold cross-validation over all participants of the corpus, whatever split they were built into.

    Args:
      corpus: the participants.
      k: number of folds; each participant is in the test part of exactly one.
      seed: of the assignment, which depends on nothing else but the corpus.
      stratify_by: (label, cut-off) pairs; the share of every combination of `score >= cut-off` (or missing) is kept
        alike over the folds. Combinations too rare for that are treated as one.
      validation_fraction: of the participants outside the test part; 0 leaves the validation part empty, for protocols
        in which nothing is selected.

    Raises:
      InputError: an unknown label, or too few participants for the folds or the stratification.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split  # takes seconds; `by_name` does without

    n = len(corpus)
    if not 2 <= k <= n // 2:
        raise InputError(f"folds: {k} must be between 2 and half the number of participants ({n // 2})")
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation_fraction {validation_fraction} must be at least 0 and less than 1")
    strata = _strata(corpus, stratify_by, at_least=2 * k)
    made = []
    for rest, test in StratifiedKFold(k, shuffle=True, random_state=seed).split(np.zeros(n), strata):
        train, validation = rest, rest[:0]
        if validation_fraction:
            held_out = max(1, round(validation_fraction * len(rest)))
            kinds = len(np.unique(strata[rest]))
            # scikit-learn cannot stratify a part that has fewer members than there are strata.
            stratify = strata[rest] if min(held_out, len(rest) - held_out) >= kinds else None
            train, validation = train_test_split(
                rest, test_size=held_out, random_state=seed + len(made), stratify=stratify, shuffle=True
            )
        parts = {"train": train, "validation": validation, "test": test}
        split = {name: np.sort(part).astype(np.int32) for name, part in parts.items()}
        check(split, n)
        made.append(split)
    if not np.array_equal(np.sort(np.concatenate([split["test"] for split in made])), np.arange(n)):
        raise AssertionError("the test parts of the folds do not cover every participant exactly once")
    return made


def inner(
    corpus: Corpus, members: Int32[np.ndarray, " m"], k: int, seed: int, stratify_by: Sequence[tuple[str, float]] = ()
) -> list[Split]:
    """K folds of some participants, for a choice of settings nested in the training part of an outer fold.

    Args:
      corpus, seed, stratify_by: as `folds`.
      members: the participants; nobody else is in any part.
      k: number of folds.

    Returns:
      per fold `train` and `validation`, which together are the members; `test` is empty.

    Raises:
      InputError: an unknown label, or too few participants.
    """
    from sklearn.model_selection import StratifiedKFold

    members = np.sort(np.asarray(members, np.int32))
    if not 2 <= k <= len(members) // 2:
        raise InputError(
            f"inner folds: {k} must be between 2 and half the number of participants ({len(members) // 2})"
        )
    strata = _strata(corpus, stratify_by, at_least=2 * k, members=members)
    divided = StratifiedKFold(k, shuffle=True, random_state=seed).split(members, strata)
    return [{"train": members[a], "validation": members[b], "test": members[:0]} for a, b in divided]


def check(split: Split, n: int) -> None:
    """Asserts that the parts are disjoint and cover all `n` participants."""
    together = np.concatenate(list(split.values()))
    if not np.array_equal(np.sort(together), np.arange(n)):
        raise AssertionError(f"the parts {list(split)} are not disjoint or leave out some of the {n} participants")


def _strata(
    corpus: Corpus, stratify_by: Sequence[tuple[str, float]], at_least: int, members: np.ndarray | None = None
) -> Int32[np.ndarray, " n"]:
    members = np.arange(len(corpus)) if members is None else members
    codes = np.zeros(len(members), np.int32)
    for label, cutoff in stratify_by:
        if label not in corpus.labels:
            raise one_of("label to stratify by", label, corpus.labels)
        scores = corpus.labels[label][members]
        codes = codes * 3 + np.where(np.isnan(scores), 2, np.nan_to_num(scores) >= cutoff).astype(np.int32)
    values, counts = np.unique(codes, return_counts=True)
    rare = np.isin(codes, values[counts < at_least])
    if rare.sum() < at_least:
        codes[rare] = values[np.argmax(counts)]
    else:
        codes[rare] = -1
    return codes
