"""Teacher, student with the teacher of its fold, and their discrepancy, on a small demo corpus (SYNTHETIC)."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from configs import affect_student, affect_teacher
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError
from mmpsy_jax.projects.affect import discrepancy, teacher
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches, finished_run, mesh, plan_runs, programs, run, run_card, run_files
from mmpsy_jax.training.config import claim_workdir
from mmpsy_jax.training.hparams import overlay

pytestmark = pytest.mark.usefixtures("one_device", "compiled_once")

SPEAKERS, FOLDS = 4, 2
TASKS = from_config(affect_student.get_config("frozen").tasks)
SMALL = {
    "model.width": 8,
    "model.face_channels": (4,),
    "model.speech_channels": (4,),
    "total": "2 steps",
    "cv.folds": FOLDS,
    "data.batch_size": 8,
    "replicas.layout": "sequence",
    "evaluation.bootstrap": 20,
    "evaluation.baselines": False,
    "log.tensorboard": False,
    "compile_cache": "",
}


def leave(config, corpus, workdir):
    """What a run of a teacher leaves, but for training."""
    claim_workdir(config, workdir, writes=True)
    tasks = from_config(config.tasks)
    planned, _ = plan_runs.plan(config, tasks, corpus, workdir)
    shape = batches.of(config, corpus, mesh.make_mesh())
    network = programs.network(config, tasks, modalities=shape.modalities, window_seconds=shape.pieces.seconds)
    slots = {"face": jnp.zeros((1, 40, 2304)), "face_length": jnp.ones(1, int), "face_row": jnp.zeros(1, int)}
    init = jax.jit(lambda key: network.init(key, {**slots, "valid": jnp.ones(1, bool)})["params"])
    parts = []
    for one in planned:
        params = jax.device_get(init(jax.random.key(one.fold)))
        weights = {"params": {"network": params, "objective": {}}, "fitted": {"network": {}, "class_weights": {}}}
        run_files.save_weights(one.workdir, weights)
        run_files.save_weights(one.workdir, {"limit": np.ones(1)}, run_files.EMBEDDING)
        for split in ("validation", "test"):
            ids = [corpus.participants[i] for i in one.splits[split]]
            parts.append(Predictions.build(ids, "valence", np.nan, split=split, fold=one.fold, y_pred=0.0))
        write_csv(one.workdir / "predictions.csv", Predictions.concatenate(parts[-2:]))
    run_card.write(config, corpus, planned, workdir, Predictions.concatenate(parts))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, one_device, compiled_once):
    """Folder, records, config of the student, its report."""
    folder = tmp_path_factory.mktemp("affect")
    built = cli.build("affect_video/demo", folder / "data", participants=SPEAKERS, seconds=(4.0, 5.0))
    SMALL["data.folder"] = str(built)
    leave(overlay(affect_teacher.get_config(), SMALL), open_corpus(built), folder / "teacher")
    student = overlay(affect_student.get_config("frozen"), {**SMALL, "model.teacher": str(folder / "teacher")})
    return folder, built, student, run.run(student, built, folder / "student")


@pytest.mark.parametrize(
    "argument", ["frozen", "unlabelled", "joint", "frozen,emotion", "unlabelled,emotion", "joint,emotion"]
)
def test_every_weight_is_of_a_loss(argument):
    config = affect_student.get_config(argument)
    tasks = from_config(config.tasks)
    assert len(tasks) == (1 if "emotion" in argument else 3)
    names = programs.objective(config, tasks, ("audio", "face")).names
    assert set(config.objective.weights) == set(names)


def test_a_student_has_the_teacher_of_its_fold(runs):
    folder, built, config, report = runs
    assert report["tasks"].keys() == {"emotion", "valence", "arousal"} and report["synthetic"]
    taught, learned = finished_run.load(folder / "teacher"), finished_run.load(folder / "student")
    for theirs, ours in zip(taught.trainings, learned.trainings, strict=True):
        frozen = ours.inference_params["fitted"]["network"]["teacher"]
        expected = theirs.inference_params["params"]["network"]
        jax.tree.map(np.testing.assert_array_equal, frozen, expected)
        assert theirs.fold == ours.fold
        assert not any(name.startswith("teacher") for name in ours.inference_params["params"]["network"])
    corpus, tasks = open_corpus(built), from_config(config.tasks)
    for fold, split in enumerate(plan_runs.folds(config, tasks, corpus)):
        made = teacher.parameters(config, tasks, corpus, split["train"])
        expected = taught.trainings[fold].inference_params["params"]["network"]
        np.testing.assert_array_equal(made["readout"]["kernel"], expected["readout"]["kernel"])


@pytest.mark.parametrize(
    ("fields", "without", "message"),
    [
        ({}, 1, "by heart"),
        ({"model.width": 16}, 0, "take its value"),
        ({"tasks": "valence"}, 0, "other tasks"),
        ({"model.teacher": "student"}, 0, "part 'student'"),
        ({"model.teacher": "nowhere"}, 0, "no finished run"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(runs, fields, without, message):
    folder, built, config, _ = runs
    if "model.teacher" in fields:
        fields = {"model.teacher": str(folder / fields["model.teacher"])}
    if "tasks" in fields:
        fields = {"tasks": [task for task in config.tasks if task["name"] == fields["tasks"]]}
    config = overlay(config, fields)
    corpus, tasks = open_corpus(built), from_config(config.tasks)
    members = plan_runs.folds(config, from_config(runs[2].tasks), corpus)[0]["train"]
    with pytest.raises(InputError, match=message):
        teacher.parameters(config, tasks, corpus, members[without:])


def test_every_held_out_clip_is_judged_by_its_fold(runs, capsys):
    folder, built, *_ = runs
    output = folder / "discrepancy"
    arguments = [f"--workdir={folder / 'student'}", f"--input={built}", f"--output={output}"]
    assert launch.main(["discrepancy", *arguments]) == 0
    report = json.loads((output / discrepancy.REPORT).read_text())
    assert report["limits"].keys() == {"0", "1"} and report["trainings"] == FOLDS
    assert report["clips"] == 10 * SPEAKERS and set(report["optimum"]) == {"population"}
    with (output / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    predictions = read_csv(folder / "student" / "predictions.csv").select(split="test", task="emotion")
    tested = dict(zip(predictions.participant_id.tolist(), predictions.fold.tolist(), strict=True))
    assert len(rows) == report["clips_with_both"]
    assert {row["participant_id"]: int(row["fold"]) for row in rows}.items() <= tested.items()
    page = (output / discrepancy.PAGE).read_text()
    assert "SYNTHETIC" in page and "speaker_" not in page
    # Nobody is named on the terminal, and no place of this machine in a file.
    shown = "".join(capsys.readouterr())
    assert "speaker_" not in shown and not any(name in shown for name in tested)
    assert not any(str(folder).encode() in path.read_bytes() for path in output.iterdir())


def test_clips_of_another_corpus_are_judged_by_all_trainings(runs):
    folder, built, *_ = runs
    model, corpus = finished_run.load(folder / "student"), open_corpus(built)
    other = dataclasses.replace(corpus, card={**corpus.card, "version": "9.9.9"})
    renamed = dataclasses.replace(corpus, participants=tuple(f"new {name}" for name in corpus.participants))
    for one in (other, renamed):
        (part,) = discrepancy.held_out(folder / "student", model, one)
        assert len(part.trainings) == FOLDS
        for split in ("validation", "test"):
            assert {corpus.split[i] for i in part.members[split]} == {split}
    none = dataclasses.replace(other, split=("train",) * len(corpus))
    with pytest.raises(InputError, match="no validation clip"):
        discrepancy.held_out(folder / "student", model, none)


def test_a_run_without_a_teacher_has_no_discrepancy(runs, capsys):
    folder, built, *_ = runs
    arguments = [f"--workdir={folder / 'teacher'}", f"--input={built}", f"--output={folder / 'none'}"]
    assert launch.main(["discrepancy", *arguments]) == 2
    assert "a run without a teacher" in capsys.readouterr().err


def tenth(folder, argument="unlabelled", **fields):
    """A config whose corpus has labels of half of its training clips, and that corpus as a run opens it."""
    config = affect_teacher.get_config() if argument == "teacher" else affect_student.get_config(argument)
    config = overlay(config, {**SMALL, "cv.folds": 0, "data.labelled_fraction": 0.5, **fields})
    return run.with_corpus(lambda config, corpus, _: (config, corpus), config, SMALL["data.folder"], folder)


@pytest.mark.parametrize(("argument", "share"), [("unlabelled", 1.0), ("joint", 1.0), ("alone", 0.5), ("teacher", 0.5)])
def test_clips_without_labels_train_where_a_teacher_speaks_of_them(runs, tmp_path, argument, share):
    config, corpus = tenth(tmp_path, argument, **({"model.teacher": "somewhere"} if argument == "unlabelled" else {}))
    clips = np.flatnonzero(np.array(corpus.split) == "train")
    (split,) = plan_runs.folds(config, from_config(config.tasks), corpus)
    assert len(split["train"]) == round(share * len(clips))
    known = np.isfinite(corpus.labels["emotion"])
    assert known[clips].sum() == round(0.5 * len(clips)) and known[[*split["validation"], *split["test"]]].all()
    assert set(clips[known[clips]]) <= set(split["train"])


@pytest.mark.parametrize("fields", [{"cv.folds": 2}, {"data.train_on_validation": True}])
def test_labels_are_hidden_of_the_division_of_a_corpus_only(runs, tmp_path, fields):
    config, corpus = tenth(tmp_path, "alone", **fields)
    with pytest.raises(InputError, match=r"labelled_fraction = 0.5 hides labels .* set --config.cv.folds=0"):
        plan_runs.folds(config, from_config(config.tasks), corpus)


def test_a_teacher_that_knows_other_labels_is_refused(runs, tmp_path):
    config, corpus = tenth(tmp_path / "teacher", "teacher")
    leave(config, corpus, tmp_path / "teacher_run")
    ours, corpus = tenth(tmp_path / "student", **{"model.teacher": str(tmp_path / "teacher_run")})
    tasks, members = from_config(ours.tasks), np.flatnonzero(np.array(corpus.split) == "train")
    assert teacher.parameters(ours, tasks, corpus, members)
    for fields in ({"data.labelled_fraction": 0.25}, {"data.labelled_fraction": 1.0}, {"seed": 1}):
        with pytest.raises(InputError, match=r"the teacher knows labels of 0.5 of the training clips \(seed 0\)"):
            teacher.parameters(overlay(ours, fields), tasks, corpus, members)


def test_the_teacher_alone_teaches_of_clips_without_labels():
    objective = programs.objective(affect_student.get_config("frozen"), TASKS, ("audio", "face"))
    rng = np.random.default_rng(0)
    sizes = {**{task.name: task.n_classes or 1 for task in TASKS}, "embedding": 4}
    outputs = {
        f"{prefix}{name}": np.asarray(rng.normal(size=(3, n)), np.float32)
        for prefix in ("", "teacher_")
        for name, n in sizes.items()
    }
    ones = lambda *shape: np.ones(shape, np.float32)  # noqa: E731
    outputs |= {name: ones(3, 1) for name in ("face_present", "speech_present")}
    labels = {task.label: np.nan * ones(3) for task in TASKS}
    weights = {task.name: ones(task.n_classes) for task in TASKS if task.n_classes}
    losses, (present, _) = jax.jit(objective)(outputs, labels, ones(3) > 0, weights)
    named = dict(zip(objective.names, zip(losses.tolist(), present.tolist(), strict=True), strict=True))
    for name, (loss, there) in named.items():
        of_labels = name in {task.name for task in TASKS}
        assert there is not of_labels and (loss == 0.0) is of_labels, name
