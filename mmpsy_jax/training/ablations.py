"""Ablations in one command: what a model takes from each modality, from the first minutes alone, and from shortcuts.

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
from mmpsy_jax.evaluation import flags, report
from mmpsy_jax.evaluation.predictions import Predictions, read_csv
from mmpsy_jax.io import InputError, write_json
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches, probes, run
from mmpsy_jax.training.covariates import AUDIO
from mmpsy_jax.training.logger import say

FILE = "ablations.json"


def ablate(
    config: ConfigDict,
    dataset_dir: str | Path,
    workdir: str | Path,
    minutes: Sequence[float] = (),
    interviewer: bool = False,
) -> list[dict[str, Any]]:
    """Trains the run on everything and its ablations, and writes `ablations.json` into the workdir.

    Probes of shortcuts (`probes.py`) follow the run on everything, whose report gets their red flags.

    Args:
      config, dataset_dir, workdir: as of `run.run`; runs are in folders below the workdir.
      minutes: also the first minutes alone.
      interviewer: also a network that reads the interviewer alone.

    Returns:
      per run {"name", "workdir", "tasks": {TASK: {METRIC: CELL}}, "differences": the same, less the run on everything},
      on the test split; that run comes first and has no differences. A probe has, in place of a workdir, "probe" (what
      it knows) and "flags". Empty but on process 0.

    Raises:
      InputError: as `run.run`, or minutes shorter than a window.
    """
    corpus = open_corpora(dataset_dir, config.data.modalities)
    config = run.with_ranges(config, corpus)
    workdir, tasks = Path(workdir), from_config(config.tasks)
    planned, left_out = plan(config, corpus, minutes, interviewer)
    for why in left_out:
        say(f"ablations: {why}")
    entries: list[dict[str, Any]] = []
    reference: Predictions | None = None  # of the run on everything
    for number, (name, changed) in enumerate(planned.items(), 1):
        say(f"ablations: {name}, {number} of {len(planned)}, in {workdir / name}")
        scored = run.run(changed, dataset_dir, workdir / name)
        if jax.process_index():
            continue
        entry = {"name": name, "workdir": str(workdir / name), "tasks": _tested(scored, "model")}
        predictions = read_csv(workdir / name / "predictions.csv")
        if reference is None:
            reference = predictions
            entries = [entry, *_probed(config, tasks, corpus, minutes, name, reference)]
            _add_to_report(workdir / name, entries)
        else:
            entry |= _compared(config, tasks, predictions, entries[0]["name"], reference)
            entries.append(entry)
        write_json(workdir / FILE, entries)  # after each: a later one may fail
    return entries


def _compared(
    config: ConfigDict, tasks: Sequence[Task], predictions: Predictions, name: str, reference: Predictions
) -> dict[str, Any]:
    """Metrics on the test split, and differences in pairs to the reference of that name."""
    options = {"seed": config.seed, "n_bootstrap": config.evaluation.bootstrap}
    paired = report.evaluate(predictions, tasks, baselines={name: reference}, **options)
    return {"tasks": _tested(paired, "model"), "differences": _tested(paired, "differences", name)}


def _probed(
    config: ConfigDict,
    tasks: Sequence[Task],
    corpus: Corpus,
    minutes: Sequence[float],
    name: str,
    reference: Predictions,
) -> list[dict[str, Any]]:
    """The entries of the probes beside the predictions of the run on everything."""
    first = {f"{m:g}_min": _windows(corpus, m) for m in minutes}
    if not minutes and corpus.n_windows.max() > 1:
        first = {f"{corpus.card['window_seconds']:g}_s": 1}
    known, words = probes.inputs(config, corpus, first)
    kinds, entries = {task.name: task.kind for task in tasks}, []
    for probe, predictions in probes.fit_predict(config, tasks, corpus, known).items():
        entry = {"name": f"probe: {probe}", "probe": words[probe]}
        entry |= _compared(config, tasks, predictions, name, reference)
        entries.append({**entry, "flags": probes.flags_of(kinds, entry)})
    return [*entries, *probes.told_apart(corpus, config)]


def _add_to_report(workdir: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Writes the probes and their red flags into the report of the run on everything, and its page anew."""
    content = report.read_report(workdir / "report.json")
    if content:
        further = [flag for entry in entries for flag in entry.get("flags", ())]
        content |= {"flags": flags.red_first([*further, *content["flags"]]), "probes": list(entries)}
        write_json(workdir / "report.json", content)
        report.write_page(workdir / "report.json")


def plan(
    config: ConfigDict, corpus: Corpus, minutes: Sequence[float] = (), interviewer: bool = False
) -> tuple[dict[str, ConfigDict], list[str]]:
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
    theirs = tuple(name for name in corpus.modalities if batches.is_interviewers(corpus, name))
    if interviewer and theirs:
        changes |= {"interviewer_only": {"data.modalities": theirs}}
    elif interviewer:
        left_out.append("the records hold nothing of the interviewer: build them with --interviewer=text,audio")
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
