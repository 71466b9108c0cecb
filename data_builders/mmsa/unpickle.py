"""One feature file of MMSA, a pickle, as a folder of plain `.npy` files. Run as a program of its own: see `source.py`.

Loading a pickle runs what it asks for. This program gives it nothing to run but the making of numpy arrays: any other
global ends it. It imports numpy and the standard library only.

    python unpickle.py FILE.pkl FOLDER

Exit status: 0 done, 2 the file is refused (the reason is on stderr).
"""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    from numpy._core import multiarray, numeric
except ImportError:  # numpy 1
    from numpy.core import multiarray, numeric

SPLITS = ("train", "valid", "test")
# Other names of them.
ALIASES = {"valid": ("dev", "val", "validation")}
FEATURES = ("text", "audio", "vision")
# Labels of sentiment in files that are not MMSA's.
LABEL, LABEL_ALIASES = "regression_labels", ("labels", "label")
LENGTHS = ("audio_lengths", "vision_lengths")
TEXTS = ("id", "raw_text")
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # What numpy writes of an empty byte string under the old protocols.
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin-1"),
    **{
        (f"{package}.{module.__name__.rsplit('.', 1)[1]}", name): getattr(module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            (multiarray, "_reconstruct"),
            (multiarray, "scalar"),
            (numeric, "_frombuffer"),
        )
    },
}


class Refused(Exception):
    """The file holds something else than features."""


class _Unpickler(pickle.Unpickler):
    """Arrays, dictionaries, lists, text and numbers; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"it asks for {module}.{name}, but only arrays, text and numbers are loaded") from None


def load(path: str | Path) -> dict[str, dict[str, Any]]:
    """The content of a pickle of arrays.

    Raises:
      Refused: damaged, not a dictionary of splits, one of them twice, or it asks for anything but arrays, text and
        numbers.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise Refused(f"damaged, or no pickle ({type(error).__name__}: {str(error)[:100]})") from error
    if not isinstance(content, dict):
        raise Refused(f"not a dictionary with a dictionary for each of {', '.join(SPLITS)}")
    splits = {}
    for split in SPLITS:
        names = [name for name in (split, *ALIASES.get(split, ())) if isinstance(content.get(name), dict)]
        if len(names) != 1:
            problem = f"has both {' and '.join(names)}: keep one" if names else f"lacks {split}"
            raise Refused(f"not a dictionary with a dictionary for each of {', '.join(SPLITS)}: {problem}")
        splits[split] = content[names[0]]
    return splits


def write(content: dict[str, dict[str, Any]], folder: str | Path) -> None:
    """Writes `<split>/<field>.npy` for numbers, `<split>/<field>.json` for text; other fields are left out.

    Raises:
      Refused: a field that is needed is missing or of the wrong kind, or its rows are not one for each clip.
    """
    for split in SPLITS:
        home = Path(folder) / split
        home.mkdir(parents=True)
        fields = {str(name): value for name, value in content[split].items()}
        if "id" not in fields:
            raise Refused(f"{split}/id is missing: name each clip")
        for name in TEXTS:
            texts = [_text(one) for one in fields.get(name, [""] * len(fields["id"]))]
            (home / f"{name}.json").write_text(json.dumps(texts), encoding="utf-8")
        labels = next((name for name in LABEL_ALIASES if name in fields and LABEL not in fields), LABEL)
        for name, value in fields.items():
            if name in (*FEATURES, "text_bert", *LENGTHS, labels) or name.startswith("regression_"):
                array = _array(
                    f"{split}/{name}", value, 3 if name in (*FEATURES, "text_bert") else 1, len(fields["id"])
                )
                np.save(home / f"{LABEL if name == labels else name}.npy", array, allow_pickle=False)


def _text(value: Any) -> str:
    """An id or a transcript: text, bytes, or a list or an array of them, whose parts are joined."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list | tuple | np.ndarray):
        return "_".join(map(_text, np.ravel(np.asarray(value, dtype=object))))
    return str(value)


def _array(where: str, value: Any, rank: int, n: int) -> np.ndarray:
    """Numbers with a row for each of n clips; of rank 1 those with a single number in each row, too."""
    try:
        array = np.asarray(value)
        if array.dtype == object:  # an array of arrays, as numpy keeps what it cannot stack, or of plain numbers
            array = np.asarray(array.tolist())
            array = np.array([np.asarray(one) for one in value]) if array.dtype == object else array
    except ValueError:
        raise Refused(f"{where}: {_unequal(value)}") from None
    if array.dtype.kind not in "fiu":
        raise Refused(f"{where} holds {array.dtype}, not numbers: store an array of numbers")
    if rank == 1 and array.size == len(array):
        array = array.reshape(len(array))
    if array.ndim != rank:
        expected = "[clips, steps, features]" if rank == 3 else "[clips], one number for each"
        raise Refused(f"{where} has shape {list(array.shape)}, must be {expected}")
    if len(array) != n:
        raise Refused(f"{where} has {len(array)} rows, but id names {n} clips: give each clip a row")
    return array


def _unequal(rows: Any) -> str:
    """What differs between rows that cannot be stacked."""
    shapes = []
    for row in rows:
        try:
            shapes.append(np.asarray(row).shape)
        except ValueError:
            return "steps of one clip have unequal numbers of features: store each clip as [steps, features]"
    ranks, steps = {len(shape) for shape in shapes}, {shape[0] for shape in shapes if shape}
    widths = {shape[1] for shape in shapes if len(shape) > 1}
    if len(ranks) > 1:
        return (
            f"clips have unequal numbers of dimensions, {min(ranks)} to {max(ranks)}: store each as [steps, features]"
        )
    if len(widths) > 1:
        return f"clips have unequal numbers of features, {min(widths)} to {max(widths)}: extract them alike"
    return (
        f"clips have unequal lengths, {min(steps)} to {max(steps)} steps: pad them with zeros to one length, and give "
        "the true ones as audio_lengths and vision_lengths, of text as the mask of text_bert"
    )


def main(arguments: list[str]) -> int:
    """See the head of this file."""
    try:
        write(load(arguments[0]), arguments[1])
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
