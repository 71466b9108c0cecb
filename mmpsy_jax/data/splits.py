"""Who trains, who selects, who is tested. The unit is the participant, always, and that is asserted.

Where participants of a corpus belong together (`Corpus.cluster`: segments of one caller), the unit is the cluster.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from mmpsy_jax.data.records import SPLITS, Corpus
from mmpsy_jax.io import InputError, one_of, read_table

PUBLISHED, FOLDS_FILE = "published", "folds.csv"  # of a corpus whose source divides it into folds
Split = dict[str, Int32[np.ndarray, " m"]]


def by_name(corpus: Corpus) -> Split:
    """The splits that the corpus was built with: positions of the participants by `train`, `validation`, `test`."""
    names = np.array(corpus.split)
    split = {name: np.flatnonzero(names == name).astype(np.int32) for name in SPLITS}
    check(split, corpus.participants if corpus.within_clusters else corpus.cluster)
    return split


def folds(
    corpus: Corpus,
    k: int,
    seed: int,
    stratify_by: Sequence[tuple[str, float]] = (),
    validation_fraction: float = 0.1,
    fold_of: Int32[np.ndarray, " n"] | None = None,
) -> list[Split]:
    """K-fold cross-validation over all participants of the corpus, whatever split they were built into.

    Args:
      corpus: the participants.
      k: number of folds; each participant is in the test part of exactly one.
      seed: of the assignment, which depends on nothing else but the corpus.
      stratify_by: (label, cut-off) pairs; the share of every combination of `score >= cut-off` (or missing) is kept
        alike over the folds, and of pooled corpora the share of each corpus. Combinations too rare for that are treated
        as one.
      validation_fraction: of the participants outside the test part; 0 leaves the validation part empty, for protocols
        in which nothing is selected. Of clustered participants it is a fold of the clusters, whose number of folds is
        the nearest to one over the fraction.
      fold_of: in whose test part each participant is, 0 to k - 1, instead of a division by the seed.

    Raises:
      InputError: an unknown label, too few participants for the folds or the stratification, or splits within clusters.
    """
    _need_whole_groups(corpus)
    n, cluster = len(corpus), np.asarray(corpus.cluster)
    clustered = len(np.unique(cluster)) < n
    most = len(np.unique(cluster)) // 2
    if not 2 <= k <= most:
        raise InputError(f"folds: {k} must be between 2 and half the number of participants or clusters ({most})")
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation_fraction {validation_fraction} must be at least 0 and less than 1")
    strata = _strata(corpus, stratify_by, at_least=2 * k)
    splits = []
    divided = _divided(k, seed, strata, cluster)
    if fold_of is not None:
        divided = ((np.flatnonzero(fold_of != one), np.flatnonzero(fold_of == one)) for one in range(k))
    for rest, test in divided:
        train, validation = rest, rest[:0]
        if validation_fraction and clustered:
            count = min(max(2, round(1 / validation_fraction)), len(np.unique(cluster[rest])))
            of_rest = _strata(corpus, stratify_by, at_least=count, members=rest)
            inner_folds = _divided(count, seed + len(splits), of_rest, cluster[rest])
            train, validation = (rest[part] for part in next(inner_folds))
        elif validation_fraction:
            from sklearn.model_selection import train_test_split

            held_out = max(1, round(validation_fraction * len(rest)))
            kinds = len(np.unique(strata[rest]))
            # scikit-learn cannot stratify a part that has fewer members than there are strata.
            stratify = strata[rest] if min(held_out, len(rest) - held_out) >= kinds else None
            train, validation = train_test_split(
                rest, test_size=held_out, random_state=seed + len(splits), stratify=stratify, shuffle=True
            )
        parts = {"train": train, "validation": validation, "test": test}
        split = {name: np.sort(part).astype(np.int32) for name, part in parts.items()}
        check(split, corpus.cluster)
        splits.append(split)
    if not np.array_equal(np.sort(np.concatenate([split["test"] for split in splits])), np.arange(n)):
        raise AssertionError("the test parts of the folds do not cover every participant exactly once")
    return splits


def read_folds(corpus: Corpus, file: str, k: int) -> Int32[np.ndarray, " n"]:
    """The fold of every participant, 0 to k - 1 in natural order of their names.

    Args:
      corpus: the participants.
      file: table of `participant` and `fold`, which may name further ones; `PUBLISHED` for that of the corpus.
      k: how many folds there are.

    Raises:
      InputError: no such file, somebody twice or not at all, another number of folds, or a cluster in two of them.
    """
    path = corpus.path / FOLDS_FILE if file == PUBLISHED else Path(file)
    if file == PUBLISHED and not path.exists():
        raise InputError(
            f"{corpus.path}: holds no folds ({FOLDS_FILE}), since its source has none: leave out config.cv.folds_file"
        )
    named: dict[str, str] = {}
    for line, row in read_table(path, ("participant", "fold"), aliases={"participant_id": "participant"}).rows:
        if named.setdefault(row["participant"], row["fold"]) != row["fold"] or not row["fold"]:
            raise InputError(
                f"{path}: line {line}: a participant is in no fold, or in another one before: give one each"
            )
    absent = [one for one in corpus.participants if one not in named]
    if absent:
        raise InputError(f"{path}: {len(absent)} of {len(corpus)} participants are not listed: give each one a fold")
    folds_of = [named[one] for one in corpus.participants]
    names = sorted(set(folds_of), key=lambda name: (len(name), name))  # 10 after 9
    if len(names) != k:
        raise InputError(f"{path}: holds {len(names)} folds of these participants: set config.cv.folds={len(names)}")
    if len(set(zip(corpus.cluster, folds_of, strict=True))) > len(set(corpus.cluster)):
        raise InputError(f"{path}: a cluster of participants is in two folds: give all of a cluster the same one")
    return np.array([names.index(one) for one in folds_of], np.int32)


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
      InputError: an unknown label, too few participants, or splits within clusters.
    """
    _need_whole_groups(corpus)
    members = np.sort(np.asarray(members, np.int32))
    cluster = np.asarray(corpus.cluster)[members]
    most = len(np.unique(cluster)) // 2
    if not 2 <= k <= most:
        raise InputError(f"inner folds: {k} must be between 2 and half the number of participants or clusters ({most})")
    strata = _strata(corpus, stratify_by, at_least=2 * k, members=members)
    divided = _divided(k, seed, strata, cluster)
    return [{"train": members[a], "validation": members[b], "test": members[:0]} for a, b in divided]


