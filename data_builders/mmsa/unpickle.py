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
      Refused: damaged, not a dictionary of splits, or it asks for anything but arrays, text and numbers.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise Refused(f"damaged, or no pickle ({type(error).__name__}: {str(error)[:100]})") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(split), dict) for split in SPLITS):
        raise Refused(f"not a dictionary with a dictionary for each of {', '.join(SPLITS)}")
    return content


def write(content: dict[str, dict[str, Any]], folder: str | Path) -> None:
    """Writes `<split>/<field>.npy` for numbers, `<split>/<field>.json` for text; other fields are left out.

    Raises:
      Refused: a field that is needed is missing or of the wrong kind.
    """
    for split in SPLITS:
        home = Path(folder) / split
        home.mkdir(parents=True)
        for name, value in content[split].items():
            if name in TEXTS:
                (home / f"{name}.json").write_text(json.dumps([str(one) for one in value]), encoding="utf-8")
            elif name in ("text", "text_bert", "audio", "vision", *LENGTHS) or str(name).startswith("regression_"):
                array = np.asarray(value)
                if array.dtype.kind not in "fiu":
                    raise Refused(f"{split}/{name} holds {array.dtype}, not numbers")
                np.save(home / f"{name}.npy", array, allow_pickle=False)


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
