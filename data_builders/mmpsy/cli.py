"""Building and checking a corpus: what `launch.py build` and `launch.py check` call.

A script that calls `build` with workers must do so under `if __name__ == "__main__":`, as spawned processes require.
"""

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_builders.common import place
from mmpsy_jax.io import InputError, one_of, write_atomically
from mmpsy_jax.tasks import read_ranges

DATASET = "mmpsy"
_SOURCES = {
    "manifest": "a manifest of participants, CSV or JSONL",
    "recordings": "the folder of wav_select.json and of a folder of recordings per participant",
}


def build(
    dataset: str = "mmpsy/demo",
    data_dir: str | os.PathLike = "data",
    *,
    source: str | os.PathLike | None = None,
    split_file: str | os.PathLike | None = None,
    skip_bad: bool = False,
    strict: bool = False,
    include_text: bool = False,
    hash_ids: bool = False,
    salt_file: str | os.PathLike | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    download: bool = False,
    participants: int | None = None,
    seed: int | None = None,
    keep_source: bool = False,
    audio_shape: tuple[int, int] | None = None,
    text_shape: tuple[int, int] | None = None,
    settings: str | os.PathLike | None = None,
    synthetic: bool = False,
    unpickle: bool = False,
    ignore: Sequence[str] = (),
    ranges: str = "",
    dtype: str | None = None,
) -> Path:
    """Builds a dataset, or returns the one that is there if it was made from the same source in the same way.

    Args:
      dataset: "mmpsy/<config>": demo, demo_float32, released, released_float32, transcripts or recordings; or
        "interviews/<any name>"; or "mmsa/<config>": demo, mosi, mosei, sims, simsv2 or any name.
      data_dir: root; the dataset goes to `data_dir/<dataset>/<version>`.
      source: the table, its folder or the folder above `data/`; of interviews the manifest. Not for the demo, which
        writes its own.
      split_file: CSV `participant,split`; by default the split follows from a hash of the id.
      skip_bad: leave out participants that cannot be read, listed in `corpus.json`, instead of failing at the first.
      strict: of recordings and interviews: what would be noted of a recording (cut off, clipped, ...) is an error.
      include_text: put transcripts into the records.
      hash_ids: replace ids by salted SHA-256.
      salt_file: keeps the salt; made where missing. Without it the salt is forgotten and ids can never be linked again.
      workers: reading processes; 0 for none.
      overwrite: build again and replace what is there, once the new dataset is whole.
      download: fetch the released files into `data_dir/downloads` (several GB) instead of reading `source`.
      participants, seed, keep_source, audio_shape, text_shape: of the demo only.
      settings: of recordings and interviews: JSON file of the settings of the extractors by modality.
      synthetic: of recordings and interviews: no person stands behind them.
      ignore: of interviews: columns of the manifest that are not read.
      ranges: NAME:LOW:HIGH with commas between: ends of the scale of labels; default: those of the questionnaire of
        that name, or as the training split shows.
      dtype: of recordings and interviews: "float16" (default) or "float32", in which windows are stored.
      unpickle: of mmsa: consent to load a pickle, in a separate process that makes arrays only.

    Returns:
      the version folder.

    Raises:
      InputError: unknown dataset, unusable source, a different dataset already in place, or no space left.
    """
    # TFDS takes over half a second; `launch.py` imports this module for its help text.
    builder, config = _builder(dataset)
    if config.kind == "mmsa":
        from data_builders.mmsa import mmsa_dataset_builder as mmsa_lib

        made = {"unpickle": unpickle, "participants": participants, "seed": seed}
        source, synthetic = mmsa_lib.prepare(config.name, data_dir, source, **made), config.synthetic
        participants = seed = None
    elif unpickle:
        raise InputError(f"unpickle belongs to mmsa, not to {dataset}: leave it out")
    demo_only = {
        "participants": participants,
        "seed": seed,
        "keep_source": keep_source or None,
        "audio_shape": audio_shape,
        "text_shape": text_shape,
    }
    given = {name: value for name, value in demo_only.items() if value is not None}
    if config.kind == "demo":
        if source is not None or download:
            raise InputError(f"{dataset} writes its own source: leave out --source and --download, or build released")
        changes: dict[str, Any] = given
    else:
        if given:
            raise InputError(f"{', '.join(given)} belong(s) to mmpsy/demo, not to {dataset}: leave it out")
        if config.extracts and source is None:
            raise InputError(f"{dataset}: give --source=PATH: {_SOURCES[config.kind]}")
        if (source is None) == (not download):
            raise InputError(f"{dataset}: give either --source=DIR (with wav_select.json) or --download")
        changes = {"source": None if source is None else os.path.abspath(source), "download": download}
    if strict and config.kind not in _SOURCES:
        raise InputError(f"strict belongs to recordings or interviews, not to {dataset}: leave it out")
    if config.extracts:
        changes |= {"settings": _settings(settings), "synthetic": synthetic, "strict": strict}
        changes |= {"dtype": dtype} if dtype and config.kind != "mmsa" else {}
    if ignore and config.kind != "manifest":
        raise InputError(f"ignore belongs to interviews, not to {dataset}: leave it out")
    if not config.extracts and (settings is not None or synthetic or dtype):
        raise InputError(
            f"settings, synthetic and dtype belong to recordings or interviews, not to {dataset}: leave it out"
        )
    config = dataclasses.replace(
        config,
        split_file=None if split_file is None else os.path.abspath(split_file),
        skip_bad=skip_bad,
        include_text=include_text,
        hash_ids=hash_ids,
        workers=workers,
        ignore=tuple(ignore),
        ranges=read_ranges(ranges),
        **changes,
    )
    version_folder = Path(data_dir).absolute() / builder.name / config.name / str(builder.VERSION)
    with _disk_errors(version_folder), place.exclusive(version_folder):
        if version_folder.exists() and not overwrite:
            place.require_same(version_folder, lambda: _wanted(config), ("source_sha256", "files_sha256"))
            return version_folder
        if config.kind != "demo" and not config.download:
            config = _with_shapes(config)
        if hash_ids:
            config = dataclasses.replace(config, salt=_salt(salt_file))
        with place.replacing(version_folder):
            builder(data_dir=os.fspath(Path(data_dir).absolute()), config=config).download_and_prepare()
    return version_folder