def draw(
    corpus: Corpus, members: Int32[np.ndarray, " m"], k: int, seed: int, stratify_by: Sequence[tuple[str, float]] = ()
) -> Int32[np.ndarray, " d"]:
    """Positions of k of the members, drawn at random; of clustered participants those of k clusters.

    Args:
      corpus, seed, stratify_by: as `folds`; the strata keep their shares as far as their sizes allow.
      members: whom to draw from.
      k: how many participants or clusters.

    Raises:
      InputError: an unknown label, or so many that fewer than two are left.
    """
    from sklearn.model_selection import train_test_split

    members = np.sort(np.asarray(members, np.int32))
    units, first, owner = np.unique(np.asarray(corpus.cluster)[members], return_index=True, return_inverse=True)
    if not 1 <= k <= len(units) - 2:
        raise InputError(f"{k} people to draw: must be between 1 and {len(units) - 2}, two less than there are")
    strata = _strata(corpus, stratify_by, at_least=2, members=members[first])
    kinds = len(np.unique(strata))
    stratify = strata if min(k, len(units) - k) >= kinds else None
    drawn, _ = train_test_split(np.arange(len(units)), train_size=k, random_state=seed, stratify=stratify)
    return members[np.isin(owner, drawn)]


def _divided(k: int, seed: int, strata: np.ndarray, cluster: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rest, part) of k folds; a cluster is in one part, whose strata are then alike as far as that allows."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # seconds; `by_name` does without

    if len(np.unique(cluster)) == len(cluster):
        return StratifiedKFold(k, shuffle=True, random_state=seed).split(strata, strata)
    return StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(strata, strata, cluster)


def _need_whole_groups(corpus: Corpus) -> None:
    """Folds keep clusters whole: of a corpus that is divided within them they would answer another question unasked."""
    if corpus.within_clusters:
        raise InputError(
            f"{corpus.path}: its splits divide each cluster ({corpus.card.get('split_rule')}), folds keep clusters "
            "whole: set config.cv.folds = 0 and config.cv.inner = 0, or build the corpus divided by cluster"
        )


def check(split: Split, cluster: Sequence[str]) -> None:
    """Asserts that the parts are disjoint, cover all participants, and share no cluster."""
    n, parts = len(cluster), list(split.values())
    if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(n)):
        raise AssertionError(f"the parts {list(split)} are not disjoint or leave out some of the {n} participants")
    owners = [np.unique(np.asarray(cluster)[part]) for part in parts]
    if len(np.unique(np.concatenate(owners))) < sum(map(len, owners)):
        raise AssertionError(f"the parts {list(split)} share a cluster of participants")


def _strata(
    corpus: Corpus, stratify_by: Sequence[tuple[str, float]], at_least: int, members: np.ndarray | None = None
) -> Int32[np.ndarray, " n"]:
    members = np.arange(len(corpus)) if members is None else members
    codes = np.zeros(len(members), np.int32)
    if corpus.pooled:
        codes = np.unique(corpus.origin, return_inverse=True)[1].astype(np.int32)[members]
    for label, cutoff in stratify_by:
        if label not in corpus.labels:
            raise one_of("label to stratify by", label, corpus.labels)
        scores = corpus.labels[label][members]
        codes = codes * 3 + np.where(np.isnan(scores), 2, np.nan_to_num(scores) >= cutoff).astype(np.int32)
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int32)  # small, however many the pairs are
    values, counts = np.unique(codes, return_counts=True)
    rare = np.isin(codes, values[counts < at_least])
    if rare.sum() < at_least:
        codes[rare] = values[np.argmax(counts)]
    else:
        codes[rare] = -1
    return codes
