"""Sound files -> blocks of samples at one rate in mono, and what is odd about them.

libsndfile reads wav, flac, aiff, ogg and their like; FFmpeg (PyAV) reads everything else, mp3, files that were joined
and the sound of videos. Time is that of the file: where its time stamps jump, silence is filled in, so that words and
pictures stay together.
"""

import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from mmpsy_jax.features import recording_header
from mmpsy_jax.features.windows import require
from mmpsy_jax.io import InputError, require_file
from mmpsy_jax.rules import whole

BLOCK_SECONDS = 30
# A sample counts as clipped at the largest value that 16 bits hold, or beyond it.
FULL_SCALE = 1 - 2.0**-15
CLIPPED_NOTE, CLIPPED_ERROR = 0.01, 0.2
CANCELLED_DB = 10.0  # that averaging the channels takes from their level
_SLACK_S = 0.1  # by which headers and encoders differ in how long a recording is
_EXACT_S = 0.002  # where samples are counted
_HOLE_S, _LONGEST_HOLE_S = 0.05, 3600.0  # time stamps are coarse; beyond an hour they are wrong
_EMPTY = "has zero length: a recording must hold at least one sample"
_ENDLESS = 2**62  # frames, of flac whose header does not say how many
# Containers whose header says how long they are; of others FFmpeg makes a guess.
HOLD_LENGTH = ("mov,", "matroska", "asf", "avi", "au", "flac", "ape", "wv", "tta")


@dataclasses.dataclass
class Level:
    """What the samples of one recording look like, counted while they are read.

    Attributes:
      seconds: duration.
      samples: number of them, over all channels that are used.
      clipped: those at full scale.
      silent: whether all samples are equal, channels averaged.
      promised_s: duration by the header, where it says one.
      unfinished: the header names no length.
      cut: the end of the stream is missing, however long it was to be.
      filled_s: seconds of silence where the sound track has holes.
      damaged: packets that could not be decoded.
      channels: number of them that are averaged.
      power: sums of squares of the samples: mean over the channels, and of the averaged ones.
    """

    seconds: float = 0.0
    samples: int = 0
    clipped: int = 0
    silent: bool = True
    promised_s: float | None = None
    unfinished: bool = False
    cut: bool = False
    filled_s: float = 0.0
    damaged: int = 0
    channels: int = 1
    power: tuple[float, float] = (0.0, 0.0)
    _first: float | None = None

    def add(self, block: Float32[np.ndarray, "n channels"]) -> Float32[np.ndarray, " n"]:
        """Counts a block of the channels that are used; gives their average."""
        self.channels = block.shape[1]
        mono = block.mean(axis=1) if self.channels > 1 else block[:, 0]
        if not len(block):
            return mono
        self._first = float(mono[0]) if self._first is None else self._first
        self.samples += block.size
        self.clipped += int((np.abs(block) >= FULL_SCALE).sum())
        self.silent = self.silent and bool((mono == self._first).all())
        if self.channels > 1:
            before, after = self.power
            squares = np.square(block, dtype=np.float64).sum() / self.channels
            self.power = before + float(squares), after + float(np.square(mono, dtype=np.float64).sum())
        return mono

    @property
    def cancelled(self) -> str:
        """What is lost where channels are averaged that are opposite to each other; "" where little is."""
        before, after = self.power
        if self.channels < 2 or before == 0 or after > before * 10 ** (-CANCELLED_DB / 10):
            return ""
        count = self.samples / self.channels
        levels = [10 * math.log10(power / count) if power else -math.inf for power in (before, after)]
        return (
            f"channels cancel each other: {levels[0]:.1f} dB before they are averaged, {levels[1]:.1f} dB after: "
            "take one of them with the setting channel"
        )

    @property
    def shortened(self) -> str:
        """What is missing at the end; "" where nothing is."""
        missing = 0.0 if self.promised_s is None else self.promised_s - self.seconds
        if missing > (_EXACT_S if self.cut else _SLACK_S):
            digits = 1 if missing >= 1 else 3
            return f"cut off: header {self.promised_s:.{digits}f} s, found {self.seconds:.{digits}f} s"
        return "cut off: the end of the stream is missing" if self.cut and self.promised_s is None else ""

    def note(self, path: Path) -> str:
        """What is odd about the recording, "" where nothing is.

        Args:
          path: of the recording, for the error.

        Raises:
          InputError: more than a fifth of it is clipped.
        """
        share = self.clipped / max(1, self.samples)
        if not self.silent and share > CLIPPED_ERROR:
            raise InputError(
                f"{path}: clipped: {share:.0%} of the samples are at full scale, at most {CLIPPED_ERROR:.0%} may be: "
                "export the recording again at a lower gain"
            )
        notes = [
            self.shortened,
            "the header names no length: read to the end of the file" if self.unfinished else "",
            f"holes: {self.filled_s:.1f} s are missing and were filled with silence" if self.filled_s else "",
            f"damaged packets: {self.damaged} could not be decoded" if self.damaged else "",
            self.cancelled,
            "silent: every sample has the same value" if self.samples and self.silent and not self.cancelled else "",
            f"clipped: {share:.1%} of the samples are at full scale"
            if not self.silent and share > CLIPPED_NOTE
            else "",
        ]
        return "; ".join(filter(None, notes))


