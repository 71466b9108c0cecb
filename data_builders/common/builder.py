"""The TFDS builder of all corpora: a `ShardBasedBuilder` that writes what a `Plan` says.

A corpus has a few lines of its own in `data_builders/<name>/<name>_dataset_builder.py`, for stock TFDS.
"""

import contextlib
import dataclasses
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from data_builders.common import card, place, shards, writer
from data_builders.common.plan import KEPT, Plan, Request
from data_builders.common.source import Corpus, Source
from mmpsy_jax.io import InputError, public, write_json, write_places

CORPUS_FILE = "corpus.json"  # the card of a dataset, for our readers


@dataclasses.dataclass(eq=False)
class BuilderConfig(tfds.core.BuilderConfig):
    """One way of building a corpus.

    Attributes:
      request: what is asked for.
      opened: its source, where it was opened before.
    """

    request: Request | None = None
    opened: Source | None = None


class _Info(tfds.core.DatasetInfo):
    """Never looks elsewhere for precomputed information: TFDS would leave an empty temporary folder each time."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; there is no bucket for these corpora."""

    def set_features(self, features: tfds.features.FeaturesDict) -> None:
        """Of a dataset that is being built: they are known once its source is open."""
        self._features = features


class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Base of the builders.

    Attributes:
      corpus: what is built.
    """

    corpus: Corpus
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give what --source of `launch.py build` is (docs/mmpsy.md) as --manual_dir."

    def __init_subclass__(cls, skip_registration: bool = False, **options: Any):
        if "corpus" in cls.__dict__:
            corpus = cls.corpus
            cls.name, cls.VERSION = corpus.name, tfds.core.Version(corpus.version)
            cls.RELEASE_NOTES = dict(corpus.versions)
            cls.BUILDER_CONFIGS = [
                BuilderConfig(name=name, description=config.description, request=Request(corpus, name, config))
                for name, config in corpus.configs.items()
            ]
        super().__init_subclass__(skip_registration=skip_registration, **options)

    def _create_builder_config(self, builder_config, version=None):
        # TFDS refuses an object with the name of a listed one. `corpus.json` records what it changes.
        if isinstance(builder_config, BuilderConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version=version)

    def _info(self) -> tfds.core.DatasetInfo:
        # Of a built dataset TFDS reads the features; of another they are set once the source is open.
        about = card.about_of(self.corpus.name)
        return _Info(
            builder=self,
            description=about["summary"],
            homepage=self.corpus.homepage,
            citation=about["citation"],
        )

    def _log_download_bytes(self) -> None:
        """Silent: TFDS would print "Unknown size"; the progress line says what happens."""

    def _log_download_done(self) -> None:
        """Silent, as above."""

    def _example_writer(self):
        return writer.UncompressedWriter(self.info.features)

    @property
    def _request(self) -> Request:
        return self.builder_config.request

    def download_and_prepare(self, **kwargs) -> None:
        """As in TFDS; one builder at a time, and leftovers of killed builds are removed first."""
        file_format = kwargs.get("file_format") or "array_record"
        if getattr(file_format, "value", file_format) != "array_record":
            raise InputError(f"file format {file_format!r}: the records are written as array_record only; leave it out")
        kwargs["file_format"] = "array_record"
        with place.exclusive(self.data_path):
            try:
                super().download_and_prepare(**kwargs)
            finally:
                for folder in (Path(self.data_dir_root, "downloads", name) for name in ("extracted", "")):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()  # TFDS makes them whether or not anything is fetched

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        folder = Path(self.data_path)
        beam = download_config is not None and bool(download_config.beam_runner or download_config.beam_options)
        with self._opened(dl_manager) as (source, optimum), contextlib.ExitStack() as stack:
            plan = Plan(self._request, source)
            plan.require_space(folder)
            self.info.set_features(tfds_features(card.record_features(plan.outline())))
            pool = progress = None
            if not beam:
                workers = plan.workers
                pool = stack.enter_context(shards.make_pool(workers)) if workers else None
                if pool:
                    stack.callback(pool.shutdown, cancel_futures=True)
                bar = tqdm(
                    total=sum(map(len, plan.members.values())),
                    desc=self._request.dataset,
                    unit=" participants",
                    mininterval=1 if sys.stderr.isatty() else 10,
                    leave=False,
                )
                progress = stack.enter_context(bar).update
            self._readers = plan.readers(folder, pool, progress)
            super()._download_and_prepare(dl_manager, download_config)
            reports = shards.collect_reports(folder, sum(map(len, self._readers.values())))
            corpus = plan.card(reports)
            if optimum:
                corpus["optimum"] = optimum(plan.original(reports["members"]["test"]))
            if self._request.config.demo:
                corpus["source"] = str(self._demo_folder()) if self._request.config.leaves else ""
            write_places(folder, corpus["version"], corpus)  # absolute paths stay on this machine
            source.keep_places(folder.with_name(corpus["version"]))
            corpus = public(corpus)
            write_json(folder / CORPUS_FILE, corpus)
            written = [one for ids in reports["members"].values() for one in ids]
            if source.subgroups:
                plan.write_subgroups(folder, written)
            plan.write_folds(folder, written)
            card.write_card(folder, corpus, card.about(corpus, self._request.config.about))

    def _shard_iterators_per_split(self, dl_manager):
        return self._readers

    def _demo_folder(self) -> Path:
        """Where a demo's source stays after the build, for the text baseline."""
        return Path(self.data_dir_root).absolute() / f"{self.name}_source" / self.builder_config.name

    @contextlib.contextmanager
    def _opened(self, dl_manager) -> Iterator[tuple[Source, Callable[[Sequence[str]], dict[str, Any]] | None]]:
        """The opened source, and the optimum of a demo, whose files are removed or put where they stay."""
        request, kept = self._request, Path(self.data_path).parent / KEPT
        if request.config.demo:
            # Beside its final place, so that a failed rebuild leaves the table of the dataset that is still there.
            final = self._demo_folder()
            workplace = final.with_name(f"incomplete.{final.name}")
            try:
                shutil.rmtree(workplace, ignore_errors=True)  # half-made by a build that was killed
                workplace.mkdir(parents=True)
                optimum = request.write_demo(workplace)
                yield request.open(workplace / request.config.file, kept), optimum
                if request.config.leaves or request.keep_source:
                    if request.config.bulk and not request.keep_source:
                        shutil.rmtree(workplace / request.config.bulk)
                    shutil.rmtree(final, ignore_errors=True)
                    workplace.rename(final)
            finally:
                shutil.rmtree(workplace, ignore_errors=True)
                with contextlib.suppress(OSError):
                    workplace.parent.rmdir()
        elif self.builder_config.opened is not None:
            yield self.builder_config.opened, None
        elif request.download:
            table, *volumes = dl_manager.download(list(request.config.urls))
            yield request.open(table, kept, volumes), None
        else:
            yield request.open(request.source or dl_manager.manual_dir, kept), None


