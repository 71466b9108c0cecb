"""Replicas: the numbers of a training alone, whatever layout, waves and devices. The corpus is SYNTHETIC."""

import contextlib
import dataclasses
import json

import jax
import numpy as np
import pytest

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import interruption, job, loop, memory, plan_runs, replica_plan, replica_programs, replicas
from mmpsy_jax.training.logger import read_rows
from tests.runs import lean, small

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def config(dataset):
    config = lean(dataset, kinds=("binary", "regression"))
    config.total = "2 epochs"
    config.cv.folds, config.seeds = 3, 2
    config.data.packs = 8
    return config


@pytest.fixture(scope="module")
def shipped_compiler():
    """For tests of equal bits: without fusion emitters, programs of three trainings and of one differ in their last."""

    @contextlib.contextmanager
    def shipped():
        with pytest.MonkeyPatch.context() as patch:
            if jax.__version_info__ < (0, 11):  # later ones always have them
                patch.setattr(replica_programs, "compiler_options", lambda: {"xla_cpu_use_fusion_emitters": True})
            yield

    return shipped


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


def planned(config, corpus, folder):
    return plan_runs.plan(config, from_config(config.tasks), corpus, folder)[0]


@pytest.fixture(scope="module")
def whole(config, corpus, tmp_path_factory, shipped_compiler):
    """Six replicas, one after another through one program."""
    folder = tmp_path_factory.mktemp("whole")
    runs = planned(config, corpus, folder)
    with shipped_compiler():
        return runs, replicas.train(runs, folder / "replicas")


def assert_close(one, other, atol=2e-5):
    assert one.participant_id.tolist() == other.participant_id.tolist()
    np.testing.assert_allclose(one.y_prob, other.y_prob, atol=atol)
    np.testing.assert_allclose(one.y_pred, other.y_pred, atol=27 * atol)


def test_a_replica_gives_the_numbers_of_the_training_alone(whole, tmp_path):
    runs, together = whole
    for i in (0, 3):
        alone = loop.train(dataclasses.replace(runs[i], workdir=tmp_path / str(i)))
        assert_close(together[i], alone)
    assert not np.allclose(together[0].y_prob, together[1].y_prob, equal_nan=True)


@pytest.mark.parametrize(
    ("timings", "of_a_step", "layout"),
    [
        ({"sequence": 2.0}, 0.001, "auto"),
        ({"sequence": 2.0}, 0.1, "sequence"),
        ({"sequence": 2.0, "vmap": 1.0}, 0.001, "vmap"),
        ({"sequence": 2.0, "vmap": 3.0}, 0.1, "sequence"),
        ({"vmap": 2.0}, 0.0004, "vmap"),
        ({"vmap": 2.0}, 0.01, "auto"),
        ({"vmap": 2.0, "sequence": 1.0}, 0.01, "sequence"),
    ],
)
def test_auto_tries_a_second_layout_only_where_it_may_win_and_keeps_the_faster(timings, of_a_step, layout):
    assert replicas.choose_layout(timings, ("sequence", "vmap"), of_a_step) == layout


def test_layouts_agree(whole, config, corpus, tmp_path):
    changed = config.copy_and_resolve_references()
    changed.replicas.layout = "vmap"
    made = replicas.train(planned(changed, corpus, tmp_path), tmp_path / "replicas")
    for one, other in zip(made, whole[1], strict=True):
        assert_close(one, other)


def test_replicas_of_a_perceiver_agree(dataset, corpus, tmp_path):
    made = []
    for layout in ("sequence", "vmap"):
        config = small(dataset)
        config.tasks = config.tasks[2:]  # one compiles sooner than three
        config.total, config.seeds, config.data.packs, config.data.modalities = "1 epochs", 2, 8, ("text",)
        config.replicas.layout, config.model.dropout = layout, 0.1
        made.append(replicas.train(planned(config, corpus, tmp_path / layout), tmp_path / layout / "replicas"))
    for one, other in zip(*made, strict=True):
        assert_close(one, other)


