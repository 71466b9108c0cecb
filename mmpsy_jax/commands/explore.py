"""`launch.py explore`: one page that shows a corpus before anything is trained on it."""

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mmpsy_jax
from data_builders.common import cli, shards
from mmpsy_jax.io import InputError

# Of a build alone.
_ASIDE = (
    *("source", "split_file", "strict", "include_text", "hash_ids", "salt_file", "download", "overwrite", "runner"),
    *("beam_options", "keep_source", "participants", "seed"),
)


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status: 3 where somebody was left out."""
    from mmpsy_jax.exploration.page import summary

    parser = argparse.ArgumentParser(prog=f"{mmpsy_jax.program()} explore", description="A page about a corpus.")
    whole = "folder of built records, or A,B of several as one; or what `build` would read"
    parser.add_argument("--input", required=True, help=whole)
    parser.add_argument("--output", required=True, help="folder for explore.html, explore.json and look_at.csv")
    parser.add_argument("--dataset", default="", help="of a source that is not built; default: what it looks like")
    parser.add_argument(
        "--cutoff", action="append", default=[], metavar="LABEL:N", help="compare those >= N with others"
    )
    parser.add_argument("--include_text", action="store_true", help="show words that at least ten people use")
    cli.add_options(parser, _ASIDE)
    options = vars(parser.parse_args(arguments))
    source, output = options.pop("input"), options.pop("output")
    content = explore(source, output=output, cutoffs=read_cutoffs(options.pop("cutoff")), **options)
    print(f"{summary(content)}\n\n{Path(output, 'explore.html')}")
    return 3 if content["left_out"] else 0


def explore(
    source: str | os.PathLike,
    dataset: str = "",
    *,
    output: str | os.PathLike | None = None,
    cutoffs: Mapping[str, float] | None = None,
    include_text: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Looks at built records, or at what a build would read.

    Args:
      source: folder of built records, `A,B` of several as one; or a manifest or folder as `check` takes it.
      dataset: of a source that is not built; by default what the path looks like.
      output: folder for page, JSON and `look_at.csv`; None writes nothing.
      cutoffs: by label, of those at or above it against the others; 10 for PHQ-8, PHQ-9 and GAD-7.
      include_text: words that at least ten people use, too.
      **options: as of `build`, of a source that is not built.

    Returns:
      the content of `explore.json`.

    Raises:
      InputError: nothing that can be read, somebody who cannot (without `skip_bad`), or an unknown label.
    """
    from mmpsy_jax.exploration import explore as look
    from mmpsy_jax.io import try_folder

    if output is not None:
        try_folder(output)
    people = _people(source, dataset, options, cutoffs or {})
    content = look.explore(people, cutoffs, include_text)
    if output is not None:
        look.write(output, content, people)
    return content


def _people(source: str | os.PathLike, dataset: str, options: dict[str, Any], cutoffs: Iterable[str]) -> Any:
    from mmpsy_jax.data import pooled
    from mmpsy_jax.data.records import choose
    from mmpsy_jax.exploration import people
    from mmpsy_jax.inference.inputs import is_records

    places = pooled.folders_of(os.fspath(source))
    if not dataset and all(is_records(Path(place)) for place in places):
        asked = [name for name, value in options.items() if value not in (None, False, "")]
        if asked:
            raise InputError(f"--{asked[0]}: of sources that are not built; {places[0]} is: leave it out")
        from mmpsy_jax.training.covariates import transcripts_of

        corpus = pooled.open_corpora(os.fspath(source))
        choose("label of a cut-off", list(cutoffs), corpus.labels)
        return people.of_corpus(corpus, transcripts_of(corpus))
    if not Path(source).exists():
        raise InputError(f"{source}: no such file or folder: give built records, or what `build` would read")
    asked = options.pop("workers", None)

    def workers(n: int) -> Any:
        count = shards.default_workers(n, opened.few) if asked is None else asked
        return shards.make_pool(count) if count else None

    skip_bad = bool(options.pop("skip_bad", False))
    with cli.open_source(source, dataset, **options) as (request, opened):
        choose("label of a cut-off", list(cutoffs), opened.labels)
        how = {"synthetic": request.synthetic, "skip_bad": skip_bad, "workers": workers}
        return people.of_source(opened, request.dataset, **how)


def read_cutoffs(texts: list[str]) -> dict[str, float]:
    """Cut-offs by label from `LABEL:N`.

    Raises:
      InputError: not of that form.
    """
    cutoffs = {}
    for text in texts:
        label, _, number = text.partition(":")
        try:
            cutoffs[label] = float(number)
        except ValueError as error:
            raise InputError(f"--cutoff={text[:80]}: write LABEL:N, such as phq9:10") from error
    return cutoffs
