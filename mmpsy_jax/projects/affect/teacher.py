"""The frozen teacher of a student: parameters of a finished run that has seen none of the student's held-out clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import finished_run, run_files

# What shapes the network of a teacher.
SHAPING = ("width", "face_channels")


def parameters(
    config: ConfigDict, tasks: Sequence[Task], corpus: Corpus, members: Int[np.ndarray, " m"]
) -> dict[str, Any]:
    """The network of the teacher for a student that is trained on some clips.

    A teacher that was trained on a clip repeats what it has learned by heart, and a student that is compared with it
    there would be judged by what nobody knows of a new clip. So of the trainings of the run that one is taken which was
    trained on exactly the same clips: its `predictions.csv` names all others as held out. With folds that is the fold
    of the same division; of several seeds it is the first.

    Args:
      config: of the student; `config.model.teacher` is the workdir.
      tasks: of the student.
      corpus: of the student.
      members: positions of the clips that the student is trained on.

    Raises:
      InputError: no finished run, one that is no teacher, of other tasks, sizes or corpus, or of another division.
    """
    workdir = Path(config.model.teacher)
    run = finished_run.load(workdir)
    _check(workdir, run, config, tasks, corpus)
    held_out = set(np.delete(np.asarray(corpus.participants), members).tolist())
    for one, training in zip(run.card["trainings"], run.trainings, strict=True):
        if set(run_files.load_predictions(workdir, run.card, one["folder"]).participant_id.tolist()) == held_out:
            return training.inference_params["params"]["network"]
    raise InputError(
        f"{workdir}: no training of this run was trained on the same {len(members)} clips as the student, so that it "
        "may know held-out ones by heart: train the teacher with the same config.seed, config.cv and split file"
    )


def _check(
    workdir: Path, run: finished_run.FinishedRun, config: ConfigDict, tasks: Sequence[Task], corpus: Corpus
) -> None:
    theirs = run.config.model
    if theirs.name != config.model.name or theirs.get("part") != "teacher":
        raise InputError(
            f"config.model.teacher = {workdir}: a run of {theirs.name!r}, part {theirs.get('part')!r}: give one "
            "of configs/affect_teacher.py"
        )
    for name in SHAPING:
        ours, theirs_has = (tuple(np.ravel(model[name]).tolist()) for model in (config.model, theirs))
        if ours != theirs_has:
            raise InputError(
                f"config.model.{name} = {ours}, but the teacher in {workdir} has {theirs_has}: take its value"
            )
    if from_config(run.config.tasks) != tuple(tasks):
        raise InputError(f"{workdir}: the teacher has other tasks than the student: give both the same config.tasks")
    ours, known = ((c.data.get("labelled_fraction", 1.0), c.seed) for c in (config, run.config))
    if ours != known and min(ours[0], known[0]) < 1:
        raise InputError(
            f"{workdir}: the teacher knows labels of {known[0]:g} of the training clips (seed {known[1]}), the student "
            f"of {ours[0]:g} (seed {ours[1]}): give both the same config.data.labelled_fraction and config.seed"
        )
    for name in ("dataset", "config", "version"):
        if run.card[name] != corpus.card.get(name):
            raise InputError(
                f"{workdir}: the teacher was trained on {name} {run.card[name]!r}, the student is on "
                f"{corpus.card.get(name)!r}: train both on one corpus"
            )