def test_interrupted_it_goes_on_to_the_same_bits_in_waves(
    whole, config, corpus, tmp_path, monkeypatch, shipped_compiler
):
    runs = planned(config, corpus, tmp_path)[:3]
    monkeypatch.setattr(memory, "fitting", lambda *_: 2)  # waves of two: the second has a place to spare
    with monkeypatch.context() as patch, shipped_compiler():
        patch.setattr(interruption, "must_stop", lambda _: True)
        with pytest.raises(interruption.Interrupted, match="same command"):
            replicas.train(runs, tmp_path / "replicas")
    with shipped_compiler():
        made = replicas.train(runs, tmp_path / "replicas")
    assert sorted(p.name for p in (tmp_path / "replicas").iterdir()) == ["plan.json", "wave_0", "wave_1"]
    for one, other in zip(made, whole[1], strict=False):
        for column in ("y_prob", "y_pred"):
            assert getattr(one, column).tobytes() == getattr(other, column).tobytes()
    assert [row["step"] for row in read_rows(runs[0].workdir / "metrics.jsonl") if "train/loss" in row] == sorted(
        {row["step"] for row in read_rows(whole[0][0].workdir / "metrics.jsonl")}
    )


def test_replicas_lie_on_their_part_of_the_devices(whole, config, corpus, tmp_path):
    changed = config.copy_and_resolve_references()
    changed.mesh.replica, changed.replicas.layout = 4, "vmap"
    made = replicas.train(planned(changed, corpus, tmp_path), tmp_path / "replicas")
    for one, other in zip(made, whole[1], strict=True):
        assert_close(one, other)


def test_early_stopping_is_per_replica_and_each_may_have_its_own_settings(config, corpus, tmp_path):
    changed = config.copy_and_resolve_references()
    changed.total, changed.selection.patience, changed.replicas.layout = "4 epochs", 1, "vmap"
    runs = planned(changed, corpus, tmp_path)[:3]
    rates = (0.0, 3e-3, 1e30)  # never better than the first evaluation; learns; diverges
    runs = [
        dataclasses.replace(one, values={"optimizer.learning_rate": rate})
        for one, rate in zip(runs, rates, strict=True)
    ]
    made = replicas.train(runs, tmp_path / "replicas")
    evaluated = [
        [r["step"] for r in read_rows(one.workdir / "metrics.jsonl") if "validation/loss" in r] for one in runs
    ]
    assert len(evaluated[0]) == 2 and len(evaluated[1]) == 4 and not evaluated[2]
    assert made[2] is None and np.isfinite(made[0].y_prob[made[0].task == "phq_screen"]).all()


def test_without_values_of_its_own_a_diverged_replica_stops_the_run(config, corpus, tmp_path):
    changed = config.copy_and_resolve_references()
    changed.optimizer.learning_rate, changed.optimizer.clip = 1e30, 0.0
    with pytest.raises(job.TrainingDiverged, match=r"fold 0, seed 0"):
        replicas.train(planned(changed, corpus, tmp_path)[:2], tmp_path / "replicas")


def test_memory_that_is_too_small_is_said(config, corpus, tmp_path):
    changed = config.copy_and_resolve_references()
    changed.replicas.memory_gb = 1e-4
    with pytest.raises(InputError, match="memory_gb"):
        replicas.train(planned(changed, corpus, tmp_path), tmp_path / "replicas")


def test_what_does_not_fit_on_the_device_trains_one_after_another(config, corpus, capsys):
    assert replica_plan.possible(config, corpus)
    changed = config.copy_and_resolve_references()
    changed.data.memory_gb = 1e-6
    assert not replica_plan.possible(changed, corpus) and "config.data.memory_gb" in capsys.readouterr().err
    changed.data.placement = "stream"
    assert not replica_plan.possible(changed, corpus)