@dataclasses.dataclass
class _Clock:
    """Where time stamps jump: position in a stream by the time stamps and the lengths of its parts.

    Attributes:
      seconds: position behind the last part.
      anchor: of the time stamps, which begin anew where files were joined.
      holes: seconds of silence inside the stream so far.
    """

    path: Path
    seconds: float = 0.0
    anchor: float = 0.0
    begun: bool = False
    holes: float = 0.0

    def gap(self, time: float | None) -> float:
        """Seconds of silence before a part with this time stamp."""
        ahead = 0.0 if time is None else time - self.anchor - self.seconds
        if self.begun and abs(ahead) < _HOLE_S:
            ahead = 0.0
        if ahead > _LONGEST_HOLE_S:
            raise InputError(f"{self.path}: its time stamps jump by {ahead:.0f} s: mend them, with ffmpeg say")
        if ahead < 0:
            self.anchor += ahead
        self.holes += max(0.0, ahead) if self.begun else 0.0
        self.seconds += max(0.0, ahead)
        self.begun = True
        return max(0.0, ahead)


def require_channel(what: str, channel: int) -> None:
    """Refuses what cannot be the setting `channel` of these settings.

    Raises:
      InputError: no whole number from 0.
    """
    require(f"{what} settings: channel", channel, whole(0), ", 0 for all of them averaged")


