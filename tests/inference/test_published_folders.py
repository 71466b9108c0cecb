"""A published layout from its (SYNTHETIC) folder to records, a run, and predictions on a new folder of that layout."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from configs import interviews as interviews_config
from data_builders.common import cli
from data_builders.interviews import layouts
from mmpsy_jax.commands import find_published
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.features import kept_entries
from mmpsy_jax.features.interview import extractor_of
from mmpsy_jax.inference import explain, interviews
from mmpsy_jax.inference.inputs import extractors_for, record_of, unread_extractors
from mmpsy_jax.training import covariates, finished_run, run
from mmpsy_jax.training.config import choose_model
from tests.runs import LEAN, in_process

SETTINGS = {
    "audio": {"sample_rate": 8000, "n_fft": 256, "hop": 80, "bands": 8, "window_seconds": 5, "overlap_seconds": 0},
    "text": {"positions": 50},
}


def config_of(built):
    config = interviews_config.get_config("sds>=53,sds<=100")
    with config.unlocked():
        config.data.folder = str(built)
        config.data.modalities = ("audio",)
        config.data.parts = 1
        config.total, config.cv.folds, config.replicas.layout = "1 epochs", 2, "sequence"
        config.evaluation.baselines = config.log.tensorboard = False
        config.evaluation.bootstrap = 20
        choose_model(config, "lf_dnn", **dict.fromkeys(LEAN, 4))
    return config


@pytest.fixture(scope="module")
def eatd(tmp_path_factory):
    """A synthetic tree of EATD, records, and a run on them."""
    folder = tmp_path_factory.mktemp("eatd")
    tree = layouts.synthesize("eatd", folder / "tree", participants=9)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    built = cli.build("interviews/eatd", folder / "data", source=tree, settings=folder / "settings.json", workers=0)
    run.run(config_of(built), built, folder / "run")
    return tree, built, folder / "run"


def rows(path):
    lines = path.read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


def test_records_keep_the_splits_people_and_scores_of_the_layout(eatd):
    tree, built, workdir = eatd
    corpus = open_corpus(built)
    found = {entry.participant: entry for entry in layouts.read("eatd", tree).entries}
    assert (
        set(corpus.participants) == set(found) and corpus.card["synthetic"] and corpus.card["label_dtype"] == "float32"
    )
    for name, split, sds in zip(corpus.participants, corpus.split, corpus.labels["sds"], strict=True):
        assert (split, sds) == (found[name].split, found[name].labels["sds"])
    assert corpus.card["label_ranges"]["sds"] == {"low": 25.0, "high": 100.0, "source": "known"}
    folds = {row["participant_id"]: row["fold"] for row in rows(workdir / "predictions.csv") if row["split"] == "test"}
    assert set(folds) == set(found)  # everybody is tested once


def test_predict_on_one_new_folder_in_the_layout_of_the_run(eatd, tmp_path, capsys):
    tree, _built, workdir = eatd
    shutil.copytree(tree / "t_2", tmp_path / "new" / "t_999")
    for label in tmp_path.rglob("*label.txt"):
        label.unlink()
    (tmp_path / "new" / "v_7").mkdir()
    shutil.copy(tree / "t_2" / "positive.wav", tmp_path / "new" / "v_7")
    whole = [f"--workdir={workdir}", "--modalities=audio"]
    assert in_process("predict", *whole, f"--input={tmp_path / 'new'}", f"--output={tmp_path / 'p.csv'}") == 3
    assert {row["participant_id"] for row in rows(tmp_path / "p.csv")} == {"t_999"}
    assert "left out: v_7: lacks positive.txt, neutral.wav" in capsys.readouterr().err
    # The folder of a person by itself; of a folder in no layout, files are read by their names.
    assert in_process("predict", *whole, f"--input={tree / 't_2'}", f"--output={tmp_path / 'one.csv'}") == 0
    one = rows(tmp_path / "one.csv")
    assert {row["participant_id"] for row in one} == {"t_2"} and {row["split"] for row in one} == {"train"}
    (tmp_path / "plain").mkdir()
    shutil.copy(tree / "t_2" / "neutral.wav", tmp_path / "plain" / "anna.wav")
    assert in_process("predict", *whole, f"--input={tmp_path / 'plain'}", f"--output={tmp_path / 'plain.csv'}") == 0
    assert {row["participant_id"] for row in rows(tmp_path / "plain.csv")} == {"anna"}


def test_a_layout_is_named_where_it_is_not_that_of_the_run(eatd, tmp_path, capsys):
    tree, _built, workdir = eatd
    other = layouts.synthesize("emodb", tmp_path / "emodb", participants=4)
    command = ["predict", f"--workdir={workdir}", "--modalities=audio", f"--output={tmp_path / 'p.csv'}"]
    assert in_process(*command, f"--input={other}", "--layout=emodb") == 0
    assert len({row["participant_id"] for row in rows(tmp_path / "p.csv")}) == 4 * 14
    for layout, reason in (("emo", "layout 'emo'"), ("modma", "nobody is found in the layout of modma")):
        assert in_process(*command, f"--input={other}", f"--layout={layout}") == 2
        assert reason in capsys.readouterr().err
    # Read by names, the recordings of a folder are one person, whoever lies in it.
    assert in_process(*command, f"--input={tree / 't_2'}", "--layout=none") == 3
    assert {row["participant_id"] for row in rows(tmp_path / "p.csv")} > {"positive", "negative"}


def test_explain_and_embed_find_the_same_people(eatd):
    tree, built, workdir = eatd
    one = find_published(str(tree / "t_2"), "", str(workdir))
    corpus, _ = explain.read_one(finished_run.load(workdir), tree / "t_2", None, ("audio",), published=one)
    assert corpus.participants == ("t_2",) and corpus.has["audio"].all()
    assert len(find_published(str(tree), "eatd").entries) == 9  # embed names the layout
    assert find_published(str(tree), "none", str(workdir)) is None and find_published(str(tree), "") is None
    assert find_published(str(built), "", str(workdir)) is None  # records


def assert_same(ours, record):
    for name, value in ours.items():
        value = np.asarray(value)
        assert value.tobytes() == np.asarray(record[name], value.dtype).tobytes(), name


def test_a_folder_in_a_layout_gives_the_bits_of_its_records(eatd):
    tree, built, _workdir = eatd
    published = layouts.read("eatd", tree, scored=False)
    found, failures = interviews.find(tree, published=published)
    assert not failures and [one.participant for one in found] == [entry.participant for entry in published.entries]
    corpus = open_corpus(built)
    extractors = {name: extractor_of(name, corpus.card["modalities"][name]) for name in corpus.modalities}
    for one in found[:3]:
        record = corpus.read(corpus.participants.index(one.participant))
        ours = record_of(one, corpus.modalities, extractors)
        assert len(one.recordings) == 3 and {"audio", "text", "audio_length", "window_start_s"} < ours.keys()
        assert_same(ours, record)
    # A run that reads the words alone sees them in the same windows, which are those of the sound.
    entries = corpus.card["modalities"]
    for unread, asked in (({"audio": entries["audio"]}, None), ({}, ("text",))):
        read = {name: entry for name, entry in entries.items() if name not in unread}
        alone = SimpleNamespace(card={"modalities": read, "unread": unread}, modalities=read)
        of_words = extractors_for(alone, asked, found, tree, (), tree)
        words = record_of(one, corpus.modalities, of_words, unread_extractors(alone, of_words, found))
        assert "audio" not in words and words["text_length"].any() and len(words["window_start_s"]) > 1
        assert_same(words, record)


def test_transcripts_of_a_layout_are_at_hand_for_baselines(eatd):
    tree, built, _workdir = eatd
    corpus = open_corpus(built)
    texts = covariates.transcripts(config_of(built), corpus)
    words = {entry.participant: entry.words().text for entry in layouts.read("eatd", tree).entries}
    assert texts == words and all(words.values())
    kept = kept_entries.path_of(built)
    assert kept.parent == built.parent
    assert {key for one in json.loads(kept.read_text())["entries"] for key in one} == {
        "participant",
        "speaker",
        "channel",
        "omit",
        "parts",
    }
    assert all(entry.labels == {} and entry.split == "" for entry in kept_entries.read(built))
    hidden = cli.build("interviews/eatd", built.parents[3] / "hashed", source=tree, hash_ids=True, workers=0)
    assert not kept_entries.path_of(hidden).exists()
    assert covariates.transcripts(config_of(hidden), open_corpus(hidden)) is None
