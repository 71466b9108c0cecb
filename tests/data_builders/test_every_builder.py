"""What every builder does alike, on a small SYNTHETIC source of each corpus: one list of checks for all of them.

What only one corpus has is tested in the file of its builder.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlcroissant
import numpy as np
import pytest
import tensorflow_datasets as tfds
from small_source import windows_file, write_source

from data_builders.common import card, cli
from data_builders.daily_mood import demo as mood_demo
from data_builders.hotline import demo as hotline_demo
from data_builders.mmsa import demo as mmsa_demo
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from tests import drawn_clips

# mlcroissant 1.1.1 still uses a class that rdflib 7 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")


class Kind(NamedTuple):
    """A corpus as these tests need it.

    Attributes:
      dataset: what is built of its source.
      write: writes a source below a folder, and returns what `--source` names.
      records: how many a build has.
      other: an option with a value that makes another dataset.
      damage: spoils one file of a source; None where a source is one file, which is read whole or not at all.
      names: what ids of participants and clusters begin with in the source.
    """

    dataset: str
    write: Callable[[Path], Path]
    records: int
    other: dict[str, Any]
    damage: Callable[[Path], None] | None
    names: str | tuple[str, ...]


def write_interviews(folder: Path) -> Path:
    folder.mkdir()
    rows = ["participant,transcript,label:phq9"]
    for number in range(12):
        (folder / f"p{number}.txt").write_text(f"answer {number} is this\nand {number} is another one", "utf-8")
        rows.append(f"p{number},p{number}.txt,{number}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def write_calls(folder: Path) -> Path:
    hotline_demo.write_source(folder, 10, 0, (0.1, 0.2))
    return folder


def write_clips(folder: Path) -> Path:
    folder.mkdir()
    drawn_clips.write(folder / "first.mkv", np.array([[True] * 4, [False] * 4]))
    rows = [f"clip{i}.mkv,speaker{i},sad,0.5" for i in range(10)]
    for row in rows:
        shutil.copy(folder / "first.mkv", folder / row.split(",")[0])
    (folder / "first.mkv").unlink()
    (folder / "clips.csv").write_text("\n".join(["clip,speaker,emotion,valence", *rows]) + "\n")
    return folder


def write_moods(folder: Path) -> Path:
    folder.mkdir()
    mood_demo.write_table(folder / "mood.csv", 8, 5, 0)
    return folder / "mood.csv"


def write_features(folder: Path) -> Path:
    mmsa_demo.write_corpus(folder, 40, 0)
    return folder


KINDS = [
    Kind(
        "mmpsy/released",
        lambda folder: write_source(folder, 30),
        30,
        {"include_text": True},
        lambda source: windows_file(source, 7, 0, "text").write_bytes(b""),
        "user_",
    ),
    Kind(
        "interviews/lab",
        write_interviews,
        12,
        {"include_text": True},
        lambda source: (source.parent / "p3.txt").write_bytes(b"\xff"),
        "p",
    ),
    Kind(
        "hotline/calls",
        write_calls,
        10 * hotline_demo.SEGMENTS,
        {"window_seconds": 2.0},
        lambda source: next(iter(sorted(source.rglob("*.wav")))).write_bytes(b"no sound"),
        "caller_",
    ),
    Kind(
        "affect_video/clips",
        write_clips,
        10,
        {"window_seconds": 2.0},
        lambda source: (source / "clip3.mkv").write_text("no video"),
        ("clip", "speaker"),
    ),
    Kind("daily_mood/table_by_person", write_moods, 40, {"ranges": "stress:0:200"}, None, "person"),
    Kind("mmsa/own", write_features, 40, {"ranges": "sentiment:-4:4"}, None, "clip_"),
]
DEMOS: dict[str, dict[str, Any]] = {
    "mmpsy/demo": {"participants": 24, "audio_shape": (8, 60), "text_shape": (10, 16)},
    "hotline/demo": {"participants": 12, "seconds": (0.1, 0.2)},
    "daily_mood/demo_by_time": {"participants": 8, "days": 10},
    "daily_mood/demo_by_person": {"participants": 8, "days": 10},
    "mmsa/demo": {"participants": 40},
}  # that of affect_video takes longer: in its own file


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.dataset)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def source(kind, tmp_path_factory):
    return kind.write(tmp_path_factory.mktemp("source") / "written")


@pytest.fixture(scope="module")
def built(kind, source, tmp_path_factory):
    return cli.build(kind.dataset, tmp_path_factory.mktemp("data"), source=source, workers=0)


def contents(folder: Path) -> dict[str, bytes]:
    """What a build wrote: `index.npz` is of whoever opens it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.npz"}


def test_the_folder_holds_the_dataset_and_nothing_else(kind, built):
    corpus = open_corpus(built)
    assert len(corpus) == kind.records == sum(corpus.card["participants"].values())
    assert {"README.md", "DATASHEET.md", "croissant.json", "corpus.json", "features.json"} <= contents(built).keys()
    assert "dataset_info.json" in contents(built)
    assert not [name for name in contents(built) if name.startswith((".", "incomplete"))]
    beside = {".build.lock", f".places_{built.name}.json", ".features"}
    assert {path.name for path in built.parent.iterdir()} <= {built.name, *beside}
    corpus_name = kind.dataset.split("/")[0]
    assert {path.name for path in built.parents[2].iterdir()} == {corpus_name}
    assert all(".array_record-00000-of-00001" in name for name in contents(built) if name.startswith(f"{corpus_name}-"))
    owner = corpus.cluster if "cluster" in corpus.card else corpus.participants
    lie_in = {name: {o for o, s in zip(owner, corpus.split, strict=True) if s == name} for name in set(corpus.split)}
    assert sum(map(len, lie_in.values())) == len(set.union(*lie_in.values()))  # nobody is in two splits


