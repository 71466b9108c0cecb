"""Subgroups that the user names in a `subgroups.csv`: how a model does in each, with sizes and intervals.

The file has a column `participant_id` and any number of columns of categories. A participant who is not in the file, or
whose cell is empty, is in the group "not given". Nothing is fitted or chosen here: thresholds are those of the whole
validation split.

A subgroup of fewer than five participants is suppressed. Where its size could be found by subtracting the others from
the whole split, the next smallest subgroups are suppressed too, until at least two are and they hold five participants
together. Subtraction across columns, tasks or splits is not looked at.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mmpsy_jax.evaluation import bootstrap, flags, scoring
from mmpsy_jax.evaluation.predictions import SPLITS, Predictions
from mmpsy_jax.io import InputError, read_table, unescape
from mmpsy_jax.rules import unfit_categories
from mmpsy_jax.tasks import Task

PARTICIPANT = "participant_id"
FILE = "subgroups.csv"  # beside a built corpus
NOT_GIVEN = "not given"
SMALLEST = 5

NOT_ASSESSABLE = {
    "reason": "not assessable: no subgroups file was given (--subgroups=FILE.csv, config.evaluation.subgroups), and "
    "the corpus has none (a column subgroup:NAME of its manifest)"
}


@dataclasses.dataclass(frozen=True, eq=False)
class Subgroups:
    """Categories of participants.

    Attributes:
      participant_id: ids, each once.
      columns: the category of each participant by column, "" where it is not given.
    """

    participant_id: Shaped[np.ndarray, " n"]
    columns: Mapping[str, Shaped[np.ndarray, " n"]]

    def of(self, column: str, participants: Shaped[np.ndarray, " m"]) -> Shaped[np.ndarray, " m"]:
        """The group of each participant."""
        known = dict(zip(self.participant_id.tolist(), self.columns[column].tolist(), strict=True))
        return np.array([known.get(name) or NOT_GIVEN for name in participants.tolist()], np.str_)


def read_subgroups(path: str | os.PathLike, notes: list[str] | None = None) -> Subgroups:
    """Reads a `subgroups.csv`.

    Args:
      path: the table.
      notes: what is odd about the table but no error is added here.

    Raises:
      InputError: not such a table; the message names the file, the rule and the remedy, and never a cell's text.
    """
    path = Path(path)
    table = read_table(path, (PARTICIPANT,), extra="keep")
    if notes is not None:
        notes += table.notes
    names = [name for name in table.header if name != PARTICIPANT]
    if not names:
        raise InputError(f"{path}: no column of subgroups: give one for each way of grouping")
    if not table.lines:
        raise InputError(f"{path}: only a header, no rows: give at least one participant")
    cells = {name: list(map(unescape, column)) for name, column in table.columns.items()}
    first: dict[str, int] = {}
    for name, line in zip(cells[PARTICIPANT], table.lines, strict=True):
        if not name:
            raise InputError(f"{path}: line {line}: {PARTICIPANT} is empty: every row needs one")
        if name in first:
            raise InputError(f"{path}: lines {first[name]} and {line}: the same participant twice: keep one row")
        first[name] = line
    for name in names:
        if reason := unfit_categories(cells[name]):
            raise InputError(f"{path}: column {name!r} {reason}")
    columns = {name: np.array(cells[name], np.str_) for name in names}
    return Subgroups(np.array(cells[PARTICIPANT], np.str_), columns)


def beside(parts: Mapping[Path, Sequence[str]], participants: Sequence[str]) -> Subgroups | None:
    """Subgroups of the manifests that corpora were built from, those that all of them have; None without any.

    Args:
      parts: by folder of a corpus, the ids that its participants have there.
      participants: their ids here, one corpus behind the other.

    Raises:
      InputError: as `read_subgroups`.
    """
    if not all((folder / FILE).exists() for folder in parts):
        return None
    tables = [(read_subgroups(folder / FILE), np.array(ids, np.str_)) for folder, ids in parts.items()]
    columns = {}
    for name in tables[0][0].columns:
        if all(name in table.columns for table, _ in tables):
            groups = np.concatenate([table.of(name, ids) for table, ids in tables])
            columns[name] = np.where(groups == NOT_GIVEN, "", groups)
    return Subgroups(np.array(participants, np.str_), columns) if columns else None


def with_column(
    subgroups: Subgroups | None, column: str, participants: Sequence[str], values: Sequence[str]
) -> Subgroups:
    """Subgroups, and one more column of what is known of some participants; the column replaces one of that name.

    Args:
      subgroups: None for no others.
      column: its name.
      participants: ids, each once.
      values: the category of each.
    """
    known = dict(zip(participants, values, strict=True))
    others = Subgroups(np.zeros(0, np.str_), {}) if subgroups is None else subgroups
    ids = np.array(list(dict.fromkeys([*others.participant_id.tolist(), *participants])), np.str_)
    columns = {name: np.where((of := others.of(name, ids)) == NOT_GIVEN, "", of) for name in others.columns}
    return Subgroups(ids, {**columns, column: np.array([known.get(name, "") for name in ids.tolist()], np.str_)})


def flags_of(predictions: Predictions, subgroups: Subgroups | None) -> list[flags.Flag]:
    """Flags of columns that look as if they named persons, whom splits divide; see `flags.of_groups`."""
    if subgroups is None:
        return []
    members = {column: subgroups.of(column, predictions.participant_id) for column in subgroups.columns}
    return flags.of_groups(predictions, {name: np.where(m == NOT_GIVEN, "", m) for name, m in members.items()})


def evaluate(
    predictions: Predictions,
    tasks: Sequence[Task],
    subgroups: Subgroups | None,
    *,
    seed: int = 0,
    n_bootstrap: int = bootstrap.RESAMPLES,
    threshold_rule: str = "youden",
) -> dict[str, Any]:
    """The value of "subgroups" in `report.json`.

    Args:
      predictions: of the model, all folds and seeds.
      tasks: what to score.
      subgroups: from `read_subgroups`, or None.
      seed, n_bootstrap, threshold_rule: as `scoring.evaluate`.

    Returns:
      {"columns": {COLUMN: {TASK: {SPLIT: [entry]}}}, "n_unknown"}: an entry has `subgroup`, `n` participants,
      `n_events` (binary tasks) and `metrics`, or only `subgroup` and `suppressed`; `n_unknown` counts participants of
      the file whom nothing is predicted for. Without subgroups {"reason"}.
    """
    if subgroups is None:
        return dict(NOT_ASSESSABLE)
    columns: dict[str, Any] = {name: {} for name in subgroups.columns}
    for task in tasks:
        rows = scoring.rows_of(task, predictions).over_seeds(task.kind)
        predictor = scoring.Predictor(task, rows, threshold_rule)
        for split in SPLITS:
            rows, scored = predictor.split(split)
            if not len(rows):
                continue
            for column in columns:
                member = subgroups.of(column, rows.participant_id)
                entries = _entries(rows, scored, member, {"seed": seed, "resamples": n_bootstrap})
                columns[column].setdefault(task.name, {})[split] = entries
    unknown = int((~np.isin(subgroups.participant_id, predictions.participant_id)).sum())
    return scoring.finite({"columns": columns, "n_unknown": unknown})


def _entries(rows: Predictions, scored, member: Shaped[np.ndarray, " n"], options: dict) -> list[dict[str, Any]]:
    """The subgroups of one column, task and split, by name."""
    sizes = {name: len(np.unique(rows.participant_id[member == name])) for name in sorted(set(member.tolist()))}
    hidden = suppressed(sizes)
    entries: list[dict[str, Any]] = []
    for name, n in sizes.items():
        if name in hidden:
            entries.append({"subgroup": name, "suppressed": True})
            continue
        members, part = rows.take(member == name), scored.take(member == name)
        entry: dict[str, Any] = {"subgroup": name, "n": n}
        if scored.task.event:
            entry["n_events"] = len(np.unique(members.participant_id[members.y_true == 1]))
        interval = bootstrap.bootstrap(members.cluster, part.statistic(), **options)
        cells = bootstrap.with_intervals(part.point(), interval)
        entry["metrics"] = {metric: cells[metric] for metric in scored.task.subgroup_metrics}
        entries.append(entry)
    return entries


def suppressed(sizes: Mapping[str, int]) -> set[str]:
    """Subgroups that must not be shown: the small ones, and those that keep them from being found by subtraction.

    Args:
      sizes: participants of each group; together they are the whole split, whose size is known.
    """
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    hidden = [name for name in ascending if sizes[name] < SMALLEST]
    for name in ascending[len(hidden) :]:
        if not hidden or (len(hidden) >= 2 and sum(sizes[one] for one in hidden) >= SMALLEST):
            break
        hidden.append(name)
    return set(hidden)
