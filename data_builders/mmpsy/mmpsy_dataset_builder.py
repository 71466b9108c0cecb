"""TFDS builder of the MMPsy corpus: `released` files, `transcripts` alone, `recordings`, or the synthetic `demo`.

Built without TensorFlow by `python launch.py build` (`data_builders/mmpsy/cli.py`), or by the stock
`tfds build data_builders/mmpsy --config released --manual_dir DIR` where a user has it (`docs/mmpsy.md`).
"""

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_builders.common import about as common_about
from data_builders.common import card, local, place, shards, splits
from data_builders.common.local import FORMAT, write_corpus
from data_builders.interviews.source import InterviewSource
from data_builders.interviews.source import open_source as open_interviews
from data_builders.mmpsy import about, demo, demo_truth
from data_builders.mmpsy import source as source_lib
from mmpsy_jax import tasks
from mmpsy_jax.features import interview
from mmpsy_jax.features import table as table_lib
from mmpsy_jax.features.manifest import CLUSTER
from mmpsy_jax.io import InputError, file_sha256, write_table

SUBGROUPS_FILE = "subgroups.csv"
KEPT = ".features"  # beside the versions of a dataset: what was extracted from recordings
BASE_URL = "https://shuyeit.oss-cn-guangzhou.aliyuncs.com/Mmpsy_OpenData/data/"
FILES = (table_lib.TABLE_NAME, *(f"np_data.zip.{number:03d}" for number in range(1, 6)))