@pytest.fixture(scope="module")
def quick(dataset):
    """Three folds of a network that has no argument `width`."""
    config = lean(dataset)
    config.total = "2 epochs"
    config.cv.folds, config.data.packs = 3, 8
    assert "width" not in config.model
    return config


@pytest.fixture(scope="module")
def together(quick, corpus, tmp_path_factory, shipped_compiler):
    folder = tmp_path_factory.mktemp("together")
    with shipped_compiler():
        return replicas.train(planned(quick, corpus, folder), folder / "replicas")


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1), (2, 3)])
def test_resumed_with_other_memory_the_waves_stay(
    together, quick, corpus, tmp_path, monkeypatch, first, then, shipped_compiler
):
    runs, folder = planned(quick, corpus, tmp_path), tmp_path / "replicas"
    monkeypatch.setattr(interruption, "must_stop", lambda _: True)
    monkeypatch.setattr(memory, "fitting", lambda *_: first)
    with pytest.raises(interruption.Interrupted), shipped_compiler():
        replicas.train(runs, folder)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "fitting", lambda *_: then)
    size = json.loads((folder / "plan.json").read_text())["wave"]
    assert size == first
    if first == 2:  # of an earlier version, or lost: the checkpoint tells
        (folder / "plan.json").write_bytes(b"\xff")
        assert replica_plan.together(folder, runs)
    with shipped_compiler():
        made = replicas.train(runs, folder)
    assert len(list(folder.glob("wave_*"))) == -(-3 // first)
    for one, other in zip(made, together, strict=True):
        assert np.isfinite(one.y_pred).all() and one.y_pred.tobytes() == other.y_pred.tobytes()


def test_a_plan_is_kept_with_the_run(config, corpus, tmp_path, capsys):
    runs, folder = planned(config, corpus, tmp_path), tmp_path / "program"
    assert replica_plan.wave_size(folder, runs, 1, lambda: 4) == 3  # two waves of equal size
    assert replica_plan.wave_size(folder, runs, 1, lambda: 1 / 0) == 3
    assert "3 of 6 trainings at once, as this run was begun" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"config\.mesh\.replica = 2: this run trains 3 at once"):
        replica_plan.wave_size(folder, runs, 2, lambda: 4)
    with pytest.raises(InputError, match="is of other trainings"):
        replica_plan.wave_size(folder, runs[:4], 1, lambda: 4)
    changed = config.copy_and_resolve_references()
    changed.data.memory_gb = 1e-6  # what was begun together stays together
    assert replica_plan.together(folder, planned(changed, corpus, tmp_path))
    changed.data.placement = "stream"
    with pytest.raises(InputError, match=r"config\.data\.placement = 'stream': .* begun together"):
        replica_plan.together(folder, planned(changed, corpus, tmp_path))
    other = tmp_path / "apart"
    assert not replica_plan.together(other, planned(changed, corpus, tmp_path))
    assert not replica_plan.together(other, runs)


def test_the_width_of_a_network_without_such_an_argument_is_that_of_its_layers():
    parameters = {"dense": {"kernel": np.zeros((8, 24)), "bias": np.zeros(24)}, "out": {"kernel": np.zeros((24, 3))}}
    assert memory.widest(parameters) == 24


def test_a_signal_at_the_last_step_is_not_swallowed(quick, corpus, tmp_path, monkeypatch):
    changed = quick.copy_and_resolve_references()
    changed.total = "1 epochs"
    runs = planned(changed, corpus, tmp_path)
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(
            interruption, "must_stop", lambda _: asked.append(1) or len(asked) > 1
        )  # none comes, then one does
        with pytest.raises(interruption.Interrupted, match=r"saved step (\d+) of \1;"):
            replicas.train(runs, tmp_path / "replicas")
    assert replicas.train(runs, tmp_path / "replicas")[0] is not None
