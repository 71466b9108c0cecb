"""Building and checking any corpus: what `launch.py build` and `launch.py check` call.

A script that calls `build` with workers must do so under `if __name__ == "__main__":`, as spawned processes require.
"""

import argparse
import collections
import contextlib
import dataclasses
import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmpsy_jax
from data_builders.common import place, shards
from data_builders.common.plan import KEPT, Plan, Request, make_request, read_salt
from data_builders.common.source import Option, Source, corpora, load
from mmpsy_jax.io import InputError

LISTED = 20  # lines of a kind on a terminal
# Of all corpora, beside `--dataset` and `--data_dir`.
_OPTIONS = {
    "source": Option("what is read: the folder of wav_select.json, a manifest, tables, clips; not for demos"),
    "split_file": Option("CSV participant,split (of clusters where these stay together); default: by a hash of the id"),
    "skip_bad": Option("leave out participants that cannot be read", None),
    "strict": Option("refuse participants of whose files something would be noted", None),
    "include_text": Option("put transcripts into the records", None),
    "hash_ids": Option("replace ids by salted SHA-256", None),
    "salt_file": Option("keeps the salt of --hash_ids; made where missing"),
    "ranges": Option("ends of scales, NAME:LOW:HIGH,... such as stress:0:3"),
    "synthetic": Option("no person stands behind the source", None),
    "workers": Option("reading processes; 0 for none", int),
    "download": Option("mmpsy: fetch the released files first (several GB)", None),
    "overwrite": Option("replace the dataset that is there", None),
    "runner": Option("build on many machines with this runner of Apache Beam, such as DirectRunner (docs/export.md)"),
    "beam_options": Option("further options of Beam, such as --direct_num_workers=4, in quotes"),
    "keep_source": Option("demos: keep the files that are read", None),
}
_DEMO = {
    "participants": Option("demos: how many people, callers, speakers or clips", int),
    "seed": Option("demos: of everything", int),
}


