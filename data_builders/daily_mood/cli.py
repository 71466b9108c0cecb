"""Building the corpus of daily moods: what `launch.py build --dataset=daily_mood/...` calls."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.tasks import read_ranges

DATASET = "daily_mood"


def build(
    dataset: str = "daily_mood/demo_by_time",
    data_dir: str | os.PathLike = "data",
    *,
    source: str | os.PathLike | None = None,
    split_file: str | os.PathLike | None = None,
    participants: int | None = None,
    days: int | None = None,
    seed: int | None = None,
    labels: str = "",
    sensors: str = "",
    ranges: str = "",
    overwrite: bool = False,
) -> Path:
    """Builds a dataset, or returns the one that is there if it was made from the same table in the same way.

    Args:
      dataset: "daily_mood/" and demo_by_time, demo_by_person, table_by_time or table_by_person.
      data_dir: root; the dataset goes to `data_dir/daily_mood/<config>/<version>`.
      source: the table (`source.py`); not for the demo.
      split_file: CSV `participant,split`, one line per person; only where persons are divided.
      participants, days, seed: of the demo: persons, days of each, seed.
      labels, sensors: of a table whose columns have names of one's own, see `source.read_layout`.
      ranges: NAME:LOW:HIGH with commas between: ends of the scale of ratings; default: as the days that train show.
      overwrite: build again and replace what is there, once the new dataset is whole.

    Returns:
      the version folder.

    Raises:
      InputError: unknown dataset, unusable table, or a different dataset already in place.
    """
    from data_builders.common import local
    from data_builders.daily_mood import daily_mood_dataset_builder as lib  # TFDS takes over half a second
    from data_builders.daily_mood.source import read, read_layout

    name, _, config_name = dataset.partition("/")
    if name != DATASET or config_name not in lib.CONFIGS:
        raise one_of("dataset", dataset, [f"{DATASET}/{config}" for config in lib.CONFIGS])
    config = lib.CONFIGS[config_name]
    if config.is_demo == (source is not None):
        raise InputError(f"{dataset}: --source=TABLE.csv belongs to daily_mood/table_..., and only to these")
    if split_file is not None and config.rule != "by_person":
        raise InputError(f"{dataset} is divided by time within each person: a split file belongs to ..._by_person")
    given = {"people": participants, "days": days, "seed": seed}
    if not config.is_demo and any(value is not None for value in given.values()):
        raise InputError(f"{dataset}: participants, days and seed belong to the demo: leave them out")
    changes = {key: value for key, value in given.items() if value is not None}
    if config.is_demo:
        if labels or sensors or ranges:
            raise InputError(f"{dataset}: labels, sensors and ranges belong to a table: leave them out")
        changes["persons"] = changes.get("people", config.people)
    else:
        layout = read_layout(labels, sensors)
        table = read(Path(source), layout)
        changes |= {"source": os.path.abspath(source), "layout": layout, "ranges": read_ranges(ranges)}
        changes |= lib.of_table(table)
    config = dataclasses.replace(config, split_file=split_file and os.path.abspath(split_file), **changes)
    read_now = {} if config.is_demo else {"source_sha256": table.sha256}
    return local.build_once(lib.Builder, config, data_dir, lambda: config.options() | read_now, overwrite)


def main_build(argv: Sequence[str]) -> Path:
    """`launch.py build --dataset=daily_mood/...`: parses the arguments after the verb, builds, prints where."""
    parser = argparse.ArgumentParser(prog="launch.py build", description="Build daily mood ratings as TFDS records.")
    datasets = "daily_mood/{demo,table}_{by_time,by_person}"
    parser.add_argument("--dataset", default="daily_mood/demo_by_time", help=datasets)
    parser.add_argument("--data_dir", default="data", help="root of all datasets")
    parser.add_argument("--source", help="the table, one row per day of a person")
    parser.add_argument("--split_file", help="by_person: CSV participant,split of persons; default: by a hash")
    parser.add_argument("--participants", type=int, help="demo only: how many persons")
    parser.add_argument("--days", type=int, help="demo only: of each person")
    parser.add_argument("--seed", type=int, help="demo only")
    parser.add_argument("--labels", default="", help="columns of ratings, with commas; default: label:NAME, DAMS1 to 9")
    parser.add_argument("--sensors", default="", help="columns of inputs: MODALITY:COLUMN:COLUMN*,MODALITY:...")
    parser.add_argument("--ranges", default="", help="ends of scales, NAME:LOW:HIGH,... such as stress:0:3")
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset that is there")
    folder = build(**vars(parser.parse_args(argv)))
    print(folder)
    return folder
