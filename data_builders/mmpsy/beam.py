"""Building the corpus on many machines with Apache Beam, in an environment of its own (requirements-beam.txt).

    python -m data_builders.mmpsy.beam --dataset=mmpsy/released --source=DIR --data_dir=DIR --runner=DirectRunner

Every further option goes to Beam. Each shard is one element of a pipeline: a worker reads its participants and writes
its file, so all workers need the source and `data_dir` on a file system that they share. The dataset is the same, byte
for byte, as that of `launch.py build`, whose code does everything but the loop over shards.

TFDS itself can run a `ShardBasedBuilder` on Beam, but 4.9.10 then runs one growing pipeline per split, which writes the
first split three times, takes the lengths of shards in the order "0", "1", "10", "2", and leaves `*.shard_infos.json`
behind. Hence the pipeline here. What was tried: `docs/export.md`.
"""

import argparse
import dataclasses
import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core import splits as tfds_splits
from tensorflow_datasets.core import writer as tfds_writer

from data_builders.common import shards
from data_builders.common.writer import UncompressedWriter
from data_builders.mmpsy import mmpsy_dataset_builder as builder_lib
from data_builders.mmpsy import source
from mmpsy_jax.io import InputError, one_of


def _import_beam():
    try:
        import apache_beam
    except ImportError as error:
        raise InputError(
            "Apache Beam is not installed: it needs older protobuf and pyarrow than the rest, so make another "
            "environment with `pip install -r requirements-beam.txt`; one machine needs no Beam, only `launch.py build`"
        ) from error
    return apache_beam


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """Everything a Beam worker needs to write one shard; picklable.

    Attributes:
      reader: yields the records.
      features: how TFDS encodes them.
      path: the shard's file.
    """

    reader: shards.ShardReader
    features: tfds.features.FeaturesDict
    path: str

    def __call__(self) -> None:
        """Writes the shard under another name and renames it: Beam may run an element twice, even at the same time."""
        temporary = Path(self.path).with_name(f".{uuid.uuid4().hex}.{Path(self.path).name}")
        serializer = example_serializer.ExampleSerializer(self.features.get_serialized_info())
        try:
            tfds_writer.ShardWriter(self.features, serializer, UncompressedWriter(self.features)).write(
                self.reader(), temporary
            )
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)


class _BeamShards(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes all shards of all splits in one pipeline. Stands behind `Builder` in the resolution order of `super()`."""

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        beam = _import_beam()
        planned = self._shard_iterators_per_split(dl_manager)
        jobs: dict[str, list[ShardJob]] = {}
        for split, readers in planned.items():
            template = self._get_filename_template(split_name=split)
            jobs[split] = [
                ShardJob(
                    reader,
                    self.info.features,
                    os.fspath(template.sharded_filepath(shard_index=i, num_shards=len(readers))),
                )
                for i, reader in enumerate(readers)
            ]
        with beam.Pipeline(runner=download_config.beam_runner, options=download_config.beam_options) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create([job for of_split in jobs.values() for job in of_split])
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.Map(ShardJob.__call__)
            )
        self.info.set_splits(tfds_splits.SplitDict([self._split_info(split, jobs[split]) for split in jobs]))

    def _split_info(self, split: str, jobs: Sequence[ShardJob]) -> tfds_splits.SplitInfo:
        return tfds_splits.SplitInfo(
            name=split,
            shard_lengths=[len(json.loads(Path(job.reader.report).read_text())["written"]) for job in jobs],
            num_bytes=sum(Path(job.path).stat().st_size for job in jobs),
            filename_template=self._get_filename_template(split_name=split),
        )


class BeamBuilder(builder_lib.Builder, _BeamShards, skip_registration=True):
    """`Builder` whose shards are written by Beam."""

    name = "mmpsy"
    pkg_dir_path = epath.Path(__file__).parent  # of README.md and CITATIONS.bib


# `dataset_info.json` names the module of the builder; afterwards, so that TFDS finds one builder in that module.
BeamBuilder.__module__ = builder_lib.__name__


def build(
    dataset: str,
    data_dir: str | os.PathLike,
    source_path: str | os.PathLike,
    *,
    split_file: str | os.PathLike | None = None,
    skip_bad: bool = False,
    include_text: bool = False,
    runner: str = "DirectRunner",
    beam_arguments: Sequence[str] = (),
) -> Path:
    """Builds a dataset with Beam.

    Args:
      dataset: "mmpsy/released", "mmpsy/released_float32" or "mmpsy/transcripts".
      data_dir: root of datasets, shared by all workers.
      source_path: the table, its folder or the folder above `data/`, shared by all workers.
      split_file: CSV `participant,split`.
      skip_bad: leave out participants that cannot be read.
      include_text: put transcripts into the records.
      runner: name of a Beam runner.
      beam_arguments: further options of Beam, for example "--direct_num_workers=4".

    Returns:
      the version folder.

    Raises:
      InputError: no Beam, unknown dataset, unusable source, or the dataset is there already.
    """
    beam = _import_beam()
    known = {f"mmpsy/{name}": config for name, config in builder_lib.CONFIGS.items() if config.kind != "demo"}
    if dataset not in known:
        raise one_of("dataset for Beam", dataset, known)
    config = known[dataset]
    changes: dict[str, Any] = {
        "source": os.path.abspath(source_path),
        "split_file": None if split_file is None else os.path.abspath(split_file),
        "skip_bad": skip_bad,
        "include_text": include_text,
    }
    if config.kind == "released":
        modalities = source.open_source(source_path, dtype=config.dtype).modalities
        changes |= {f"{name}_shape": tuple(entry["shape"]) for name, entry in modalities.items()}
    builder = BeamBuilder(data_dir=os.path.abspath(data_dir), config=dataclasses.replace(config, **changes))
    folder = Path(builder.data_path)
    if folder.exists():
        raise InputError(f"{folder} exists already: remove it or give another --data_dir")
    options = beam.options.pipeline_options.PipelineOptions([f"--runner={runner}", *beam_arguments])
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(beam_runner=runner, beam_options=options),
    )
    return folder


def main(argv: Sequence[str]) -> Path:
    """Parses our options, passes all others to Beam, builds, prints where the dataset is."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.mmpsy.beam",
        description="Build a corpus as TFDS records with Apache Beam. Other options go to Beam.",
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", default="mmpsy/released")
    parser.add_argument("--data_dir", required=True, help="root of all datasets, shared by all workers")
    parser.add_argument("--source", required=True, help="folder with wav_select.json, shared by all workers")
    parser.add_argument("--split_file", help="CSV participant,split; default: by a hash of the id")
    parser.add_argument("--skip_bad", action="store_true", help="leave out participants that cannot be read")
    parser.add_argument("--include_text", action="store_true", help="put transcripts into the records")
    parser.add_argument("--runner", default="DirectRunner", help="Beam runner")
    ours, beam_arguments = parser.parse_known_args(argv)
    folder = build(
        ours.dataset,
        ours.data_dir,
        ours.source,
        split_file=ours.split_file,
        skip_bad=ours.skip_bad,
        include_text=ours.include_text,
        runner=ours.runner,
        beam_arguments=beam_arguments,
    )
    print(folder)
    return folder


if __name__ == "__main__":
    # Not this module: what is defined in `__main__` cannot be unpickled by a worker.
    from data_builders.mmpsy import beam

    try:
        beam.main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
