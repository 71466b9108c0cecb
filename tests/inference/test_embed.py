"""Transcripts as embeddings: made once, built into records, and made again when predicting."""

import dataclasses
import json
import re
import shutil
import types

import numpy as np
import pytest
import soundfile

import launch
from data_builders.common import cli
from mmpsy_jax import encoders
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.encoders import processors
from mmpsy_jax.encoders.encode import encode
from mmpsy_jax.encoders.text import token_embeddings
from mmpsy_jax.features import embeddings, interview
from mmpsy_jax.inference import embed, interviews
from mmpsy_jax.inference.inputs import extractors_for, find_interviews, record_of
from mmpsy_jax.io import InputError
from mmpsy_jax.training import run_card
from mmpsy_jax.training.config import default
from tests.features.test_mel import speech_like
from tests.hugging_face import GOLDEN, rewrite, write_bert, write_hubert

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


def test_a_finished_run_keeps_the_name_of_its_encoder_and_knows_its_place_from_the_corpus(built, bert, tmp_path):
    corpus, config = open_corpus(built), default()
    card = {**corpus.card, "modalities": run_card.inputs_of(corpus, ["text"])}
    assert str(bert.parent) not in json.dumps(card["modalities"])
    place = lambda: run_card.with_places_of_corpus(config, card)["modalities"]["text"]["encoder"]["encoder"]  # noqa: E731
    config.data.folder = str(built)
    assert place() == str(bert)
    config.data.folder, config.data.data_dir = "", str(built.parents[2])
    assert place() == str(bert)
    config.data.data_dir = str(tmp_path)  # the run was taken elsewhere: --encoder says where
    assert place() == bert.name


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


def copied(folder, target):
    """A copy of a folder of embeddings, and its items."""
    shutil.copytree(folder, target)
    return target, sorted((target / "items").iterdir())


def test_exchanged_files_are_named_by_readers_and_made_again(embedded, manifest, bert, tmp_path, capsys):
    folder, (first, second, *_) = copied(embedded, tmp_path / "copy")
    before = first.read_bytes(), second.read_bytes()
    first.write_bytes(before[1])
    second.write_bytes(before[0])
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(folder)))
    told = 0
    for one in interviews.find(manifest)[0]:
        path = folder / "items" / f"{embeddings.key_of_text(one.transcript.text)}.npz"
        if path in (first, second):
            told += 1
            with pytest.raises(InputError, match="holds the embedding of another transcript: delete it") as error:
                extractor.positions(one.transcript)
            assert path.name in str(error.value)
        else:
            assert len(extractor.positions(one.transcript)[0])
    assert told == 2
    embed.embed(manifest, bert, folder, whole=True, dtype="float32")
    printed = capsys.readouterr().err
    assert printed.count("made again: transcript of p") == 2 and first.name in printed and second.name in printed
    for path in embedded.glob("items/*"):
        with np.load(path) as wanted, np.load(folder / "items" / path.name) as ours:
            np.testing.assert_allclose(ours["states"], wanted["states"], atol=1e-5)


def test_a_file_of_another_folder_is_named(embedded, manifest, bert, tmp_path, capsys):
    embed.embed(manifest, bert, tmp_path / "other", whole=True, dtype="float32", layers=[1])
    folder, (item, *_) = copied(embedded, tmp_path / "copy")
    item.write_bytes((tmp_path / "other" / "items" / item.name).read_bytes())
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(folder)))
    texts = {embeddings.key_of_text(one.transcript.text): one for one in interviews.find(manifest)[0]}
    with pytest.raises(InputError, match=r"in another way, than embeddings\.json says"):
        extractor.positions(texts[item.stem].transcript)


def test_records_of_embeddings_in_float32_are_of_float32(embedded, manifest, bert, tmp_path):
    embed.embed(manifest, bert, tmp_path)
    for folder, kind in ((tmp_path, "float16"), (embedded, "float32")):
        card = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(folder))).card()
        assert interview.dtype_of(card, "float16") == np.dtype(kind)


