"""Transcripts as embeddings: made once, built into records, and made again when predicting."""

import dataclasses
import json
import types

import numpy as np
import pytest
import soundfile

import launch
from data_builders.mmpsy import cli
from mmpsy_jax import encoders
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.encoders import processors
from mmpsy_jax.encoders.encode import encode
from mmpsy_jax.encoders.text import token_embeddings
from mmpsy_jax.errors import InputError
from mmpsy_jax.features import embeddings
from mmpsy_jax.inference import embed, interviews
from mmpsy_jax.inference.predict import extractors_for, record_of
from tests.features.test_mel import speech_like
from tests.hugging_face import GOLDEN, write_bert, write_hubert

SETTINGS = {"sample_rate": 8000, "n_fft": 256, "hop": 80, "bands": 8, "window_seconds": 1.0, "overlap_seconds": 0.0}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Four SYNTHETIC interviews: with sound and words, and with words alone."""
    folder = tmp_path_factory.mktemp("lab")
    rows = ["participant,recording,text,label:phq9,split"]
    for number, split in enumerate(("train", "train", "validation", "test"), 1):
        soundfile.write(folder / f"p{number}.wav", speech_like(2.5, 8000, number), 8000)
        recording = f"p{number}.wav" if number % 2 else ""
        rows.append(f"p{number},{recording},{'a b c d e f g h ' * number},{number},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def embedded(manifest, bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    arguments = [f"--input={manifest}", f"--encoder={bert}", f"--output={folder}", "--whole", "--dtype=float32"]
    assert launch.main(["embed", *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def built(manifest, embedded, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    text = {"name": "token_embeddings", "folder": str(embedded), "positions": 12}
    (data / "settings.json").write_text(json.dumps({"audio": SETTINGS, "text": text}))
    return cli.build("interviews/lab", data, source=manifest, settings=data / "settings.json", workers=0)


def run_of(corpus, **changes):
    """What `predict` needs to know of a run on a corpus."""
    card = {**corpus.card["modalities"], "text": {**corpus.card["modalities"]["text"], **changes}}
    return types.SimpleNamespace(modalities=corpus.modalities, card={"modalities": card})


def test_every_token_is_in_the_records_once_and_in_its_window(built, manifest, bert):
    corpus = open_corpus(built)
    assert corpus.modalities["text"].shape == (12, 16) and corpus.modalities["text"].dtype == np.float32
    texts = [one.transcript.text for one in interviews.find(manifest)[0]]
    wanted = token_embeddings(encoders.load(bert), processors.tokenizer(bert), texts, whole=True)
    for i, (states, characters) in enumerate(wanted):
        record = corpus.read(i)
        lengths = record["text_length"]
        assert lengths.sum() == len(states) == 8 * (i + 1) + 2
        tokens = np.concatenate([window[:n] for window, n in zip(record["text"], lengths, strict=True)])
        np.testing.assert_array_equal(tokens, states)
        if corpus.has["audio"][i]:
            starts, seconds = np.repeat(record["window_start_s"], lengths), record["duration_s"]
            spoken = (characters + 0.5) * seconds / len(texts[i])
            assert (starts <= spoken + 1e-6).all() and (spoken < starts + 1.0).all()
    card = (built / "README.md").read_text()
    assert "token embeddings can be turned back" in card and "hashes" not in card


def test_predicting_embeds_again_and_gets_the_same_bits(built, manifest, bert, tmp_path):
    corpus = open_corpus(built)
    found, _ = interviews.find(manifest)
    run = run_of(corpus)
    extractors = extractors_for(run, ("audio", "text"), found, manifest, (), tmp_path)
    for i, one in enumerate(found):
        ours, record = record_of(one, corpus.modalities, extractors), corpus.read(i)
        np.testing.assert_array_equal(ours["text"], record["text"])
        np.testing.assert_array_equal(ours["text_length"], record["text_length"])
    moved = run_of(corpus, encoder={**corpus.card["modalities"]["text"]["encoder"], "encoder": "/nowhere"})
    with pytest.raises(InputError, match="not in /nowhere: give its folder as --encoder"):
        extractors_for(moved, ("text",), found, manifest, (), tmp_path / "moved")
    assert extractors_for(moved, ("text",), found, manifest, [GOLDEN / "roberta", bert], tmp_path / "given")[
        "text"
    ].shape == (12, 16)


def test_a_run_on_released_embeddings_reads_transcripts_with_their_encoder(built, manifest, bert, tmp_path):
    corpus = open_corpus(built)
    released = {"kind": "features", "shape": [12, 16], "time_axis": 0}
    run = types.SimpleNamespace(modalities=corpus.modalities, card={"modalities": {"text": released}})
    found, _ = interviews.find(manifest)
    with pytest.raises(InputError, match="give its folder as --encoder"):
        extractors_for(run, ("text",), found, manifest, (), tmp_path)
    extractor = extractors_for(run, ("text",), found, manifest, [bert], tmp_path)["text"]
    assert extractor.settings.placement == "corpus" and not extractor.info["whole"]
    assert record_of(found[3], corpus.modalities, {"text": extractor})["text_length"].sum() == 24  # its positions


def test_nothing_is_embedded_twice_or_mixed(embedded, manifest, bert, capsys):
    files = {path: path.stat().st_mtime_ns for path in embedded.rglob("*.npz")}
    lost = next(iter(files))
    lost.unlink()
    embed.embed(manifest, bert, embedded, whole=True, dtype="float32")
    assert "embedded 4/4 transcripts" in capsys.readouterr().err
    again = {path: path.stat().st_mtime_ns for path in embedded.rglob("*.npz")}
    assert again.keys() == files.keys() and [p for p in files if again[p] != files[p]] == [lost]
    with pytest.raises(InputError, match="differ in whole, dtype: give another folder"):
        embed.embed(manifest, bert, embedded)


def test_what_cannot_be_is_refused(embedded, manifest, bert, tmp_path):
    with pytest.raises(InputError, match="no folder of embeddings"):
        embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(tmp_path)))
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(embedded)))
    one = interviews.find(manifest)[0][0].transcript
    with pytest.raises(InputError, match="not among those") as error:
        extractor.positions(dataclasses.replace(one, answers=("secret words",)))
    assert "secret" not in str(error.value)
    (tmp_path / "only.wav").write_bytes(b"")
    with pytest.raises(InputError, match="the interviews have no transcripts"):
        embed.embed(tmp_path, bert, tmp_path / "out")
    with pytest.raises(InputError, match="whisper has no feature extractor"):
        embed.embed(manifest, GOLDEN / "whisper", tmp_path / "out")
    with pytest.raises(InputError, match="embeddings of text, needed are those of audio"):
        embeddings.SpeechEmbeddings(embeddings.SpeechSettings(folder=str(embedded)))


def test_a_damaged_file_is_named(embedded, manifest, tmp_path):
    for path in embedded.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(embedded)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes()[: 200 if path.suffix == ".npz" else None])
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(tmp_path)))
    with pytest.raises(InputError, match=r"\.npz: damaged .* run embed again"):
        extractor.positions(interviews.find(manifest)[0][0].transcript)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    return write_hubert(tmp_path_factory.mktemp("hubert"))


def test_recordings_become_embeddings_whose_time_does_not_drift(hubert, monkeypatch):
    monkeypatch.setattr(embed, "PIECE_SECONDS", 0.1)
    network, extractor = encoders.load(hubert), processors.feature_extractor(hubert)
    samples = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)  # pieces of 1,600, 1,600 and 800
    made = embed.hear(samples, network, extractor, None, 7, 1)
    pieces = [
        encode(network, processors.recordings(extractor, [samples[start : start + 1600]]), batch_size=1)[0]
        for start in (0, 1600, 3200)
    ]
    assert embed.frame_rate(network) == 800 and [len(piece) for piece in pieces] == [79, 79, 39]
    frames = np.concatenate([np.concatenate([piece, piece[-1:]]) for piece in pieces])  # 80, 80 and 40
    wanted = [frames[start : start + 7].mean(axis=0) for start in range(0, 200, 7)]
    np.testing.assert_allclose(made, wanted, atol=1e-4)


def test_records_of_embedded_recordings_are_what_predicting_makes(hubert, tmp_path):
    rows = ["participant,recording,label:phq9,split"]
    for number, split in enumerate(("train", "validation", "test")):
        soundfile.write(tmp_path / f"{number}.wav", speech_like(0.25, 16000, number), 16000)
        rows.append(f"p{number},{number}.wav,{number},{split}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    assert not embed.embed(manifest, hubert, tmp_path / "heard", every=8, dtype="float32")
    audio = {"name": "speech_embeddings", "folder": str(tmp_path / "heard"), "window_seconds": 0.1}
    (tmp_path / "settings.json").write_text(json.dumps({"audio": audio}))
    options = {"source": manifest, "settings": tmp_path / "settings.json", "workers": 0}
    corpus = open_corpus(cli.build("interviews/lab", tmp_path / "data", **options))
    assert corpus.modalities["audio"].shape == (10, 16)
    record = corpus.read(0)
    assert record["audio_length"].tolist() == [10, 10, 5] and record["duration_s"] == 0.25
    found, _ = interviews.find(manifest)
    run = types.SimpleNamespace(modalities=corpus.modalities, card={"modalities": corpus.card["modalities"]})
    extractors = extractors_for(run, ("audio",), found, manifest, (), tmp_path / "work")
    for i, one in enumerate(found):
        ours = record_of(one, corpus.modalities, extractors)
        np.testing.assert_array_equal(ours["audio"], corpus.read(i)["audio"])


def test_a_bad_recording_is_listed_and_the_others_go_on(hubert, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "b.wav", speech_like(0.2, 16000), 16000)
    (failure,) = embed.embed(tmp_path, hubert, tmp_path / "out")
    assert failure.what.endswith("a.wav") and failure.reason.startswith("cannot be read as a recording")
    assert len(list((tmp_path / "out" / "items").iterdir())) == 1
