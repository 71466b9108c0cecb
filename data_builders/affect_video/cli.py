"""Building the corpus of clips: what `launch.py build --dataset=affect_video/...` calls."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.io import InputError, one_of

DATASET = "affect_video"


def build(
    dataset: str = "affect_video/demo",
    data_dir: str | os.PathLike = "data",
    *,
    source: str | os.PathLike | None = None,
    split_file: str | os.PathLike | None = None,
    window_seconds: float | None = None,
    skip_bad: bool = False,
    strict: bool = False,
    workers: int | None = None,
    participants: int | None = None,
    seed: int | None = None,
    seconds: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Builds a dataset, or returns the one that is there if it was made from the same source in the same way.

    Args:
      dataset: "affect_video/" and demo, clips or meld.
      data_dir: root; the dataset goes to `data_dir/affect_video/<config>/<version>`.
      source: folder of the clips (`source.py`); not for the demo.
      split_file: CSV `participant,split`, one line per speaker; by default the split follows from a hash of the
        speaker. Not for MELD, whose division is published.
      window_seconds: longer clips become several windows.
      skip_bad: leave out clips that cannot be used, listed in `corpus.json`, instead of failing at the first.
      strict: refuse a clip of which something would be noted (cut off, no sound, no face, ...).
      workers: processes that read clips; 0 is this process alone.
      participants, seed, seconds: of the demo: speakers, seed, shortest and longest clip.
      overwrite: build again and replace what is there, once the new dataset is whole.

    Returns:
      the version folder.

    Raises:
      InputError: unknown dataset, unusable source, or a different dataset already in place.
    """
    from data_builders.affect_video import affect_video_dataset_builder as lib  # TFDS takes over half a second
    from data_builders.common import local

    name, _, config_name = dataset.partition("/")
    if name != DATASET or config_name not in lib.CONFIGS:
        raise one_of("dataset", dataset, [f"{DATASET}/{config}" for config in lib.CONFIGS])
    if (config_name == "demo") == (source is not None):
        raise InputError(
            f"{dataset}: --source=DIR (clips and table) belongs to affect_video/clips and affect_video/meld, and only "
            "to these"
        )
    if config_name != "demo" and any(value is not None for value in (participants, seed, seconds)):
        raise InputError(f"{dataset}: participants, seed and seconds belong to the demo: leave them out")
    if seed is not None and seed < 0:
        raise InputError(f"seed {seed}: must be 0 or more")
    if window_seconds is not None and (not 1 <= window_seconds <= 60 or round(window_seconds, 1) != window_seconds):
        raise InputError(
            f"window_seconds {window_seconds}: must be 1 to 60, in tenths, as there are 10 frames a second"
        )
    if strict and config_name == "demo":
        raise InputError(f"{dataset}: strict is about clips that are read: leave it out")
    if split_file is not None and config_name == "meld":
        raise InputError(f"{dataset}: keeps the published division: leave the split file out")
    given = {
        "source": None if source is None else os.path.abspath(source),
        "split_file": None if split_file is None else os.path.abspath(split_file),
        "window_seconds": window_seconds,
        "skip_bad": skip_bad or None,
        "strict": strict or None,
        "workers": workers,
        "speakers": participants,
        "seed": seed,
        "seconds": seconds,
    }
    config = dataclasses.replace(lib.CONFIGS[config_name], **{k: v for k, v in given.items() if v is not None})
    return local.build_once(lib.Builder, config, data_dir, lambda: _wanted(config), overwrite)


def _wanted(config) -> dict[str, Any]:
    """What the card of the dataset that `config` would build says of how it was built."""
    from data_builders.affect_video import source

    if config.source is None:
        return config.options()
    clips, _ = source.read(config.name, Path(config.source), config.skip_bad)
    return config.options() | {"source_sha256": source.digest(clips)}


def main_build(argv: Sequence[str]) -> Path:
    """`launch.py build --dataset=affect_video/...`: parses the arguments after the verb, builds, prints where."""
    parser = argparse.ArgumentParser(prog="launch.py build", description="Build clips with faces as TFDS records.")
    parser.add_argument("--dataset", default="affect_video/demo", help="affect_video/{demo,clips,meld}")
    parser.add_argument("--data_dir", default="data", help="root of all datasets")
    parser.add_argument("--source", help="folder of the clips and of clips.csv, or of MELD")
    parser.add_argument("--split_file", help="CSV participant,split, one line per speaker; default: by a hash")
    parser.add_argument("--window_seconds", type=float, help="longer clips become several windows (default 4)")
    parser.add_argument("--skip_bad", action="store_true", help="leave out clips that cannot be used")
    parser.add_argument("--strict", action="store_true", help="refuse clips of which something would be noted")
    parser.add_argument("--workers", type=int, help="processes that read clips; 0 for none")
    parser.add_argument("--participants", type=int, help="demo only: how many speakers")
    parser.add_argument("--seed", type=int, help="demo only")
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset that is there")
    folder = build(**vars(parser.parse_args(argv)))
    print(folder)
    return folder
