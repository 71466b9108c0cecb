"""Near-duplicates: what is found on made-up texts and windows, against exact comparisons of all pairs."""

import numpy as np
import pytest

from mmpsy_jax.evaluation import near_duplicates as near

CHARACTERS = [chr(0x4E00 + i) for i in range(600)]
COMMON = 1 / (np.arange(600) + 5)


def text(rng, n=400):
    """Characters with frequencies like those of language; nobody said this."""
    return "".join(rng.choice(CHARACTERS, n, p=COMMON / COMMON.sum()))


def edited(rng, original, share):
    """The text with a share of its characters replaced."""
    return "".join(text(rng, 1) if rng.random() < share else c for c in original)


def jaccard(a, b):
    """Exact similarity of the character 5-grams, by sets of strings."""
    one, other = ({t[i : i + 5] for i in range(len(t) - 4)} for t in (a, b))
    return len(one & other) / len(one | other)


def same(group, i, j):
    return group[i] == group[j]


def test_copies_are_found_and_strangers_are_not():
    rng = np.random.default_rng(0)
    originals = [text(rng) for _ in range(60)]
    for share, least, most in ((0.0, 60, 60), (0.02, 60, 60), (0.04, 55, 60), (0.2, 0, 0)):
        group = near.of_texts([*originals, *(edited(rng, t, share) for t in originals)])
        assert len(set(group[:60].tolist())) == 60, "no two strangers are alike"
        assert least <= sum(same(group, i, 60 + i) for i in range(60)) <= most, share


def test_pairs_above_the_limit_are_the_exact_ones():
    rng = np.random.default_rng(1)
    originals = [text(rng, 200) for _ in range(80)]
    others = [edited(rng, t, share) for t, share in zip(originals, np.linspace(0, 0.2, 80), strict=True)]
    group = near.of_texts([*originals, *others])
    similar = np.array([jaccard(a, b) for a, b in zip(originals, others, strict=True)])
    found = np.array([same(group, i, 80 + i) for i in range(80)])
    assert not found[similar < near.JACCARD].any(), "what is found was compared in full"
    assert found[similar >= 0.65].all()
    assert found[(similar >= near.JACCARD)].mean() > 0.9
    assert 20 < (similar >= near.JACCARD).sum() < 60


def test_case_space_and_punctuation_do_not_matter_and_short_texts_are_left_out():
    long = "The quick brown fox jumps over the lazy dog, and then it sleeps until the sun is low. "
    loud = long.upper().replace(" ", "\n").replace(",", " - ")
    group = near.of_texts([long, loud, "No.", "No.", "", long[::-1]])
    assert same(group, 0, 1)
    assert len(set(group.tolist())) == 5
    assert near.of_texts(["a", "a"]).tolist() == [0, 1]


def test_a_thousand_copies_are_one_group_and_take_no_million_comparisons(monkeypatch):
    rng = np.random.default_rng(2)
    shared = text(rng)
    compared, jaccard = [], near._jaccard
    monkeypatch.setattr(near, "_jaccard", lambda a, b: compared.append(1) or jaccard(a, b))
    group = near.of_texts([shared] * 1000 + [text(rng) for _ in range(5)])
    assert len(set(group[:1000].tolist())) == 1 and len(set(group.tolist())) == 6
    assert len(compared) < 10_000  # eight neighbours of each


def windows(rng, n, frames=200):
    """Noise smoothed over time and bands, with the same tilt in all: a caricature of mel windows."""
    made = rng.normal(size=(n, 24, frames + 8)).cumsum(axis=2)
    made = made[:, :, 8:] - made[:, :, :-8] + 5 * np.linspace(1, -1, 24)[:, None]
    return made.astype(np.float32)


def test_fingerprints_survive_gain_rounding_and_noise_but_not_another_recording():
    rng = np.random.default_rng(3)
    made = windows(rng, 40)
    lengths = np.full(40, 200)
    prints = near.fingerprints(made, lengths)
    louder = near.fingerprints((made * 1.7 + 3).astype(np.float16), lengths)
    noisy = near.fingerprints(made + rng.normal(0, 0.02 * made.std(), made.shape), lengths)
    distance = np.bitwise_count(prints[:, None] ^ prints[None]).sum(axis=2)
    for other in (louder, noisy):
        own = np.bitwise_count(prints ^ other).sum(axis=1)
        assert np.mean(own <= near.BITS) > 0.9
    assert distance[np.triu_indices(40, 1)].min() > 10 * near.BITS


def test_short_and_constant_windows_say_nothing():
    made = windows(np.random.default_rng(4), 4)
    made[1] = 2.0
    prints = near.fingerprints(made, np.array([200, 200, 16, 17]))
    whole = near.fingerprints(made[[0, 3]], np.array([200, 17]))
    np.testing.assert_array_equal(prints, whole)
    assert near.fingerprints(made[:1], np.array([0])).shape == (0, 2)


def test_owners_of_near_identical_windows_are_those_of_all_pairs():
    rng = np.random.default_rng(5)
    prints = rng.integers(0, 2**63, (300, 2), dtype=np.uint64)
    for i in range(40):  # 0 to 4 bits differ
        flips = rng.choice(64, i // 2 % 5, replace=False).astype(np.uint64)
        prints[100 + i, 0] = prints[i, 0] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
        prints[100 + i, 1] = prints[i, 1]
    owner = np.arange(300) // 2
    group = near.of_windows(prints, owner, 150)
    close = np.bitwise_count(prints[:, None] ^ prints[None]).sum(axis=2) <= near.BITS
    expected = {(int(owner[a]), int(owner[b])) for a, b in np.argwhere(close) if owner[a] < owner[b]}
    found = {(a, b) for a in range(150) for b in range(a + 1, 150) if group[a] == group[b]}
    assert found == expected and len(found) == 16
    assert near.of_windows(prints[:0], owner[:0], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (["train", "test", "test", "train"], [False, True, False, False]),
        (["validation", "test", "test", "train"], [False, True, False, False]),
        (["test", "test", "train", "train"], [False, False, False, False]),
        (["", "test", "train", "test"], [False, False, False, False]),
    ],
)
def test_only_tested_participants_with_somebody_known_count(split, expected):
    group = np.array([7, 7, 3, 5])
    assert near.tested_and_known(group, np.array(split)).tolist() == expected
