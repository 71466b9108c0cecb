"""Building the hotline corpus: what `launch.py build --dataset=hotline/...` calls."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpsy_jax.io import InputError, one_of

DATASET = "hotline"


def build(
    dataset: str = "hotline/demo",
    data_dir: str | os.PathLike = "data",
    *,
    source: str | os.PathLike | None = None,
    split_file: str | os.PathLike | None = None,
    skip_bad: bool = False,
    window_seconds: float | None = None,
    participants: int | None = None,
    seed: int | None = None,
    seconds: tuple[float, float] | None = None,
    labels: str = "",
    overwrite: bool = False,
) -> Path:
    """Builds a dataset, or returns the one that is there if it was made from the same source in the same way.

    Args:
      dataset: "hotline/demo" or "hotline/calls".
      data_dir: root; the dataset goes to `data_dir/hotline/<config>/<version>`.
      source: folder of the tables (`source.py`); not for the demo.
      split_file: CSV `participant,split`, one line per caller; by default the split follows from a hash of the caller.
      skip_bad: leave out segments whose recording cannot be used, listed in `corpus.json`, instead of failing.
      window_seconds: longer segments become several windows.
      labels: columns of emotions with commas between; default: `label:NAME`, or the eleven published ones.
      participants, seed, seconds: of the demo: callers, seed, shortest and longest segment.
      overwrite: build again and replace what is there, once the new dataset is whole.

    Returns:
      the version folder.

    Raises:
      InputError: unknown dataset, unusable source, or a different dataset already in place.
    """
    from data_builders.common import local
    from data_builders.hotline import hotline_dataset_builder as lib  # TFDS takes over half a second
    from data_builders.hotline.source import read_calls

    name, _, config_name = dataset.partition("/")
    if name != DATASET or config_name not in lib.CONFIGS:
        raise one_of("dataset", dataset, [f"{DATASET}/{config}" for config in lib.CONFIGS])
    if (config_name == "demo") == (source is not None):
        raise InputError(f"{dataset}: --source=DIR (tables and wav files) belongs to hotline/calls, and only to it")
    columns = tuple(filter(None, (name.strip() for name in labels.split(","))))
    if columns and source is None:
        raise InputError(f"{dataset}: labels belong to hotline/calls: leave them out")
    given = {
        "source": None if source is None else os.path.abspath(source),
        "split_file": None if split_file is None else os.path.abspath(split_file),
        "skip_bad": skip_bad,
        "window_seconds": window_seconds,
        "callers": participants,
        "seed": seed,
        "seconds": seconds,
        "columns": columns,
    }
    config = dataclasses.replace(lib.CONFIGS[config_name], **{k: v for k, v in given.items() if v is not None})
    _ = config.extractor  # refuses windows that cannot be
    read_now: dict[str, Any] = {}
    if config.source is not None:
        calls = read_calls(Path(config.source), columns)
        config = dataclasses.replace(config, labels=calls.labels)
        read_now["source_sha256"] = lib.digest(calls.segments)
    return local.build_once(lib.Builder, config, data_dir, lambda: config.options() | read_now, overwrite)


def main_build(argv: Sequence[str]) -> Path:
    """`launch.py build --dataset=hotline/...`: parses the arguments after the verb, builds, prints where."""
    parser = argparse.ArgumentParser(prog="launch.py build", description="Build hotline segments as TFDS records.")
    parser.add_argument("--dataset", default="hotline/demo", help="hotline/demo or hotline/calls")
    parser.add_argument("--data_dir", default="data", help="root of all datasets")
    parser.add_argument("--source", help="folder of <caller>.csv and original_audio_data/")
    parser.add_argument("--split_file", help="CSV participant,split, one line per caller; default: by a hash")
    parser.add_argument("--skip_bad", action="store_true", help="leave out segments that cannot be read")
    parser.add_argument("--window_seconds", type=float, help="longer segments become several windows (default 10)")
    parser.add_argument(
        "--labels", default="", help="columns of emotions, with commas; default: label:NAME, or published"
    )
    parser.add_argument("--participants", type=int, help="demo only: how many callers")
    parser.add_argument("--seed", type=int, help="demo only")
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset that is there")
    folder = build(**vars(parser.parse_args(argv)))
    print(folder)
    return folder
