"""Dataset card and Croissant of an exported folder: true to the data, valid, and silent about participants."""

import copy
import hashlib
import json
import socket

import mlcroissant as mlc
import pytest
import yaml

from data_builders.common import card, cli
from mmpsy_jax.io import InputError

# mlcroissant 1.1.1 still uses a class that rdflib 7 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")

RELEASED = {
    "format": 1,
    "dataset": "mmpsy",
    "config": "released",
    "version": "1.0.0",
    "synthetic": False,
    "source": "/home/somebody/secret_folder",
    "source_sha256": "ab" * 32,
    "labels": ["phq9", "gad7"],
    "modalities": {
        "audio": {"kind": "frames", "shape": [80, 1800], "time_axis": 1},
        "text": {"kind": "features", "shape": [175, 768], "time_axis": 0},
    },
    "window_seconds": 60.0,
    "participants": {"train": 700, "validation": 100, "test": 200},
    "skipped": [{"participant": "someone", "reason": "np_data/someone/mel-spectrogram/0.npy: is empty"}],
    "duplicates": {"windows": {"shared": 3, "across_splits": 1}, "transcripts": {"shared": 2, "across_splits": 0}},
    "options": {"dtype": "float32", "include_text": False},
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A real build of a small demo corpus."""
    folder = tmp_path_factory.mktemp("card")
    return cli.build(
        "mmpsy/demo", data_dir=folder, participants=40, workers=0, audio_shape=(16, 120), text_shape=(24, 32)
    )


@pytest.fixture
def folder(tmp_path):
    """A version folder with shards that nobody reads."""
    for split in ("train", "validation", "test"):
        (tmp_path / f"mmpsy-{split}.array_record-00000-of-00001").write_bytes(split.encode())
    return tmp_path


def write(folder, corpus):
    card.write_card(folder, corpus, card.about(corpus))


def changed(**changes):
    return {**copy.deepcopy(RELEASED), **changes}


def issues(path):
    """What mlcroissant has to say about a file; it raises for errors."""
    metadata = mlc.Dataset(jsonld=path).metadata
    assert not metadata.ctx.issues.errors
    return metadata


# ------------------------------------------------------------------------------------------------------- real build


@pytest.mark.parametrize(
    ("name", "build", "said"),
    [
        (
            "daily_mood/demo_by_time",
            lambda *given: cli.build(*given, participants=6, days=6),
            ("One made-up day of a person.", "Yes, by time within each person", "| dams9 | new person | 0."),
        ),
        (
            "hotline/demo",
            lambda *given: cli.build(*given, participants=9, seconds=(0.1, 0.2)),
            ("One made-up turn of a caller.", "Yes: records with the same `caller` belong together.", "waveform"),
        ),
    ],
)
def test_corpora_of_other_builders_are_described_too(name, build, said, tmp_path):
    folder = build(name, tmp_path)
    metadata = issues(folder / "croissant.json")
    assert "synthetic" in metadata.keywords and "corpus.json" in {entry.name for entry in metadata.file_objects}
    text = (folder / "README.md").read_text() + (folder / "DATASHEET.md").read_text()
    assert "SYNTHETIC" in text and "interview" not in text.replace("clinical interviews", "").lower()
    assert not [part for part in said if part not in text]


def test_croissant_of_a_build_validates_and_its_splits_can_be_read(built):
    corpus = json.loads((built / "corpus.json").read_text())
    metadata = issues(built / "croissant.json")
    assert {record_set.name for record_set in metadata.record_sets} == {"splits", "participants"}
    records = list(mlc.Dataset(jsonld=built / "croissant.json").records("splits"))
    read = {row["splits/name"]: row["splits/participants"] for row in records}
    assert {str(name, "utf-8") if isinstance(name, bytes) else name: n for name, n in read.items()} == {
        **corpus["participants"]
    }


def test_every_shard_is_listed_with_its_digest(built):
    listed = {entry.name: entry for entry in issues(built / "croissant.json").file_objects}
    shards = [path for path in built.iterdir() if ".array_record" in path.name]
    assert len(shards) >= 3
    for path in shards:
        assert listed[path.name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert listed[path.name].content_size == f"{path.stat().st_size} B"
    assert listed["corpus.json"].sha256 == hashlib.sha256((built / "corpus.json").read_bytes()).hexdigest()


def test_card_of_the_demo_says_that_it_is_synthetic(built):
    text = (built / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "apache-2.0" and "synthetic" in header["tags"]
    assert "No person stands behind these records" in text
    assert "Best possible results" in text and "| phq9 | both |" in text
    assert "ShuyeIT" not in text
    assert "Apache-2.0" in str(issues(built / "croissant.json").license)


# --------------------------------------------------------------------------------------------------- released corpus


def test_card_of_the_release(folder):
    write(folder, RELEASED)
    text = (folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header == {
        "pretty_name": "mmpsy/released 1.0.0",
        "license": "mit",
        "language": ["zh"],
        "size_categories": ["1K<n<10K"],
        "tags": ["speech", "interviews", "phq-9", "gad-7", "tfds"],
    }
    assert "Copyright (c) 2024 ShuyeIT" in text and "shall be included in all copies" in text
    assert "@misc{qin2024mentalperceiver" in text
    assert "not a diagnostic device" in text
    assert "| `audio` | float32 [W, 80, 1800] |" in text
    assert "Participants left out because their files are missing or damaged: 1." in text
    assert "Left out: `someone`: np_data/someone/mel-spectrogram/0.npy: is empty" in text
    assert "Identical windows of different participants: 3, of these in different splits: 1." in text
    assert "secret_folder" not in text + (folder / "croissant.json").read_text()
    assert "clear text" not in text


def test_datasheet_has_the_seven_sections_and_blanks_for_people(folder):
    write(folder, RELEASED)
    text = (folder / "DATASHEET.md").read_text()
    sections = ["Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance"]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == sections
    assert "**How many are there?** 1,000 participants: 700 in train, 100 in validation, 200 in test." in text
    assert "**Who paid for it?** *To be filled in by a person.*" in text
    assert "3 identical windows of different participants (1 across splits)" in text
    assert "1 participants were left out" in text and "someone" not in text and "secret_folder" not in text
    assert "Under which licence?** MIT;" in text and "not a diagnostic device" in text and "SYNTHETIC" not in text


def test_datasheet_of_the_demo_says_that_it_is_synthetic(built):
    text = (built / "DATASHEET.md").read_text()
    assert "**SYNTHETIC.**" in text and "Under which licence?** Apache-2.0;" in text
    assert "**Did people know, and did they consent?** Does not apply: synthetic." in text
    assert "40 participants" in text and text.count("To be filled in") < 10


def test_croissant_of_the_release(folder):
    write(folder, RELEASED)
    metadata = issues(folder / "croissant.json")
    assert metadata.name == "mmpsy_released" and metadata.version == "1.0.0"
    assert "MIT" in str(metadata.license)
    assert any("minors" in text.lower() for text in metadata.personal_sensitive_information)
    assert metadata.data_limitations and metadata.data_biases and metadata.data_social_impact
    fields = {field.name: field for record_set in metadata.record_sets for field in record_set.fields}
    assert fields["audio"].array_shape_tuple == (-1, 80, 1800)
    assert [str(kind) for kind in fields["audio"].data_types] == [str(mlc.DataType.FLOAT32)]
    assert [str(kind) for kind in fields["has_text"].data_types] == [str(mlc.DataType.BOOL)]


def test_opted_in_transcripts_are_pointed_out(folder):
    write(folder, changed(options={"dtype": "float16", "include_text": True}))
    assert "hold transcripts in clear text" in (folder / "README.md").read_text()
    assert "Transcripts of minors in clear text" in issues(folder / "croissant.json").personal_sensitive_information


def test_ids_are_not_sold_as_anonymous(folder):
    text = {"kind": "ids", "shape": [175, 4], "time_axis": 0, "vocabulary": 65536}
    write(folder, changed(config="transcripts", modalities={"text": text}, window_seconds=43.75))
    written = (folder / "README.md").read_text()
    assert "`text` is no secret" in written and "ids below 65,536" in written
    assert "has_audio" not in written
    fields = {field.name: field for field in issues(folder / "croissant.json").record_sets[-1].fields}
    assert [str(kind) for kind in fields["text"].data_types] == [str(mlc.DataType.INT32)]


def test_same_corpus_gives_the_same_bytes(folder):
    write(folder, RELEASED)
    names = ("README.md", "DATASHEET.md", "croissant.json")
    first = [(folder / name).read_bytes() for name in names]
    write(folder, RELEASED)  # the second time all files are there and must not list themselves
    assert [(folder / name).read_bytes() for name in names] == first


@pytest.mark.parametrize("damage", ["sha256", "contentUrl", "encodingFormat"])
def test_validation_can_fail(folder, damage):
    write(folder, RELEASED)
    document = json.loads((folder / "croissant.json").read_text())
    del document["distribution"][0][damage]
    (folder / "croissant.json").write_text(json.dumps(document))
    with pytest.raises(mlc.ValidationError):
        issues(folder / "croissant.json")


def test_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match="no ArrayRecord shards"):
        write(tmp_path, RELEASED)