def _builder(dataset: str):
    """Class of the builder, and the config that the name of a dataset stands for."""
    from data_builders.interviews import interviews_dataset_builder as interviews_lib
    from data_builders.mmpsy import mmpsy_dataset_builder as builder_lib
    from data_builders.mmsa import mmsa_dataset_builder as mmsa_lib

    name, _, config_name = dataset.partition("/")
    if name == interviews_lib.Builder.name:
        return interviews_lib.Builder, interviews_lib.config(config_name)
    if name == mmsa_lib.Builder.name:
        return mmsa_lib.Builder, mmsa_lib.config(config_name)
    known = {f"{DATASET}/{config}": value for config, value in builder_lib.CONFIGS.items()}
    if name != DATASET or config_name not in builder_lib.CONFIGS:
        raise one_of(
            "dataset",
            dataset,
            [*known, f"{interviews_lib.Builder.name}/NAME", *(f"mmsa/{one}" for one in (*mmsa_lib.HIGHEST, "NAME"))],
        )
    return builder_lib.Builder, known[dataset]


def _settings(path: str | os.PathLike | None) -> str:
    """JSON of the settings of the extractors, in one order."""
    if path is None:
        return "{}"
    from data_builders.interviews.source import read_settings
    from mmpsy_jax.io import read_text

    try:
        return json.dumps(read_settings(read_text(Path(path))), sort_keys=True)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error


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


def _open(config):
    from data_builders.interviews import source as interviews_lib
    from data_builders.mmpsy import source as source_lib
    from data_builders.mmsa import source as mmsa_lib

    if config.kind == "mmsa":
        return mmsa_lib.open_source(config.source, dtype=config.dtype)
    if config.extracts:
        return interviews_lib.open_source(
            config.source,
            is_table=config.kind == "recordings",
            settings=config.settings,
            dtype=config.dtype,
            ignore=config.ignore,
        )
    return source_lib.open_source(config.source, transcripts_only=config.kind == "transcripts", dtype=config.dtype)


def _with_shapes(config):
    """The config with the labels, and the window shapes, that the source has."""
    source = _open(config)
    if config.extracts:
        found = {"labels": source.labels, "cards": json.dumps(source.modalities), "clustered": bool(source.clusters)}
        return dataclasses.replace(config, **found)
    if config.kind == "transcripts":
        return config
    shapes = {name: tuple(entry["shape"]) for name, entry in source.modalities.items()}
    return dataclasses.replace(config, audio_shape=shapes.get("audio"), text_shape=shapes.get("text"))


