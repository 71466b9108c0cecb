"""Two who speak: the participant alone in the record, the interviewer beside where asked for, what predict makes."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from configs import interviews as interviews_config
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.features.interview import Speech, extractor_of
from mmpsy_jax.features.session import Reading
from mmpsy_jax.inference import interviews
from mmpsy_jax.inference.inputs import record_of
from mmpsy_jax.io import InputError
from mmpsy_jax.training import batches, covariates

RATE = 8000
SETTINGS = {
    "audio": {
        "sample_rate": RATE,
        "n_fft": 256,
        "hop": 80,
        "bands": 8,
        "window_seconds": 3.0,
        "overlap_seconds": 0.5,
    },
    "text": {"positions": 20},
}
SPLITS = ("train", "train", "validation", "test", "test")


def two_voices(seconds, seed=0):
    """A deep voice for two seconds, a high one for two, and so on."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = np.where(time % 4 < 2, 200.0, 3000.0)
    return 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * np.random.default_rng(seed).standard_normal(len(time))


def write(folder, speaker="pat"):
    """Five SYNTHETIC interviews: somebody deep asks, somebody high answers."""
    rows = ["participant,recording,transcript,speaker,label:phq9,split"]
    for n, split in enumerate(SPLITS):
        soundfile.write(folder / f"p{n}.wav", two_voices(20, n), RATE)
        turns = ["start_time,stop_time,speaker,value"]
        for k in range(5):
            turns += [f"{4 * k},{4 * k + 2},Anna,question {k}", f"{4 * k + 2},{4 * k + 4},Pat,answer {k} of a person"]
        (folder / f"p{n}.csv").write_text("\n".join(turns) + "\n")
        rows.append(f"p{n},p{n}.wav,p{n}.csv,{speaker},{n},{split}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    (folder / "s.json").write_text(json.dumps(SETTINGS))
    return folder / "m.csv"


def build(manifest, data_dir, **options):
    options = {"source": manifest, "settings": manifest.parent / "s.json", "workers": 0, **options}
    return open_corpus(cli.build("interviews/lab", data_dir, **options))


def bands(record, modality):
    return record[modality][record[f"{modality}_length"] > 0].astype(np.float64).mean(axis=(0, 2))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speakers")
    return build(write(folder), folder / "data", interviewer="text,audio"), folder


def test_each_side_is_in_its_own_modalities_alone(both):
    corpus, _ = both
    names = ("interviewer_audio", "interviewer_text")
    assert [corpus.card["modalities"][name].get("role") for name in ("audio", "text", *names)] == [
        None,
        None,
        "interviewer",
        "interviewer",
    ]
    for name in names:
        alike = dict(corpus.card["modalities"][name])
        assert alike.pop("role") and alike == corpus.card["modalities"][name.removeprefix("interviewer_")]
    assert corpus.columns["n_turns"].tolist() == [5] * 5 and corpus.columns["n_answers"].tolist() == [5] * 5
    assert corpus.columns["n_interviewer_characters"].tolist() == [5 * len("question 0")] * 5
    np.testing.assert_allclose(corpus.columns["duration_s"], 10.0, atol=0.05)
    record = corpus.read(0)
    assert bands(record, "audio").argmax() > 3 and bands(record, "interviewer_audio").argmax() == 0
    ours, theirs = (record[f"{name}_length"] > 0 for name in ("text", "interviewer_text"))
    assert ours[0] and theirs[0] and (ours | theirs).all() and (np.diff(record["window_start_s"]) >= 0).all()
    # windows of 2.5 s of the answers, which lie in seconds 2 to 4, 6 to 8, ...
    starts = record["window_start_s"][record["audio_length"] > 0]
    np.testing.assert_allclose(starts, [2, 6.5, 11, 15.5], atol=1e-5)


def test_networks_read_the_interviewer_only_by_name(both):
    corpus, _ = both
    config = interviews_config.get_config("phq9>=10")
    assert batches.names_of(config, corpus) == ("audio", "text")
    with config.unlocked():
        config.data.modalities = ("interviewer_text", "text")
    assert batches.names_of(config, corpus) == ("text", "interviewer_text")


def test_without_the_interviewer_the_participant_is_the_same(both, tmp_path):
    corpus, folder = both
    alone = build(folder / "m.csv", tmp_path)
    assert list(alone.modalities) == ["audio", "text"]
    for i in range(len(corpus)):
        with_, without = corpus.read(i), alone.read(i)
        count = len(without["window_start_s"])  # the first windows, so that `data.max_windows` means the same
        for name in ("audio", "text", "text_length", "audio_length", "window_start_s"):
            np.testing.assert_array_equal(with_[name][:count], without[name])
            assert name == "window_start_s" or not with_[name][count:].any()
    with pytest.raises(InputError, match="interviewer=audio, but nobody has that"):
        (tmp_path / "m.csv").write_text("participant,text,label:phq9\np,words,1\n")
        cli.build("interviews/words", tmp_path, source=tmp_path / "m.csv", interviewer="audio")
    (tmp_path / "m.csv").write_text("participant,text,label:phq9\n" + "".join(f"p{n},a,1\n" for n in range(9)))
    with pytest.raises(InputError, match=r"nobody has interviewer_text: no transcript .* leave --interviewer out"):
        cli.build("interviews/words", tmp_path, source=tmp_path / "m.csv", interviewer="text")
    with pytest.raises(InputError, match="modality of the interviewer 'video'"):
        cli.build("interviews/words", tmp_path, source=tmp_path / "m.csv", interviewer="video")


def test_predict_makes_the_same_bits(both):
    corpus, folder = both
    extractors = {name: extractor_of(name, entry) for name, entry in corpus.card["modalities"].items()}
    found, failures = interviews.find(folder / "m.csv")
    assert not failures and len(found) == 5
    for one in found:
        record = corpus.read(corpus.participants.index(one.participant))
        for name, value in record_of(one, corpus.modalities, extractors).items():
            value = np.asarray(value)
            assert value.tobytes() == np.asarray(record[name], value.dtype).tobytes(), name


def test_what_is_left_out_stands_in_the_card_and_is_left_out_of_new_people_too(tmp_path):
    path = write(tmp_path, speaker="")
    (tmp_path / "phrases.txt").write_text("Question 3\n")
    (tmp_path / "times.csv").write_text("participant,start,end\np0,2,4\n")
    omit = f"{tmp_path / 'phrases.txt'},{tmp_path / 'times.csv'}"
    corpus = build(path, tmp_path / "data", speaker="PAT", omit=omit)
    assert corpus.card["reading"] == {"speaker": "PAT", "omit": {"phrases": ["question 3"]}}
    answer = len("answer 3 of a person")
    assert corpus.card["omitted"] == {
        "seconds": 12.0,
        "of_seconds": pytest.approx(50, abs=0.1),
        "characters": 6 * answer,
        "of_characters": 25 * answer,
    }
    assert corpus.columns["n_turns"].tolist() == [3, 4, 4, 4, 4] and "p0" not in json.dumps(corpus.card["options"])
    assert "12.0 of 50" in (corpus.path / "README.md").read_text()
    reading = Reading.of_card(corpus.card["reading"])
    found, _ = interviews.find(path, reading=reading)
    assert [one.transcript.characters for one in found] == [
        4 * answer
    ] * 5  # times are of one participant of the corpus
    extractors = {name: extractor_of(name, entry) for name, entry in corpus.card["modalities"].items()}
    ours, record = record_of(found[1], corpus.modalities, extractors), corpus.read(1)
    for name in ("audio", "text", "window_start_s"):
        np.testing.assert_array_equal(ours[name], record[name])
    texts = covariates.transcripts(interviews_config.get_config("phq9>=10"), corpus)
    assert texts["p0"].count("answer") == 3 and texts["p1"].count("answer") == 4
    (tmp_path / "times.csv").write_text("participant,start,end\nnobody,2,4\n")
    with pytest.raises(InputError, match="--omit: 1 of 1 participants are unknown"):
        build(path, tmp_path / "other", speaker="PAT", omit=omit)


def test_names_of_all_transcripts_are_one_problem(tmp_path):
    path = write(tmp_path, speaker="")
    (problem,) = cli.check(path)["problems"]
    assert "p0.csv and 4 more: none of its 2 speakers is called 'participant'" in problem
    assert problem.endswith("turns of each: Anna (25), Pat (25)")
    assert cli.check(path, speaker="pat")["problems"] == []
    with pytest.raises(InputError, match=r"p0\.csv: none of its 2 speakers .* Anna \(5\), Pat \(5\)"):
        build(path, tmp_path / "data")


def test_a_run_on_the_interviewer_alone_reads_nobody_else(both, tmp_path):
    corpus, folder = both
    only = {"interviewer_text": corpus.modalities["interviewer_text"]}
    extractors = {name: extractor_of(name, corpus.card["modalities"][name]) for name in only}
    one = interviews.find(folder / "m.csv")[0][0]
    record = record_of(one, only, extractors)
    assert record["interviewer_text_length"].sum() == len(one.interviewer.transcript.text) and "text" not in record
    silent = dataclasses.replace(one, interviewer=Speech())
    with pytest.raises(InputError, match=r"holds nothing of what is read \(interviewer_text\)"):
        record_of(silent, only, extractors)
