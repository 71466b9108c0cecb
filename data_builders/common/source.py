"""What a corpus is to the one builder: a `Source` that is opened, and a `Corpus` that says how it is asked for.

`data_builders/<name>/source.py` holds both, as `CORPUS` and the classes that its configs open. Free of tfds and jax:
worker processes import this module.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import data_builders
from data_builders.common import splits
from data_builders.common.examine import Record, require_finite
from mmpsy_jax.features import interview
from mmpsy_jax.features.clip import Clip
from mmpsy_jax.io import InputError, file_sha256, one_of

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FILLED = ("kept", "volumes", "hide_names", "ranges", "split_file", "workers")  # by the builder


class Source:
    """An opened source. It is opened once per build and handed on; a worker process opens it once more for itself.

    A corpus sets the first five attributes and writes `scores` and `examine`; all else has a default.

    Attributes:
      path: file or folder that is read.
      participants: ids of the records, in their order.
      labels: names of the scores.
      modalities: {name: entry of `corpus.json`}; `kind` is "frames" (time-frequency, time last), "features" or "ids".
      window_seconds: length of a window.
      label_dtype: "int32", -1 where a score is missing, or "float32", NaN where it is.
      dtype: of windows of floats whose modality names none of its own.
      cluster: name of the feature that says who belongs together, and `clusters` {participant: cluster}.
      splits_clusters: split files name clusters, not participants.
      within_clusters: the splits divide each cluster, see `split_rule`.
      split_rule: how the splits are made where no hash or file divides.
      listed_splits: {participant: split} where the source says so.
      folds: {participant: fold} of a published cross-validation, `folds.csv` of the dataset.
      may_rank: as of `splits.assign`.
      ranges: ends of the scale of labels, where they are known; `one_scale`: all labels have one.
      classes: names of the values of a label that is an index.
      notes: (participant, cluster or "" for all, what is odd about it but no error).
      lacking: {participant: reason} of those who cannot be read since their files are missing.
      fault: why no corpus can be built of it, though it can be described; "" where one can.
      subgroups: names of the columns of `subgroup_row`.
      has_words: `examine` gives a "transcript", which is stored only where asked for.
      reading: how interviews are read, for the card: people who are predicted later are read so.
      has_turns: records count turns, and what the interviewer says.
      is_table: readers find transcripts at `path`, so that the card names it.
      records_per_shard: a shard is held in memory once while it is written.
      few: as many are read without worker processes.
      synthetic: no person stands behind it.
      same_people_as: other datasets, `<corpus>/<config>`, that hold some of these people under the same ids.
      unit: what a record is, in the plural.
    """

    path: Path
    participants: tuple[str, ...]
    labels: tuple[str, ...]
    modalities: Mapping[str, Mapping[str, Any]]
    window_seconds: float
    label_dtype = "int32"
    dtype = "float16"
    cluster: str | None = None
    clusters: Mapping[str, str] = {}
    splits_clusters = False
    within_clusters = False
    split_rule = ""
    listed_splits: Mapping[str, str] | None = None
    folds: Mapping[str, str] = {}
    may_rank = False
    ranges: Mapping[str, tuple[float, float]] = {}
    one_scale = False
    classes: Mapping[str, Sequence[str]] = {}
    notes: Sequence[tuple[str, str]] = ()
    lacking: Mapping[str, str] = {}
    fault = ""
    subgroups: Sequence[str] = ()
    has_words = False
    has_turns = False
    reading: Mapping[str, Any] = {}
    is_table = True
    records_per_shard = 64
    few = 200
    synthetic = False
    same_people_as: Sequence[str] = ()
    unit = "participants"

    def __new__(cls, *arguments: Any, **options: Any):
        self = super().__new__(cls)
        self._opened_as = cls, arguments, options, secrets.token_hex(8)
        return self

    def __reduce__(self):
        return _reopen, self._opened_as

    def scores(self, participant: str) -> Mapping[str, float | None]:
        """Score of each label; None or NaN where it is missing."""
        raise NotImplementedError

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        """Features of a record beside ids and scores, and notes about what is odd but no error.

        Raises:
          InputError: whatever is wrong with the participant's files.
        """
        raise NotImplementedError

    def recordings(self, participant: str) -> Sequence[Path | Clip]:
        """What is heard of a participant in recordings as they are; none where there are no recordings.

        Raises:
          InputError: whatever is wrong with the participant's files.
        """
        return ()

    def read(self, participant: str) -> tuple[Record, list[str]]:
        """Record of one participant before any TFDS encoding (docs/architecture.md), and notes.

        Raises:
          InputError: as `examine`, or a number that is not finite.
        """
        features, notes = self.examine(participant)
        dtype = np.dtype(self.label_dtype).type
        record: Record = {"participant": participant}
        if self.cluster:
            record[self.cluster] = self.clusters[participant]
        for label, score in self.scores(participant).items():
            missing = score is None or np.isnan(score)
            record[label] = dtype((-1 if self.label_dtype == "int32" else np.nan) if missing else score)
        record |= {"n_answers": 1, "n_characters": 0, "duration_s": 0.0} | features
        require_finite(participant, record)
        return record, notes

    def one_window(self, windows: Mapping[str, np.ndarray | None], start_s: float = 0.0) -> Record:
        """Features of a record of one window.

        Args:
          windows: [steps, *features] by modality, no more steps than a window has; None where there is none.
          start_s: start of the window.
        """
        record: Record = {"n_windows": 1, "window_start_s": np.array([start_s], np.float32)}
        for name, entry in self.modalities.items():
            values, steps = np.zeros((1, *entry["shape"]), interview.dtype_of(entry, self.dtype)), windows[name]
            length = 0 if steps is None else len(steps)
            if length:
                values[0, :length] = steps
            record |= {f"has_{name}": length > 0, name: values, f"{name}_length": np.array([length], np.int32)}
        return record

    def divide(self, fractions: Sequence[float], split_file: str | None) -> dict[str, str]:
        """Split of every participant who is not `lacking`.

        Raises:
          InputError: as `splits.assign`.
        """
        there = [name for name in self.participants if name not in self.lacking]
        assign = functools.partial(
            splits.assign,
            fractions=fractions,
            split_file=split_file,
            listed=self.listed_splits,
            may_rank=self.may_rank,
        )
        if not self.splits_clusters:
            return assign(there, clusters=self.clusters)
        of_cluster = assign(dict.fromkeys(self.clusters[name] for name in there))
        return {name: of_cluster[self.clusters[name]] for name in there}

    def n_windows(self) -> int:
        """About how many windows there are, without reading any."""
        return len(self.participants)

    def digests(self) -> dict[str, str]:
        """What changes with the source: `source_sha256` of its table, and `files_sha256` of what that names."""
        return {"source_sha256": file_sha256(self.path)}

    def subgroup_row(self, participant: str) -> Sequence[str]:
        """The categories of a participant, "" where one is not known."""
        return ()

    def keep_places(self, version_folder: Path) -> None:
        """Keeps beside a dataset where its participants' files lie, for readers on this machine that need them."""

    def verify(self, has: Mapping[str, int]) -> None:
        """Refuses a corpus as a whole, by how many participants have each modality."""

    def describe(self, deep: bool, strict: bool) -> dict[str, Any] | None:
        """What `check` says in seconds: counts only, "lines" for a terminal, "problems" and "notes".

        Args:
          deep: all participants are read besides, so that problems need not be looked for.
          strict: what is odd about a participant is a problem.

        Returns:
          None where a source cannot be judged without reading all of it.
        """
        return None

    @property
    def root(self) -> Path:
        """The folder that paths in messages are shown relative to."""
        return self.path if self.path.is_dir() else self.path.parent


