"""Checkpoints: exact, verified, and readable errors."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmpsy_jax.io import InputError
from mmpsy_jax.training import checkpoint, mesh
from mmpsy_jax.training.checkpoint import MANIFEST, Checkpoints


def make_state(seed=0, width=3):
    rng = np.random.default_rng(seed)
    return {
        "params": {"kernel": jnp.asarray(rng.normal(size=(64, width)), jnp.float32)},
        "step": jnp.int32(seed),
        "rng": jax.random.key_data(jax.random.key(seed)),
    }


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_latest_and_best_are_kept_and_come_back_exactly(tmp_path):
    with Checkpoints(tmp_path, keep=2) as saved:
        for step, value in enumerate([0.1, 0.9, 0.9, 0.2, None, 0.3]):
            saved.save(step, make_state(step), {"loader": {"position": step}}, value)
        saved.wait()
        assert (saved.latest, saved.best) == (5, 1)  # the first of equals
        assert sorted(int(p.name) for p in tmp_path.iterdir()) == [1, 4, 5]
        state, progress = saved.restore(1, like=make_state())
        assert same(state, make_state(1)) and progress == {"loader": {"position": 1}}
    with Checkpoints(tmp_path) as again:
        assert (again.latest, again.best) == (5, 1)
        assert same(again.restore(5, like=make_state())[0], make_state(5))


def test_small_arrays_that_all_devices_hold_are_not_cut_by_programs_to_compile(tmp_path, caplog):
    everywhere = jax.device_put({"x": np.zeros((16, 48), np.float32)}, mesh.replicated(mesh.make_mesh()))
    with Checkpoints(tmp_path) as saved, jax.log_compiles():
        saved.save(0, everywhere, {})
        saved.wait()
    assert not [record for record in caplog.messages if "Compiling" in record]


def test_restores_onto_another_sharding(tmp_path):
    made = mesh.make_mesh()
    with Checkpoints(tmp_path) as saved:
        saved.save(0, jax.device_put(make_state(), mesh.replicated(made)), {})
        saved.wait()
        split = NamedSharding(made, PartitionSpec("data"))
        like = jax.device_put(make_state(1), mesh.replicated(made))
        like["params"]["kernel"] = jax.device_put(like["params"]["kernel"], split)
        state, _ = saved.restore(0, like=like)
    assert state["params"]["kernel"].sharding == split
    assert same(state, make_state())


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_named(tmp_path, damage):
    with Checkpoints(tmp_path) as saved:
        saved.save(3, make_state(), {})
        saved.wait()
        victim = max(
            (p for p in (tmp_path / "3").rglob("*") if p.is_file() and p.name != MANIFEST),
            key=lambda p: p.stat().st_size,
        )
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        {
            "flip": lambda: victim.write_bytes(content),
            "truncate": lambda: os.truncate(victim, 7),
            "remove": victim.unlink,
        }[damage]()
        with pytest.raises(InputError, match=f"{victim.name}: (damaged|missing).*delete"):
            saved.restore(3, like=make_state())


def test_another_architecture_is_refused_in_one_line(tmp_path):
    with Checkpoints(tmp_path) as saved:
        saved.save(0, make_state(), {})
        saved.wait()
        with pytest.raises(
            InputError, match=r"kernel.* is \[\[64, 3\], 'float32'\] in the checkpoint and \[\[64, 4\]"
        ) as caught:
            saved.restore(0, like=make_state(width=4))
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="bfloat16"):
            saved.restore(
                0, like=jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, make_state())
            )
        with pytest.raises(InputError, match=r"'ema'.*absent in the checkpoint"):
            saved.restore(0, like={**make_state(), "ema": jnp.zeros(2)})


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_json", full)
    saved = Checkpoints(tmp_path)
    saved.save(0, make_state(), {})
    with pytest.raises(InputError, match=r"could not be written \(No space left on device\)"):
        saved.close()


def tensorstore_is_full(*_, **__):
    raise ValueError("RESOURCE_EXHAUSTED: Failed writing: \"d/67\": No space left on device [os_error_code='28']")


def test_what_tensorstore_says_of_a_full_disk_is_the_same_error(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        for name in ("save_checkpointables_async", "close"):  # Orbax raises it once more when it is closed
            patch.setattr(type(saved._manager), name, tensorstore_is_full)
        full = r"could not be written \(No space left on device\): make room"
        with pytest.raises(InputError, match=full), saved:
            saved.save(0, make_state(), {})
    saved._manager.close()


def test_errors_that_orbax_raises_are_not_logged_too(caplog):
    path = "/site-packages/orbax/checkpoint/future.py"
    for exc_info, shown in ((None, True), ((ValueError, ValueError("full"), None), False)):
        record = logging.LogRecord("absl", logging.ERROR, path, 1, "failed", (), exc_info)
        assert checkpoint._is_no_repeated_error(record) == shown


@pytest.mark.parametrize("damage", [b"", b'{"value": ', b"\xff\xfe", None])
def test_damaged_metrics_of_a_step_are_written_again_and_change_nothing(tmp_path, damage):
    with Checkpoints(tmp_path, keep=1) as saved:
        for step, value in enumerate([0.1, 0.9, 0.2]):
            saved.save(step, make_state(step), {"step": step}, value)
    path = tmp_path / "1" / checkpoint.METRICS
    before = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(damage)
    with Checkpoints(tmp_path, keep=1) as again:
        assert path.read_bytes() == before and (again.latest, again.best) == (2, 1)
        again.save(3, make_state(3), {"step": 3}, 0.3)
        assert same(again.restore(1, like=make_state())[0], make_state(1))  # still kept, and its digests hold


def test_a_damaged_manifest_stops_only_who_needs_the_step(tmp_path):
    with Checkpoints(tmp_path) as saved:
        for step in (1, 2):
            saved.save(step, make_state(step), {"step": step}, 0.5)
    (tmp_path / "1" / MANIFEST).write_bytes(b"\xff{")
    with Checkpoints(tmp_path) as again:
        assert again.restore(2, like=make_state())[1] == {"step": 2}
        with pytest.raises(InputError, match=r"sha256\.json: damaged: remove this one file") as caught:
            again.restore(1, like=make_state())
        assert "\n" not in str(caught.value) and "delete" not in str(caught.value)


def test_metrics_that_no_manifest_knows_are_named(tmp_path):
    with Checkpoints(tmp_path) as saved:
        saved.save(1, make_state(), {}, 0.5)
    (tmp_path / "1" / MANIFEST).unlink()
    (tmp_path / "1" / checkpoint.METRICS).write_text("{")
    with pytest.raises(InputError, match=r"metrics: damaged: move the folder of this step elsewhere"):
        Checkpoints(tmp_path)


def test_deletion_is_advised_only_where_a_digest_differs(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=3) as saved:
        for step in (1, 2, 3):
            saved.save(step, make_state(step), {"step": step})
        saved.wait()
        with monkeypatch.context() as patch:
            patch.setattr(type(saved._manager), "load_checkpointables", lambda *_: 1 / 0)
            with pytest.raises(InputError, match=r"its files are as they were written.*run the same") as caught:
                saved.restore(3, like=make_state())
        assert "delete" not in str(caught.value)
        for step, advice in (
            (3, "/3 to go on from step 2"),
            (2, "/2 and all later ones to go on from step 1"),
            (1, " to train anew"),
        ):
            victim = next((tmp_path / str(step)).rglob("_METADATA"))
            victim.write_bytes(victim.read_bytes() + b" ")
            with pytest.raises(InputError, match=rf"checksum differs\): delete \S*{advice}"):
                saved.restore(step, like=make_state())


SAVING = """
import sys, numpy as np, jax.numpy as jnp
from mmpsy_jax.training.checkpoint import Checkpoints
saved = Checkpoints(sys.argv[1])
for step in range(10_000):
    saved.save(step, {"x": jnp.full((1 << 20,), step, jnp.float32)}, {"step": step})
    print(step, flush=True)
"""


def test_killed_while_saving_the_last_whole_step_remains(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if int(line) >= 4:
                break
        time.sleep(0.013)  # somewhere inside the asynchronous write
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with Checkpoints(tmp_path) as saved:
        step = saved.latest
        assert step >= 3
        state, progress = saved.restore(step, like={"x": jnp.zeros(1 << 20)})
        assert progress == {"step": step} and np.all(np.asarray(state["x"]) == step)
        saved.save(step + 1, state, {"step": step + 1})
