"""The synthetic participants of the benchmarks: packing them loses nothing, and their batches are real batches."""

import numpy as np
import pytest

from benchmarks.synthetic import packed, setting
from configs import phq, smoke


def small(get):
    config = get()
    config.data.batch_size = 4
    return config


@pytest.mark.parametrize("get", [smoke.get_config, lambda: phq.get_config("transcripts")], ids=["features", "ids"])
def test_a_packed_batch_holds_all_frames_and_tokens_of_its_participants(get):
    made = setting(small(get), batches=1)
    members = made.plan[0]
    batch = packed(made, members)
    people = [made.participants[i] for i in members[0] if i >= 0]
    for modality in made.modalities:
        assert int(batch[f"{modality.name}_length"].sum()) == sum(p[f"{modality.name}_length"].sum() for p in people)
        there = np.count_nonzero(np.asarray(batch[modality.name]))
        assert there == sum(np.count_nonzero(p[modality.name]) for p in people)
        row = np.asarray(batch[f"{modality.name}_row"])[0]
        assert (np.diff(row) >= 0).all()
        assert set(row) - {members.shape[1]} == set(range(len(people)))
    assert np.asarray(batch["valid"]).sum() == len(people)


def test_equal_windows_waste_nothing_but_the_spare_slots():
    made = setting(small(smoke.get_config), batches=1, equal=2)
    assert all(slots - 4 * 2 * made.parts <= 0.05 * slots + 1 for slots in made.slots.values())