def test_what_versions_before_this_left_is_read_and_gone_on_with(embedded, manifest, bert, tmp_path, capsys):
    folder, items = copied(embedded, tmp_path / "copy")
    for path in items:
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in ("states", "characters")}
        np.savez(path, **kept)
    items[0].unlink()
    moved = shutil.copytree(bert, tmp_path / "moved")
    embed.embed(manifest, moved, folder, whole=True, dtype="float32")
    assert "made again" not in capsys.readouterr().err and len(list((folder / "items").iterdir())) == 4
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(folder)))
    assert [len(extractor.positions(one.transcript)[0]) for one in interviews.find(manifest)[0]] == [10, 18, 26, 34]


def enlarge(folder, layer_norm, value):
    rewrite(folder, lambda t: t | {layer_norm: np.full(16, value, np.float32)})


BERT_NORM, HUBERT_NORM = "bert.encoder.layer.1.output.LayerNorm.weight", "encoder.layers.1.final_layer_norm.weight"


@pytest.mark.parametrize(("write", "norm"), [(write_bert, BERT_NORM), (write_hubert, HUBERT_NORM)])
def test_nothing_that_is_not_finite_is_stored(write, norm, tmp_path, capsys):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "p1.txt").write_text("a b c secret words\n")
    soundfile.write(tmp_path / "lab" / "p1.wav", speech_like(0.2, 16000), 16000)
    (tmp_path / "encoder").mkdir()
    enlarge(write(tmp_path / "encoder"), norm, 9e4)
    arguments = [f"--input={tmp_path / 'lab'}", f"--encoder={tmp_path / 'encoder'}"]
    assert launch.main(["embed", *arguments, f"--output={tmp_path / 'half'}"]) == 2
    error = capsys.readouterr().err
    assert re.search(r"error: .*p1.*states of (text|audio): up to [1-9]\.?\d*e\+05 do not fit float16", error)
    assert "--dtype=float32" in error and "secret" not in error and not list(tmp_path.glob("half/items/*"))
    assert launch.main(["embed", *arguments, f"--output={tmp_path / 'whole'}", "--dtype=float32"]) == 0
    (path,) = tmp_path.glob("whole/items/*")
    with np.load(path) as arrays:
        assert 1e5 < np.abs(arrays["states"]).max() < 1e6
    enlarge(tmp_path / "encoder", norm, 3e38)
    assert launch.main(["embed", *arguments, f"--output={tmp_path / 'inf'}", "--dtype=float32"]) == 2
    assert "numbers are not finite" in capsys.readouterr().err and not list(tmp_path.glob("inf/items/*"))


def test_stored_numbers_that_are_not_finite_are_not_built(embedded, manifest, tmp_path):
    folder, _ = copied(embedded, tmp_path / "copy")
    transcript = interviews.find(manifest)[0][0].transcript
    path = folder / "items" / f"{embeddings.key_of_text(transcript.text)}.npz"
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays["states"][3, 2] = np.inf
    np.savez(path, **arrays)
    extractor = embeddings.TokenEmbeddings(embeddings.EmbeddingSettings(folder=str(folder)))
    with pytest.raises(InputError, match="holds no finite states of width 16: delete it and run embed again"):
        extractor.positions(transcript)


OPTIONS = {
    "--every=0": "every = 0",
    "--every=-3": "every = -3",
    "--batch_size=0": "batch_size = 0",
    "--channel=-1": "channel is -1",
    "--layers=3": "layers [3]: choose among 0 to 2, or from the end, -1 to -3",
    "--layers=-4": "layers [-4]: choose among 0 to 2",
}


