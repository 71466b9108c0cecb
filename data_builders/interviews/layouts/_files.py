"""What layouts share: files at any depth, ids and cells of published tables, who lacks a file, published splits."""

import bisect
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.features.manifest import SPLITS, Entry
from mmpsy_jax.features.recording_folder import visible
from mmpsy_jax.io import InputError, number, whole, whole_or_none

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_LISTED = 20
_GENDERS = {"0": "female", "f": "female", "female": "female", "1": "male", "m": "male", "male": "male"}


def tree(folder: Path) -> list[Path]:
    """All files of a folder, however deep (some archives unpack to `300_P/300_P/`), without hidden ones."""
    return [file for file in visible(folder.rglob("*")) if file.is_file()]


def by_id(files: Iterable[Path], pattern: re.Pattern[str]) -> dict[str, Path]:
    """Files by the id in their names.

    Args:
      files: of a corpus.
      pattern: of a name; its first group is the id.

    Raises:
      InputError: two files have one name.
    """
    by_id: dict[str, Path] = {}
    for file in files:
        if match := pattern.fullmatch(file.name):
            if match[1] in by_id:
                raise InputError(f"{file}: lies at {by_id[match[1]]}, too: keep one of the two")
            by_id[match[1]] = file
    return by_id


def named(files: Iterable[Path], name: str) -> Path | None:
    """The file of a name in any case; None where there is none.

    Raises:
      InputError: several have it.
    """
    there = [file for file in files if file.name.casefold() == name.casefold()]
    if len(there) > 1:
        raise InputError(f"{there[1]}: lies at {there[0]}, too: keep one of the two")
    return there[0] if there else None


def no_scores(folder: Path, files: Iterable[Path], expected: Sequence[str]) -> InputError:
    """The error of a folder without any table of scores; it names the tables that are there."""
    tables = sorted({f.name for f in files if f.suffix.lower() in (".csv", ".xlsx") and not f.name[0].isdigit()})
    listed = f" (there are {', '.join(tables[:_LISTED])})" if tables else ""
    return InputError(f"{folder}: no table of scores{listed}: put {' or '.join(expected)} there")


def identify(text: str) -> str:
    """An id as the tables of a corpus write it, be it `300`, `300.0` or `300_P`."""
    return re.sub(r"(\.0+|_P)$", "", text.strip())


def score(where: str, name: str, text: str, most: float) -> float | None:
    """A score from 0; None where the cell is empty or -1.

    Raises:
      InputError: no such score.
    """
    if text and number(where, name, text) == -1:
        return None
    return whole(where, name, text, most, empty=None)


def sex(text: str) -> str:
    """female or male of what tables write; "" of anything else."""
    return _GENDERS.get(text.casefold().removesuffix(".0"), "")


def require_files(
    ids: Iterable[str], kinds: Mapping[str, Mapping[str, Any]], files: Iterable[Path] = ()
) -> dict[str, str]:
    """Who lacks a file, and which; a kind that nobody has is not asked for.

    Args:
      ids: of everybody.
      kinds: {"recording": {id: file}, ...}.
      files: of the corpus, among which archives are looked for that were not unpacked.
    """
    asked = {kind: there for kind, there in kinds.items() if there}
    archives = [file.name for file in files if file.suffix.lower() in _ARCHIVES]
    reasons = {}
    for one in ids:
        absent = [kind for kind, there in asked.items() if one not in there]
        packed = next((name for name in archives if re.match(rf"{re.escape(one)}[._]", name)), None)
        if not asked or len(absent) == len(asked):
            reasons[one] = f"{packed} is not unpacked" if packed else "its folder is missing, or holds nothing to read"
        elif absent:
            reasons[one] = f"has a {next(k for k in asked if k not in absent)} without its {' and '.join(absent)}"
    return reasons


def keep_official_splits(
    entries: Sequence[Entry], lacking: Mapping[str, str], rule: str
) -> tuple[list[Entry], str, list[str]]:
    """The entries, by whom they were divided, and notes; without splits where one of the three has nobody left.

    Args:
      entries: with splits where they were published.
      lacking: who cannot be read.
      rule: by whom the splits were made.
    """
    absent = set(SPLITS) - {entry.split for entry in entries if entry.participant not in lacking}
    if not absent and all(entry.split for entry in entries):
        return list(entries), rule, []
    if absent == set(SPLITS):
        return list(entries), "", []
    note = f"the published splits are not used, since nobody of {', '.join(sorted(absent)) or 'some'} is here"
    return [dataclasses.replace(entry, split="") for entry in entries], "", [note]


def keep_folds(entries: Sequence[Entry], lacking: Mapping[str, str]) -> tuple[list[Entry], list[str]]:
    """The entries, without published folds where these leave out somebody or part a cluster, and a note of it.

    Args:
      entries: with folds where they were published.
      lacking: who cannot be read.
    """
    here = [entry for entry in entries if entry.participant not in lacking]
    unlisted = [entry.participant for entry in here if not entry.fold]
    divided = len({(entry.cluster, entry.fold) for entry in here}) > len({entry.cluster for entry in here})
    if len(unlisted) == len(here) or not (unlisted or divided):
        return list(entries), []
    why = f"do not list {list_ids(unlisted)}" if unlisted else "part some people: give one of their tasks as source"
    return [dataclasses.replace(entry, fold="") for entry in entries], [f"the published folds are not kept: they {why}"]


def list_ids(ids: Iterable[str]) -> str:
    """A few ids in words."""
    known = list(ids)
    return ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")


def band(text: str, edges: Sequence[int]) -> str:
    """The band of an age between edges, such as "25-34"; "" where it is not known."""
    age = whole_or_none(text)
    if age is None:
        return ""
    at = bisect.bisect_right(edges, age)
    if at == 0:
        return f"under {edges[0]}"
    return f"{edges[at - 1]}-{edges[at] - 1}" if at < len(edges) else f"{edges[-1]} and over"
