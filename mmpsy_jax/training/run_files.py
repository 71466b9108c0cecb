"""The files that a run leaves, bound together: `model.json` holds a digest of each, and one of itself.

| file | holds |
|---|---|
| `model.safetensors`, one per training | the best parameters and what was fitted, by path (`params/network/...`) |
| `embedding.safetensors`, one per fold | where its participants lie in the network (`embedding.py`) |
| `predictions.csv`, per training and of all | what is evaluated |
| `model.json`, one per run | what predicting needs beside them (`run_card.py`) |
| `config.json`, one per run | the config (written when the run began) |

Whoever loads a run compares the digests, so that a flipped bit or an exchanged file is an error and not another number;
the training command compares them too, and writes anew what differs.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jaxtyping import PyTree

from mmpsy_jax.evaluation.predictions import Predictions, read_csv
from mmpsy_jax.io import InputError, file_sha256, read_json, upgrade_card, write_atomically, write_json

WEIGHTS, EMBEDDING, CARD, FORMAT = "model.safetensors", "embedding.safetensors", "model.json", 1
CONFIG, PREDICTIONS = "config.json", "predictions.csv"
HUB = "huggingface"  # of what `export` wrote: the part that is shared, which is a run, too
RESTORE = "bring the file back from a copy, or train in another --workdir"
AGAIN = "run the training command again, which writes it anew"
SYNTHETIC = "SYNTHETIC: the run was trained on people whom a generator made; its numbers say nothing about anybody real"
# Kinds of the entries of `model.json` that are read without another check.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("dataset", "config", "version"), (str, type(None))),
    "synthetic": (bool, type(None)),
    "window_seconds": (int, float),
    **dict.fromkeys(("modalities", "usual", "files"), dict),
    "trainings": list,
    **dict.fromkeys(("calibration", "members"), (dict, type(None))),
}
_KINDS_OF_TRAINING = {"folder": str, "fold": int, "seed": int, "fields": dict}
# Whatever has no array (an objective without parameters) is an empty dictionary.
_EMPTY = ("params/network", "params/objective", "fitted/network", "fitted/class_weights")


def folder_of(workdir: str | Path) -> Path:
    """The folder of a run: the workdir, or, where that is what `export` wrote, the part of it that is shared."""
    shared = Path(workdir, HUB)
    return shared if shared.is_dir() else Path(workdir)


def save_weights(folder: Path, arrays: PyTree, name: str = WEIGHTS) -> None:
    """Writes a safetensors file atomically.

    Args:
      folder: to write into.
      arrays: a tree of numpy arrays, such as `step.inference_params`.
      name: of the file.
    """
    flat = traverse_util.flatten_dict(arrays, sep="/")
    write_atomically(folder / name, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in flat.items()}))


def load_weights(path: Path) -> PyTree:
    """The tree of a model that `save_weights` wrote.

    Raises:
      InputError: not there, or damaged.
    """
    flat = load_arrays(path)
    if not any(name.startswith("params/") for name in flat):
        raise InputError(f"{path}: holds no parameters of a network: {AGAIN}")
    empty = {name: {} for name in _EMPTY if not any(key.startswith(f"{name}/") for key in flat)}
    return traverse_util.unflatten_dict({**empty, **flat}, sep="/")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name.

    Raises:
      InputError: not there, or damaged.
    """
    with _reading(path):
        return safetensors.numpy.load_file(path)


def arrays_of(path: Path) -> dict[str, list]:
    """{name: [dtype, *shape]} of a safetensors file, from its header.

    Raises:
      InputError: not there, cut or damaged.
    """
    with _reading(path), safetensors.safe_open(path, framework="numpy") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
        return {name: [part.get_dtype(), *part.get_shape()] for name, part in parts.items()}


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}): {AGAIN}") from error


def load_predictions(workdir: str | Path, card: Mapping[str, Any], folder: str = "") -> Predictions:
    """The predictions that a run left: of one of its trainings, or of all of them.

    Args:
      workdir: of the run.
      card: `model.json`.
      folder: of the training; "" for the whole run.

    Raises:
      InputError: not there, damaged, or not as the run left it.
    """
    name = str(Path(folder, PREDICTIONS))
    check(Path(workdir), card, name)
    return read_csv(Path(workdir) / name)


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
    digest = card.pop("sha256", None)
    if digest is not None and digest != _digest(card):
        raise InputError(f"{path}: is not as the run left it (its digest differs): {AGAIN}")
    card.setdefault("files", {})
    card = upgrade_card(card)
    wrong = [name for name, kind in _KINDS.items() if not isinstance(card.get(name), kind)]
    for name in ("modalities", "usual", "files"):
        if isinstance(card.get(name), dict) and not all(isinstance(one, dict) for one in card[name].values()):
            wrong.append(name)
    trainings = card["trainings"] if isinstance(card.get("trainings"), list) else []
    for number, one in enumerate(trainings):
        if not isinstance(one, dict) or any(not isinstance(one.get(k), kind) for k, kind in _KINDS_OF_TRAINING.items()):
            wrong.append(f"trainings[{number}]")
    if wrong or not trainings:
        raise InputError(f"{path}: {', '.join(dict.fromkeys(wrong)) or 'trainings'} is damaged: {AGAIN}")
    folders = [Path(one["folder"]) for one in trainings]
    if any(folder.is_absolute() or ".." in folder.parts for folder in folders):
        raise InputError(f"{path}: names a folder outside the run: take the run from where it was trained")
    return card


def card_or_none(workdir: Path) -> dict[str, Any] | None:
    """`model.json` where it can be read; a run that is not finished has none."""
    with contextlib.suppress(InputError):
        return read_card(workdir)
    return None


def check(workdir: Path, card: Mapping[str, Any], name: str) -> None:
    """Compares a file of a run with what `model.json` says of it; a run of an earlier version says nothing.

    Raises:
      InputError: it differs; the message says how.
    """
    path, known = workdir / name, card["files"].get(name)
    if known is None or file_sha256(path) == known.get("sha256"):
        return
    how = "its sha256 differs"
    if "arrays" in known:
        try:
            if arrays_of(path) != known["arrays"]:
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
            arrays_of(path)
        if card is not None:
            check(workdir, card, name)
    except InputError:
        return False
    return path.is_file()


def _entry(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"sha256": file_sha256(path)}
    return entry | {"arrays": arrays_of(path)} if path.suffix == ".safetensors" else entry


def _digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