def build(
    dataset: str = "mmpsy/demo",
    data_dir: str | os.PathLike = "data",
    *,
    overwrite: bool = False,
    salt_file: str | os.PathLike | None = None,
    runner: str | None = None,
    beam_options: str | None = None,
    **options: Any,
) -> Path:
    """Builds a dataset, or returns the one that is there if it was made from the same source in the same way.

    Args:
      dataset: `<corpus>/<config>`, such as mmpsy/demo, interviews/NAME, hotline/calls.
      data_dir: root; the dataset goes to `data_dir/<dataset>/<version>`.
      overwrite: build again and replace what is there, once the new dataset is whole.
      salt_file: keeps the salt of hashed ids; made where missing. Without it ids can never be linked again.
      runner: of Apache Beam, whose workers share source and `data_dir`; `beam_options` are further options of it.
      **options: `source`, `split_file`, `skip_bad`, `strict`, `include_text`, `hash_ids`, `ranges`, `synthetic`,
        `workers`, `download`, `keep_source` (`plan.Request`), and those of the corpus (`Config.options`).

    Returns:
      the version folder.

    Raises:
      InputError: unknown dataset, unusable source, a different dataset already in place, or no space left.
    """
    request = make_request(dataset, **options)
    of_corpus, download_config = None, None
    if runner:
        from data_builders.common import beam

        of_corpus, download_config = beam.of_beam, beam.download_config(runner, beam_options or "")
    folder = Path(data_dir).absolute() / dataset / request.corpus.version
    with _disk_errors(folder), place.exclusive(folder):
        kept = folder.parent / KEPT
        for leftover in kept.glob(".*"):
            leftover.unlink()  # half-written by a build that was killed
        opened = request.open(request.source, kept) if request.source else None
        if folder.exists() and not overwrite:
            digests = opened.digests() if opened else {}
            place.require_same(folder, request.options() | digests, request.config.options(), request.corpus.former)
            return folder
        if request.hash_ids:
            request = dataclasses.replace(request, salt=read_salt(salt_file))
        from data_builders.common.builder import make_builder  # TFDS takes over half a second

        with place.replacing(folder):
            builder = make_builder(request, data_dir, opened, of_corpus)
            builder.download_and_prepare(download_config=download_config)
    return folder


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the operating system says about a full disk or a missing permission into an `InputError`."""
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{error.filename or folder}: permission denied: give another --data_dir") from error
    except OSError as error:
        # numpy's own writer reports a full disk as "n requested and m written", without a number.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and "requested and" not in str(error):
            raise
        raise InputError(
            f"{folder}: no space left ({error}); nothing was kept: free some space or give another --data_dir"
        ) from error


def check(
    source: str | os.PathLike, dataset: str = "", *, deep: bool = False, strict: bool = False, **options: Any
) -> dict[str, Any]:
    """Looks at a source without building it.

    Args:
      source: what a build would read.
      dataset: of which; by default what the path looks like.
      deep: read everything as a build does, also where a quick look is enough to count.
      strict: what is odd about a participant is a problem.
      **options: as of `build`.

    Returns:
      counts, JSON-ready: "participants" of each split (clips, days or segments where these are the records), "labels"
      and what else a source counts; "problems" lists what would stop a build (or be skipped by it), "notes" what is
      odd, "lines" says it all for a terminal.

    Raises:
      InputError: the source as a whole cannot be used.
    """
    with (
        open_source(source, dataset, strict=strict, **options) as (request, opened),
        tempfile.TemporaryDirectory() as folder,
    ):
        described = opened.describe(deep, strict)
        card: Mapping[str, Any] = {"participants": {}, "labels": list(opened.labels), "skipped": [], "notes": []}
        of_all = []
        try:
            plan = Plan(request, opened)
            card |= {"participants": {split: len(members) for split, members in plan.members.items()}}
            if deep or described is None:
                card = _rehearse(plan, Path(folder))
        except InputError as error:
            of_all.append(str(error))
    skipped = [f"{one['participant']}: {one['reason']}" for one in card["skipped"]]
    notes = [line.removeprefix("note: ") for line in list_notes(card)]
    counts = ", ".join(f"{split} {count:,}" for split, count in card["participants"].items())
    report = {
        "labels": card["labels"],
        "lines": [
            f"participants  {sum(card['participants'].values()):,}: {counts}",
            f"labels        {', '.join(card['labels'])}",
        ],
        **(described or {}),
    }
    report["participants"] = card["participants"]  # of each split, whatever a source counts
    report["problems"] = of_all + (skipped if deep or described is None else described["problems"])
    report["notes"] = list(dict.fromkeys([*(described or {}).get("notes", []), *notes]))
    return report


@contextlib.contextmanager
def open_source(source: str | os.PathLike, dataset: str = "", **options: Any) -> Iterator[tuple[Request, Source]]:
    """What a build would read, opened without a place to build in.

    Args:
      source: what a build would read.
      dataset: of which; by default what the path looks like.
      **options: as of `build`.

    Raises:
      InputError: the source as a whole cannot be used.
    """
    dataset = dataset or _detect(Path(source))
    request = dataclasses.replace(make_request(dataset, source=source, **options), skip_bad=True, salt="-")
    with tempfile.TemporaryDirectory() as folder:
        yield request, request.open(request.source, Path(folder, KEPT))


def _detect(path: Path) -> str:
    for corpus in map(load, corpora()):
        if config := corpus.detect(path):
            return f"{corpus.name}/{config}"
    raise InputError(f"{path}: name the corpus that it is of with --dataset=NAME/CONFIG")


def _rehearse(plan: Plan, folder: Path) -> dict[str, Any]:
    """The card that a build would write, of a build without records."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(shards.make_pool(plan.workers)) if plan.workers else None
        readers = [reader for of_split in plan.readers(folder, pool).values() for reader in of_split]
        for reader in readers:
            collections.deque(reader(), maxlen=0)
    reports = shards.collect_reports(folder, len(readers))
    try:
        return plan.card(reports)
    except InputError as error:
        if not reports["skipped"]:
            raise
        # A split that nobody is left in follows from those who cannot be read, who are worth more words.
        problem = {"participant": "all", "reason": str(error)}
        counts = {split: len(reports["members"].get(split, ())) for split in plan.members}
        return {
            "participants": counts,
            "labels": list(plan.source.labels),
            "skipped": [*reports["skipped"], problem],
            "notes": [],
        }


def list_problems(problems: Sequence[str]) -> list[str]:
    """Lines that say what would stop a build, the first of it word for word."""
    lines = [f"problems      {len(problems)}", *(f"  - {problem}" for problem in problems[:LISTED])]
    if len(problems) > LISTED:
        lines.append(f"  ... and {len(problems) - LISTED} more (all with --json)")
    return lines