def test_a_dataset_is_built_once_and_another_is_refused(kind, source, built):
    root, before = built.parents[2], (built / "corpus.json").stat().st_mtime_ns
    assert cli.build(kind.dataset, root, source=source, workers=0) == built
    assert (built / "corpus.json").stat().st_mtime_ns == before
    (option,) = kind.other
    with pytest.raises(InputError, match=f"differs in {option}.*--overwrite"):
        cli.build(kind.dataset, root, source=source, workers=0, **kind.other)
    assert (built / "corpus.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("dataset", DEMOS)
def test_a_demo_is_built_once_and_another_is_refused(dataset, tmp_path):
    options = DEMOS[dataset] | {"workers": 0}
    folder = cli.build(dataset, tmp_path, **options)
    before = (folder / "corpus.json").stat().st_mtime_ns
    assert cli.build(dataset, tmp_path, **options) == folder
    with pytest.raises(InputError, match=r"already holds .* differs in seed"):
        cli.build(dataset, tmp_path, **options, seed=1)
    assert (folder / "corpus.json").stat().st_mtime_ns == before


def test_worker_processes_write_the_same_bytes(kind, source, built, tmp_path):
    assert contents(cli.build(kind.dataset, tmp_path, source=source, workers=1)) == contents(built)


def test_card_and_croissant_describe_what_tfds_wrote_and_name_nobody(kind, built):
    features = tfds.builder_from_directory(built).info.features
    described = card.record_features(json.loads((built / "corpus.json").read_text()))
    assert sorted(features) == sorted(described)
    for name, feature in features.items():
        assert described[name].shape == feature.shape
        text = isinstance(feature, tfds.features.Text)
        assert described[name].dtype == ("text" if text else np.dtype(feature.np_dtype).name)
    metadata = mlcroissant.Dataset(jsonld=built / "croissant.json").metadata
    assert not metadata.ctx.issues.errors and "corpus.json" in {entry.name for entry in metadata.file_objects}
    names = {*open_corpus(built).participants, *open_corpus(built).cluster}
    assert all(name.startswith(kind.names) for name in names)
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
    for name in ("README.md", "DATASHEET.md", "croissant.json"):
        assert not named.search((built / name).read_text())


def test_hashed_ids_leave_no_name_behind(kind, source, built, tmp_path):
    folder = cli.build(kind.dataset, tmp_path, source=source, workers=0, hash_ids=True)
    plain, hashed = open_corpus(built), open_corpus(folder)
    names = {*plain.participants, *plain.cluster}
    assert len(hashed) == len(plain) and not names & {*hashed.participants, *hashed.cluster}
    of_clusters = lambda corpus: sorted(np.unique(corpus.cluster, return_counts=True)[1].tolist())  # noqa: E731
    assert of_clusters(hashed) == of_clusters(plain)
    for name, content in contents(folder).items():
        assert not [one for one in names if len(one) > 5 and one.encode() in content], name


def test_check_counts_what_a_build_has(kind, source, built):
    report = cli.check(source, kind.dataset, deep=True, workers=0)
    assert report["problems"] == [] and report["participants"] == open_corpus(built).card["participants"]


def test_one_bad_file_stops_a_build_or_is_left_out_and_listed(kind, tmp_path):
    if kind.damage is None:
        pytest.skip("its source is one file, which is read whole or not at all")
    source = kind.write(tmp_path / "written")
    kind.damage(source)
    (problem,) = cli.check(source, kind.dataset, deep=True, workers=0)["problems"]
    with pytest.raises(InputError, match="--skip_bad"):
        cli.build(kind.dataset, tmp_path / "data", source=source, workers=0)
    assert not list((tmp_path / "data").glob("*/*/[0-9]*"))  # nothing half-written
    folder = cli.build(kind.dataset, tmp_path / "data", source=source, workers=0, skip_bad=True)
    corpus = open_corpus(folder)
    (skipped,) = corpus.card["skipped"]
    assert len(corpus) == kind.records - 1 and skipped["participant"] not in corpus.participants
    assert skipped["participant"] in (folder / "README.md").read_text() and skipped["reason"] in problem
    assert str(tmp_path) not in json.dumps([corpus.card["skipped"], problem])


def test_what_cannot_be_built_is_refused(kind, tmp_path):
    with pytest.raises(InputError, match="--source=PATH"):
        cli.build(kind.dataset, tmp_path)
    with pytest.raises(InputError, match="absent"):
        cli.build(kind.dataset, tmp_path, source=tmp_path / "absent")
    with pytest.raises(InputError, match="absent"):
        cli.check(tmp_path / "absent", kind.dataset)
    with pytest.raises(InputError, match="does not take seed"):
        cli.build(kind.dataset, tmp_path, source=tmp_path, seed=1)
    assert not list(tmp_path.glob("*/*/[0-9]*"))
