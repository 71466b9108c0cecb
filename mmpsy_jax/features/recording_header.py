"""What a sound file claims about itself, looked at without decoding it: how much it holds, and whether that is there.

Decoders believe the header, or clamp it to the file, and say nothing. A recorder that was killed, a copy that was cut
off and files that were joined byte by byte all give sound that is too short.
"""

import contextlib
import dataclasses
import mmap
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mmpsy_jax.io import InputError

_UNKNOWN_32 = (0x7FFFF000, 0x80000000, 0xFFFFFFFF)  # what recorders and pipes write for a length that they do not know
_TABLE_BYTES = 8192  # an mp3 file names its length in its first frame


class _Layout(NamedTuple):
    """Of files that consist of chunks.

    Attributes:
      header: name and length of a chunk, for `struct`.
      first: where the first chunk begins.
      samples: name of the chunk that holds the samples.
      counted: bytes of the header that the length counts.
      padded: chunks begin at multiples of it, counted from their header.
    """

    header: str
    first: int
    samples: bytes
    counted: int = 0
    padded: int = 2


_WAV = _Layout("<4sI", 12, b"data")
_LAYOUTS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"BW64": _WAV,
    b"RIFX": _Layout(">4sI", 12, b"data"),
    b"FORM": _Layout(">4sI", 12, b"SSND"),
    b"riff": _Layout("<16sQ", 40, b"data", counted=24, padded=8),  # W64
    b"caff": _Layout(">4sq", 8, b"data", padded=1),
}
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file claims.

    Attributes:
      claimed: length that the header promises, as multiple of what is there of it; None where it promises nothing.
      unfinished: samples follow a header that names no length.
      links: where the streams of an ogg file begin that follow each other; empty where there is one.
      cut: the last page of an ogg file is not whole.
      names_length: an mp3 file whose first frame names its length.
    """

    claimed: float | None = None
    unfinished: bool = False
    links: tuple[int, ...] = ()
    cut: bool = False
    names_length: bool = False


def read(path: Path) -> Header:
    """Looks at a file; only compressed ones are searched from end to end, which costs little beside decoding them.

    Raises:
      InputError: it is empty, or another file of its kind follows in it that decoders do not read.
    """
    with contextlib.suppress(struct.error), path.open("rb") as file:  # a header that is cut short says nothing
        size = file.seek(0, 2)
        if not size:
            raise InputError(f"{path}: has zero length: a recording must hold at least one sample")
        file.seek(0)
        head = file.read(16).ljust(16, b"\0")
        layout = _LAYOUTS.get(head[:4])
        if layout:
            return _chunked(path, file, size, head, layout)
        if head[:4] == b".snd":
            start, length = struct.unpack(">II", head[4:12])
            return _promise(path, file, size, start, -1 if length == 0xFFFFFFFF else length)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if head[:4] == b"OggS":
                return _ogg(content)
            signature = _signature(head)
            if signature and content.find(signature, 5) > 0:
                raise _joined(path)
            start = 10 + sum((head[9 - i] & 127) << 7 * i for i in range(4)) if head[:3] == b"ID3" else 0
            table = content[start : start + _TABLE_BYTES]
        return Header(names_length=any(name in table for name in (b"Xing", b"Info", b"VBRI")))
    return Header()


def _ogg(content: mmap.mmap) -> Header:
    """Of an ogg file: a page has a header of 27 bytes, a table of the lengths of its segments, and these (RFC 3533).

    Many recorders leave out the mark of the last page, so that its absence says nothing.
    """
    links, at = [0], 0
    while (at := content.find(b"OggS\x00\x02", at + 1)) > 0:
        links.append(at)
    last = content.rfind(b"OggS\x00")
    table = content[last + 27 : last + 27 + content[last + 26]] if last + 26 < len(content) else b""
    end = last + 27 + len(table) + sum(table)
    begun = content[end : end + 5]  # of a page that is cut in its first bytes
    whole = bool(table) and end <= len(content) and not (begun and b"OggS\x00".startswith(begun))
    return Header(links=tuple(links) if len(links) > 1 else (), cut=not whole)


def _signature(head: bytes) -> bytes | None:
    """What begins a file of formats of which decoders read the first one only, and begins nothing else."""
    if head[:4] == b"fLaC":
        return b"fLaC\x00\x00\x00\x22"
    if head[4:8] == b"ftyp":  # mp4, m4a
        return head[4:12]
    return _ASF if head == _ASF else None


def _joined(path: Path) -> InputError:
    return InputError(
        f"{path}: holds more than is decoded: another file was appended to it byte by byte: give the parts as files "
        "in a folder, or join them with a tool for sound such as ffmpeg"
    )


def _chunked(path: Path, file: BinaryIO, size: int, head: bytes, layout: _Layout) -> Header:
    width, at = struct.calcsize(layout.header), layout.first
    whole = struct.unpack(layout.header[0] + "I", head[4:8])[0]  # of RIFF and FORM
    if head[:4] in (b"RIFF", b"RIFX", b"FORM"):
        _refuse_joined(path, file, 8 + whole + whole % 2)
    long: int | None = None
    while at + width <= size:
        file.seek(at)
        name, length = struct.unpack(layout.header, file.read(width))
        length -= layout.counted
        if name[:4] == layout.samples:
            length = long if long is not None and length == 0xFFFFFFFF else length
            unknown = whole in (0, *_UNKNOWN_32) or not _is_name(file.read(4))
            return _promise(path, file, size, at + width, length, layout.padded, unknown)
        if name == b"ds64":
            long = struct.unpack("<Q", file.read(16)[8:])[0]
        if length < 0:
            break
        at += width + -(-length // layout.padded) * layout.padded
    return Header()


def _promise(
    path: Path, file: BinaryIO, size: int, start: int, length: int, padded: int = 1, unknown: bool = False
) -> Header:
    """What follows from the length that a header names for the samples.

    Args:
      path, file, size: of the whole.
      start: of the samples.
      length: as named; -1 is up to the end of the file.
      padded: what follows the samples begins at a multiple of it.
      unknown: a length of 0 says that it was not known.
    """
    there = size - start
    if length == -1 or there <= 0:
        return Header()
    if length in _UNKNOWN_32 or (length == 0 and unknown):
        return Header(unfinished=True)
    _refuse_joined(path, file, start + -(-length // padded) * padded)
    return Header(claimed=length / there if length > there else None)


def _refuse_joined(path: Path, file: BinaryIO, end: int) -> None:
    file.seek(min(end, file.seek(0, 2)))
    if file.read(4) in (*_LAYOUTS, b".snd"):
        raise _joined(path)


def _is_name(four: bytes) -> bool:
    """Whether these bytes can name a chunk."""
    return all(32 <= byte < 127 for byte in four)
