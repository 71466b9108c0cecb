"""Ablations in one command: what a model takes from each modality, and from the first minutes alone.

Each is a run of its own in a folder below the workdir, with the folds, seeds and settings of the config, and is
compared in pairs with the run on everything. Run again, the command goes on where it stopped.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmpsy_jax.data.pooled import open_corpora
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation import report
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches, run
from mmpsy_jax.training.covariates import AUDIO
from mmpsy_jax.training.logger import say

FILE = "ablations.json"


def ablate(
    config: ConfigDict, dataset_dir: str | Path, workdir: str | Path, minutes: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Trains the run on everything and its ablations, and writes `ablations.json` into the workdir.

    Returns:
      per run {"name", "workdir", "tasks": {TASK: {METRIC: CELL}}, "differences": the same, less the run on everything},
      on the test split; that run comes first and has no differences. Empty but on process 0.

    Raises:
      InputError: as `run.run`, or minutes shorter than a window.
    """
    corpus = open_corpora(dataset_dir, config.data.modalities)
    config = run.with_ranges(config, corpus)
    workdir, tasks = Path(workdir), from_config(config.tasks)
    planned, left_out = plan(config, corpus, minutes)
    for why in left_out:
        say(f"ablations: {why}")
    entries: list[dict[str, Any]] = []
    for name, changed in planned.items():
        say(f"ablations: {name}, {len(entries) + 1} of {len(planned)}, in {workdir / name}")
        scored = run.run(changed, dataset_dir, workdir / name)
        if jax.process_index():
            continue
        entry = {"name": name, "workdir": str(workdir / name), "tasks": _tested(scored, "model")}
        if entries:
            predictions, reference = (read_csv(workdir / one / "predictions.csv") for one in (name, entries[0]["name"]))
            paired = report.evaluate(
                predictions,
                tasks,
                baselines={entries[0]["name"]: reference},
                seed=config.seed,
                n_bootstrap=config.evaluation.bootstrap,
            )
            entry["differences"] = _tested(paired, "differences", entries[0]["name"])
        entries.append(entry)
        write_json(workdir / FILE, entries)  # after each: a later one may fail
    return entries


def plan(config: ConfigDict, corpus: Corpus, minutes: Sequence[float] = ()) -> tuple[dict[str, ConfigDict], list[str]]:
    """The config of each run by name, that on everything first; and why other ablations do not apply.

    Raises:
      InputError: minutes shorter than a window.
    """
    names = batches.names_of(config, corpus)
    changes: dict[str, dict[str, Any]] = {"both" if len(names) == 2 else "all" if names[1:] else names[0]: {}}
    left_out = []
    if len(names) > 1:
        changes |= {f"{name}_only": {"data.modalities": (name,)} for name in names}
    else:
        left_out.append(f"only {names[0]} is read: there is no other modality to leave out")
    if AUDIO in names:
        changes |= {"audio_shuffled": {"data.permute_modality": AUDIO}}
    else:
        left_out.append("no audio is read: there is none to shuffle")
    if minutes and not (corpus.columns["duration_s"] > 0).any():
        left_out.append("the corpus has no recordings: how much is said in a minute is not known")
    elif minutes:
        most = config.data.max_windows or int(corpus.n_windows.max())
        changes |= {f"first_{m:g}_min": {"data.max_windows": min(_windows(corpus, m), most)} for m in minutes}
    configs = {}
    for name, fields in changes.items():
        # The baselines and the search for near-duplicates would be those of the first run.
        once = {"evaluation.baselines": False, "evaluation.near_duplicates": False} if configs else {}
        configs[name] = config.copy_and_resolve_references()
        configs[name].update_from_flattened_dict({**fields, **once})
    return configs, left_out


def _windows(corpus: Corpus, minutes: float) -> int:
    """How many windows end within the first minutes."""
    longest = int(np.argmax(corpus.n_windows))
    ends = corpus.reader.read(longest, ["window_start_s"])["window_start_s"] + corpus.card["window_seconds"]
    # A tolerance, since starts are stored in float32.
    count = int((ends <= 60 * minutes + 1e-3).sum())
    if not count:
        raise InputError(
            f"minutes {minutes:g}: shorter than a window of {corpus.card['window_seconds']:g} s: give at least that"
        )
    return count


def _tested(scored: Mapping[str, Any], *keys: str) -> dict[str, dict[str, Any]]:
    """Cells of the test split by task and metric."""
    return {
        task: functools.reduce(operator.getitem, keys, entry["splits"]["test"])
        for task, entry in scored["tasks"].items()
    }
