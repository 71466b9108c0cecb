"""The `.npy` files of a corpus, in a folder or in a zip archive, behind one index.

Layout: `<participant>/<mel-spectrogram|sentence_embeddings>/<i>.npy`, one file per window. Numbers are compared as
numbers: as text, `10.npy` would come before `2.npy`.
"""

import hashlib
import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import Float

from data_builders.mmpsy import volumes as volumes_lib
from mmpsy_jax.io import InputError

# How the release cut its recordings: 60 s windows that overlap by 10 s.
WINDOW_SECONDS = 60.0
HOP_SECONDS = 50.0

FOLDERS = {"audio": "mel-spectrogram", "text": "sentence_embeddings"}
_MODALITY = {folder: modality for modality, folder in FOLDERS.items()}

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)

# participant -> modality -> number of the file -> its path inside the corpus
Index = Mapping[str, Mapping[str, Mapping[int, str]]]


class Arrays(Protocol):
    """What reading needs of a place that holds windows."""

    name: str
    index: Index
    unread: Sequence[str]  # files among those of windows that are none

    def describe(self, path: str) -> str:
        """Name of a file for an error message."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file."""
        ...

    def open(self, path: str) -> BinaryIO:
        """The file, for reading."""
        ...

    def head(self, path: str, size: int) -> bytes:
        """The first bytes of a file."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever a file is added, removed or replaced by one of another size (folder) or content (zip)."""
        ...


def _index(where: str, paths: Iterator[str]) -> tuple[dict[str, dict[str, dict[int, str]]], list[str]]:
    """Files of windows, and the files beside them that are none."""
    index: dict[str, dict[str, dict[int, str]]] = {}
    unread = []
    for path in paths:
        parts = PurePosixPath(path).parts
        if len(parts) < 3 or parts[-2] not in _MODALITY or parts[-1].startswith("."):
            continue  # np_data.json, __MACOSX and the like
        if not parts[-1].lower().endswith(".npy"):
            unread.append(path)
            continue
        stem = parts[-1][: -len(".npy")]
        if not re.fullmatch(r"[0-9]{1,6}", stem):
            raise InputError(f"{where}/{path}: window files must be named <number>.npy: rename or remove it")
        files = index.setdefault(parts[-3], {}).setdefault(_MODALITY[parts[-2]], {})
        if int(stem) in files:
            raise InputError(f"{where}/{path}: window {int(stem)} is there twice (also {files[int(stem)]}): keep one")
        files[int(stem)] = path
    return index, sorted(unread)


class FolderArrays:
    """Windows in an unpacked `np_data/`."""

    def __init__(self, folder: Path):
        self.name = str(folder)
        self._folder = folder
        self.index, self.unread = _index(self.name, self._walk())

    def _walk(self) -> Iterator[str]:
        try:
            for participant in os.listdir(self._folder):
                for modality in FOLDERS.values():
                    place = self._folder / participant / modality
                    for file in os.listdir(place) if place.is_dir() else ():
                        yield f"{participant}/{modality}/{file}"
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be listed ({error.strerror}): check permissions") from error

    def describe(self, path: str) -> str:
        return str(self._folder / path)

    def size(self, path: str) -> int:
        return (self._folder / path).stat().st_size

    def open(self, path: str) -> BinaryIO:
        try:
            return open(self._folder / path, "rb")
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    def head(self, path: str, size: int) -> bytes:
        with self.open(path) as file:
            return file.read(size)

    def fingerprint(self) -> str:
        return _digest(f"{path} {self.size(path)}" for path in _paths(self.index))


class ZipArrays:
    """Windows in the release's archive, whole or in volumes; nothing is extracted."""

    def __init__(self, volumes: Sequence[Path]):
        self.name = str(volumes[0])
        self._zip = volumes_lib.open_archive(volumes)
        self.index, self.unread = _index(self.name, (m.filename for m in self._zip.infolist() if not m.is_dir()))

    def describe(self, path: str) -> str:
        return f"{self.name}, member {path}"

    def size(self, path: str) -> int:
        return self._zip.getinfo(path).file_size

    def open(self, path: str) -> BinaryIO:
        try:
            return io.BytesIO(self._zip.read(path))  # reads to the end, so the checksum is compared
        except _ZIP_ERRORS as error:
            raise InputError(f"{self.describe(path)}: damaged in the archive ({error}): fetch it again") from error

    def head(self, path: str, size: int) -> bytes:
        try:
            with self._zip.open(path) as file:
                return file.read(size)
        except _ZIP_ERRORS as error:
            raise InputError(f"{self.describe(path)}: damaged in the archive ({error}): fetch it again") from error

    def fingerprint(self) -> str:
        return _digest(f"{path} {self.size(path)} {self._zip.getinfo(path).CRC}" for path in _paths(self.index))


def _paths(index: Index) -> list[str]:
    return sorted(path for modalities in index.values() for files in modalities.values() for path in files.values())


def _digest(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def find_arrays(folder: Path) -> Arrays | None:
    """The windows that lie beside a table: unpacked `np_data/`, else the archive or its volumes; None without either.

    An unpacked folder goes first: it is what a user made on purpose after fetching the volumes.
    """
    if (folder / "np_data").is_dir():
        return FolderArrays(folder / "np_data")
    volumes = volumes_lib.find_volumes(folder)
    return ZipArrays(volumes) if volumes else None


def load(arrays: Arrays, path: str) -> np.ndarray:
    """Reads one window file; only real numbers, never pickled objects.

    Returns:
      a floating point array of two dimensions, as stored.

    Raises:
      InputError: empty, truncated, pickled, of another type or rank, or with values that are not finite.
    """
    where = arrays.describe(path)
    describe_header(arrays, path)  # so that no header makes numpy allocate more than the file holds
    try:
        with arrays.open(path) as file:
            array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: cut short or damaged ({error}): fetch it again") from error
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"{where}: holds {array.dtype}, must be float16, float32 or float64")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{where}: shape {array.shape}, must have two dimensions, none of them 0")
    if not np.isfinite(array).all():
        raise InputError(f"{where}: {int((~np.isfinite(array)).sum())} values are not finite: extract it again")
    return array


def describe_header(arrays: Arrays, path: str) -> tuple[str, tuple[int, ...]]:
    """Type and shape of a window file from its first bytes and its size; the values are not read.

    Raises:
      InputError: empty, no header, a pickled array, or a size that does not fit the header.
    """
    where, size = arrays.describe(path), arrays.size(path)
    if size == 0:
        raise InputError(f"{where}: is empty: fetch it again")
    start = io.BytesIO(arrays.head(path, 1024))
    try:
        version = np.lib.format.read_magic(start)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(start)
    except Exception as error:  # the header is a Python literal: a damaged one raises anything, TokenError included
        raise InputError(
            f"{where}: does not begin like a .npy file ({error}): damaged, or of another format (pickles and .npz "
            "archives are refused); fetch it again"
        ) from error
    if dtype.hasobject:
        raise InputError(f"{where}: holds pickled objects: unpickling runs code and is refused")
    expected = start.tell() + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise InputError(f"{where}: {size} bytes, but its header says {expected}: cut short or damaged; fetch it again")
    return str(dtype), shape


def valid_length(window: Float[np.ndarray, "a b"], time_axis: int) -> int:
    """Number of frames or tokens before the zero padding: up to the last that is not zero throughout."""
    filled = np.flatnonzero(window.any(axis=1 - time_axis))
    return int(filled[-1]) + 1 if len(filled) else 0
