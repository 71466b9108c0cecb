"""Probes of shortcuts: quick linear models of what a model should not need, on the same folds and test people.

| name | knows |
|---|---|
| `interviewer_<text or audio>` | what the interviewer said, or how it sounded |
| `first_<k>_min_<modality>` | the first minutes; without minutes the first window |
| `length_and_turns` | characters, answers, turns and seconds |
| `corpus` | from which of the pooled corpora somebody is |

Beside them, of pooled corpora, how well each modality tells the corpora apart (`told_apart`). Texts are the n-grams
that records hold, recordings the mean and deviation of each band, other features their means.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmpsy_jax.data import splits, statistics
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import baselines, flags, report, wording
from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import batches, covariates, plan_runs
from mmpsy_jax.training.logger import say

FOLDS = 5  # of `told_apart`
SIZES = ("n_characters", "n_answers", "n_turns", "n_interviewer_characters", "duration_s")


def inputs(config: ConfigDict, corpus: Corpus, first: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, str]]:
    """What each probe knows, as `baselines.Covariates.probes` takes it, and the same in words.

    Args:
      config: of the run.
      corpus: that it reads.
      first: number of windows of each beginning, by its name ("1_min").
    """
    known, words = {}, {}
    for name in corpus.modalities:
        if batches.is_interviewers(corpus, name):
            known[name] = describe(corpus, name)
            words[name] = f"the {name.partition('_')[2]} of the interviewer"
    for beginning, windows in first.items():
        for name in batches.names_of(config, corpus):
            if not batches.is_interviewers(corpus, name):
                known[f"first_{beginning}_{name}"] = describe(corpus, name, windows)
                words[f"first_{beginning}_{name}"] = f"the {name} of the first {beginning.replace('_', ' ')}"
    sizes = [covariates.varied(corpus.columns[name]) for name in SIZES if name in corpus.columns]
    sizes = [np.log1p(column.astype(np.float64)) for column in sizes if column is not None]
    if sizes:
        known["length_and_turns"] = np.stack(sizes, axis=1)
        words["length_and_turns"] = "the length of the interview and the number of its turns"
    if corpus.pooled:
        known["corpus"] = (np.array(corpus.origin)[:, None] == np.array(list(corpus.pooled))).astype(np.float64)
        words["corpus"] = "the corpus"
    for name in [name for name, matrix in known.items() if matrix is None]:
        say(f"probes: {name} is left out, {words.pop(name)} are samples")
        del known[name]
    return known, words


def describe(corpus: Corpus, name: str, max_windows: int | None = None) -> Any:
    """Numbers of a modality of each participant [n k], NaN where there are none, or a sparse matrix of the n-grams that
    each uses; None of samples."""
    modality = corpus.modalities[name]
    if modality.kind == "ids":
        return statistics.id_counts(corpus, name, max_windows) > 0
    if modality.kind == "frames":
        return covariates.frame_statistics(corpus, name, max_windows)
    if modality.dtype.kind == "i":
        return None
    return statistics.time_means(corpus, name, max_windows)


def fit_predict(config: ConfigDict, tasks: Sequence[Task], corpus: Corpus, known: Mapping[str, Any]) -> dict[str, Any]:
    """Predictions of every probe on the folds of the run, each fitted on the training part."""
    parts: dict[str, list[Predictions]] = {}
    for fold, split in enumerate(plan_runs.folds(config, tasks, corpus)):
        for name, part in _fit_predict(corpus, split, corpus.labels, tasks, known, fold).items():
            parts.setdefault(name, []).append(part)
    return {name: Predictions.concatenate(part) for name, part in parts.items()}


def _fit_predict(corpus, split, labels, tasks, known, fold) -> dict[str, Predictions]:
    column = np.full(len(corpus), "", dtype="U10")
    for part, members in split.items():
        column[members] = part
    about = baselines.Covariates(
        participant_id=np.asarray(corpus.participants), split=column, scores=labels, n_characters=None, probes=known
    )
    fitted = baselines.fit_predict(about, tasks, fold=fold)
    return {name: with_clusters(fitted[name], corpus) for name in known if name in fitted}


def with_clusters(table: Predictions, corpus: Corpus) -> Predictions:
    """The rows with the cluster of each participant, so that intervals are over clusters."""
    cluster = dict(zip(corpus.participants, corpus.cluster, strict=True))
    return dataclasses.replace(table, cluster=np.array([cluster[name] for name in table.participant_id.tolist()]))


def told_apart(corpus: Corpus, config: ConfigDict) -> list[dict[str, Any]]:
    """How well each modality tells pooled corpora apart: balanced accuracy, cross-validated over clusters.

    Returns:
      per modality {"name", "probe", "tasks": {"which_corpus": cells}, "flags"}; nothing for one corpus, or where one of
      them has too few clusters for two folds.
    """
    names = tuple(corpus.pooled)
    clusters = min((len(set(part.cluster)) for part in corpus.pooled.values()), default=0)
    if clusters < 2:
        return []
    task = Task("which_corpus", "corpus", "nominal", classes=names)
    labels = {"corpus": np.array([names.index(name) for name in corpus.origin], np.float32)}
    entries = []
    for name in batches.names_of(config, corpus):
        matrix = describe(corpus, name)
        if matrix is None:
            continue
        parts = [
            _fit_predict(corpus, split, labels, [task], {name: matrix}, fold)[name]
            for fold, split in enumerate(splits.folds(corpus, min(FOLDS, clusters), config.seed, validation_fraction=0))
        ]
        scored = report.evaluate(
            Predictions.concatenate(parts), [task], seed=config.seed, n_bootstrap=config.evaluation.bootstrap
        )
        cells = scored["tasks"][task.name]["splits"]["test"]["model"]
        accuracy, chance = cells["balanced_accuracy"], 1 / len(names)
        entry = {"name": f"which_corpus_{name}", "probe": f"the {name}", "tasks": {task.name: cells}, "flags": []}
        if accuracy["low"] is not None and accuracy["low"] > chance:
            about = {"what": f"the {name}", "chance": chance, "accuracy": wording.estimate("f1", accuracy)}
            entry["flags"].append(flags.flag("told_apart", **about))
        entries.append(entry)
    return entries


def flags_of(kinds: Mapping[str, str], entry: Mapping[str, Any]) -> list[flags.Flag]:
    """A red flag for each task of which a probe is not clearly worse than the model, by the first metric of its kind.

    Args:
      kinds: kind of each task.
      entry: `probe` in words, `tasks` and `differences` (probe - model) by task.
    """
    flagged = []
    for task, differences in entry["differences"].items():
        metric, sign = next(iter(NAMES[kinds[task]].items()))
        difference = differences[metric]
        worst = difference["high"] if sign > 0 else difference["low"]
        if worst is not None and sign * worst >= 0:
            about = {"what": entry["probe"], "metric": wording.label(metric)}
            about["probe"] = wording.number(metric, entry["tasks"][task][metric]["value"])
            about["difference"] = wording.estimate(metric, difference)
            flagged.append(flags.flag("shortcut", task, "test", **about))
    return flagged