def _wanted(config) -> dict[str, Any]:
    """What the card of the dataset that `config` would build says of how it was built."""
    want = config.options()
    if config.source is not None:
        source = _open(config)
        want |= {"source_sha256": source.table_sha256(), "files_sha256": source.files_sha256()}
    return want


def _salt(salt_file: str | os.PathLike | None) -> str:
    if salt_file is None:
        return secrets.token_hex(16)
    path = Path(salt_file)
    if not path.exists():
        write_atomically(path, secrets.token_hex(16) + "\n", private=True)
    salt = path.read_text().strip()
    if len(salt) < 16:
        raise InputError(f"{path}: the salt has {len(salt)} characters, must have 16: delete the file to get one")
    return salt


def read_names(text: str) -> tuple[str, ...]:
    """Names with commas between, of an option."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main_build(argv: Sequence[str]) -> Path:
    """`launch.py build`: parses the arguments, builds, prints where the dataset is.

    Args:
      argv: arguments after the verb.
    """
    parser = argparse.ArgumentParser(prog="launch.py build", description="Build a corpus as TFDS records.")
    parser.add_argument("--dataset", default="mmpsy/demo", help="mmpsy/demo, mmpsy/released, interviews/NAME, ...")
    parser.add_argument("--data_dir", default="data", help="root of all datasets")
    parser.add_argument("--source", help="folder with wav_select.json and its features; of interviews the manifest")
    parser.add_argument("--split_file", help="CSV participant,split; default: by a hash of the id")
    parser.add_argument("--skip_bad", action="store_true", help="leave out participants that cannot be read")
    parser.add_argument("--strict", action="store_true", help="refuse recordings of which something would be noted")
    parser.add_argument("--include_text", action="store_true", help="put transcripts into the records")
    parser.add_argument("--hash_ids", action="store_true", help="replace ids by salted SHA-256")
    parser.add_argument("--salt_file", help="keeps the salt of --hash_ids; made where missing")
    parser.add_argument("--workers", type=int, help="reading processes; 0 for none")
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset that is there")
    parser.add_argument("--download", action="store_true", help="fetch the released files first")
    parser.add_argument("--settings", help="recordings, interviews: JSON file of how features are extracted")
    parser.add_argument("--synthetic", action="store_true", help="recordings, interviews: of no person")
    parser.add_argument("--unpickle", action="store_true", help="mmsa: load the pickle, in a separate process")
    parser.add_argument("--dtype", choices=("float16", "float32"), help="recordings, interviews: of stored windows")
    parser.add_argument("--ranges", default="", help="ends of scales, NAME:LOW:HIGH,... such as stress:0:3")
    parser.add_argument("--ignore", type=read_names, default=(), help="interviews: columns that are not read, a,b,...")
    parser.add_argument("--participants", type=int, help="demo only: how many (default 800)")
    parser.add_argument("--seed", type=int, help="demo only")
    parser.add_argument("--keep_source", action="store_true", help="demo only: keep the generated .npy files")
    folder = build(**vars(parser.parse_args(argv)))
    print(folder)
    return folder


def main_check(argv: Sequence[str]) -> dict[str, Any]:
    """`launch.py check`: prints what a source holds, what is missing and what is odd.

    Args:
      argv: arguments after the verb.

    Returns:
      the report of `check.check`, of this builder or of interviews.
    """
    from data_builders.interviews import check as interviews_check
    from data_builders.mmpsy import check

    parser = argparse.ArgumentParser(prog="launch.py check", description="Look at a source before building it.")
    parser.add_argument("--source", required=True, help="folder with wav_select.json, or a manifest")
    parser.add_argument("--dataset", default="", help="of another corpus: it is read with the options of its build")
    parser.add_argument("--ignore", type=read_names, default=(), help="manifest: columns that are not read, a,b,...")
    parser.add_argument("--deep", action="store_true", help="read every window as the build would")
    parser.add_argument("--strict", action="store_true", help="manifest: what is odd about recordings is a problem")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(argv)
    source = Path(arguments.source)
    if source.is_file() and source.suffix.lower() != ".json":
        lib, options = interviews_check, {"strict": arguments.strict, "ignore": arguments.ignore}
    else:
        if arguments.strict or arguments.ignore:
            raise InputError(f"{source}: --strict and --ignore are about a manifest: leave them out")
        lib, options = check, {"released": arguments.dataset.startswith(f"{DATASET}/released")}
    report = lib.check(source, deep=arguments.deep, **options)
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else lib.render(report))
    return report