def tfds_features(features: Mapping[str, card.Feature]) -> tfds.features.FeaturesDict:
    """The features of the records, as TFDS takes them."""
    by_name: dict[str, Any] = {}
    for name, one in features.items():
        if one.dtype == "text":
            by_name[name] = tfds.features.Text()
        elif one.shape == ():
            by_name[name] = tfds.features.Scalar(one.np_dtype)
        else:
            encoding = "bytes" if len(one.shape) > 1 else "none"
            by_name[name] = tfds.features.Tensor(shape=one.shape, dtype=one.np_dtype, encoding=encoding)
    return tfds.features.FeaturesDict(by_name)


def make_builder(
    request: Request,
    data_dir: str | os.PathLike,
    opened: Source | None = None,
    of_corpus: Callable[[type[Builder]], type[Builder]] | None = None,
) -> Builder:
    """The builder of a request.

    Args:
      request: what is asked for.
      data_dir: root of datasets.
      opened: its source, where it was opened before.
      of_corpus: makes another class of that of the corpus.
    """
    name = request.corpus.name
    kind = importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder
    kind = of_corpus(kind) if of_corpus else kind
    config = BuilderConfig(name=request.name, description=request.config.description, request=request, opened=opened)
    return kind(data_dir=os.path.abspath(data_dir), config=config)
