"""Published corpora as their owners hand them out -> the entries that a manifest would give; one file per layout.

A layout is a module with three names (docs/corpora.md shows one being written):

- `NEEDS`: what `--source` must be, in a few words.
- `read(folder, *, scored)`: a `features.manifest.Manifest` of who there is, where recordings and transcripts lie,
  scores, subgroups, official splits and clusters; without scores and splits where `scored` is False, for predictions.
  It opens no recording and no transcript.
- `synthesize(folder, *, participants, seed)`: writes a synthetic tree in the layout, with its known oddities; tones for
  voices, invented words.

The first line of its docstring names the corpus. Extraction, checks, options and cards are those of manifests
(`source.py`); `launch.py check|build --dataset=interviews/NAME --source=FOLDER` finds a layout by its file name.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from mmpsy_jax.features.manifest import Manifest
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, one_of, write_atomically

SYNTHETIC = "SYNTHETIC.txt"  # in a folder that `synthesize` filled


class NobodyError(InputError):
    """A folder in which a layout finds nobody."""


def names() -> list[str]:
    """Names of all layouts; a module that begins with an underscore is none."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


def load(name: str) -> ModuleType:
    """The module of a layout.

    Raises:
      InputError: there is none of that name.
    """
    if name not in names():
        raise one_of("layout", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def title(name: str) -> str:
    """What a layout is of: the first line of its docstring."""
    return (load(name).__doc__ or name).splitlines()[0].rstrip(".")


def read(name: str, folder: str | Path, *, scored: bool = True) -> Manifest:
    """Who lies in a folder, in natural order of their ids.

    Args:
      name: of the layout.
      folder: of the corpus.
      scored: False reads neither scores nor splits.

    Raises:
      NobodyError: nobody is in it.
      InputError: no folder, or as the layout.
    """
    folder, layout = Path(folder), load(name)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give {layout.NEEDS}")
    manifest = layout.read(folder, scored=scored)
    if not manifest.entries:
        raise NobodyError(f"{folder}: nobody is found in the layout of {name}: give {layout.NEEDS}")
    entries = tuple(sorted(manifest.entries, key=lambda entry: natural_key(entry.participant)))
    return dataclasses.replace(manifest, entries=entries, synthetic=(folder / SYNTHETIC).exists())


def synthesize(name: str, folder: str | Path, *, participants: int = 12, seed: int = 0) -> Path:
    """Writes a synthetic tree in a layout, to try commands with before the corpus arrives.

    Args:
      name: of the layout.
      folder: must not exist, or be empty.
      participants: how many people.
      seed: of everything.

    Returns:
      the folder.

    Raises:
      InputError: no such layout, too few people, or something in the folder already.
    """
    folder, write = Path(folder), _writer(name)
    if participants < 4:
        raise InputError(f"participants {participants}: too few for three splits: give at least 4")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty: give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SYNTHETIC, f"Synthetic, in the layout of {title(name)}: no person stands behind this.\n")
    write(folder, participants=participants, seed=seed)
    return folder


def _writer(name: str) -> Callable[..., None]:
    return load(name).synthesize
