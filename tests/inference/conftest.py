"""Finished runs that the tests of this room share. All data is SYNTHETIC."""

from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.special

from data_builders.common import cli
from mmpsy_jax.data.in_memory import Resident, gather
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches, embedding, mesh, plan_runs, programs, run, run_card, run_files
from mmpsy_jax.training.config import claim_workdir
from mmpsy_jax.training.step import inference_params
from mmpsy_jax.training.train_statistics import fit
from tests.data_builders.small_source import entry, write_table
from tests.runs import environment, in_turn, launch, small
from tests.sharing import shared

CHINESE = "答3的第2句一二三四五六七八九十。答5的第1句一二三四五六七八九十。答7的第4句一二三四五六七八九十。"


def config_of(built):
    config = small(built)
    config.cv.folds, config.total = 2, "1 epochs"
    config.evaluation.baselines = False
    return config


def made_up(tasks, corpus):
    """Predictions of everybody as if on validation, right but for noise."""
    rng, parts = np.random.default_rng(0), []
    for task in tasks:
        truth = task.targets(corpus.labels[task.label])
        noisy = np.nan_to_num(truth) + rng.normal(0, 1, len(truth))
        column = {task.column: scipy.special.expit(noisy) if task.event else noisy}
        parts.append(Predictions.build(corpus.participants, task.name, truth, split="validation", **column))
    return Predictions.concatenate(parts)


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A table of transcripts, its records, and a run on them: two folds with one seed, as replicas."""

    def make(folder):
        table = write_table(folder, [entry(number, answers=2 + number % 4) for number in range(1, 41)])
        built = cli.build("mmpsy/transcripts", folder / "data_dir", source=str(table), workers=0)
        run.run(config_of(built), built, folder / "run")
        return table, built, folder / "run"

    return tuple(map(Path, shared(tmp_path_factory, "texts", make)))


@pytest.fixture(scope="session")
def heard(tmp_path_factory):
    """Records with log-mel windows of the released size, and what a run on them leaves, but for training."""

    def make(folder):
        sizes = {"participants": 40, "audio_shape": (80, 1800), "text_shape": (12, 24)}
        built = cli.build("mmpsy/demo", folder / "data_dir", **sizes, workers=0)
        config = small(built)
        config.model.patch = 60
        leave_untrained(config, open_corpus(built), folder / "run")
        return built, folder / "run"

    return tuple(map(Path, shared(tmp_path_factory, "heard", make)))


@pytest.fixture(scope="session")
def exported(texts, heard, tmp_path_factory):
    """The folders that `texts` and `heard` were exported into, and what was printed.

    By a process of its own: the shape checks of these tests take symbolic sizes for no integers.
    """

    def make(folder):
        runs = {"texts": texts[-1], "heard": heard[-1]}
        done = launch(
            *in_turn(*(["export", f"--workdir={run}", f"--output={folder / name}"] for name, run in runs.items())),
            env=environment(),
        )
        assert done.returncode == 0, done.stderr
        return {**{name: folder / name for name in runs}, "printed": done.stdout + done.stderr}

    return shared(tmp_path_factory, "exported", make)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Good and bad files beside each other."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "good.txt").write_text(CHINESE)
    (folder / "english.txt").write_text("Nobody in that corpus has ever said a word of this, as far as I know.")
    (folder / "utf16.txt").write_text(CHINESE, encoding="utf-16")
    (folder / "empty.txt").write_text(" \n")
    (folder / "short.json").write_text('[{"user_id": "a"')
    (folder / "rows.csv").write_text(f"participant_id,text,question\np1,{CHINESE},2\np1,{CHINESE},\n=p2,{CHINESE},\n")
    (folder / "shifted.csv").write_text("participant_id,text\np3,secret,secret\n")
    (folder / "notes.md").write_text("not an input")
    return folder


def leave_untrained(config, corpus, workdir):
    """What a run of one training leaves for predicting, but that its parameters are as they were drawn."""
    config = run.with_ranges(config, corpus)
    claim_workdir(config, workdir, writes=True)
    (one,), _ = plan_runs.plan(config, from_config(config.tasks), corpus, workdir)
    shape = batches.of(config, corpus, mesh.one_device())
    lengths = {"total": 1, "steps_per_epoch": 1}
    functions = programs.build(config, one.tasks, **shape.inputs, **lengths)
    resident = Resident(corpus, one.splits["test"][:1], parts=shape.pieces.parts)
    members = np.full((1, shape.sizes["batch_size"]), -1, np.int32)  # shapes are all that counts
    batch = gather(resident.arrays, resident.plan_arrays(members, shape.sizes["slots"]), np)
    fitted = fit(config, one.tasks, shape.modalities, corpus, one.splits["train"])
    state = jax.jit(functions.init)(np.int32(0), batch, fitted)
    run_files.save_weights(workdir, jax.device_get(inference_params(state)))
    embedding.write([one], workdir)
    run_card.write(config, corpus, [one], workdir, made_up(one.tasks, corpus))
