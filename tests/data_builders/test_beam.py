"""Building on Beam: what can be tested without it, and the pipeline where it is installed (requirements-beam.txt)."""

import dataclasses
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from data_builders.common import beam, builder, card, cli, shards
from data_builders.common.plan import Plan, make_request
from data_builders.mmpsy import demo
from mmpsy_jax.io import InputError

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
needs_beam = pytest.mark.skipif(not HAS_BEAM, reason="apache_beam is not installed: it needs its own environment")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    demo.write_corpus(folder, participants=30, workers=0, mel_shape=(16, 120), text_shape=(24, 32))
    return folder


def job(corpus, folder):
    request = make_request("mmpsy/released", source=corpus)
    plan = Plan(request, request.open(corpus, folder / "kept"))
    features = builder.tfds_features(card.record_features(plan.outline()))
    members = ("user_1", "user_2")
    report = os.fspath(folder / ".report-train-0.json")
    reader = shards.ShardReader(plan.source, members, {name: name for name in members}, report)
    return beam.ShardJob(reader, features, os.fspath(folder / "mmpsy-train.array_record-00000-of-00001"))


@pytest.mark.skipif(HAS_BEAM, reason="apache_beam is installed")
def test_missing_beam_is_explained(corpus, tmp_path):
    with pytest.raises(InputError, match=r"pip install -r requirements-beam\.txt"):
        cli.build("mmpsy/released", tmp_path, source=corpus, runner="DirectRunner")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".build.lock"}


def test_job_travels_and_may_run_twice(corpus, tmp_path):
    travelled = pickle.loads(pickle.dumps(job(corpus, tmp_path)))
    travelled()
    travelled()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".report-train-0.json",
        "mmpsy-train.array_record-00000-of-00001",
    ]
    assert json.loads((tmp_path / ".report-train-0.json").read_text())["written"] == ["user_1", "user_2"]


def test_failed_job_leaves_no_shard(corpus, tmp_path):
    broken = job(corpus, tmp_path)
    reader = dataclasses.replace(
        broken.reader, members=("user_1", "nobody"), names={"user_1": "user_1", "nobody": "nobody"}
    )
    with pytest.raises(InputError, match="nobody has no windows"):
        dataclasses.replace(broken, reader=reader)()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".build.lock"}


@needs_beam
@pytest.mark.filterwarnings("default")  # Beam's older protobuf warns while TFDS reads dataset_info.json
def test_same_bytes_as_without_beam(corpus, tmp_path):
    """From the command line, as a user would."""
    command = [sys.executable, "launch.py", "build", "--dataset=mmpsy/released", "--runner=DirectRunner"]
    ran = subprocess.run(
        [*command, f"--source={corpus}", f"--data_dir={tmp_path / 'beam'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    made = Path(ran.stdout.strip().splitlines()[-1])
    plain = cli.build("mmpsy/released", tmp_path / "plain", source=corpus, workers=0)
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in plain.iterdir())
    for path in plain.iterdir():
        assert (made / path.name).read_bytes() == path.read_bytes(), path.name
    records = tfds.builder_from_directory(made).as_data_source("train")
    assert len(records) == json.loads((made / "corpus.json").read_text())["participants"]["train"]


@needs_beam
def test_bad_input_leaves_nothing(corpus, tmp_path):
    with pytest.raises(InputError, match="writes its own source"):
        cli.build("mmpsy/demo", tmp_path, source=corpus, runner="DirectRunner")
    with pytest.raises(InputError):
        cli.build("mmpsy/released", tmp_path, source=tmp_path / "nowhere", runner="DirectRunner")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".build.lock"}
