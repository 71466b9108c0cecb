"""Cadences, schedules, selection, config and workdir."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tensorboardX.proto.event_pb2 import Event, SessionLog

from mmpsy_jax.io import InputError
from mmpsy_jax.training import cadence, config, mesh, optimizer, selection
from mmpsy_jax.training.logger import RunLogger, read_rows


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("300 steps", 300),
        ("1 step", 1),
        ("2.5 epochs", 25),
        ("320 examples", 10),
        ("10 percent", 20),
        ("0 steps", 0),
        ("0.001 epochs", 1),
    ],
)
def test_cadences(text, steps):
    assert cadence.to_steps(text, steps_per_epoch=10, batch_size=32, total=200) == steps


@pytest.mark.parametrize("text", ["", "3", "3 weeks", "-1 steps", "many steps", "1 2 steps", "nan steps"])
def test_wrong_cadences(text):
    with pytest.raises(InputError, match="epochs"):
        cadence.to_steps(text, steps_per_epoch=10, batch_size=32, total=200)


def test_percent_of_nothing():
    with pytest.raises(InputError, match="percent"):
        cadence.to_steps("10 percent", steps_per_epoch=10, batch_size=32)


def optimizer_config(**changes):
    made = config.default().optimizer
    made.update(changes)
    return made


def test_schedule_warms_up_to_the_peak_and_ends_at_the_fraction():
    rate = optimizer.schedule(optimizer_config(learning_rate=0.1, final_fraction=0.2, warmup="10 steps"), 110, 10, 8)
    assert rate(0) == 0
    np.testing.assert_allclose(rate(5), 0.05, rtol=1e-6)
    np.testing.assert_allclose(rate(10), 0.1, rtol=1e-6)
    np.testing.assert_allclose(rate(60), 0.1 * (0.2 + 0.8 * 0.5), rtol=1e-5)
    np.testing.assert_allclose(rate(110), 0.02, rtol=1e-5)


def test_decay_is_masked_by_path():
    params = {"network": {"norm": {"scale": 1, "bias": 1}, "up": {"kernel": 1}}, "objective": {"log_variance": 1}}
    mask = optimizer.decay_mask(params, config.default().optimizer.decay_exclude)
    assert mask == {
        "network": {"norm": {"scale": False, "bias": False}, "up": {"kernel": True}},
        "objective": {"log_variance": False},
    }


def test_accumulated_batches_make_one_update_with_their_mean_gradient():
    changes = {"schedule": "constant", "warmup": "0 steps", "clip": 0.0, "weight_decay": 0.0, "learning_rate": 0.1}
    params = {"kernel": jnp.array([1.0, -2.0])}
    gradients = [jnp.array([0.5, 1.0]), jnp.array([-0.1, 3.0])]

    def run(accumulate, sequence):
        chain = optimizer.build(optimizer_config(**changes, accumulate=accumulate), 4, 2, 8)
        state, now = chain.init(params), params
        for gradient in sequence:
            updates, state = chain.update({"kernel": gradient}, state, now)
            now = jax.tree.map(jnp.add, now, updates)
        return now["kernel"]

    np.testing.assert_allclose(run(2, gradients), run(1, [(gradients[0] + gradients[1]) / 2]), rtol=1e-6)
    np.testing.assert_array_equal(run(2, gradients[:1]), params["kernel"])


@pytest.mark.parametrize(
    "changes", [{"schedule": "step"}, {"accumulate": 0}, {"decay_exclude": "("}, {"warmup": "soon"}]
)
def test_wrong_optimizers(changes):
    with pytest.raises(InputError):
        optimizer.build(optimizer_config(**changes), 10, 5, 8)


def select(metric, patience=2):
    return selection.Selection(ConfigDict({"metric": metric, "patience": patience}))


def test_selection_keeps_the_first_of_equals_and_stops_after_patience():
    chosen = select("loss")
    values = [chosen.update(step, {"loss": loss}) for step, loss in enumerate([3.0, 2.0, 2.0])]
    assert (chosen.best_step, chosen.exhausted) == (1, False)
    assert values == [-3.0, -2.0, -2.0]
    chosen.update(3, {"loss": 2.5})
    assert chosen.exhausted
    again = select("loss")
    again.restore(chosen.state())
    assert again.exhausted and again.best_step == 1


def test_selection_follows_the_direction_of_the_metric():
    chosen = select("phq_screen/auroc")
    for step, value in enumerate([float("nan"), 0.6, 0.5]):
        chosen.update(step, {"phq_screen/auroc": value})
    assert chosen.best_step == 1
    with pytest.raises(InputError, match="phq_screen/auroc"):
        select("auroc").update(0, {"phq_screen/auroc": 0.5})


def test_a_workdir_belongs_to_one_config(tmp_path):
    ours = config.default()
    config.claim_workdir(ours, tmp_path / "run", writes=True)
    ours.total = "7 epochs"  # nothing was trained yet
    config.claim_workdir(ours, tmp_path / "run", writes=True)
    (tmp_path / "run" / "checkpoints" / "5").mkdir(parents=True)
    ours.data.placement = "stream"  # changes how it runs, not what it computes
    config.claim_workdir(ours, tmp_path / "run", writes=True)
    ours.optimizer.learning_rate = 0.5
    with pytest.raises(InputError, match=r"optimizer.learning_rate: 0.001 there, 0.5 now"):
        config.claim_workdir(ours, tmp_path / "run", writes=True)


def test_a_foreign_folder_is_not_a_workdir(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="not empty"):
        config.claim_workdir(config.default(), tmp_path, writes=True)


def test_batches_divide_over_the_devices():
    made = mesh.make_mesh()
    assert mesh.packs_of(16, 0, made) == 8 and mesh.packs_of(32, 16, made) == 16
    for size, groups in ((12, 0), (16, 4), (24, 16)):
        with pytest.raises(InputError, match="multiple of 8"):
            mesh.packs_of(size, groups, made)
    assert dict(mesh.make_mesh(4).shape) == {"replica": 4, "data": 2}
    with pytest.raises(InputError, match="divisible"):
        mesh.make_mesh(3)


def test_fsdp_divides_large_arrays_along_their_largest_axis():
    made = mesh.make_mesh(2)  # four devices share a batch
    shapes = {"kernel": (64, 256), "odd": (63, 257), "small": (8, 8), "table": (4096, 64)}
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    placed = mesh.state_shardings(tree, made, fsdp=True)
    specs = {name: tuple(s.spec) for name, s in placed.items()}
    assert specs == {"kernel": (None, "data"), "odd": (), "small": (), "table": ("data",)}
    assert all(s.is_fully_replicated for s in mesh.state_shardings(tree, made, fsdp=False).values())


def test_rows_after_the_restored_step_are_removed(tmp_path):
    def logger(start):
        return RunLogger(tmp_path, start_step=start, total=9, tensorboard=False)

    first = logger(0)
    for step in (1, 2, 3):
        first.scalars(step, {"loss": float("nan") if step == 2 else 1.0})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    logger(2).close()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}]


def test_no_damage_of_the_metrics_stops_a_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        b'{"step": 1, "loss": 1.0}',
        b'{"step": 2, "lo',
        b"\xff\xfe",
        b"[3]",
        b'{"loss": 4.0}',
        b'{"step": "5", "loss": 1.0}',
        b'{"step": 6, "loss": "low"}',
        b'{"step": 7, "labels/text": [1, 2]}',
        b"",
        b'{"step": 8, "loss": null}',
        b'{"step": 9, "loss": 1.0}',
    ]
    path.write_bytes(b"\n".join(rows))
    RunLogger(tmp_path, start_step=8, total=9, tensorboard=False).close()
    kept = [{"step": 1, "loss": 1.0}, {"step": 7, "labels/text": [1, 2]}, {"step": 8, "loss": None}]
    assert read_rows(path) == kept
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: is a folder"):
        read_rows(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"total": ',
        b"\xff\xfe{}",
        b"[1]",
        b"null",
        b'{"tasks": [1]}',
        b'{"tasks": 7}',
        b'{"data": {"groups": "8"}}',
    ],
)
def test_a_damaged_config_of_a_run_is_one_line(tmp_path, content):
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json: cannot be read.*restore it from a copy") as caught:
        config.claim_workdir(config.default(), tmp_path, writes=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == content


def test_scalars_reach_tensorboard_and_earlier_ones_of_later_steps_are_hidden(tmp_path):
    logger = RunLogger(tmp_path, start_step=3, total=9, tensorboard=True)
    logger.scalars(4, {"train/loss": 1.5, "undefined": float("nan")})
    logger.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    content, at, events = file.read_bytes(), 0, []
    while at < len(content):  # length, its checksum, the event, its checksum
        size = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + size]))
        at += size + 16
    head, start, row = events
    assert head.file_version == "brain.Event:2"
    assert start.step == 4 and start.session_log.status == SessionLog.START
    assert row.step == 4 and [(one.tag, one.simple_value) for one in row.summary.value] == [("train/loss", 1.5)]
