"""Near-duplicate transcripts and audio windows: one interview under two ids, in two splits, is a leak.

Candidates come from locality-sensitive hashing (Indyk and Motwani 1998): only who shares a part of a signature is
compared, and what is reported was compared in full.

| what | signature | near-duplicate |
|---|---|---|
| transcript | MinHash (Broder 1997) of its character 5-grams | Jaccard similarity of the 5-grams at least 0.5 |
| window | 128 signs of differences of energy over time and bands (Haitsma and Kalker 2002) | at most 3 differ |

Both limits are our choice; the tests show what they find on made-up texts and windows (`docs/audit.md`). Time and
memory are linear in the number of characters and windows, but for sorting signatures.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse.csgraph
from jaxtyping import Bool, Float, Int, Shaped, UInt64

SHINGLE = 5
JACCARD = 0.5
MINIMUM_CHARACTERS = 50  # shorter transcripts are alike by chance
# 32 bands of 4 hashes: a pair of similarity s becomes a candidate with probability 1 - (1 - s^4)^32, which is 0.87 at
# 0.5 and 0.99 at 0.6; of unrelated transcripts (0.02) 5 pairs in a million.
_HASHES, _ROWS = 128, 4

_BANDS, _FRAMES = 9, 17  # cells that a window is averaged to: 8 x 16 signs
BITS = 3  # two fingerprints that differ in so many bits agree in one of their four 32-bit parts
# Whoever shares a part of a signature is sorted by the whole of it and compared with so many that follow: equal ones
# lie side by side, and a thousand copies of one text cost no million comparisons.
_NEIGHBOURS = 8


def of_texts(texts: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Number of the group of near-duplicates that each transcript belongs to, directly or through others.

    Case, white space and punctuation are left out of the comparison. A transcript of fewer than `MINIMUM_CHARACTERS`
    letters and digits is a group of its own.
    """
    rng = np.random.default_rng(0)
    multipliers = rng.integers(0, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    letters = [re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold()) for text in texts]
    where = np.array([i for i, text in enumerate(letters) if len(text) >= MINIMUM_CHARACTERS], np.int64)
    whole = np.zeros((len(where), _HASHES), np.uint64)
    for row, i in enumerate(where):
        # Multiplying by an odd number permutes the numbers of 64 bits.
        whole[row] = (_shingles(letters[i])[:, None] * multipliers).min(axis=0)
    pairs = where[_candidates(whole, (whole[:, k : k + _ROWS] for k in range(0, _HASHES, _ROWS)))]
    alike = [_jaccard(_shingles(letters[a]), _shingles(letters[b])) >= JACCARD for a, b in pairs]
    return _groups(len(texts), pairs[np.array(alike, bool)])


def _shingles(letters: str) -> UInt64[np.ndarray, " s"]:
    """Distinct hashes of the character 5-grams."""
    points = np.frombuffer(letters.encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashed = np.zeros(len(points) - SHINGLE + 1, np.uint64)
    for k in range(SHINGLE):
        hashed = _mixed(hashed ^ points[k : k + len(hashed)])
    return np.unique(hashed)


def _mixed(numbers: UInt64[np.ndarray, " s"]) -> UInt64[np.ndarray, " s"]:
    """A permutation of the numbers of 64 bits without visible order: the step of SplitMix64 (Steele et al. 2014)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _jaccard(a: UInt64[np.ndarray, " s"], b: UInt64[np.ndarray, " t"]) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def fingerprints(windows: Float[np.ndarray, "w f t"], lengths: Int[np.ndarray, " w"]) -> UInt64[np.ndarray, "k 2"]:
    """Signatures of the windows of one participant; short and constant ones, which say nothing, are left out.

    A bit is the sign of the change over time of the difference between two neighbouring bands, both averaged over a
    cell of 9 x 17, so that neither gain nor a fixed spectral tilt matters.

    Args:
      windows: mel bands by frames.
      lengths: valid frames of each.
    """
    prints = []
    for window, length in zip(windows, lengths.tolist(), strict=True):
        if length < _FRAMES:
            continue
        cells = _averaged(_averaged(window[:, :length].astype(np.float64), _FRAMES, 1), _BANDS, 0)
        change = np.diff(np.diff(cells, axis=0), axis=1)
        if np.ptp(change):
            prints.append(np.packbits(change > 0).view(np.uint64))
    return np.array(prints, np.uint64).reshape(-1, 2)


def _averaged(values: Float[np.ndarray, "a b"], cells: int, axis: int) -> Float[np.ndarray, "c d"]:
    edges = np.linspace(0, values.shape[axis], cells + 1).astype(int)
    shape = (-1, 1) if axis == 0 else (1, -1)
    return np.add.reduceat(values, edges[:-1], axis=axis) / np.maximum(np.diff(edges), 1).reshape(shape)


def of_windows(
    prints: UInt64[np.ndarray, "w 2"], owner: Int[np.ndarray, " w"], participants: int
) -> Int[np.ndarray, " n"]:
    """Number of the group of each participant who shares a near-identical window, directly or through others.

    Args:
      prints: of all windows, from `fingerprints`.
      owner: position of the participant that each belongs to.
      participants: how many there are.
    """
    parts = prints.view(np.uint32)
    pairs = _candidates(prints, (parts[:, [k]] for k in range(parts.shape[1])))
    a, b = pairs.T
    alike = np.bitwise_count(prints[a] ^ prints[b]).sum(axis=1) <= BITS
    return _groups(participants, owner[pairs[alike]])


def _candidates(whole: Shaped[np.ndarray, "n c"], parts: Iterable[Shaped[np.ndarray, "n r"]]) -> Int[np.ndarray, "p 2"]:
    """Pairs of rows that share a part of their signature and lie close to each other in the order of the whole."""
    rank = np.unique(whole, axis=0, return_inverse=True)[1].ravel()
    pairs = [np.zeros((0, 2), np.int64)]
    for part in parts:
        bucket = np.unique(part, axis=0, return_inverse=True)[1].ravel()
        order = np.lexsort((rank, bucket))
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            a, b = order[:-step], order[step:]
            pairs.append(np.sort(np.stack([a, b], axis=1)[bucket[a] == bucket[b]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _groups(n: int, pairs: Int[np.ndarray, "p 2"]) -> Int[np.ndarray, " n"]:
    graph = scipy.sparse.coo_array((np.ones(len(pairs), bool), pairs.T), shape=(n, n))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def tested_and_known(group: Int[np.ndarray, " n"], split: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Who of the test split has a near-duplicate in the train or validation split of the same fold.

    Args:
      group: of each participant, from `of_texts` or `of_windows`.
      split: "train", "validation", "test" or "" of each participant in one fold.
    """
    known = np.isin(group, group[np.isin(split, ("train", "validation"))])
    return known & (np.asarray(split) == "test")