def samples(
    path: Path, sample_rate: int = 16000, level: Level | None = None, channel: int = 0
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Blocks of a recording at a sample rate, mono, between -1 and 1.

    Args:
      path: any file with sound that libsndfile or FFmpeg reads; any rate and number of channels.
      sample_rate: in Hz.
      level: is filled while the blocks are read.
      channel: the only one that is used, from 1; 0 averages them.

    Raises:
      InputError: no regular file, no recording, one without sound in it, with fewer channels, or a file that holds more
        than is decoded.
    """
    level = Level() if level is None else level
    with _opened(path, level) as (rate, blocks):
        yield from resampled(path, rate, blocks, sample_rate, level, channel)
    if not level.samples:
        raise InputError(f"{path}: {_EMPTY}")


def resampled(
    path: Path,
    rate: int,
    blocks: Iterator[Float32[np.ndarray, "n channels"]],
    sample_rate: int,
    level: Level,
    channel: int = 0,
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Blocks in mono at another rate; arguments and errors as of `samples`."""
    stream = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    for block in blocks:
        if channel > block.shape[1]:
            raise InputError(
                f"{path}: the setting channel is {channel}, but there are {block.shape[1]} channels: choose one of "
                "these, or 0 for their average"
            )
        mono = level.add(block[:, channel - 1 : channel] if channel else block)
        level.seconds += len(mono) / rate
        if not np.isfinite(mono).all():
            raise InputError(f"{path}: holds samples that are not finite: export the recording again")
        yield mono if stream is None else stream.resample_chunk(mono)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def measure(path: Path) -> Level:
    """Length of a recording, and what is odd about it, without decoding it.

    Raises:
      InputError: as of `samples`.
    """
    level = Level()
    with _opened(path, level, decode=False) as (_, blocks):
        for _ in blocks:
            raise AssertionError("nothing is decoded")
    if not level.seconds:
        raise InputError(f"{path}: {_EMPTY}")
    return level


def header_seconds(path: Path) -> float:
    """Length of a recording by its header alone, which may be wrong; 0 where it cannot be read."""
    with contextlib.suppress(InputError, OSError, RuntimeError):
        require_file(path)
        return soundfile.info(path).duration
    with contextlib.suppress(InputError), open_av(path) as (container, _):
        return (container.duration or 0) / 1e6
    return 0.0


@contextlib.contextmanager
def _opened(path: Path, level: Level, decode: bool = True) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Rate and blocks [n, channels] of a file; without `decode` no blocks, and the length in `level`."""
    require_file(path)
    header = recording_header.read(path)
    level.unfinished, level.cut = header.unfinished, header.cut
    try:
        file = soundfile.SoundFile(path)
    except (OSError, RuntimeError):
        file = None
    try:
        if file is not None and header.links:
            rate, blocks, seconds = _chain(path, header.links)
            level.seconds = 0.0 if decode else seconds
            yield rate, blocks if decode else iter(())
            return
        if file is not None and (file.format == "MP3" or (header.unfinished and not file.frames)):
            level.promised_s = file.frames / file.samplerate if header.names_length else None
            file.close()
            file = None
        if file is None or (
            file.format == "FLAC" and not decode
        ):  # of which the header is all that libsndfile looks at
            with open_av(path) as (container, start):
                stream = sound_stream(container, path)
                if stream is None:
                    raise InputError(f"{path}: holds no sound: give a recording")
                if level.promised_s is None:
                    level.promised_s = None if header.claimed else promised(container, stream)
                    level.cut |= header.claimed is not None
                if not decode:
                    _measure(container, stream, start, level, path)
                    if file is not None and level.shortened:
                        raise InputError(f"{path}: {level.shortened}: fetch the recording again")
                yield stream.rate, decoded(container, stream, start, level, path) if decode else iter(())
            return
        if file.frames < _ENDLESS and not header.cut:
            level.promised_s = file.frames / file.samplerate * (header.claimed or 1.0)
            level.cut |= header.claimed is not None
        if not decode:
            level.seconds = file.frames / file.samplerate
        yield file.samplerate, _read(file) if decode else iter(())
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # what soundfile and soxr make of a damaged file
        reason = str(error).splitlines()[0].removeprefix(f"Error opening '{path}': ").rstrip(".")
        raise InputError(f"{path}: cannot be read as a recording ({reason}): it is cut off or damaged") from error
    finally:
        if file is not None:
            file.close()


def _read(file: soundfile.SoundFile) -> Iterator[Float32[np.ndarray, "n channels"]]:
    while len(block := file.read(file.samplerate * BLOCK_SECONDS, dtype="float32", always_2d=True)):
        yield block


def _chain(path: Path, links: Sequence[int]) -> tuple[int, Iterator[Float32[np.ndarray, "n channels"]], float]:
    """Rate, blocks and seconds of an ogg file whose streams follow each other, of which libsndfile reads the first.

    All come at the rate of the first one; where their numbers of channels differ, channels are averaged.
    """
    content = path.read_bytes()
    ends = (*links[1:], len(content))
    files = [soundfile.SoundFile(io.BytesIO(content[a:b])) for a, b in zip(links, ends, strict=True)]
    rate, alike = files[0].samplerate, len({file.channels for file in files}) == 1

    def blocks() -> Iterator[Float32[np.ndarray, "n channels"]]:
        for file in files:
            stream = None
            if file.samplerate != rate:
                stream = soxr.ResampleStream(file.samplerate, rate, file.channels if alike else 1, dtype="float32")
            for block in _read(file):
                block = block if alike else block.mean(axis=1, keepdims=True)
                yield block if stream is None else stream.resample_chunk(block)
            if stream is not None:
                yield stream.resample_chunk(np.zeros((0, file.channels if alike else 1), np.float32), last=True)

    return rate, blocks(), sum(file.frames / file.samplerate for file in files)


@contextlib.contextmanager
def open_av(path: Path, what: str = "recording", remedy: str = "give a sound file that FFmpeg reads, wav for example"):
    """The container and the second at which it starts; what FFmpeg raises inside becomes an InputError.

    Args:
      path: of the file.
      what, remedy: for the error.
    """
    import av

    require_file(path)
    try:
        with av.open(str(path)) as container:
            yield container, (container.start_time or 0) / av.time_base
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a {what} ({reason}): {remedy}") from error


def sound_stream(container: Any, path: Path) -> Any:
    """The first stream of sound; None without one.

    Raises:
      InputError: FFmpeg does not know its codec.
    """
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    if stream.codec_context is None or not stream.rate or not stream.layout.nb_channels:
        raise InputError(f"{path}: cannot be read as a recording (unknown codec): convert its sound to wav")
    return stream


def promised(container: Any, stream: Any) -> float | None:
    """Seconds of a stream by the header of its container; None where that does not say it."""
    if not container.format.name.startswith(HOLD_LENGTH):
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska knows the length of the longest stream only.
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else None


def decoded(container: Any, stream: Any, start: float, level: Level, path: Path) -> Iterator[np.ndarray]:
    """Blocks [n, channels] of a stream of sound, with silence where its time stamps jump.

    Args:
      container, start: as `open_av` gives them.
      stream: of sound.
      level: is told of damage and holes.
      path: of the file, for errors.
    """
    size, waiting, count = stream.rate * BLOCK_SECONDS, [], 0
    for part in _parts(container, stream, start, level, path):
        waiting.append(part)
        count += len(part)
        if count >= size:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _parts(container: Any, stream: Any, start: float, level: Level, path: Path) -> Iterator[np.ndarray]:
    import av

    rate, channels, clock, resampler, kind = stream.rate, stream.layout.nb_channels, _Clock(path), None, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            level.damaged += 1
            continue
        for frame in frames:
            if kind != (kind := (frame.sample_rate, frame.layout.name, frame.format.name)):  # files were joined
                resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            silence = round(clock.gap(None if frame.time is None else frame.time - start) * rate)
            for done in range(0, silence, rate):
                yield np.zeros((min(rate, silence - done), channels), np.float32)
            for one in resampler.resample(frame):
                clock.seconds += one.samples / rate
                yield one.to_ndarray().T
    level.filled_s = clock.holes


def _measure(container: Any, stream: Any, start: float, level: Level, path: Path) -> None:
    """Length of a stream by its packets, whose time stamps `decoded` follows."""
    clock, longest = _Clock(path), math.inf
    if container.format.name.startswith("mov,") and stream.codec_context.frame_size:
        longest = stream.codec_context.frame_size / stream.rate  # mp4 has packets last until the next one begins
    for packet in container.demux(stream):
        if packet.size:
            clock.gap(None if packet.pts is None else float(packet.pts * packet.time_base) - start)
            clock.seconds += min(longest, float((packet.duration or 0) * packet.time_base))
    level.seconds, level.filled_s = clock.seconds, clock.holes