@pytest.mark.parametrize("kind", ["bert", "hubert"])
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_cannot_be_is_one_line(option, kind, manifest, request, tmp_path, capsys):
    folder = request.getfixturevalue(kind)
    arguments = [f"--input={manifest}", f"--encoder={folder}", f"--output={tmp_path / 'out'}", option]
    assert launch.main(["embed", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and OPTIONS[option] in error
    assert not (tmp_path / "out").exists()


def test_the_output_is_tried_before_the_network_is_read(manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        assert launch.main(["embed", f"--input={manifest}", "--encoder=/nowhere", f"--output={place}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(place) in error and "--output" in error


def test_one_channel_is_heard_where_asked(hubert, tmp_path):
    left, right = speech_like(0.2, 16000, 1), speech_like(0.2, 16000, 2)
    (tmp_path / "one").mkdir()
    (tmp_path / "both").mkdir()
    soundfile.write(tmp_path / "one" / "p.wav", right, 16000)
    soundfile.write(tmp_path / "both" / "p.wav", np.stack([left, right], axis=1), 16000)
    states = []
    for name, channel in (("one", 0), ("both", 2), ("both", 0)):
        output = tmp_path / f"{name}{channel}"
        assert not embed.embed(tmp_path / name, hubert, output, dtype="float32", channel=channel)
        (path,) = output.glob("items/*")
        with np.load(path) as arrays:
            states.append(arrays["states"])
    np.testing.assert_allclose(states[1], states[0], atol=1e-4)
    assert np.abs(states[2] - states[0]).max() > 0.01
    with pytest.raises(InputError, match="differ in channel"):
        embed.embed(tmp_path / "both", hubert, tmp_path / "both0", dtype="float32", channel=1)


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
    with pytest.raises(InputError, match=r"\.npz: is damaged .* run embed again"):
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


def test_turns_are_embedded_of_both_sides(hubert, tmp_path):
    rows = ["participant,recording,transcript,label:phq9,split"]
    for number, split in enumerate(("train", "validation", "test")):
        soundfile.write(tmp_path / f"{number}.wav", speech_like(0.6, 16000, number), 16000)
        (tmp_path / f"{number}.csv").write_text("text,start,end,speaker\nhow,0,0.2,E\nfine,0.2,0.35,P\nso,0.5,0.6,P\n")
        rows.append(f"p{number},{number}.wav,{number}.csv,{number},{split}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    more = ["--every=8", "--dtype=float32", "--speaker=P", "--interviewer"]
    assert (
        launch.main(["embed", f"--input={manifest}", f"--encoder={hubert}", f"--output={tmp_path / 'e'}", *more]) == 0
    )
    assert len(list((tmp_path / "e" / "items").iterdir())) == 6
    audio = {"name": "speech_embeddings", "folder": str(tmp_path / "e"), "window_seconds": 0.1}
    (tmp_path / "settings.json").write_text(json.dumps({"audio": audio}))
    options = {"source": manifest, "settings": tmp_path / "settings.json", "workers": 0}
    folder = cli.build("interviews/lab", tmp_path / "data", speaker="P", interviewer="audio", **options)
    corpus = open_corpus(folder)
    record = corpus.read(0)
    assert record["duration_s"] == pytest.approx(0.4, abs=0.05) and record["interviewer_audio_length"].sum() == 20
    run = types.SimpleNamespace(modalities=corpus.modalities, card=corpus.card)
    found, _ = find_interviews(run, manifest)
    extractors = extractors_for(run, None, found, manifest, (), tmp_path / "work")
    for i, one in enumerate(found):
        ours = record_of(one, corpus.modalities, extractors)
        for name in ("audio", "interviewer_audio", "window_start_s"):
            np.testing.assert_array_equal(ours[name], corpus.read(i)[name])


def test_a_bad_recording_is_listed_and_the_others_go_on(hubert, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "b.wav", speech_like(0.2, 16000), 16000)
    (failure,) = embed.embed(tmp_path, hubert, tmp_path / "out")
    assert failure.what.endswith("a.wav") and failure.reason.startswith("cannot be read as a recording")
    assert len(list((tmp_path / "out" / "items").iterdir())) == 1