def print_outcome(folder: str | os.PathLike) -> int:
    """Says on stderr what a dataset lacks and what is odd about it, and counts that on the last line.

    Args:
      folder: of the built dataset.

    Returns:
      the exit status of a build: 3 where somebody was left out, else 0.
    """
    path = Path(folder, "corpus.json")
    corpus = json.loads(path.read_text())
    skipped, notes = corpus["skipped"], list_notes(corpus)
    for lines in ([f"left out: {one['participant']}: {one['reason']}" for one in skipped], notes):
        more = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        print(*lines[:LISTED], *more, sep="\n", end="\n" if lines else "", file=sys.stderr)
    print(
        f"built {sum(corpus['participants'].values()):,}, left out {len(skipped):,}, notes {len(notes):,} (all of them "
        f"in {path})",
        file=sys.stderr,
    )
    return 3 if skipped else 0


def list_notes(corpus: Mapping[str, Any]) -> list[str]:
    """The notes of a dataset, one line each; a note that several participants have is one line.

    Args:
      corpus: the content of `corpus.json`.
    """
    owners = collections.defaultdict(list)
    for entry in corpus.get("notes", []):
        owners[entry["note"]].append(entry["participant"])
    lines = []
    for note, participants in owners.items():
        several = f"note: {note} ({len(participants)} participants)"
        lines.append(several if len(participants) > 1 else f"note: {': '.join(filter(None, (*participants, note)))}")
    for content, counts in corpus.get("duplicates", {}).items():
        if counts["across_splits"]:
            lines.append(
                f"note: {counts['across_splits']} identical {content} of different participants lie in different "
                "splits (see the dataset's card)"
            )
    return lines


def main_build(argv: Sequence[str]) -> Path:
    """`launch.py build`: parses the arguments, builds, prints where the dataset is.

    Args:
      argv: arguments after the verb.
    """
    parser = argparse.ArgumentParser(prog=f"{mmpsy_jax.program()} build", description="Build a corpus as TFDS records.")
    datasets = ", ".join(d for c in corpora() for d in load(c).datasets)
    parser.add_argument("--dataset", default="mmpsy/demo", help=datasets)
    parser.add_argument("--data_dir", default="data", help="root of all datasets")
    add_options(parser)
    if not argv:
        raise InputError(f"build: give --dataset, one of {datasets}, and --source=PATH of all but demos (--help)")
    folder = build(**vars(parser.parse_args(argv)))
    print(folder)
    return folder


def main_check(argv: Sequence[str]) -> dict[str, Any]:
    """`launch.py check`: prints what a source holds, what is missing and what is odd.

    Args:
      argv: arguments after the verb.

    Returns:
      the report of `check`.
    """
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} check", description="Look at a source before building it."
    )
    parser.add_argument("--dataset", default="", help="as of the build; default: what the source looks like")
    parser.add_argument("--deep", action="store_true", help="read everything as the build would")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_options(parser, ("skip_bad", "salt_file", "download", "overwrite", "keep_source", "runner", "beam_options"))
    options = vars(parser.parse_args(argv))
    if options["source"] is None:
        raise InputError("check: give --source=PATH: what a build would read")
    as_json = options.pop("json")
    report = check(**options)
    lines = [*report.pop("lines"), *(f"note          {note}" for note in report["notes"])]
    text = "\n".join(lines + list_problems(report["problems"]))
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else text)
    return report


def add_options(parser: argparse.ArgumentParser, aside: Sequence[str] = ()) -> None:
    """Options of all corpora but those aside, and of each; what a corpus does not take is refused by `make_request`."""
    of_corpora: dict[str, Option] = {}
    for corpus in map(load, corpora()):
        for name, option in corpus.options.items():
            help_text = f"{corpus.name}: {option.help}"
            known = of_corpora.get(name)
            of_corpora[name] = dataclasses.replace(option, help=f"{known.help}; {help_text}" if known else help_text)
    for name, option in {**_OPTIONS, **of_corpora, **_DEMO}.items():
        if name in aside:
            continue
        settings = {"action": "store_true"} if option.parse is None else {"choices": option.choices}
        if option.parse in (int, float):
            settings["type"] = option.parse
        parser.add_argument(f"--{name}", help=option.help, **settings)
