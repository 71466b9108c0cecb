"""Seconds of audio per second of every way to a log-mel spectrogram, side by side.

    python benchmarks/mel.py [--minutes=60] [--files=10] [--rounds=5] [--rate=16000] [--matmul]

The recordings are SYNTHETIC (bursts of noise over a tone, 16-bit wav). Every turn is over all files; printed are the
medians over the rounds (`harness.py`) and the ratios to librosa in one process. Everything is counted from the file to
float16 windows, except in the rows "in memory", which start from samples and end with dB values. Processes are started,
and programs compiled, before the first round. `--matmul` adds the Fourier transform as a matrix product.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import librosa
import numpy as np
import soundfile

from benchmarks import harness
from data_builders.common.shards import make_pool
from mmpsy_jax.features import mel, recording

FLOAT16 = np.dtype(np.float16)


def record(path: Path, seconds: float, rate: int, seed: int) -> None:
    """Writes a synthetic recording."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    y = 0.3 * rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 0.7 * t) > 0) + 0.1 * np.sin(880 * t)
    soundfile.write(path, 0.3 * y, rate)


def extract(path: Path) -> None:
    """The way of the builders, in the process that calls it."""
    mel.LogMel().extract([path], FLOAT16)


def by_hand(path: Path) -> np.ndarray:
    """What one writes with librosa in a notebook: the whole file at once, in float32."""
    y, rate = librosa.load(path, sr=mel.RELEASE.sample_rate)
    power = librosa.feature.melspectrogram(y=y, sr=rate, n_fft=2048, hop_length=533, n_mels=80)
    db = librosa.power_to_db(power)
    return ((db - db.mean()) / db.std()).astype(FLOAT16)


def contestants(paths: Sequence[Path], pool: Executor, matmul: bool) -> dict[str, Callable[[], object]]:
    """By name; calling one takes all files."""
    from benchmarks import jitted_mel as jitted

    samples = [list(mel.padded([recording.samples(path)])) for path in paths]

    def through(fourier: jitted.Fourier) -> mel.LogMel:
        return mel.LogMel(transform=lambda blocks, settings: jitted.decibels(blocks, settings, fourier))

    ways = ("rfft", "matmul") if matmul else ("rfft",)
    runs: dict[str, Callable[[], object]] = {
        "librosa, streamed, 1 process": lambda: [extract(path) for path in paths],
        "librosa, streamed, 2 processes": lambda: list(pool.map(extract, paths)),
        "librosa by hand, whole files": lambda: [by_hand(path) for path in paths],
        "librosa in memory": lambda: [sum(map(len, mel.decibels(blocks))) for blocks in samples],
    }
    for way in ways:
        runs[f"jitted ({way}), streamed, 1 process"] = lambda way=way: [
            through(way).extract([path], FLOAT16) for path in paths
        ]
        runs[f"jitted ({way}) in memory"] = lambda way=way: [
            sum(map(len, jitted.decibels(blocks, fourier=way))) for blocks in samples
        ]
    return runs


def agreement(path: Path, ways: Sequence[str]) -> None:
    """Prints the largest difference from librosa in float64: of librosa in float32, and of the jitted paths."""
    from benchmarks import jitted_mel as jitted

    blocks = list(mel.padded([recording.samples(path)]))
    ours = np.concatenate(list(mel.decibels(blocks)))
    ours = np.maximum(ours, ours.max() - mel.RELEASE.top_db)
    others = {f"jitted ({way})": np.concatenate(list(jitted.decibels(blocks, fourier=way))) for way in ways}
    for name, values in {"librosa in float32": _in_float32(blocks), **others}.items():
        values = np.maximum(values, values.max() - mel.RELEASE.top_db)
        decibels = np.abs(ours - values)
        normalised = np.abs(_normalised(ours) - _normalised(values))
        print(
            f"{name} against librosa in float64: largest difference {decibels.max():.1e} dB "
            f"(99.9 % below {np.quantile(decibels, 0.999):.1e}), {normalised.max():.1e} after normalisation"
        )


def _in_float32(blocks: Sequence[np.ndarray]) -> np.ndarray:
    samples = np.concatenate(blocks) * np.float32(mel.SCALE)
    sizes = {"n_fft": mel.RELEASE.n_fft, "hop_length": mel.RELEASE.hop, "n_mels": mel.RELEASE.bands}
    power = librosa.feature.melspectrogram(y=samples, sr=mel.RELEASE.sample_rate, center=False, **sizes)
    return librosa.power_to_db(power, amin=mel.AMIN, top_db=None).T


def _normalised(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.mean()) / values.std()


def main() -> None:
    """Parses the arguments and prints the tables."""
    parser = argparse.ArgumentParser(description="Log-mel: seconds of audio per second.")
    parser.add_argument("--minutes", type=float, default=60.0, help="of all files together")
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=16000, help="of the files")
    parser.add_argument("--matmul", action="store_true")
    parser.add_argument("--speech", type=Path, help="a recording of speech to compare values on; default: one of ours")
    options = parser.parse_args()
    import jax

    print(f"{harness.machine('jax', 'librosa')}; {jax.devices()[0].device_kind}")
    with tempfile.TemporaryDirectory() as folder, make_pool(2) as pool:
        paths = [Path(folder) / f"{k}.wav" for k in range(options.files)]
        for k, path in enumerate(paths):
            record(path, 60 * options.minutes / options.files, options.rate, k)
        times = harness.take_turns(contestants(paths, pool, options.matmul), options.rounds)
        agreement(options.speech or paths[0], ("rfft", "matmul") if options.matmul else ("rfft",))
    print(f"\n{options.minutes:g} minutes in {options.files} files at {options.rate} Hz, {options.rounds} rounds\n")
    first, rows = next(iter(times.values())), []
    for name, taken in times.items():
        speeds = [60 * options.minutes / seconds for seconds in taken]
        hour = f"{3600 / statistics.median(speeds):.1f}"
        rows.append([name, *harness.spread(speeds, ",.0f"), hour, f"{harness.ratio(first, taken):.2f}"])
    harness.print_table(["way", "s of audio per s", "lowest to highest", "s for an hour", "ratio"], rows)


if __name__ == "__main__":
    main()
