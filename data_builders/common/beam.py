"""Building the corpus on many machines with Apache Beam, in an environment of its own (requirements-beam.txt).

    python -m data_builders.common.beam --dataset=mmpsy/released --source=DIR --data_dir=DIR --runner=DirectRunner

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
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core import splits as tfds_splits
from tensorflow_datasets.core import writer as tfds_writer

from data_builders.common import cli, shards
from data_builders.common.builder import Builder, make_builder
from data_builders.common.plan import KEPT, make_request, read_salt
from data_builders.common.writer import UncompressedWriter
from mmpsy_jax.io import InputError


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


def of_beam(builder: type[Builder]) -> type[Builder]:
    """The builder of a corpus whose shards are written by Beam."""
    attributes = {"name": builder.name, "pkg_dir_path": builder.pkg_dir_path, "__doc__": builder.__doc__}
    made = type("BeamBuilder", (builder, _BeamShards), attributes, skip_registration=True)
    # `dataset_info.json` names the module of the builder; afterwards, so that TFDS finds one builder in that module.
    made.__module__ = builder.__module__
    return made


def build(
    dataset: str,
    data_dir: str | os.PathLike,
    source: str | os.PathLike,
    *,
    runner: str = "DirectRunner",
    beam_arguments: Sequence[str] = (),
    salt_file: str | os.PathLike | None = None,
    **options: Any,
) -> Path:
    """Builds a dataset with Beam.

    Args:
      dataset: any that reads a source, such as "mmpsy/released" or "affect_video/clips".
      data_dir: root of datasets, shared by all workers.
      source: as of `cli.build`, shared by all workers.
      runner: name of a Beam runner.
      beam_arguments: further options of Beam, for example "--direct_num_workers=4".
      salt_file: keeps the salt of hashed ids.
      **options: as of `cli.build`.

    Returns:
      the version folder.

    Raises:
      InputError: no Beam, unknown dataset, unusable source, or the dataset is there already.
    """
    beam = _import_beam()
    request = make_request(dataset, source=source, **options)
    if request.hash_ids:
        request = dataclasses.replace(request, salt=read_salt(salt_file))
    folder = Path(data_dir).absolute() / dataset / request.corpus.version
    if folder.exists():
        raise InputError(f"{folder} exists already: remove it or give another --data_dir")
    builder = make_builder(request, data_dir, request.open(source, folder.parent / KEPT), of_beam)
    beam_options = beam.options.pipeline_options.PipelineOptions([f"--runner={runner}", *beam_arguments])
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(beam_runner=runner, beam_options=beam_options),
    )
    return folder


def main(argv: Sequence[str]) -> Path:
    """Parses our options, passes all others to Beam, builds, prints where the dataset is."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.common.beam",
        description="Build a corpus as TFDS records with Apache Beam. Other options go to Beam.",
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", default="mmpsy/released")
    parser.add_argument("--data_dir", required=True, help="root of all datasets, shared by all workers")
    parser.add_argument("--runner", default="DirectRunner", help="Beam runner")
    cli.add_options(parser, ("workers", "download", "overwrite", "keep_source"))
    ours, beam_arguments = parser.parse_known_args(argv)
    folder = build(**vars(ours), beam_arguments=beam_arguments)
    print(folder)
    return folder


if __name__ == "__main__":
    # Not this module: what is defined in `__main__` cannot be unpickled by a worker.
    from data_builders.common import beam

    try:
        beam.main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
