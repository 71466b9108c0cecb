"""A build before any TFDS: what is asked for, who of the source goes into which shard, what the card says of it."""

import dataclasses
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common import shards, splits
from data_builders.common.examine import COMPARED, OMITTED
from data_builders.common.source import Config, Corpus, Source, expand, find, keywords
from mmpsy_jax import tasks
from mmpsy_jax.features import interview
from mmpsy_jax.features.table import natural_key
from mmpsy_jax.io import InputError, file_sha256, write_atomically, write_table

FORMAT = 1  # of `corpus.json`
SUBGROUPS_FILE = "subgroups.csv"
FOLDS_FILE = "folds.csv"  # of a published cross-validation, where there is one
KEPT = ".features"  # beside the versions of a dataset: what was extracted or converted
# Options that make no difference to the records.
_ASIDE = ("unpickle", "keep_source")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be built, and how.

    Attributes:
      corpus, name, config: `<corpus>/<name>`.
      source: what is read; None for a demo, or where it is fetched.
      download: fetch the published files.
      split_file: CSV `participant,split`; else a hash of the id decides, or the source.
      skip_bad: leave out participants that cannot be read and list them in `corpus.json`.
      strict: what would be noted of a participant is an error.
      include_text: put transcripts into the records.
      hash_ids: replace ids by salted SHA-256; `salt` is its secret.
      ranges: ends of the scale of labels, where they are known; else as in `tasks.label_ranges`.
      synthetic: no person stands behind the source; always so for a demo.
      workers: processes that read; 0 for none, None to choose by size.
      keep_source: keep the files that a demo writes.
      corpus_options: of the corpus alone.
    """

    corpus: Corpus
    name: str
    config: Config
    source: str | None = None
    download: bool = False
    split_file: str | None = None
    skip_bad: bool = False
    strict: bool = False
    include_text: bool = False
    hash_ids: bool = False
    salt: str = ""
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    synthetic: bool = False
    workers: int | None = None
    keep_source: bool = False
    corpus_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """`<corpus>/<name>`."""
        return f"{self.corpus.name}/{self.name}"

    def options(self) -> dict[str, Any]:
        """What decides the content of the records beside the source; kept in `corpus.json`."""
        options = self.config.options() | self.corpus_options
        kept = {name: value for name, value in options.items() if name not in _ASIDE}
        kept |= {name: getattr(self, name) for name in ("include_text", "hash_ids", "skip_bad", "strict", "synthetic")}
        kept["fractions"] = None if self.split_file else list(self.config.fractions)
        kept["split_file_sha256"] = file_sha256(self.split_file) if self.split_file else None
        kept["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        always = ("include_text", "hash_ids", "skip_bad")
        return json.loads(
            json.dumps(
                {name: value for name, value in kept.items() if is_asked(value) or name in always},
                default=lambda one: one.card(),
            )
        )

    def open(self, path: str | os.PathLike, kept: Path, volumes: Sequence[os.PathLike] = ()) -> Source:
        """Opens a source.

        Args:
          path: what is read.
          kept: folder of what is extracted or converted, see `KEPT`.
          volumes: of an archive, where they do not lie beside the table.

        Raises:
          InputError: as the corpus.
        """
        filled = {
            "kept": os.fspath(kept),
            "volumes": tuple(map(os.fspath, volumes)),
            "hide_names": self.hash_ids,
            "ranges": self.ranges,
            "split_file": self.split_file,
        }
        return self._call(self.config.open, path, **filled)

    def write_demo(self, folder: Path) -> Callable[[Sequence[str]], dict[str, Any]] | None:
        """Writes the source of a demo; gives what `Config.demo` gives."""
        return self._call(self.config.demo, folder, workers=self.workers, split_file=self.split_file)

    def _call(self, call: Callable[..., Any], path: str | os.PathLike, **filled: Any) -> Any:
        known = keywords(call)
        options = {**filled, **self.config.fixed, **self.config.defaults, **self.corpus_options}
        return call(path, **{name: value for name, value in options.items() if name in known})


def is_asked(value: Any) -> bool:
    """Whether the value of an option asks for something: numbers do, None, False and what is empty do not."""
    return bool(value) or (isinstance(value, int | float) and value is not False)


def make_request(dataset: str, **options: Any) -> Request:
    """The request of `build` or `check`.

    Args:
      dataset: `<corpus>/<config>`.
      **options: of `Request` and of the corpus; what is None, False or empty is not asked for.

    Raises:
      InputError: nothing has that name, it does not take an option, or needs a source, or writes its own.
    """
    corpus, name, config = find(dataset)
    options = {key: value for key, value in options.items() if is_asked(value)}
    known = config.options()
    demo, source = config.demo is not None, options.get("source")
    refused = [key for key in options if key not in known and key not in Request.__dataclass_fields__]
    if demo:
        refused += [key for key in ("strict", "synthetic") if key in options]
        if source is not None or "download" in options:
            raise InputError(f"{dataset} writes its own source: leave out --source and --download, or build another")
    else:
        refused += ["keep_source"] * ("keep_source" in options)
        if (source is None) == ("download" not in options):
            fetched = " or --download" if config.urls else ""
            raise InputError(f"{dataset}: give {'either ' * bool(fetched)}--source=PATH: {config.needs}{fetched}")
    refused += ["download"] * ("download" in options and not config.urls and not demo)
    refused += ["split_file"] * ("split_file" in options and bool(config.divided))
    if refused:
        divided = f" (it is divided {config.divided})" if refused == ["split_file"] else ""
        raise InputError(f"{dataset} does not take {', '.join(refused)}{divided}: leave it out")
    of_corpus = {key: options.pop(key) for key in list(options) if key in known}
    for key, value in of_corpus.items():
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        option = corpus.options.get(key)
        of_corpus[key] = option.parse(value) if option and option.parse and isinstance(value, str) else value
    for key in ("source", "split_file"):
        options[key] = expand(options.get(key))
    if isinstance(options.get("ranges"), str):
        options["ranges"] = tasks.read_ranges(options["ranges"])
    if demo:
        options["synthetic"] = False  # said by the config
    return Request(corpus, name, config, corpus_options=of_corpus, **options)


class Plan:
    """Who of an opened source goes where.

    Attributes:
      request, source: of the build.
      names: {id in the source: id in the records}, of participants and clusters.
      members: {split: participants, in the order of their records}.
    """

    def __init__(self, request: Request, source: Source):
        self.request, self.source = request, source
        if source.fault:
            raise InputError(source.fault)
        if request.include_text and not source.has_words:
            raise InputError(f"{request.dataset}: include_text: no words are read of this corpus: leave it out")
        lacking = source.lacking
        if lacking and not request.skip_bad:
            (first, reason), count = next(iter(lacking.items())), f"{len(lacking)} of {len(source.participants)}"
            raise InputError(
                f"{source.path}: {count} participants cannot be read, the first is {first} ({reason}): mend this and "
                "what else `check` lists, or leave them out with --skip_bad"
            )
        self._split_of = source.divide(request.config.fractions, request.split_file)
        self.names = self._hashed() if request.hash_ids else {n: n for n in self._ids()}
        self.members: dict[str, list[str]] = {split: [] for split in splits.SPLITS}
        for participant in source.participants:
            if participant not in lacking:
                self.members[self._split_of[participant]].append(participant)
        if request.hash_ids:  # in the order of the real ones they would give these away
            for members in self.members.values():
                members.sort(key=lambda participant: natural_key(self.names[participant]))

    def _ids(self) -> dict[str, None]:
        return dict.fromkeys((*self.source.participants, *self.source.clusters.values()))

    def _hashed(self) -> dict[str, str]:
        salt = self.request.salt
        if not salt:
            raise InputError("hash_ids needs a salt: without one, ids like user_7 are found by trying them all")
        names = {one: hashlib.sha256(f"{salt}\x00{one}".encode()).hexdigest()[:16] for one in self._ids()}
        if len(set(names.values())) < len(names):
            raise InputError("two participants have the same hashed id: take another salt")
        return names

    def needed_bytes(self) -> int:
        """About the size of the dataset."""
        source = self.source
        sizes = (
            int(np.prod(e["shape"])) * interview.dtype_of(e, source.dtype).itemsize for e in source.modalities.values()
        )
        return source.n_windows() * sum(sizes)

    def require_space(self, folder: Path) -> None:
        """Refuses a disk that does not hold the dataset.

        Raises:
          InputError: too little is free.
        """
        needed, free = self.needed_bytes(), shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"{folder}: the dataset needs about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free: "
                "free some space or give another --data_dir"
            )

    def outline(self) -> dict[str, Any]:
        """What the features of the records follow from, as `corpus.json` has it."""
        source = self.source
        return {
            "labels": list(source.labels),
            "label_dtype": source.label_dtype,
            "cluster": source.cluster,
            "turns": source.has_turns,
            "modalities": {name: dict(entry) for name, entry in source.modalities.items()},
            "options": self.request.options() | {"dtype": source.dtype},
        }

    @property
    def workers(self) -> int:
        """Processes that read."""
        count = sum(map(len, self.members.values()))
        asked = self.request.workers
        return shards.default_workers(count, self.source.few) if asked is None else asked

    def readers(
        self, reports: Path, pool: Executor | None = None, progress: Callable[[], Any] | None = None
    ) -> dict[str, list[shards.ShardReader]]:
        """By split, the reader of each shard.

        Args:
          reports: folder of their reports.
          pool: worker processes.
          progress: called after each participant.
        """
        request, source = self.request, self.source
        each = max(1.0, self.needed_bytes() / max(1, len(source.participants)))
        most = max(1, min(source.records_per_shard, int(shards.SHARD_BYTES / each)))
        readers: dict[str, list[shards.ShardReader]] = {}
        for split, members in self.members.items():
            readers[split] = [
                shards.ShardReader(
                    source=source,
                    members=tuple(part),
                    names={one: self.names[one] for p in part for one in (p, source.clusters.get(p, p))},
                    report=str(reports / f"{shards.REPORT_PREFIX}{split}-{i}.json"),
                    skip_bad=request.skip_bad,
                    strict=request.strict,
                    include_text=request.include_text,
                    pool=pool,
                    lookahead=2 * max(1, self.workers),
                    progress=progress,
                )
                for i, part in enumerate(shards.cut(members, most))
            ]
        return readers

    def card(self, reports: Mapping[str, Any]) -> dict[str, Any]:
        """The content of `corpus.json`, still with absolute paths.

        Args:
          reports: of all shards, as `shards.collect_reports` joins them.

        Raises:
          InputError: an id twice, a split without anybody, labels outside of given ends, or as `Source.verify`.
        """
        request, source, members = self.request, self.source, reports["members"]
        splits.assert_disjoint(members)
        empty = [split for split in splits.SPLITS if not members.get(split)]
        if empty:
            raise InputError(f"nobody is left in {', '.join(empty)} after skipping: mend the source (see `check`)")
        source.verify(reports["has"])
        split_of = {participant: split for split, ids in members.items() for participant in ids}
        ranges = self._ranges(reports["labels"])
        lacking = [
            {"participant": self.names[p], "reason": shards.without_names(reason, source, {p: self.names[p]})}
            for p, reason in source.lacking.items()
        ]
        notes = [{"participant": name, "note": note} for note, name in reports["notes"]]
        for who, note in source.notes:
            notes.append({"participant": self.names.get(who, who), "note": note.replace(f"{source.root}{os.sep}", "")})
        card = {
            "format": FORMAT,
            "dataset": request.corpus.name,
            "config": request.name,
            "version": request.corpus.version,
            "synthetic": request.synthetic or source.synthetic or request.config.demo is not None,
            "source": os.fspath(source.path) if source.is_table else "",
            **source.digests(),
            **self.outline(),
            "label_ranges": {name: dataclasses.asdict(one) for name, one in ranges.items()},
            "classes": {name: list(values) for name, values in source.classes.items()},
            "within_clusters": source.within_clusters,
            "split_rule": source.split_rule,
            "same_people_as": list(source.same_people_as),
            "unit": source.unit,
            "reading": dict(source.reading),
            "omitted": _omitted([value for value, _ in reports[OMITTED]]),
            "window_seconds": source.window_seconds,
            "participants": {split: len(members[split]) for split in splits.SPLITS},
            "skipped": sorted([*lacking, *reports["skipped"]], key=lambda entry: entry["participant"]),
            "duplicates": {
                content: splits.across_splits(map(tuple, reports[content]), split_of) for content in self._compared()
            },
            "notes": [*notes, *_range_notes(ranges)],
        }
        return {name: value for name, value in card.items() if value or name not in _OPTIONAL}

    def _compared(self) -> list[str]:
        """Contents by which two participants are found to be alike."""
        windows = any(e["kind"] != "ids" for n, e in self.source.modalities.items() if n in COMPARED)
        return ["windows"] * windows + ["transcripts"] * self.source.has_words

    def _ranges(self, labels: Mapping[str, Sequence[float]]) -> dict[str, tasks.Range]:
        source, stated = self.source, self.request.ranges
        seen = {name: labels.get(name) for name in source.labels if name not in source.classes or name in stated}
        if source.one_scale and all(seen.values()):
            lows, highs = zip(*seen.values(), strict=True)
            seen = dict.fromkeys(seen, (min(lows), max(highs)))
        return tasks.label_ranges(seen, stated, source.ranges)

    def original(self, names: Sequence[str]) -> list[str]:
        """Ids in the source of ids in the records."""
        known = {name: original for original, name in self.names.items()}
        return [known[name] for name in names]

    def write_subgroups(self, folder: Path, written: Sequence[str]) -> None:
        """The categories of the participants, as `evaluate --subgroups` reads them."""
        source, there = self.source, set(written)
        rows = []
        for participant in source.participants:
            if self.names[participant] in there:
                rows.append([self.names[participant], *source.subgroup_row(participant)])
        write_table(folder / SUBGROUPS_FILE, ["participant_id", *source.subgroups], rows)

    def write_folds(self, folder: Path, written: Sequence[str]) -> None:
        """The published folds of the participants, as `config.cv.folds_file` takes them; nothing without any."""
        names = {self.names[one]: fold for one, fold in self.source.folds.items()}
        if names:
            write_table(folder / FOLDS_FILE, ["participant", "fold"], [(n, names[n]) for n in written if n in names])


_OPTIONAL = (
    "classes",
    "cluster",
    "turns",
    "reading",
    "omitted",
    "within_clusters",
    "split_rule",
    "same_people_as",
    "duplicates",
)


def _omitted(counts: Sequence[Sequence[float]]) -> dict[str, float]:
    """What was left out of all participants; nothing where nothing was."""
    seconds, of_seconds, characters, of_characters = np.sum(counts, axis=0).tolist() if counts else (0,) * 4
    if not seconds and not characters:
        return {}
    return {
        "seconds": round(seconds, 2),
        "of_seconds": round(of_seconds, 2),
        "characters": int(characters),
        "of_characters": int(of_characters),
    }


def _range_notes(ranges: Mapping[str, tasks.Range]) -> list[dict[str, str]]:
    """Which scales are no more than what the training split shows."""
    return [
        {
            "participant": "",
            "note": f"the scale of {name} is taken from the training labels, {one.low:g} to {one.high:g}: where it has "
            f"other ends, give --ranges={name}:LOW:HIGH",
        }
        for name, one in ranges.items()
        if one.source == "seen"
    ]


def read_salt(salt_file: str | os.PathLike | None) -> str:
    """The secret of hashed ids; made where the file is missing, and forgotten where there is none.

    Raises:
      InputError: the file holds too little.
    """
    if salt_file is None:
        return secrets.token_hex(16)
    path = Path(salt_file)
    if not path.exists():
        write_atomically(path, secrets.token_hex(16) + "\n", private=True)
    salt = path.read_text().strip()
    if len(salt) < 16:
        raise InputError(f"{path}: the salt has {len(salt)} characters, must have 16: delete the file to get one")
    return salt
