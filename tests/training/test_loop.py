"""One training: signals, metrics after a resume, records that are not finite. The corpus is SYNTHETIC."""

import dataclasses

import numpy as np
import pytest

from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import interruption, loop, nonfinite, plan_runs, replicas, run
from mmpsy_jax.training import step as steps
from mmpsy_jax.training.logger import read_rows
from tests.runs import lean

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def corpus(dataset):
    return open_corpus(dataset)


def training(dataset, corpus, workdir, **fields):
    config = lean(dataset)
    config.log.every, config.selection.every, config.total = "2 steps", "7 steps", "16 steps"
    config.update_from_flattened_dict(fields)
    return loop.TrainJob(config, corpus, splits.by_name(corpus), workdir)


def rows(workdir):
    """All but the clock."""
    made = read_rows(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if "per_second" not in name} for row in made]


def stop_at(monkeypatch, *steps):
    """Signals at these calls of `must_stop`."""
    calls = []
    monkeypatch.setattr(interruption, "must_stop", lambda _: calls.append(1) or len(calls) in steps)


def test_metrics_after_interruptions_read_as_those_of_the_uninterrupted(dataset, corpus, tmp_path, monkeypatch):
    whole = loop.train(training(dataset, corpus, tmp_path / "whole"))
    one = training(dataset, corpus, tmp_path / "broken")
    for step in (3, 2):  # stopped at step 3, then at step 5
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(interruption.Interrupted):
                loop.train(one)
    # Killed after step 6, which has logged the steps before: they are logged again, and must not stand there twice.
    with monkeypatch.context() as patch:
        patch.setattr(interruption, "must_stop", lambda _: (_ for _ in ()).throw(RuntimeError) if killed() else False)
        calls = []
        killed = lambda: calls.append(1) or len(calls) > 2  # noqa: E731
        with pytest.raises(RuntimeError):
            loop.train(one)
    again = loop.train(one)
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert again.y_pred.tobytes() == whole.y_pred.tobytes()


def test_a_signal_at_or_after_the_last_step_is_not_swallowed(dataset, corpus, tmp_path, monkeypatch):
    one = training(dataset, corpus, tmp_path, total="4 steps")
    for call in (4, 1):  # at the last step; when all steps are done
        with monkeypatch.context() as patch:
            stop_at(patch, call)
            with pytest.raises(interruption.Interrupted, match="saved step 4 of 4; run the same command again"):
                loop.train(one)
        assert not (tmp_path / "model.safetensors").exists()
    assert len(loop.train(one))


class Damaged:
    """Reads records of which one has a number that is not finite, which the index does not know."""

    def __init__(self, reader, at, name):
        self.reader, self.at, self.name = reader, at, name

    def __getattr__(self, name):
        return getattr(self.reader, name)

    def read(self, i, names=None):
        record = self.reader.read(i, names)
        if i == self.at and self.name in record:
            record[self.name] = np.full_like(record[self.name], np.nan)
        return record


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_records_that_are_not_finite_are_named_by_position(dataset, corpus, tmp_path, split):
    at = int(splits.by_name(corpus)[split][3])
    damaged = dataclasses.replace(corpus, reader=Damaged(corpus.reader, at, "audio"))
    where = rf"audio holds numbers that are not finite for 1 of {len(corpus)} .*: {at} \({split}\)"
    one = training(dataset, damaged, tmp_path / "one", total="7 steps")
    with pytest.raises(InputError, match=where) as caught:
        loop.train(one)
    assert "learning_rate" not in str(caught.value) and corpus.participants[at] not in str(caught.value)
    config = one.config.copy_and_resolve_references()
    config.seeds = 2
    together = plan_runs.plan(config, from_config(config.tasks), damaged, tmp_path)[0]
    with pytest.raises(InputError, match=where):
        replicas.train(together, tmp_path / "replicas")


def test_what_the_index_knows_is_refused_before_the_training(dataset, corpus, tmp_path):
    assert all(corpus.finite[name].all() for name in ("audio", "text"))
    finite = {**corpus.finite, "text": np.arange(len(corpus)) != 2}
    damaged = dataclasses.replace(corpus, finite=finite)
    with pytest.raises(InputError, match=r"text holds numbers that are not finite for 1 of .*: 2 \(train\)"):
        run.check(lean(dataset), from_config(lean(dataset).tasks), damaged)
    nonfinite.refuse(damaged, ["audio"])
    labels = {**corpus.labels, "phq9": np.where(np.arange(len(corpus)) == 5, np.inf, corpus.labels["phq9"])}
    with pytest.raises(InputError, match=r"label phq9 holds numbers .*: 5 \(train\)"):
        nonfinite.refuse(dataclasses.replace(corpus, labels=labels), ["audio"])


def test_compiling_gets_the_effort_that_running_repays():
    options = steps.compiler_options
    assert options(1)["xla_backend_optimization_level"] == 0
    assert options(144)["xla_backend_optimization_level"] == 1
    assert options(steps.FEW_STEPS) is None
