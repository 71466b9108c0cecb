"""Looking at a corpus before anything is trained: `explore.json`, the page that is a function of it, and `look_at.csv`.

Page and JSON hold no id of a participant, and no word of a transcript unless asked for. Who is odd or has a
near-duplicate is named in `look_at.csv`, where no score stands.
"""

import collections
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.evaluation.scoring import finite
from mmpsy_jax.exploration import page, statistics
from mmpsy_jax.exploration.measures import words
from mmpsy_jax.exploration.people import People
from mmpsy_jax.io import InputError, try_folder, write_atomically, write_json, write_table

FORMAT = 1
JSON, PAGE, LOOK_AT = "explore.json", "explore.html", "look_at.csv"
COLUMNS = ("participant", "what", "measure", "value", "robust_z", "group")
_USERS = 10  # a word that fewer persons use is not shown
_WORDS_SHOWN = 30


def explore(people: People, cutoffs: Mapping[str, float] | None = None, include_text: bool = False) -> dict[str, Any]:
    """The content of `explore.json` (docs/explore.md).

    Args:
      people: everybody of a corpus.
      cutoffs: by label, of those at or above it against the others; `statistics.CUTOFFS` where none is given.
      include_text: words that at least ten persons use, too.

    Raises:
      InputError: `include_text` where no transcripts are at hand.
    """
    if include_text and people.texts is None:
        raise InputError("--include_text: no transcripts are at hand: leave it out, or give the source of the records")
    effects = statistics.effects(people, {**statistics.CUTOFFS, **(cutoffs or {})})
    content = {
        "format": FORMAT,
        "title": people.title,
        "synthetic": people.synthetic,
        "unit": people.unit,
        "n": len(people),
        "n_persons": people.n_persons,
        "left_out": dict(people.left_out),
        "splits": dict(collections.Counter(filter(None, people.split))),
        "groups": {
            column: {name: int((category == name).sum()) for name in statistics.shown_categories(category)}
            for column, category in statistics.categories(people).items()
        },
        "modalities": list(people.has),
        "missing": _missing(people),
        "measures": {
            name: {
                "n": int(np.isfinite(values).sum()),
                "quantiles": statistics.quantiles(values),
                "histogram": statistics.histogram(values),
            }
            for name, values in people.numbers.items()
        },
        "scores": {label: _score(people, label) for label in people.scores},
        "correlations": statistics.correlations(people),
        "resamples": statistics.RESAMPLES,
        "effects": effects,
        "map": statistics.map_of(people),
        "told_apart": statistics.told_apart(people),
        "duplicates": {name: _duplicates(people, group) for name, group in people.duplicates.items()},
        "odd": _odd(statistics.odd(people)),
    }
    if include_text:
        content["words"] = _words(people)
    return finite(content)


def _missing(people: People) -> list[dict[str, Any]]:
    known = {f"modality {name}": there for name, there in people.has.items()}
    known |= {f"label {label}": np.isfinite(values) for label, values in people.scores.items()}
    if people.texts is not None:
        known["transcript at hand"] = np.array([bool(text.strip()) for text in people.texts])
    parts = {
        "all": np.ones(len(people), bool),
        **{s: np.array(people.split) == s for s in dict.fromkeys(people.split) if s},
    }
    return [
        {
            "what": what,
            **{
                part: {"known": int(there[rows].sum()), "missing": int((~there[rows]).sum())}
                for part, rows in parts.items()
            },
        }
        for what, there in known.items()
    ]


def _score(people: People, label: str) -> dict[str, Any]:
    values = people.scores[label]
    known = values[np.isfinite(values)]
    entry: dict[str, Any] = {"known": len(known), "missing": len(values) - len(known)}
    if label in people.classes:
        counts = np.bincount(known.astype(int), minlength=len(people.classes[label]))
        return entry | {"classes": dict(zip(people.classes[label], counts.tolist(), strict=True))}
    if len(known):
        entry |= {"quantiles": statistics.quantiles(values), "histogram": statistics.histogram(values)}
    return entry


def _duplicates(people: People, group: np.ndarray) -> dict[str, int]:
    """Groups of two and more, the rows in them, and how many of the groups span persons, and splits."""
    members = _groups(group)
    split = np.array(people.split)
    return {
        "groups": len(members),
        "rows": int(sum(map(len, members))),
        "across_persons": sum(len(set(people.persons[rows].tolist())) > 1 for rows in members),
        "across_splits": sum(len(set(split[rows].tolist())) > 1 for rows in members),
    }


def _groups(group: np.ndarray) -> list[np.ndarray]:
    """The rows of each group of two and more."""
    names, counts = np.unique(group, return_counts=True)
    return [np.flatnonzero(group == name) for name in names[counts > 1]]


def _odd(entries: list[dict[str, Any]]) -> dict[str, Any]:
    by_measure = collections.Counter(one["measure"] for one in entries)
    return {
        "limit": statistics.ODD,
        "rows": len({one["row"] for one in entries}),
        "measures": {
            name: {"rows": count, "farthest": max((o["z"] for o in entries if o["measure"] == name), key=abs)}
            for name, count in by_measure.most_common()
        },
    }


def _words(people: People) -> list[dict[str, Any]]:
    """The words that most persons use, at least `_USERS` of them."""
    users: dict[str, list[int]] = collections.defaultdict(list)
    for row, text in enumerate(people.texts or ()):
        for word in set(words(text)):
            users[word].append(row)
    persons = {word: len(set(people.persons[rows].tolist())) for word, rows in users.items()}
    often = sorted((word for word in users if persons[word] >= _USERS), key=lambda word: (-persons[word], word))
    everybody = len(set(people.persons[[i for i, text in enumerate(people.texts or ()) if text]].tolist()))
    rows = [{"word": word, "persons": persons[word], "share": persons[word] / max(1, everybody)} for word in often]
    return rows[:_WORDS_SHOWN]


def look_at(people: People) -> list[tuple[Any, ...]]:
    """Rows of `look_at.csv`: who is odd in what, and who has a near-duplicate; without scores."""
    rows: list[tuple[Any, ...]] = [
        (people.participants[one["row"]], "odd measure", one["measure"], round(one["value"], 6), round(one["z"], 2), "")
        for one in statistics.odd(people)
    ]
    for name, group in people.duplicates.items():
        for k, members in enumerate(_groups(group), 1):
            rows += [(people.participants[row], f"near-duplicate {name}", "", "", "", k) for row in members.tolist()]
    return rows


def write(output: str | os.PathLike, content: Mapping[str, Any], people: People) -> Path:
    """Writes the three files into a folder.

    Returns:
      where the page is.

    Raises:
      InputError: nothing can be written there.
    """
    try_folder(output)
    folder = Path(output)
    write_json(folder / JSON, content)
    write_table(folder / LOOK_AT, COLUMNS, look_at(people), private=True)
    write_atomically(folder / PAGE, page.render(content))
    return folder / PAGE
