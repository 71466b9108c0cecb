"""What was typed or written under an earlier name is still read."""

import dataclasses
import json
from pathlib import Path

import pytest

from mmpsy_jax.commands.train import _without_config
from mmpsy_jax.data.records import _card
from mmpsy_jax.features import manifest
from mmpsy_jax.io import InputError
from mmpsy_jax.training import config


def test_fields_on_a_command_line():
    typed = ["--config.data.groups=2", "--config.evaluation.groups", "a.csv", "--config.data.groups_of_mine=1"]
    assert _without_config(["--config=x.py", *typed]) == [
        "--config.data.packs=2",
        "--config.evaluation.subgroups",
        "a.csv",
        "--config.data.groups_of_mine=1",
    ]


def test_every_new_name_is_a_field():
    fields = config.flatten(config.jsonable(config.default()))
    assert set(config.RENAMED.values()) <= fields.keys() and not set(config.RENAMED) & fields.keys()


def test_fields_of_a_saved_config(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"groups": 4, "exchange": "audio"}, "tasks": []}))
    (tmp_path / "predictions.csv").touch()
    saved = config.saved_fields(tmp_path)
    assert saved["data.packs"] == 4 and saved["data.permute_modality"] == "audio" and "data.groups" not in saved


def test_columns_of_a_manifest(tmp_path: Path):
    rows = "participant,text,label:phq9,{}:sex\na,hello there,3,f\nb,good day,5,\n"
    read = {}
    for name in ("group", "subgroup"):
        (tmp_path / "people.csv").write_text(rows.format(name))
        read[name] = manifest.read(tmp_path / "people.csv")
    (note,) = read["group"].notes
    assert note.endswith("columns are read under their documented names: group:sex as subgroup:sex")
    assert dataclasses.replace(read["group"], notes=()) == read["subgroup"] and read["group"].subgroups == ("sex",)
    assert [dict(entry.subgroups) for entry in read["group"].entries] == [{"sex": "f"}, {"sex": ""}]
    (tmp_path / "people.csv").write_text("participant,text,group:sex,subgroup:sex\na,hello there,f,m\n")
    with pytest.raises(InputError, match="the header repeats subgroup:sex: keep one column of each name"):
        manifest.read(tmp_path / "people.csv")


def test_entries_of_a_card(tmp_path: Path):
    card = {"format": 1, "labels": ["a"], "modalities": {"m": {}}, "participants": {"train": 1}, "window_seconds": 1.0}
    (tmp_path / "corpus.json").write_text(json.dumps(card | {"group": "caller", "within_groups": True}))
    read = _card(tmp_path)
    assert read["cluster"] == "caller" and read["within_clusters"] is True
