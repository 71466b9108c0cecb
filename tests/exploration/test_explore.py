"""`explore` on built records and on what is not built: files, no id beside a score, no word unasked. SYNTHETIC."""

import csv
import json

import numpy as np
import pandas
import pytest
import soundfile

import mmpsy_jax as mp
from mmpsy_jax.exploration import page, statistics
from tests import manifests, runs
from tests.browser import DESKTOP, PHONE, needs_browser, visit


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 40)


@pytest.fixture
def manifest(tmp_path):
    """Twenty-four people with a recording and a transcript each; two read out the same, one is much louder."""
    rng, time = np.random.default_rng(0), np.arange(16_000 * 2) / 16_000
    rows = manifests.people(24)
    for i, row in enumerate(rows):
        loud = 0.5 if i == 3 else 0.02 * (1 + 0.05 * i)
        sound = loud * np.sin(2 * np.pi * (120 + 3 * i) * time) * (time % 1 < 0.6) + rng.normal(0, 1e-3, len(time))
        soundfile.write(tmp_path / f"{row['participant']}.wav", sound, 16_000)
        row |= {"recording": f"{row['participant']}.wav", "subgroup:site": "north" if i % 2 else "south"}
    rows[8]["text"] = rows[7]["text"]
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "m.csv"


def test_a_manifest_before_it_is_built(manifest, tmp_path, capsys):
    out = tmp_path / "out"
    assert runs.in_process("explore", f"--input={manifest}", f"--output={out}", "--workers=0") == 0
    shown = capsys.readouterr().out
    content = json.loads((out / "explore.json").read_text())
    html = (out / "explore.html").read_text()
    assert (
        content["n"] == 24
        and content["unit"] == "participants"
        and content["groups"]["site"] == {"north": 12, "south": 12}
    )
    assert {"snr_db", "pitch_p50", "words_per_answer", "characters_per_word"} <= set(content["measures"])
    assert content["duplicates"]["transcripts"] == {"groups": 1, "rows": 2, "across_persons": 1, "across_splits": 1}
    assert content["told_apart"][0]["column"] == "site" and content["effects"] and content["odd"]["rows"]
    assert [line for line in shown.splitlines() if len(line) > 100 and str(out) not in line] == []
    odd = pandas.read_csv(out / "look_at.csv")
    assert "p4" in set(odd[odd.measure == "level_db"].participant) and {"p8", "p9"} <= set(
        odd[odd.what == "near-duplicate transcripts"].participant
    )
    everything = html + json.dumps(content) + shown
    for row in manifests.people(24):
        assert f'"{row["participant"]}"' not in everything and f">{row['participant']}<" not in everything
    assert "night" not in everything and "words" not in content
    assert page.render(content) == html


def test_words_are_shown_where_asked_for(manifest):
    content = mp.explore(manifest, include_text=True, workers=0)
    assert 20 <= content["words"][0]["persons"] <= 24 and "lamp" in content._repr_html_()
    assert min(word["persons"] for word in content["words"]) >= 10


def test_built_records(dataset, tmp_path):
    content = mp.explore(dataset, output=tmp_path, cutoffs={"phq9": 5})
    assert content["synthetic"] and set(content["splits"]) == {"train", "validation", "test"}
    assert "SYNTHETIC" in (tmp_path / "explore.html").read_text() and "phq9 >= 5" in repr(content)
    assert "snr_db" not in content["measures"] and content["map"]["features"] > 10


def test_a_source_without_scores_and_with_somebody_who_cannot_be_read(manifest):
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    (manifest.parent / rows[0]["recording"]).write_bytes(b"no sound")
    with manifest.open("w", newline="") as file:
        names = [name for name in rows[0] if not name.startswith("label:")]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(mp.InputError, match=r"p1\.wav"):
        mp.explore(manifest, workers=0)
    content = mp.explore(manifest, workers=0, skip_bad=True)
    assert content["n"] == 23 and content["left_out"] == {"could not be read": 1} and content["scores"] == {}
    assert content["map"]["scores"] == {} and page.render(content)


def test_bad_input_is_one_line(dataset, tmp_path, capsys):
    for arguments, words in (
        ([f"--input={tmp_path / 'nothing'}"], "no such file or folder"),
        ([f"--input={dataset}", "--cutoff=phq9"], "write LABEL:N"),
        ([f"--input={dataset}", "--cutoff=bdi:10"], "label of a cut-off"),
        ([f"--input={dataset}", "--skip_bad"], "--skip_bad"),
        ([f"--input={tmp_path}"], "no table here"),
    ):
        assert runs.in_process("explore", *arguments, f"--output={tmp_path / 'out'}") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error


def test_pooled_corpora_are_told_apart_by_what_is_read(tmp_path):
    """Texts alone: no sound is spoken of, and a corpus of long answers is told apart."""
    rows = manifests.people(20), manifests.people(20, 1, first=31)
    for row in rows[1]:
        row["text"] += " then again" * 9
    places = [manifests.build(tmp_path, name, part) for name, part in zip(("one", "two"), rows, strict=True)]
    content = mp.explore(",".join(map(str, places)))
    (entry,) = content["told_apart"]
    assert entry["column"] == "corpus" and entry["value"] > 0.95 and content["title"] == "pooled/one+two"
    html = page.render(content)
    assert "by corpus" in html and "pitch" not in html and "Levels" not in html and "minutes" not in html


def test_rows_are_called_what_they_are():
    """Clips of people, with classes: the page of a corpus of clips speaks of clips."""
    from test_effects import people

    from mmpsy_jax.exploration import explore

    rng = np.random.default_rng(0)
    emotion = rng.integers(0, 3, 120).astype(float)
    clips = people(rng, 40, 3, scores={"emotion": emotion}, classes={"emotion": ("angry", "calm", "sad")})
    content = explore.explore(clips)
    assert page.count(content) == "small/one: 120 clips of 40 people"
    html = page.render(content)
    assert "Classes of emotion" in html and "by emotion" in html and "participants" not in html.split("<main>")[1]


@needs_browser
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_in_a_browser(dataset, tmp_path, width):
    measured, console, asked = visit(tmp_path, page.render(mp.explore(dataset)), width)
    assert console == [] and asked == set()
    assert measured["scrolls"] == width and measured["out"] == [] and measured["pictures"] > 8
