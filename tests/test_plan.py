"""`launch.py plan`: what the programs of a config hold, do and send, without running any."""

import importlib.util

import jax
import numpy as np
import pytest

from mmpsy_jax.data.in_memory import Resident, gather, shapes_of
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.training import batches, mesh
from tests.runs import command, in_process, small


def plan(dataset, tmp_path, *options):
    shared = [option for option in command(dataset, tmp_path)[2:] if not option.startswith("--workdir")]
    return in_process("plan", *shared, *options)


def test_the_devices_of_this_machine_are_told_what_each_program_costs(dataset, tmp_path, capsys):
    status = plan(dataset, tmp_path, "--config.seeds=3", "--config.mesh.replica=8", "--participants=500")
    printed = capsys.readouterr()
    assert status == 0, printed.err
    lines = {line.split()[0]: line for line in printed.out.splitlines() if line and not line.startswith(" ")}
    assert "nothing was run" in printed.out and {"update", "replicas", "predict", "export"} <= set(lines)
    assert "all-reduce" in lines["update"] and "nothing" in lines["export"]
    assert "8 of 3 trainings" in printed.out and "on one device" in printed.out


def test_a_program_that_cannot_be_made_says_why_and_the_others_go_on(dataset, tmp_path, capsys):
    assert plan(dataset, tmp_path, "--config.data.batch_size=12", "--config.mesh.replica=8") == 0
    printed = capsys.readouterr().out
    assert "update: config.data.batch_size = 12 must be divisible" in printed and "export: compiled" in printed


def test_the_compiler_of_tpus_is_asked_for_where_it_is_not_there(dataset, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "libtpu" else find(name, *a))
    assert plan(dataset, tmp_path, "--topology=v5e:2x4") == 2
    error = capsys.readouterr().err
    assert "extra [tpu]" in error and error.count("\n") == 1
    assert plan(dataset, tmp_path, "--participants=many") == 2
    assert "give whole numbers" in capsys.readouterr().err


def test_a_topology_that_nobody_knows(monkeypatch):
    from jax.experimental import topologies

    from mmpsy_jax.commands.plan import find_devices
    from mmpsy_jax.io import InputError

    def refuse(**_):
        raise RuntimeError("no such topology")

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(InputError, match=r"v5e:3x5: libtpu knows no such chips .* such as v5e:2x4"):
        find_devices("v5e:3x5")


def test_shapes_are_those_of_what_is_read(dataset):
    corpus, config = open_corpus(dataset), small(dataset)
    shape = batches.of(config, corpus, mesh.make_mesh())
    everyone = np.arange(len(corpus))
    resident = Resident(corpus, everyone, parts=shape.pieces.parts)
    described = jax.tree.map(lambda x: (x.shape, x.dtype), resident.arrays)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes_of(resident.pieces, everyone, corpus.labels)) == described
    members = np.full((shape.sizes["packs"], shape.sizes["batch_size"] // shape.sizes["packs"]), -1, np.int32)
    batch = gather(resident.arrays, resident.plan_arrays(members, shape.sizes["slots"]), np)
    described = jax.tree.map(lambda x: (x.shape, x.dtype), batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shape.example(corpus.labels)) == described
