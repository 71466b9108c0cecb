"""Labels of a part of the training split are hidden, and no others."""

import numpy as np

from mmpsy_jax.data.hide_labels import hide_labels


def hidden_by(corpus, fraction, seed=0):
    hidden = hide_labels(corpus, fraction, seed)
    gone = {name: np.isnan(column) & ~np.isnan(corpus.labels[name]) for name, column in hidden.labels.items()}
    for name, column in hidden.labels.items():
        np.testing.assert_array_equal(column[~gone[name]], corpus.labels[name][~gone[name]])
    return gone["phq9"]


def test_only_training_participants_lose_their_labels(corpus):
    trained = np.array(corpus.split) == "train"
    before = {name: column.copy() for name, column in corpus.labels.items()}
    gone = hidden_by(corpus, 0.25)
    assert not gone[~trained].any()
    known = np.isfinite(corpus.labels["phq9"])
    assert (trained & known & ~gone).sum() == round(0.25 * (trained & known).sum()) > 0
    for name, column in before.items():
        np.testing.assert_array_equal(corpus.labels[name], column, err_msg="the corpus that was given stays")


def test_a_smaller_part_lies_within_a_larger_one_and_the_seed_decides(corpus):
    few, many, other = (hidden_by(corpus, fraction, seed) for fraction, seed in ((0.25, 0), (0.5, 0), (0.5, 1)))
    assert (few | ~many).all() and few.sum() > many.sum()
    assert (many != other).any()


def test_somebody_keeps_their_labels_however_small_the_part(corpus):
    trained = (np.array(corpus.split) == "train") & np.isfinite(corpus.labels["phq9"])
    assert (trained & ~hidden_by(corpus, 1e-6)).sum() == 1
