"""The files that a run leaves are bound together: `model.json` holds a digest of each, and one of itself.

Whoever loads a run compares them, so that a flipped bit or an exchanged file is an error and not another number; the
training command compares them too, and writes anew what differs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors

from mmpsy_jax.io import InputError, file_sha256, read_json, write_json

WEIGHTS, EMBEDDING, CARD, FORMAT = "model.safetensors", "embedding.safetensors", "model.json", 1
CONFIG, PREDICTIONS = "config.json", "predictions.csv"
RESTORE = "bring the file back from a copy, or train in another --workdir"
AGAIN = "run the training command again, which writes it anew"
# Kinds of the entries of `model.json` that are read without another check.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "dataset": (str, type(None)),
    "config": (str, type(None)),
    "version": (str, type(None)),
    "synthetic": (bool, type(None)),
    "window_seconds": (int, float),
    "modalities": dict,
    "trainings": list,
    "usual": dict,
    "calibration": (dict, type(None)),
    "members": (dict, type(None)),
}
_KINDS_OF_TRAINING = {"folder": str, "fold": int, "seed": int, "fields": dict}


def write_card(workdir: Path, card: Mapping[str, Any], names: Iterable[str]) -> None:
    """Writes `model.json` with the digests of the files beside it.

    Args:
      workdir: of the whole run.
      card: without `files` and `sha256`.
      names: of the files, relative to the workdir; those that are not there are left out.
    """
    files = {name: _entry(workdir / name) for name in names if (workdir / name).is_file()}
    card = json.loads(json.dumps({**card, "files": files}))  # as it will be read: digests do not see tuples or numbers
    write_json(workdir / CARD, {**card, "sha256": _digest(card)})


def read_card(workdir: Path) -> dict[str, Any]:
    """`model.json`, as the run wrote it; one of an earlier version has no digests.

    Raises:
      InputError: not there, cut, damaged or changed.
    """
    path = workdir / CARD
    card = read_json(path, AGAIN)
    if card.get("format") != FORMAT:
        raise InputError(f"{path}: format {card.get('format')!r:.40}, this version reads {FORMAT}: train again")
    own = card.pop("sha256", None)
    if own is not None and own != _digest(card):
        raise InputError(f"{path}: is not as the run left it (its digest differs): {AGAIN}")
    wrong = [name for name, kind in _KINDS.items() if not isinstance(card.get(name), kind)]
    wrong += [name for name in ("modalities", "usual") if not _maps_to_mappings(card.get(name))]
    wrong += [
        f"trainings[{number}]"
        for number, one in enumerate(card["trainings"] if isinstance(card.get("trainings"), list) else ())
        if not isinstance(one, dict) or any(not isinstance(one.get(k), kind) for k, kind in _KINDS_OF_TRAINING.items())
    ]
    if not isinstance(card.setdefault("files", {}), dict) or not _maps_to_mappings(card["files"]):
        wrong.append("files")
    if wrong or not card["trainings"]:
        raise InputError(f"{path}: {', '.join(dict.fromkeys(wrong)) or 'trainings'} is damaged: {AGAIN}")
    folders = [one["folder"] for one in card["trainings"]]
    if any(Path(folder).is_absolute() or ".." in Path(folder).parts for folder in folders):
        raise InputError(f"{path}: names a folder outside the run: take the run from where it was trained")
    return card


def check(workdir: Path, card: Mapping[str, Any], name: str) -> None:
    """Compares a file of a run with what `model.json` says of it; a run of an earlier version says nothing.

    Raises:
      InputError: it differs; the message says how.
    """
    known = card["files"].get(name)
    if known is None:
        return
    path = workdir / name
    if file_sha256(path) == known.get("sha256"):
        return
    how = "its sha256 differs"
    if "arrays" in known:
        try:
            if arrays(path) != known["arrays"]:
                how = "it holds arrays of other names or shapes"
        except InputError:
            how = "it is cut or damaged"
    remedy = RESTORE if name == CONFIG else AGAIN
    raise InputError(f"{path}: is not the file that the run left ({how}): {remedy}")


def intact(workdir: Path, card: Mapping[str, Any] | None, name: str) -> bool:
    """Whether a file is there, can be read and, where a card knows it, is the one that the run left."""
    path = workdir / name
    try:
        if path.suffix == ".safetensors":
            arrays(path)
        if card is not None:
            check(workdir, card, name)
    except InputError:
        return False
    return path.is_file()


def card_or_none(workdir: Path) -> dict[str, Any] | None:
    """`model.json` where it can be read; a run that is not finished has none."""
    try:
        return read_card(workdir)
    except InputError:
        return None


def arrays(path: Path) -> dict[str, list]:
    """{name: [dtype, *shape]} of a safetensors file, from its header.

    Raises:
      InputError: not there, cut or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
            return {name: [part.get_dtype(), *part.get_shape()] for name, part in parts.items()}
    except (OSError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read ({reason}): {AGAIN}") from error


def _entry(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"sha256": file_sha256(path)}
    return entry | {"arrays": arrays(path)} if path.suffix == ".safetensors" else entry


def _digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _maps_to_mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
