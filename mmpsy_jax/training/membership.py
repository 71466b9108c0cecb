"""Audits a finished cross-validation: what its trainings and the baselines give away of who was in the training part.

Nothing is trained: `evaluation/membership.py` takes the trainings of the run as the shadow models of each other. The
networks predict everybody, also those whom they were trained on; the baselines are fitted again on the same folds.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mmpsy_jax.data.permute_modality import permute_modality
from mmpsy_jax.data.pooled import open_corpora
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import membership, report
from mmpsy_jax.evaluation.membership import FEWEST, IN, NEITHER, OUT, Trainings
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.scoring import finite
from mmpsy_jax.io import InputError, write_atomically, write_json
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import covariates, finished_run, results, run_card, run_files
from mmpsy_jax.training.config import seeds as seeds_of
from mmpsy_jax.training.finished_run import FinishedRun

FILE = "membership.json"
# Baselines of more than one number; the others have hardly anything to remember anybody by.
AUDITED = ("mel_linear", "functionals", "egemaps", "tfidf_logistic", "tfidf_ridge")
CHUNK = 128  # participants whose windows are in memory together
SPLIT_OF = {IN: "train", NEITHER: "validation", OUT: "test"}


def audit(workdir: str | Path, source: str | Path = "") -> dict[str, Any]:
    """Attacks a finished run, and writes `membership.json`, the section of its report, and lines of its model card.

    Args:
      workdir: of the run, a cross-validation with repeats.
      source: folder of the records that it was trained on, where they have moved; several with commas.

    Returns:
      {"participants", "trainings", "repeats", "seeds", "synthetic", "tasks": {TASK: {PREDICTOR:
      `evaluation.membership.attack`}}}, the content of `membership.json`. Predictors are "model", a single training of
      the run, and baselines.

    Raises:
      InputError: no finished run, trainings that are too few for shadow models, or records of other people.
    """
    workdir = Path(workdir)
    run = finished_run.load(workdir)
    config = run.config
    _refuse_too_few(workdir, config)
    corpus = open_corpora(source or run_card.folder_of(config, run.card), config.data.modalities)
    if config.data.permute_modality:
        corpus = permute_modality(corpus, config.data.permute_modality, config.seed)
    table = run_files.load_predictions(workdir, run.card)
    roles = _roles(corpus, run.tasks, table, config.cv.folds)
    owner = np.array(corpus.cluster)
    of_networks = Trainings(
        role=np.stack([roles[one.fold] for one in run.trainings]),
        repeat=np.array([one.fold // config.cv.folds for one in run.trainings]),
        seed=np.array([one.seed for one in run.trainings]),
        owner=owner,
    )
    folds = np.array(sorted(roles))
    of_folds = Trainings(
        np.stack([roles[fold] for fold in folds]), folds // config.cv.folds, np.zeros(len(folds), int), owner
    )
    values = {"model": (of_networks, _predict(run, corpus))}
    values |= {name: (of_folds, one) for name, one in _baselines(config, run.tasks, corpus, roles).items()}
    options = {"resamples": config.evaluation.bootstrap, "seed": config.seed}
    tasks: dict[str, dict[str, Any]] = {}
    for task in run.tasks:
        targets = np.asarray(task.targets(corpus.labels[task.label]), np.float64)
        tasks[task.name] = {
            name: membership.attack(task, one[task.name], targets, trainings, **options)
            for name, (trainings, one) in values.items()
            if task.name in one
        }
    content = {
        "participants": len(corpus),
        "trainings": len(run.trainings),
        "repeats": len(np.unique(of_networks.repeat)),
        "seeds": len(np.unique(of_networks.seed)),
        "synthetic": bool(run.card["synthetic"]),
        "tasks": tasks,
    }
    content = finite(content)
    write_json(workdir / FILE, content)
    _add_to_report(workdir, content)
    return content


def _refuse_too_few(workdir: Path, config: ConfigDict) -> None:
    """Raises InputError where a run has too few trainings with and without everybody."""
    cv, seeds = config.cv, len(seeds_of(config))
    if not cv.folds:
        raise InputError(
            f"{workdir}: its trainings share one training part, but an audit needs models with and without each "
            "participant: train with --config.cv.folds=5 --config.cv.repeats=3"
        )
    without = (cv.repeats - 1) * seeds
    if without < FEWEST:
        raise InputError(
            f"{workdir}: {cv.repeats} x {cv.folds} folds and {seeds} seed(s) leave {without} model(s) without a "
            f"participant outside of the repeat that is attacked, and an audit needs {FEWEST}: train with "
            "--config.cv.repeats=3, or with 2 and --config.seeds=2"
        )


def _roles(corpus: Corpus, tasks: tuple[Task, ...], table: Predictions, k: int) -> dict[int, np.ndarray]:
    """Per fold the role of everybody [n], from the table of predictions: who is not in it was trained on.

    Raises:
      InputError: the corpus has other people, or other labels, than the run.
    """
    wrong = InputError(
        f"{corpus.path}: other people or labels than the run was trained on: give its records with --input=FOLDER"
    )
    position = {name.strip(): i for i, name in enumerate(corpus.participants)}
    rows = table.select(task=tasks[0].name, seed=table.seed[0])
    if not set(rows.participant_id.tolist()) <= position.keys():
        raise wrong
    at = np.array([position[name] for name in rows.participant_id.tolist()])
    truth = np.asarray(tasks[0].targets(corpus.labels[tasks[0].label]), np.float64)[at]
    roles = {}
    for fold in np.unique(rows.fold).tolist():
        roles[fold] = np.full(len(corpus), IN)
        for side, split in ((NEITHER, "validation"), (OUT, "test")):
            roles[fold][at[(rows.fold == fold) & (rows.split == split)]] = side
    tested = np.sum([role == OUT for role in roles.values()], axis=0)
    if (tested * k != len(roles)).any() or not np.array_equal(truth, rows.y_true, equal_nan=True):
        raise wrong
    return roles


def _predict(run: FinishedRun, corpus: Corpus) -> dict[str, Float[np.ndarray, "t n ..."]]:
    """What every training says of everybody, in or out, some participants in memory at a time."""
    corpus = run.select_modalities(corpus)
    members = np.arange(len(corpus), dtype=np.int32)
    parts = [run.predict(corpus, members[start : start + CHUNK])[0] for start in range(0, len(members), CHUNK)]
    return {task.name: np.concatenate([part[task.name] for part in parts], axis=1) for task in run.tasks}


def _baselines(
    config: ConfigDict, tasks: tuple[Task, ...], corpus: Corpus, roles: dict[int, np.ndarray]
) -> dict[str, dict[str, Float[np.ndarray, "f n"]]]:
    """What each baseline says of everybody by task, fitted again on every fold; a nominal task has classes only."""
    if not config.evaluation.baselines:
        return {}
    splits = {fold: np.vectorize(SPLIT_OF.get)(role) for fold, role in roles.items()}
    texts, heard = covariates.transcripts(config, corpus), covariates.sound(corpus)
    asked = tuple(task for task in tasks if not task.votes)
    fitted = results.fit_baselines(asked, corpus, splits, texts, heard, tuple(SPLIT_OF.values())) if asked else {}
    values: dict[str, dict[str, np.ndarray]] = {}
    for name in (name for name in AUDITED if name in fitted):
        for task in asked:
            rows = fitted[name].select(task=task.name)
            if len(rows):
                values.setdefault(name, {})[task.name] = getattr(rows, task.column).reshape(len(roles), len(corpus))
    return values


def _add_to_report(workdir: Path, content: dict[str, Any]) -> None:
    """Writes the section into the report of the run and lines into its model card, and its page anew."""
    known = report.read_report(workdir / "report.json")
    if known:
        known["membership"] = content
        write_json(workdir / "report.json", known)
        report.write_page(workdir / "report.json")
        write_atomically(workdir / "README.md", report.model_card(known))
