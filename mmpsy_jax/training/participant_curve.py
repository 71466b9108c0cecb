"""The learning curve over participants: the trainings of a config on nested parts of each fold's training part.

All sizes, folds and seeds are replicas of one program (`replicas.py`). Of each fold the participants of its training
part stand in one random order, clusters whole, and a size takes the first of them, so that a larger part holds the
smaller ones. Validation and test parts stay whole. Every training makes as many steps and epochs as the largest.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from markupsafe import Markup
from ml_collections import ConfigDict

from mmpsy_jax.data.records import Corpus
from mmpsy_jax.data.splits import Split
from mmpsy_jax.evaluation import learning_curve, wording
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.evaluation.scoring import finite
from mmpsy_jax.io import InputError, one_of, write_atomically, write_json
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import plan_runs
from mmpsy_jax.training.config import seeds as seeds_of
from mmpsy_jax.training.job import TrainJob
from mmpsy_jax.training.logger import say

FILE = "curve"  # .json and .html
# Sizes where none are asked for: so many, at equal ratios, from 100 people or an eighth of all on.
N_SIZES, FIRST, FIRST_SHARE = 5, 100, 0.125
LEAST = 10  # participants
FOLDS = 100_000  # numbers of folds of one size


def curve(
    config: ConfigDict,
    corpus: Corpus,
    workdir: Path,
    *,
    sizes: Sequence[int] = (),
    more: int = 100,
    reliability: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Trains on more and more participants, and writes `curve.json` and `curve.html`.

    Args:
      config, corpus, workdir: as `run.with_corpus` gives them.
      sizes: numbers of training participants; all of them are added. () for `N_SIZES` of them.
      more: participants beyond all, for the extrapolation.
      reliability: of the questionnaire of each label, or of all ("").

    Returns:
      {"synthetic", "sizes": mean numbers of participants, "more", "trainings", "folds", "seeds", "reliability",
      "tasks": {TASK: `learning_curve.measure`}}, the content of `curve.json`; empty but on process 0.

    Raises:
      InputError: sizes or a reliability that cannot be, a sweep, or as `plan_runs.folds`.
    """
    tasks = from_config(config.tasks)
    known = _reliabilities(reliability or {}, [task.label for task in tasks])
    if config.sweep:
        raise InputError("a curve takes one setting: choose it by a sweep first, and leave out --sweep")
    outer = plan_runs.folds(config, tasks, corpus)
    chosen = choose_sizes(sizes, min(len(split["train"]) for split in outer))
    parts = []
    for fold, split in enumerate(outer):
        parts.append(nested(corpus, split["train"], [*chosen, len(split["train"])], config.seed + fold))
    mesh = meshes.make_mesh(config.mesh.replica)
    batches = batching.of(config, corpus, mesh).most([one for of_fold in parts for one in of_fold])
    jobs = [
        TrainJob(
            config,
            corpus,
            _with_train(split, of_fold[i]),
            workdir / (f"n_{n}" if n else "all") / f"fold_{fold}" / f"seed_{seed}",
            seed=seed,
            fold=i * FOLDS + fold,
            batches=batches,
            keeps_model=False,
        )
        for i, n in enumerate([*chosen, 0])
        for fold, (split, of_fold) in enumerate(zip(outer, parts, strict=True))
        for seed in seeds_of(config)
    ]
    means = np.mean([[len(one) for one in of_fold] for of_fold in parts], axis=0).round(1).tolist()
    say(f"curve: {len(jobs)} trainings on {', '.join(f'{n:g}' for n in means)} participants")
    named = "_".join(map(str, chosen))
    predictions = plan_runs.train_all(jobs, workdir / f"replicas_{named}")
    if jax.process_index():
        return {}
    from mmpsy_jax.training import results  # scikit-learn takes seconds

    tables = {learning_curve.MODEL: Predictions.concatenate(predictions)}
    tables |= results.fit_references(config, tasks, corpus, jobs).baselines
    of_sizes = [{name: _of_size(table, i) for name, table in tables.items()} for i in range(len(means))]
    options = {"resamples": config.evaluation.bootstrap, "seed": config.seed}
    content = {
        "synthetic": bool(corpus.card["synthetic"]),
        "sizes": means,
        "more": more,
        "trainings": len(jobs),
        "folds": len(outer),
        "seeds": len(seeds_of(config)),
        "reliability": known,
        "tasks": {
            task.name: learning_curve.measure(task, of_sizes, means, more, reliability=known.get(task.label), **options)
            for task in tasks
        },
    }
    content = finite(content)
    write_json(workdir / f"{FILE}.json", content)
    write_atomically(workdir / f"{FILE}.html", render(content, config.name))
    return content


def render(content: Mapping[str, Any], name: str) -> str:
    """The page, a function of the content of `curve.json` and the name of the config."""
    return wording.template("curve.html").render(
        title=f"Learning curve of {name}",
        disclaimer=wording.disclaimer_of([entry["label"] for entry in content["tasks"].values()]),
        drawn={title: Markup(svg) for title, svg in learning_curve.pictures(content).items()},
        tables=learning_curve.sections(content),
        fitted=len(content["sizes"]) >= learning_curve.FEWEST_SIZES,
        **{key: content[key] for key in ("synthetic", "trainings", "folds", "seeds", "more")},
    )


def choose_sizes(asked: Sequence[int], most: int) -> list[int]:
    """Sizes below that of the smallest training part, ascending: those asked for, or some at equal ratios.

    Raises:
      InputError: too small, too large, one twice, or a training part of too few for any.
    """
    if not asked:
        first = max(LEAST, min(FIRST, round(FIRST_SHARE * most)))
        spaced = np.geomspace(first, most, N_SIZES)[:-1].round().astype(int) if most > first else []
        asked = np.unique(spaced).tolist()
    if not asked or min(asked) < LEAST or max(asked) >= most or len(set(asked)) < len(asked):
        raise InputError(
            f"sizes {', '.join(map(str, asked)) or 'of a curve'}: give different numbers from {LEAST} to {most - 1}; "
            f"the smallest training part has {most} participants, and all of them are added"
        )
    return sorted(asked)


def nested(
    corpus: Corpus, members: Int[np.ndarray, " m"], sizes: Sequence[int], seed: int
) -> list[Int[np.ndarray, " _"]]:
    """The first so many members in a random order of clusters; the cluster that completes a number is whole.

    Args:
      members: positions in the corpus.
      sizes: numbers of participants, at most those of the members.
      seed: of the order.
    """
    names, owner = np.unique(np.asarray(corpus.cluster)[members], return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[owner]
    order = np.argsort(place, kind="stable")
    last = [place[order][n - 1] for n in sizes]
    return [np.sort(members[place <= one]) for one in last]


def _with_train(split: Split, train: Int[np.ndarray, " n"]) -> Split:
    return {**split, "train": train}


def _of_size(table: Predictions, i: int) -> Predictions:
    """The rows of one size, with the folds numbered as in every size."""
    rows = table.take(table.fold // FOLDS == i)
    return dataclasses.replace(rows, fold=rows.fold % FOLDS)


def _reliabilities(stated: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """The reliability of each label that has one.

    Raises:
      InputError: an unknown label, or no number between 0 and 1.
    """
    for label, value in stated.items():
        if label and label not in labels:
            raise one_of("label in --reliability", label, labels)
        if not 0 < value <= 1:
            raise InputError(f"--reliability={value:g}: give a number above 0 and at most 1, such as 0.86")
    return {label: stated.get(label, stated.get("")) for label in labels if label in stated or "" in stated}
