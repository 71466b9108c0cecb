"""Building the corpus on many machines with Apache Beam, in an environment of its own (requirements-beam.txt).

    python launch.py build --dataset=mmpsy/released --source=DIR --data_dir=DIR --runner=DirectRunner

Options of Beam are one text, --beam_options="--direct_num_workers=4 ...". Each shard is one element of a pipeline: a
worker reads its participants and writes its file, so all workers need the source and `data_dir` on a file system that
they share. The dataset is the same, byte for byte, as without Beam; all but the loop over shards is the same code.

TFDS itself can run a `ShardBasedBuilder` on Beam, but 4.9.10 then runs one growing pipeline per split, which writes the
first split three times, takes the lengths of shards in the order "0", "1", "10", "2", and leaves `*.shard_infos.json`
behind. Hence the pipeline here. What was tried: `docs/export.md`.
"""

import dataclasses
import json
import os
import shlex
import uuid
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core import splits as tfds_splits
from tensorflow_datasets.core import writer as tfds_writer

from data_builders.common import shards
from data_builders.common.builder import Builder
from data_builders.common.writer import UncompressedWriter
from mmpsy_jax.io import InputError


def download_config(runner: str, options: str) -> tfds.download.DownloadConfig:
    """What tells TFDS to build on Beam.

    Args:
      runner: name of a Beam runner.
      options: of Beam, with spaces between, for example "--direct_num_workers=4".

    Raises:
      InputError: no Beam.
    """
    beam = _import_beam()
    pipeline_options = beam.options.pipeline_options.PipelineOptions([f"--runner={runner}", *shlex.split(options)])
    return tfds.download.DownloadConfig(beam_runner=runner, beam_options=pipeline_options)


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
    kind = type("BeamBuilder", (builder, _BeamShards), attributes, skip_registration=True)
    # `dataset_info.json` names the module of the builder; afterwards, so that TFDS finds one builder in that module.
    kind.__module__ = builder.__module__
    return kind
