"""The layout that docs/corpora.md shows, taken from there: a file, and every command takes it."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from data_builders.common import cli
from data_builders.interviews import layouts
from data_builders.interviews import source as source_lib
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError

DOCUMENT = Path(__file__).parents[2] / "docs/corpora.md"
LAYOUT = re.search(r"## A layout of your own\n.*?```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """The layout, as if its file lay beside the others, and a synthetic tree in it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "clinic.py").write_text(LAYOUT)
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path / "code")])
    configs = {**source_lib.CORPUS.configs, "clinic": source_lib.config_of_layout("clinic")}
    monkeypatch.setattr(source_lib, "CORPUS", dataclasses.replace(source_lib.CORPUS, configs=configs))
    return layouts.synthesize("clinic", tmp_path / "tree", participants=6)


def test_a_layout_of_ones_own_is_a_file(clinic, tmp_path):
    assert len(LAYOUT.splitlines()) <= 60 and "clinic" in layouts.names()
    assert cli.check(clinic, "interviews/clinic")["problems"] == []
    shutil.rmtree(clinic / "p3_1")
    assert cli.check(clinic, "interviews/clinic")["problems"] == [
        "p3_1: its folder is missing, or holds nothing to read"
    ]
    options = {"source": clinic, "data_dir": tmp_path / "data", "workers": 0}
    with pytest.raises(InputError, match=r"1 of 12 participants cannot be read, the first is p3_1 \(its folder is"):
        cli.build("interviews/clinic", **options)
    corpus = open_corpus(cli.build("interviews/clinic", skip_bad=True, **options))
    assert len(corpus) == 11 and [one["participant"] for one in corpus.card["skipped"]] == ["p3_1"]
    split_of = dict(zip(corpus.participants, corpus.split, strict=True))
    assert len({split_of[name] for name in ("p0_1", "p0_2", "p1_1", "p1_2")}) == 1  # a family
    assert corpus.card["synthetic"] and corpus.card["cluster"] == "cluster" and corpus.card["config"] == "clinic"
    (one,) = layouts.read("clinic", clinic / "p2_1", scored=False).entries
    assert (one.participant, one.labels) == ("p2_1", {}) and "how are you" not in one.words().text
