"""A zip archive cut into plain byte volumes (`np_data.zip.001` ...), read in place as one seekable file.

Nothing is ever joined or extracted on disk: the members are read where they lie.
"""

import bisect
import errno
import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmpsy_jax.io import InputError

# One window is about a megabyte; a member beyond this is no window, whatever its header claims.
MAX_MEMBER_BYTES = 256 * 2**20
MAX_MEMBERS = 2_000_000

_LOCAL_HEADER = b"PK\x03\x04"


class VolumeFile(io.RawIOBase):
    """Several files, one after the other, as one read-only seekable file.

    Args:
      paths: the volumes in order. Each process opens its own; positions are not shared.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]):
        super().__init__()
        self._handles: list[int] = []
        self._position = 0
        try:
            for path in paths:
                self._handles.append(os.open(path, os.O_RDONLY))
        except OSError as error:
            self.close()
            raise InputError(f"{error.filename}: volume cannot be opened ({error.strerror})") from error
        sizes = [os.fstat(handle).st_size for handle in self._handles]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._size = sum(sizes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, f"negative position {base + offset}")  # what zipfile expects of a short file
        self._position = base + offset
        return self._position

    def readinto(self, buffer) -> int:
        if self._position >= self._size or not self._handles:
            return 0
        volume = bisect.bisect_right(self._starts, self._position) - 1
        # Short at a volume's end; the buffered reader above asks again.
        count = os.preadv(self._handles[volume], [buffer], self._position - self._starts[volume])
        self._position += count
        return count

    def close(self) -> None:
        for handle in self._handles:
            os.close(handle)
        self._handles = []
        super().close()


def find_volumes(folder: Path, stem: str = "np_data.zip") -> list[Path]:
    """The archive in `folder`, as one file or as numbered volumes in order; empty where there is none.

    Raises:
      InputError: a number is missing.
    """
    numbered = {}
    for path in folder.glob(f"{stem}.*"):
        if match := re.fullmatch(re.escape(stem) + r"\.(\d+)", path.name):
            if int(match[1]) in numbered:
                raise InputError(f"{path}: volume {int(match[1])} is there twice: keep one")
            numbered[int(match[1])] = path
    whole = folder / stem
    if not numbered:
        return [whole] if whole.is_file() else []
    if whole.is_file():
        raise InputError(f"{folder}: holds both {stem} and volumes {stem}.001...: keep one of the two")
    missing = sorted(set(range(1, max(numbered) + 1)) - set(numbered))
    if missing:
        raise InputError(
            f"{folder}: volume(s) {', '.join(f'{stem}.{number:03d}' for number in missing)} missing: the archive is "
            f"cut into consecutive volumes from .001; fetch the missing one(s)"
        )
    return [numbered[number] for number in sorted(numbered)]


def open_archive(volumes: Sequence[Path]) -> zipfile.ZipFile:
    """Opens the archive and checks what can be checked without reading the members.

    Args:
      volumes: its files, in order.

    Raises:
      InputError: a volume that is short, missing at the end or out of order; members that leave the folder.
    """
    name = f"{volumes[0]}" if len(volumes) == 1 else f"{volumes[0]} ... {volumes[-1].name}"
    sizes = [path.stat().st_size for path in volumes]
    # A splitter makes all volumes equal but the last, which holds the rest.
    for path, size in zip(volumes[:-1], sizes[:-1], strict=True):
        if size != sizes[0] or size == 0:
            raise InputError(
                f"{path}: {size} bytes, but the volumes before the last must be equal ({volumes[0].name}: {sizes[0]}): "
                "it was cut short; fetch it again"
            )
    if sizes[-1] == 0 or sizes[-1] > sizes[0]:
        raise InputError(
            f"{volumes[-1]}: {sizes[-1]} bytes, but the last volume must hold 1 to {sizes[0]} bytes like "
            f"{volumes[0].name}: the volumes are cut short or in the wrong order; fetch them again"
        )
    file = io.BufferedReader(VolumeFile(volumes), buffer_size=1 << 18)
    try:
        archive = zipfile.ZipFile(file)
        _check_members(name, archive)
        _check_local_headers(volumes, name, archive, file)
    except zipfile.BadZipFile as error:
        file.close()
        raise InputError(
            f"{name}: not a whole zip archive ({error}): a volume is missing at the end, cut short or out of order "
            f"({len(volumes)} found; the release has five); fetch the volumes again"
        ) from error
    except InputError:
        file.close()
        raise
    return archive


def _check_members(name: str, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{name}: {len(members)} members, more than {MAX_MEMBERS}: this is not the release")
    seen: set[str] = set()
    for member in members:
        # `orig_filename` is what the archive says, before zipfile tidies it.
        path = PurePosixPath(member.orig_filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\x00" in member.orig_filename:
            raise InputError(
                f"{name}: the member {member.orig_filename[:80]!r} leaves the folder of the archive: "
                "members must be relative paths without '..'; do not use this archive"
            )
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise InputError(f"{name}: the member {member.filename[:80]!r} is a symbolic link: links are not followed")
        if member.flag_bits & 1:
            raise InputError(f"{name}: the member {member.filename[:80]!r} is encrypted: decrypt the archive first")
        if member.file_size > MAX_MEMBER_BYTES:
            raise InputError(
                f"{name}: the member {member.filename[:80]!r} claims {member.file_size} bytes, more than "
                f"{MAX_MEMBER_BYTES}: no window is that large; do not use this archive"
            )
        if str(path).casefold() in seen:
            raise InputError(f"{name}: the member {member.filename[:80]!r} is there twice: the archive is ambiguous")
        seen.add(str(path).casefold())


def _check_local_headers(volumes: Sequence[Path], name: str, archive: zipfile.ZipFile, file: io.BufferedReader) -> None:
    """Every member must begin where the directory says: volumes in the wrong order fail here, before any build."""
    for member in archive.infolist():
        file.seek(member.header_offset)
        if file.read(4) != _LOCAL_HEADER:
            bounds = [sum(path.stat().st_size for path in volumes[: i + 1]) for i in range(len(volumes))]
            volume = volumes[min(bisect.bisect_right(bounds, member.header_offset), len(volumes) - 1)]
            raise InputError(
                f"{name}: no member begins at byte {member.header_offset}, in {volume.name}, where the directory of "
                "the archive points: the volumes are out of order or one is damaged; fetch them again"
            )
