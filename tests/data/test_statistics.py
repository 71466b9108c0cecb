"""Mean and deviation of features against the records, one participant after another."""

import numpy as np

from mmpsy_jax.data.statistics import moments


def test_moments_are_those_of_the_members_alone(corpus):
    members = np.array([0, 3, 5, 8, 24])  # 5 lacks audio, 24 everything
    for name in ("audio", "text"):
        means = []
        for i in members:
            record = corpus.read(int(i))
            windows = np.moveaxis(record[name].astype(np.float64), 1 + corpus.modalities[name].time_axis, 1)
            steps = [w[:n] for w, n in zip(windows[:2], record[f"{name}_length"][:2], strict=True)]
            if sum(map(len, steps)):
                means.append(np.concatenate(steps).mean(axis=0))
        found = moments(corpus, name, members, 2)
        np.testing.assert_allclose(found["mean"], np.mean(means, axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["deviation"], np.std(means, axis=0), rtol=1e-5)
        assert len(means) < len(members)


def test_nobody_has_the_modality(corpus):
    found = moments(corpus, "audio", np.array([5, 15]), None)
    assert found["mean"].tolist() == [0] * len(found["mean"])
    assert found["deviation"].tolist() == [1] * len(found["mean"])