@dataclasses.dataclass(eq=False)
class MmpsyConfig(tfds.core.BuilderConfig):
    """One way of building the corpus. Treat it as frozen: TFDS' own base class forbids saying so.

    Attributes:
      kind: "released", "transcripts", "recordings" or "demo"; "manifest" in `data_builders/interviews`, "mmsa" in
        `data_builders/mmsa`.
      dtype: of the features, "float16" or "float32".
      source: table, its folder or the folder above `data/`; None for TFDS' `manual_dir` (never for the demo).
      download: fetch the released files instead.
      base_url: where from.
      audio_shape, text_shape: of one window, None for a source without any; the source must agree.
      settings: of recordings and manifests: JSON of the settings of the extractors by modality.
      labels: names of the scores.
      label_dtype: of the scores: "int32", -1 where missing, or "float32", NaN where missing.
      cards: of recordings and manifests: JSON of the modalities, as the opened source gives them.
      ignore: of manifests: columns that are not read.
      clustered: whether the source says which participants belong together.
      ranges: ends of the scale of labels, where they are known; else as in `tasks.label_ranges`.
      synthetic: of recordings and manifests: no person stands behind them.
      include_text: put transcripts into the records.
      hash_ids: replace ids by salted SHA-256.
      salt: secret of `hash_ids`.
      fractions: shares of train, validation and test.
      split_file: CSV `participant,split` instead.
      skip_bad: leave out participants that cannot be read and list them in `corpus.json`.
      strict: of recordings and interviews: what would be noted of a recording is an error.
      workers: processes that read; 0 for none, None to choose by size.
      participants, seed: of the demo.
      keep_source: keep the demo's feature files after the build.
    """

    kind: str = "released"
    dtype: str = "float16"
    source: str | None = None
    download: bool = False
    base_url: str = BASE_URL
    audio_shape: tuple[int, int] | None = (80, 1800)
    text_shape: tuple[int, int] | None = (175, 768)
    settings: str = "{}"
    labels: tuple[str, ...] = tuple(table_lib.LABEL_KEYS)
    label_dtype: str = "int32"
    cards: str = "{}"
    ignore: tuple[str, ...] = ()
    clustered: bool = False
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    synthetic: bool = False
    include_text: bool = False
    hash_ids: bool = False
    salt: str = ""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_file: str | None = None
    skip_bad: bool = False
    strict: bool = False
    workers: int | None = None
    participants: int = 800
    seed: int = 0
    keep_source: bool = False

    @property
    def extracts(self) -> bool:
        """Whether the opened source, and not the config, says what the modalities are."""
        return self.kind in ("recordings", "manifest", "mmsa")

    @property
    def is_synthetic(self) -> bool:
        """Whether no person stands behind the records."""
        return self.synthetic or self.kind == "demo"

    def options(self) -> dict[str, Any]:
        """What decides the content of the records beside the source; kept in `corpus.json`."""
        kept = {
            "dtype": self.dtype,
            "include_text": self.include_text,
            "hash_ids": self.hash_ids,
            "skip_bad": self.skip_bad,
            "fractions": None if self.split_file else list(self.fractions),
            "split_file_sha256": file_sha256(self.split_file) if self.split_file else None,
        }
        if self.kind == "demo":
            shapes = {"audio_shape": list(self.audio_shape), "text_shape": list(self.text_shape)}
            kept |= {"participants": self.participants, "seed": self.seed, **shapes}
        if self.ignore:
            kept["ignore"] = list(self.ignore)
        if self.ranges:
            kept["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        if self.extracts:
            kept |= {"settings": self.settings, "synthetic": self.synthetic}
            kept |= {"strict": True} if self.strict else {}
        return kept


# More test people than usual, so that the interval of a test AUROC is narrow enough to compare with the optimum.
_DEMO: dict[str, Any] = {"kind": "demo", "fractions": (0.45, 0.15, 0.40)}
CONFIGS = {
    config.name: config
    for config in (
        MmpsyConfig(name="demo", description="Synthetic: written by a seeded generator, float16.", **_DEMO),
        MmpsyConfig(name="demo_float32", description="`demo` in float32.", dtype="float32", **_DEMO),
        MmpsyConfig(name="released", description="The released mel and token windows, float16."),
        MmpsyConfig(name="released_float32", description="`released` in float32.", dtype="float32"),
        MmpsyConfig(name="transcripts", description="Hashed character n-grams of the transcripts.", kind="transcripts"),
        MmpsyConfig(name="recordings", description="Log-mel and n-grams of one's own recordings.", kind="recordings"),
    )
}


class Builder(local.LocalBuilder):
    """Interviews of Chinese middle-school students with PHQ-9 and GAD-7 scores; one participant per record."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First layout: one participant per record, ragged windows."}
    BUILDER_CONFIGS: Sequence[MmpsyConfig] = list(CONFIGS.values())
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put wav_select.json and np_data/ (or the volumes np_data.zip.001 to .005) into one folder and pass it as "
        "--manual_dir, or give a config with `source` or `download`."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = local.record_features(
            config.labels,
            self._modalities(),
            dtype=np.dtype(config.dtype).type,
            label_dtype=np.dtype(config.label_dtype).type,
            cluster=CLUSTER if config.clustered else None,
        )
        if config.include_text:
            features["transcript"] = tfds.features.Text()
        metadata = self.get_metadata()  # README.md and CITATIONS.bib beside this file
        license_of = {"demo": "Apache-2.0", "recordings": None, "manifest": None, "mmsa": None}
        return local.LocalInfo(
            builder=self,
            description=metadata.description,
            citation=metadata.citation,
            features=tfds.features.FeaturesDict(features),
            homepage=None if config.kind in ("manifest", "mmsa") else "https://arxiv.org/abs/2408.12088",
            license=license_of.get(config.kind, "MIT License, Copyright (c) 2024 ShuyeIT"),
        )

    def _modalities(self) -> dict[str, dict[str, Any]]:
        config = self.builder_config
        if config.kind == "transcripts":
            return {"text": source_lib.text.modality_card()}
        if config.extracts:
            return json.loads(config.cards)
        shapes = {"audio": config.audio_shape, "text": config.text_shape}
        return {
            name: {"kind": "features", "shape": list(shape), "time_axis": source_lib.TIME_AXIS[name]}
            for name, shape in shapes.items()
            if shape is not None
        }

    def download_and_prepare(self, **kwargs) -> None:
        """As in TFDS; one builder at a time, and leftovers of killed builds are removed first."""
        file_format = kwargs.get("file_format") or "array_record"
        if getattr(file_format, "value", file_format) != "array_record":
            raise InputError(f"file format {file_format!r}: the records are written as array_record only; leave it out")
        kwargs["file_format"] = "array_record"
        with place.exclusive(self.data_path):
            try:
                super().download_and_prepare(**kwargs)
            except BaseException:
                if self.builder_config.kind == "demo":
                    shutil.rmtree(self._demo_workplace(), ignore_errors=True)  # the error that counts is on its way
                raise
            finally:
                for folder in (
                    Path(self.data_dir_root, "downloads", "extracted"),
                    Path(self.data_dir_root, "downloads"),
                ):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()  # TFDS makes them whether or not anything is fetched

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        # TFDS calls this inside its unfinished folder: what is written here is part of the final rename.
        folder = Path(self.data_path)
        beam = download_config is not None and (download_config.beam_runner or download_config.beam_options)
        self._pool = self._progress = None
        self._on_beam = bool(beam)
        try:
            super()._download_and_prepare(dl_manager, download_config)
        finally:
            if self._pool:
                self._pool.shutdown(cancel_futures=True)
            if self._progress is not None:
                self._progress.close()
        corpus = self._describe(folder)
        corpus = write_corpus(folder, corpus)
        if self._source.subgroups:
            self._write_groups(folder)
        card.write_card(folder, corpus, self._about(corpus))
        if self.builder_config.kind == "demo":
            self._keep_demo_source()

    def _shard_iterators_per_split(self, dl_manager):
        config = self.builder_config
        self._source = source = self._open(dl_manager)
        wanted = self._modalities()
        for name in () if config.extracts else wanted | source.modalities:
            found, told = (
                entries[name]["shape"] if name in entries else None for entries in (source.modalities, wanted)
            )
            if found != told:
                raise InputError(
                    f"{source.spec.path}: {name} windows are {found or 'not there'}, but this config says {told}: "
                    f"build with a config whose {name}_shape is {found and tuple(found)} (`launch.py build` sets it)"
                )
        if source.without_windows and not config.skip_bad:
            raise InputError(
                f"{source.arrays.name}: {len(source.without_windows)} of {len(source.interviews)} participants of the "
                f"table have no windows, the first is {source.without_windows[0]}: fetch them, or leave these "
                "participants out with --skip_bad"
            )
        split_of = splits.assign(
            source.participants,
            config.fractions,
            split_file=config.split_file,
            listed=source.listed_splits,
            may_rank=config.kind == "manifest",
            clusters=source.clusters,
        )
        self._names = self._make_names(dict.fromkeys((*source.participants, *source.clusters.values())))
        members_of = {split: [] for split in splits.SPLITS}
        for participant, split in split_of.items():
            members_of[split].append((participant, self._names[participant]))
        for members in members_of.values():
            # Hashed ids in the order of the real ones would give the real ones away.
            members.sort(key=lambda member: table_lib.natural_key(member[1]))
        participant_bytes = self._needed_bytes() / len(split_of)
        workers = config.workers
        if workers is None:
            workers = shards.default_workers(len(split_of), *([3] if config.extracts else []))
        self._pool = shards.make_pool(workers) if workers and not self._on_beam else None
        if not self._on_beam:
            self._progress = tqdm(
                total=len(split_of),
                desc=f"{self.name}/{config.name}",
                unit=" participants",
                mininterval=1 if sys.stderr.isatty() else 10,
                leave=False,
            )
        planned = shards.plan(
            members_of,
            participant_bytes,
            spec=source.spec,
            skip_bad=config.skip_bad,
            pool=self._pool,
            lookahead=2 * max(1, workers),
            progress=self._progress.update if self._progress is not None else None,
            labels=tuple(config.labels),
            features={p: {CLUSTER: self._names[c]} for p, c in source.clusters.items() if config.clustered},
            report_folder=self.data_path,
        )
        self._n_shards = sum(map(len, planned.values()))
        return planned

    def _write_groups(self, folder: Path) -> None:
        """The categories of the participants, as `evaluate --subgroups` reads them."""
        header, *rows = self._source.group_rows(self._written)
        write_table(folder / SUBGROUPS_FILE, header, rows)

    def _open(self, dl_manager) -> source_lib.Source | InterviewSource:
        config = self.builder_config
        options = {
            "transcripts_only": config.kind == "transcripts",
            "dtype": config.dtype,
            "include_text": config.include_text,
        }
        if config.kind == "demo":
            folder = self._demo_workplace()
            if folder.exists():  # half-made by a build that was killed
                shutil.rmtree(folder)
            self._optimum = demo.write_corpus(
                folder, config.participants, config.seed, config.workers, config.audio_shape, config.text_shape
            )
            return source_lib.open_source(folder, **options)
        if config.extracts:
            return self._open_interviews()
        if config.download:
            wanted = FILES[:1] if config.kind == "transcripts" else FILES
            paths = dl_manager.download([config.base_url + name for name in wanted])
            return source_lib.open_source(paths[0], volumes=paths[1:], **options)
        return source_lib.open_source(config.source or dl_manager.manual_dir, **options)

    def _open_interviews(self) -> InterviewSource:
        config, kept = self.builder_config, Path(self.data_path).parent / KEPT
        for leftover in kept.glob(".*"):
            leftover.unlink()  # half-written by a build that was killed
        return open_interviews(
            config.source,
            is_table=config.kind == "recordings",
            settings=config.settings,
            dtype=config.dtype,
            ignore=config.ignore,
            include_text=config.include_text,
            hide_names=config.hash_ids,
            strict=config.strict,
            kept=str(kept),
        )

    def demo_source(self) -> Path:
        """Where the demo's table stays after the build, for the text baseline."""
        return Path(self.data_dir_root).absolute() / "mmpsy_source" / self.builder_config.name

    def _demo_workplace(self) -> Path:
        # Beside its final place, so that a failed rebuild leaves the table of the dataset that is still there.
        return self.demo_source().with_name(f"incomplete.{self.builder_config.name}")

    def _keep_demo_source(self) -> None:
        workplace, final = self._demo_workplace(), self.demo_source()
        if not self.builder_config.keep_source:
            shutil.rmtree(workplace / "data" / "np_data")
        if final.exists():
            shutil.rmtree(final)
        workplace.rename(final)

    def _make_names(self, participants: Iterable[str]) -> dict[str, str]:
        config = self.builder_config
        if not config.hash_ids:
            return {participant: participant for participant in participants}
        if not config.salt:
            raise InputError("hash_ids needs a salt: without one, ids like user_7 are found by trying them all")
        names = {p: hashlib.sha256(f"{config.salt}\x00{p}".encode()).hexdigest()[:16] for p in participants}
        if len(set(names.values())) < len(names):
            raise InputError("two participants have the same hashed id: take another salt")
        return names

    def _needed_bytes(self) -> int:
        """Size of the dataset, after checking that there is room for it."""
        floats = self.builder_config.dtype
        window_bytes = sum(
            int(np.prod(entry["shape"])) * interview.dtype_of(entry, floats).itemsize
            for entry in self._modalities().values()
        )
        needed = self._source.n_windows() * window_bytes
        free = shutil.disk_usage(self.data_path).free
        if needed > free:
            raise InputError(
                f"{self.data_dir_root}: the dataset needs about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free: "
                "free some space or give another --data_dir"
            )
        return needed

    def _known_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Ends of the scale of labels of a published corpus, beside those of questionnaires."""
        return {}

    def _about(self, corpus: Mapping[str, Any]) -> dict[str, Any]:
        """What the card says beside `corpus.json`."""
        return common_about.about(corpus) if self.builder_config.extracts else about.about(corpus)

    def _describe(self, folder: Path) -> dict[str, Any]:
        config, source = self.builder_config, self._source
        reports = shards.collect_reports(folder, self._n_shards)
        members = reports["members"]
        splits.assert_disjoint(members)
        empty = [split for split in splits.SPLITS if not members.get(split)]
        if empty:
            raise InputError(f"nobody is left in {', '.join(empty)} after skipping: mend the source (see `check`)")
        split_of = {participant: split for split, ids in members.items() for participant in ids}
        self._written = {participant: name for participant, name in self._names.items() if name in split_of}
        seen = {name: reports["labels"].get(name) for name in config.labels}
        ranges = tasks.label_ranges(seen, config.ranges, self._known_ranges())
        corpus = {
            "format": FORMAT,
            "dataset": self.name,
            "config": config.name,
            "version": str(self.version),
            "synthetic": config.is_synthetic,
            "source": str(self.demo_source()) if config.kind == "demo" else source.spec.path,
            "source_sha256": source.table_sha256(),
            "files_sha256": source.files_sha256(),
            "labels": list(config.labels),
            "label_dtype": config.label_dtype,
            "label_ranges": local.ranges_entry(ranges),
            **({"cluster": CLUSTER} if config.clustered else {}),
            "modalities": self._modalities(),
            "window_seconds": source.window_seconds,
            "participants": {split: len(members[split]) for split in splits.SPLITS},
            "skipped": reports["skipped"],
            "duplicates": {
                content: splits.across_splits(map(tuple, reports[content]), split_of)
                for content in ("windows", "transcripts")
            },
            "options": config.options(),
        }
        root = f"{source.spec.root}{os.sep}"
        notes = [{"participant": name, "note": note} for note, name in reports["notes"]]
        notes += [{"participant": "", "note": note} for note in source.notes]
        notes += local.range_notes(ranges)
        corpus["notes"] = [entry | {"note": entry["note"].replace(root, "")} for entry in notes]
        if config.kind == "demo":
            original = {name: participant for participant, name in self._written.items()}
            test = [original[name] for name in members["test"]]
            corpus["optimum"] = demo_truth.with_test(self._optimum, test)
        return corpus
