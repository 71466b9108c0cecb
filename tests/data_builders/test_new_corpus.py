"""A new corpus of one CSV: a folder with a `Source` and a TFDS class, at most 60 lines, and everything serves it."""

import json

import numpy as np
import pytest

import data_builders
from data_builders.common import source as source_lib
from launch import main
from mmpsy_jax.data.records import open_corpus

SOURCE = '''"""Steps of people on a day, from one CSV: person, label:stress, steps (24 numbers with spaces between)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Source
from mmpsy_jax.io import InputError, number, read_table


class StepSource(Source):
    """A record is one person."""

    labels = ("stress",)
    modalities = {"steps": {"kind": "features", "shape": [24, 1], "time_axis": 0}}
    window_seconds = 86_400.0
    may_rank = True

    def __init__(self, path: str | Path):
        self.path = Path(path)
        table = read_table(self.path, ("person", "label:stress", "steps"))
        self._rows = {row["person"]: (line, row) for line, row in table.rows}
        self.participants = tuple(self._rows)

    def scores(self, participant: str) -> Mapping[str, float | None]:
        line, row = self._rows[participant]
        return {"stress": number(f"{self.path}: line {line}", "label:stress", row["label:stress"], 0.0)}

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        line, row = self._rows[participant]
        steps = [number(f"{self.path}: line {line}", "steps", cell, 0.0) for cell in row["steps"].split()]
        if not 0 < len(steps) <= 24:
            raise InputError(f"{self.path}: line {line}: steps must be 1 to 24 numbers: mend the cell")
        notes = ["fewer than 24 hours"] if len(steps) < 24 else []
        return self.one_window({"steps": np.array(steps)[:, None]}), notes


CORPUS = Corpus(
    name="steps",
    versions={"1.0.0": "First layout."},
    configs={"table": Config("Steps by hour.", StepSource, needs="a CSV of person, label:stress and steps")},
)
'''
BUILDER = '''from data_builders.common import builder
from data_builders.steps import source


class Builder(builder.Builder):
    """Steps of people on a day."""

    corpus = source.CORPUS
'''


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The corpus beside those of the house, and a table of it with one bad row. SYNTHETIC."""
    assert len((SOURCE + BUILDER).splitlines()) <= 60
    folder = tmp_path / "code" / "steps"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("source", SOURCE), ("steps_dataset_builder", BUILDER)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(data_builders, "__path__", [*data_builders.__path__, str(folder.parent)])
    hours = " ".join(map(str, range(24)))
    rows = [f"p{i},{i % 4},{hours if i else '5 6'}" for i in range(12)]
    (tmp_path / "t.csv").write_text("person,label:stress,steps\n" + "\n".join([*rows, "bad,1,"]) + "\n")
    return tmp_path / "t.csv"


def test_a_corpus_of_one_csv_is_checked_built_opened_and_described(table, tmp_path, capsys):
    assert "steps" in source_lib.corpora() and source_lib.load("steps").datasets == ["steps/table"]
    arguments = ["--dataset=steps/table", f"--source={table}"]
    assert main(["check", *arguments, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert len(report["problems"]) == 1 and "line 14: steps must be 1 to 24 numbers" in report["problems"][0]
    assert any("p0: fewer than 24 hours" in note for note in report["notes"])
    data_dir = f"--data_dir={tmp_path / 'data'}"
    assert main(["build", *arguments, data_dir]) == 2 and "line 14: steps must" in capsys.readouterr().err
    options = ["--skip_bad", "--hash_ids", "--ranges=stress:0:3", "--workers=0"]
    assert main(["build", *arguments, data_dir, *options]) == 3
    assert "left out 1, notes 1" in capsys.readouterr().err
    corpus = open_corpus(tmp_path / "data")
    assert len(corpus) == 11 + 1 and corpus.modalities["steps"].shape == (24, 1) and corpus.ranges["stress"].high == 3
    assert not {"bad", "p0"} & {*corpus.participants}
    whole = [i for i in range(len(corpus)) if corpus.read(i)["steps_length"][0] == 24]
    np.testing.assert_array_equal(corpus.read(whole[0])["steps"].ravel(), np.arange(24))
    texts = [(corpus.path / name).read_text() for name in ("README.md", "DATASHEET.md")]
    assert "| `steps` | windows of 24 x 1, features |" in texts[0] and "## Composition" in texts[1]
    assert json.loads((corpus.path / "croissant.json").read_text())["name"] == "steps_table"
    assert main(["build", *arguments, data_dir, "--include_text"]) == 2
    assert main(["build", *arguments, data_dir, "--window_seconds=2"]) == 2
    assert "steps/table does not take window_seconds: leave it out" in capsys.readouterr().err
