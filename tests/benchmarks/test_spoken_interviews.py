"""The synthetic interviews that espeak-ng speaks: recordings, transcripts and scores of a manifest belong together."""

import shutil

import numpy as np
import pytest
import soundfile

from benchmarks import spoken_interviews
from mmpsy_jax.features import manifest
from mmpsy_jax.io import InputError


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_scores_are_heard_in_the_pace(tmp_path):
    made = manifest.read(spoken_interviews.write(tmp_path / "spoken", participants=6, answers=2, seed=1))
    scores, paces = [], []
    for entry in made.entries:
        words, recordings = entry.words(), entry.recordings()
        assert len(words.answers) == len(recordings) == 2 and entry.subgroups["voice"] in ("m", "f")
        scores.append(entry.labels["phq9"])
        paces.append(len(words.text) / sum(soundfile.info(path).duration for path in recordings))
    assert np.corrcoef(scores, paces)[0, 1] < -0.9
    with pytest.raises(InputError, match="is not empty"):
        spoken_interviews.write(tmp_path / "spoken", 1, 1, 0)