_again: dict[str, Source] = {}


def _reopen(kind: type[Source], arguments: tuple, options: dict[str, Any], opened: str) -> Source:
    if opened not in _again:
        _again.clear()
        _again[opened] = kind(*arguments, **options)
    return _again[opened]


def stat_sha256(lines: Sequence[str]) -> str:
    """Digest of lines that name files with what is to be noticed of them."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def read_names(text: str) -> tuple[str, ...]:
    """Names with commas between, of an option."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a corpus on the command line.

    Attributes:
      help: what it is.
      parse: of its text; None where it is either there or not.
      choices: that it has.
    """

    help: str
    parse: Callable[[str], Any] | None = str
    choices: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """One way of building a corpus, `<corpus>/<config>`.

    Attributes:
      description: a sentence.
      open: gives the source: `open(path, **options)`. Its keyword-only arguments are the options of this config, and
        those of `demo`; `kept`, `volumes`, `hide_names`, `ranges` and `split_file` are filled in by the builder.
      needs: what `--source` is.
      demo: writes a synthetic source, `demo(folder, **options)`, and gives the entry `optimum` of `corpus.json` as a
        function of the test participants, or None.
      leaves: whether the demo's source stays beside the dataset, but for `bulk`.
      bulk: part of it that goes all the same, unless `keep_source` is asked for.
      file: what is opened of the folder that `demo` fills; "" for the folder.
      fixed: options that this config sets.
      defaults: of options, where they differ from those of `open` and `demo`.
      fractions: shares of train, validation and test.
      divided: by whom the splits are published; no split file then.
      urls: where table and volumes can be fetched.
      about: whether the corpus' `about.toml` describes it, or what is known of anybody's files.
    """

    description: str
    open: Callable[..., Source]
    needs: str = ""
    demo: Callable[..., Callable[[Sequence[str]], dict[str, Any]] | None] | None = None
    file: str = ""
    leaves: bool = False
    bulk: str = ""
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    divided: str = ""
    urls: tuple[str, ...] = ()
    about: bool = True

    def options(self) -> dict[str, Any]:
        """Options that can be given, with their defaults."""
        return {
            name: self.defaults.get(name, default)
            for call in (self.open, self.demo)
            if call
            for name, default in keywords(call).items()
            if name not in self.fixed and name not in _FILLED
        }


def keywords(call: Callable[..., Any]) -> dict[str, Any]:
    """Keyword-only arguments of a function or class, with their defaults."""
    call = call.__init__ if inspect.isclass(call) else call  # a class has a `__new__`, too
    parameters = inspect.signature(call).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """How a corpus is asked for and told.

    Attributes:
      name: of its folder.
      versions: what is new in each; the last is built.
      configs: by name.
      named: the config of any other name, where corpora are named by whoever builds them.
      options: of its configs, beside those of all corpora.
      former: names that options have now, by those in cards of earlier versions.
      homepage: of a published one.
      detect: the config that `check` takes for a path where none is named; "" where it is of another corpus.
    """

    name: str
    versions: Mapping[str, str]
    configs: Mapping[str, Config]
    named: Config | None = None
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    former: Mapping[str, str] = dataclasses.field(default_factory=dict)
    homepage: str | None = None
    detect: Callable[[Path], str] = lambda path: ""

    @property
    def version(self) -> str:
        """That is built."""
        return list(self.versions)[-1]

    @property
    def datasets(self) -> list[str]:
        """Names as `--dataset` takes them."""
        return [f"{self.name}/{config}" for config in (*self.configs, *["NAME"] * bool(self.named))]


def corpora() -> list[str]:
    """Names of all corpora: the folders of `data_builders` that hold a `source.py`."""
    folders = (module.name for module in pkgutil.iter_modules(data_builders.__path__) if module.ispkg)
    places = [Path(place) for place in data_builders.__path__]
    return sorted(
        name for name in folders if name != "common" and any((p / name / "source.py").exists() for p in places)
    )


def load(name: str) -> Corpus:
    """The corpus of a folder.

    Raises:
      InputError: there is none.
    """
    if name not in corpora():
        raise one_of("corpus", name, corpora())
    return importlib.import_module(f"data_builders.{name}.source").CORPUS


def find(dataset: str) -> tuple[Corpus, str, Config]:
    """Corpus, name of the config, and config of a dataset, `<corpus>/<config>`.

    Raises:
      InputError: nothing is built under that name.
    """
    name, _, config = dataset.partition("/")
    if name not in corpora():
        raise one_of("dataset", dataset, [known for one in corpora() for known in load(one).datasets])
    corpus = load(name)
    if config in corpus.configs:
        return corpus, config, corpus.configs[config]
    if corpus.named is None:
        raise one_of("dataset", dataset, corpus.datasets)
    if not _NAME.fullmatch(config):
        listed = f"choose one of {', '.join(corpus.configs)}, or " if corpus.configs else ""
        raise InputError(
            f"dataset {dataset[:80]!r}: {listed}give it a name of 1 to 40 of a-z, 0-9 and '_', beginning with a letter"
        )
    return corpus, config, corpus.named


def expand(path: str | os.PathLike | None) -> str | None:
    """The path from the root, where there is one."""
    return None if path is None else os.path.abspath(path)


def folder_of(name: str) -> Path:
    """The folder of a corpus."""
    return next(Path(place, name) for place in data_builders.__path__ if Path(place, name, "source.py").exists())
