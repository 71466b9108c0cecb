"""Records from a manifest: the bits that `predict` makes, resumed without extracting again, errors that name a file."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from configs import interviews as interviews_config
from data_builders.common import cli
from data_builders.interviews import source as source_lib
from mmpsy_jax.commands.builders import dataset_folder
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.subgroups import read_subgroups
from mmpsy_jax.features.interview import extractor_of
from mmpsy_jax.features.mel import LogMel
from mmpsy_jax.inference import interviews
from mmpsy_jax.inference.inputs import record_of
from mmpsy_jax.io import InputError
from tests.data_builders.small_source import entry, write_table
from tests.features.test_mel import speech_like

SETTINGS = {
    "audio": {"sample_rate": 8000, "n_fft": 256, "hop": 80, "bands": 8, "window_seconds": 1.0, "overlap_seconds": 0.25},
    "text": {"positions": 10},
}
SPLITS = ("train",) * 3 + ("validation", "test", "test")


def write_interviews(folder: Path) -> Path:
    """Six SYNTHETIC interviews: two recordings each, or one, or none; the transcript a file, timed words, or none."""
    rows = ["participant,recording,transcript,label:phq9,subgroup:sex,split"]
    for number, split in enumerate(SPLITS, 1):
        name = f"p{number}"
        (folder / name).mkdir(parents=True)
        for k in (1, 2):
            soundfile.write(folder / name / f"wav_{k}.wav", speech_like(0.8, 8000, 10 * number + k), 8000)
        (folder / f"{name}.txt").write_text(f"answer {number} is this\nand {number} is another one", "utf-8")
        rows.append(f"{name},{name},{name}.txt,{'' if number == 2 else number},{'fm'[number % 2]},{split}")
    shutil.rmtree(folder / "p3")
    rows[3] = rows[3].replace(",p3,", ",,")
    rows[4] = rows[4].replace(",p4,p4.txt", ",p4/wav_1.wav,p4.csv")
    (folder / "p4.csv").write_text("word,start,end\none,0,0.5\ntwo,0.6,0.7\n")
    rows[5] = rows[5].replace("p5.txt", "")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_interviews(tmp_path_factory.mktemp("interviews"))


def build(manifest, data_dir, **options):
    options = {"workers": 0, "source": manifest, "settings": manifest.parent / "settings.json", **options}
    return cli.build("interviews/lab", data_dir, **options)


@pytest.fixture(scope="module")
def built(manifest, tmp_path_factory):
    return build(manifest, tmp_path_factory.mktemp("data"))


def test_a_recording_gives_the_bits_of_its_record(manifest, built):
    corpus = open_corpus(built)
    extractors = {name: extractor_of(name, corpus.card["modalities"][name]) for name in corpus.modalities}
    found, failures = interviews.find(manifest)
    assert not failures and [one.participant for one in found] == [f"p{n}" for n in range(1, 7)]
    for one in found:
        record = corpus.read(corpus.participants.index(one.participant))
        ours = record_of(one, corpus.modalities, extractors)
        assert ours.keys() < record.keys() and {"audio", "text", "window_start_s", "audio_length"} < ours.keys()
        for name, value in ours.items():
            value = np.asarray(value)
            assert value.tobytes() == np.asarray(record[name], value.dtype).tobytes(), name
    assert corpus.has["audio"].tolist() == [True, True, False, True, True, True]
    assert corpus.has["text"].tolist() == [True, True, True, True, False, True]


def test_samples_for_speech_encoders_instead_of_log_mel(manifest, tmp_path):
    (tmp_path / "samples.json").write_text(json.dumps({"audio": {"name": "waveform", "window_seconds": 1.0}}))
    corpus = open_corpus(build(manifest, tmp_path / "data", settings=tmp_path / "samples.json"))
    assert corpus.modalities["audio"].dtype == np.int16 and corpus.modalities["audio"].shape == (16000, 1)
    record = corpus.read(0)
    assert record["audio_length"].tolist() == [16000, 9600] and np.abs(record["audio"]).max() > 1000


def test_labels_groups_splits_and_card(manifest, built):
    corpus = open_corpus(built)
    assert corpus.split == SPLITS and corpus.card["labels"] == ["phq9"] and corpus.card["synthetic"] is False
    np.testing.assert_array_equal(corpus.labels["phq9"], [1, np.nan, 3, 4, 5, 6])
    assert corpus.card["modalities"]["audio"]["shape"] == [8, 100] and corpus.card["window_seconds"] == 1.0
    groups = read_subgroups(built / "subgroups.csv")
    assert groups.participant_id.tolist() == [f"p{n}" for n in range(1, 7)]
    assert groups.columns["sex"].tolist() == ["m", "f", "m", "f", "m", "f"]
    card = (built / "README.md").read_text()
    assert "MMPsy" not in card and "pupils" not in card and "whose consent" in card and "hop 80" in card
    croissant = json.loads((built / "croissant.json").read_text())
    assert "license" not in croissant and {"text/csv"} < {file["encodingFormat"] for file in croissant["distribution"]}
    assert build(manifest, built.parents[2]) == built  # it is there already
    config = interviews_config.get_config("phq9>=10")
    with config.unlocked():
        config.data.data_dir = str(built.parents[2])
    left = built.with_name("incomplete.ABCDEF_1.0.0")  # by a build that was killed
    left.mkdir()
    (left / "corpus.json").touch()
    assert dataset_folder(config, main_process=True) == built
    shutil.rmtree(left)
    with pytest.raises(InputError, match="differs in settings"):
        build(manifest, built.parents[2], settings=None)


def test_check_counts_what_a_manifest_names_and_lists_what_a_build_would_refuse(manifest, tmp_path, capsys):
    report = cli.main_check([f"--source={manifest}"])
    assert report["participants"] == {"train": 3, "validation": 1, "test": 2}
    assert (report["recordings"]["files"], report["problems"]) == (9, [])
    assert report["participants_without"] == {"recording": 1, "transcript": 1}
    assert report["labels"] == {"phq9": {"missing": 1, "scores": {"least": 1.0, "median": 4.0, "most": 6.0}}}
    assert report["splits"] == {"train": 3, "validation": 1, "test": 2} and report["subgroups"] == {
        "sex": {"m": 3, "f": 3}
    }
    printed = capsys.readouterr().out
    assert "9 files" in printed and "problems      0" in printed and "answer" not in printed
    shutil.copytree(manifest.parent, tmp_path / "copy")
    bad = tmp_path / "copy" / "manifest.csv"
    (bad.parent / "p1" / "wav_2.wav").write_bytes(b"RIFF")
    shutil.rmtree(bad.parent / "p2")
    soundfile.write(bad.parent / "p5" / "wav_1.wav", np.sign(np.sin(np.arange(8000) / 10)), 8000)
    shallow, deep = (cli.main_check([f"--source={bad}", *more])["problems"] for more in ([], ["--deep"]))
    assert len(shallow) == 2 and "wav_2.wav: cannot be read" in shallow[0] and "p2: no such file" in shallow[1]
    assert len(deep) == 3 and "clipped" in deep[2]


def test_nothing_is_extracted_twice(manifest, built, tmp_path, monkeypatch):
    extracted = []
    extract = LogMel.extract

    def failing_third(self, recordings, dtype):
        if len(extracted) == 2:
            raise KeyboardInterrupt
        extracted.append(recordings)
        return extract(self, recordings, dtype)

    monkeypatch.setattr(LogMel, "extract", failing_third)
    with pytest.raises(KeyboardInterrupt):
        build(manifest, tmp_path)
    kept = tmp_path / "interviews" / "lab" / ".features"
    assert len(list(kept.iterdir())) == 2
    damaged = sorted(kept.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    (kept / ".half.npz.abc").write_bytes(b"")
    monkeypatch.setattr(LogMel, "extract", lambda *given: extracted.append(given[1]) or extract(*given))
    folder = build(manifest, tmp_path)
    # Five have recordings: two were extracted before, one of these was damaged.
    assert len(extracted) == 2 + 3 + 1 and len(list(kept.iterdir())) == 5
    for path in built.glob("*.array_record*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    build(manifest, tmp_path, overwrite=True)
    assert len(extracted) == 6


def test_cut_recordings_and_unread_files_are_named_by_check_card_and_predict_and_refused_with_strict(
    manifest, tmp_path, capsys
):
    copied = tmp_path / "copied"
    shutil.copytree(manifest.parent, copied)
    path = copied / "p1" / "wav_2.wav"
    path.write_bytes(path.read_bytes()[: 44 + 2 * 4000])  # 0.5 of 0.8 s
    (copied / "p2" / "wav_3.xyz").write_bytes(b"?")
    (copied / "p2" / "wav_2.wav").rename(copied / "p2" / "wav_2.WAV")
    cut, unread = f"{path}: cut off: header 0.800 s, found 0.500 s", f"not read: {copied / 'p2' / 'wav_3.xyz'}"
    source = f"--source={copied / 'manifest.csv'}"
    report = cli.main_check([source])
    assert report["problems"] == [] and {cut, unread} < set(report["notes"])
    assert set(cli.main_check([source, "--strict"])["problems"]) == {cut, unread}
    assert cut in capsys.readouterr().out
    corpus = open_corpus(build(copied / "manifest.csv", tmp_path / "data"))
    assert {one.replace(f"{copied}/", "") for one in (cut, unread)} < {one["note"] for one in corpus.card["notes"]}
    record = corpus.read(corpus.participants.index("p1"))
    assert record["duration_s"] == pytest.approx(0.8 + 0.5, abs=0.02)
    with pytest.raises(InputError, match=r"cut off: header 0\.800 s, found 0.500 s: mend this, or build without"):
        build(copied / "manifest.csv", tmp_path / "strict", strict=True)
    strict = open_corpus(build(copied / "manifest.csv", tmp_path / "strict", strict=True, skip_bad=True))
    assert [one["participant"] for one in strict.card["skipped"]] == ["p1", "p2"]
    found, failures = interviews.find(copied / "manifest.csv")
    assert len(found) == 6 and [(one.what, one.reason) for one in failures] == [("p2", unread)]
    with pytest.raises(InputError, match="does not take strict"):
        cli.build("mmpsy/demo", tmp_path / "demo", strict=True)


def test_kept_features_of_other_recordings_are_noticed(tmp_path, capsys):
    rows = ["participant,recording,label:phq9"]
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", speech_like(4.0, 8000, number), 8000)
        rows.append(f"p{number},{number}.wav,{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "split.csv").write_text("participant,split\np0,train\np1,train\np2,validation\np3,test\n")
    options = {"source": tmp_path / "manifest.csv", "split_file": tmp_path / "split.csv", "workers": 0}
    folder = cli.build("interviews/lab", tmp_path / "data", **options)
    before = {path.name: path.read_bytes() for path in folder.glob("*.array_record*")}
    kept = sorted((tmp_path / "data/interviews/lab/.features").glob("*.npz"))
    contents = [path.read_bytes() for path in kept]
    for path, content in zip(kept, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)
    cli.build("interviews/lab", tmp_path / "data", **options, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.glob("*.array_record*")} == before
    assert [path.read_bytes() for path in kept] == contents
    assert capsys.readouterr().err.count("is of other recordings: they are read again") == 4


def test_a_build_that_was_killed_goes_on_with_what_it_has(tmp_path):
    rows = ["participant,recording,label:phq9"]
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", speech_like(20.0, 8000, number), 8000)
        rows.append(f"p{number},{number}.wav,{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = ["--dataset=interviews/lab", f"--source={tmp_path / 'manifest.csv'}", f"--data_dir={tmp_path / 'data'}"]
    process = subprocess.Popen([sys.executable, "launch.py", "build", *options, "--workers=0"], start_new_session=True)
    kept = tmp_path / "data/interviews/lab/.features"
    try:
        while not list(kept.glob("*.npz")):
            assert process.poll() is None and not time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    there = {path: path.stat().st_mtime_ns for path in kept.glob("*.npz")}
    assert 0 < len(there) < 12 and not (tmp_path / "data/interviews/lab/1.0.0").exists()
    corpus = open_corpus(cli.build("interviews/lab", tmp_path / "data", source=tmp_path / "manifest.csv", workers=0))
    assert len(corpus) == 12 and len(list(kept.glob("*.npz"))) == 12
    assert all(path.stat().st_mtime_ns == when for path, when in there.items())


def test_workers_write_the_same_bytes(manifest, built, tmp_path):
    folder = build(manifest, tmp_path, workers=2)
    for path in folder.iterdir():
        assert path.read_bytes() == (built / path.name).read_bytes(), path.name


def test_hashed_ids_leave_no_name_behind(manifest, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(manifest.parent, copied)
    (copied / "p1" / "wav_2.wav").write_bytes(b"no sound")
    soundfile.write(copied / "p6" / "wav_2.wav", np.zeros(8000), 8000)
    folder = build(copied / "manifest.csv", tmp_path / "data", hash_ids=True, skip_bad=True)
    card = json.loads((folder / "corpus.json").read_text())
    assert [entry["reason"] for entry in card["skipped"]] == [
        "recording 2: cannot be read as a recording (Invalid data found when processing input): give a sound file that "
        "FFmpeg reads, wav for example"
    ]
    assert "recording 2: silent: every sample has the same value" in [entry["note"] for entry in card["notes"]]
    for name in ("README.md", "subgroups.csv"):
        assert not re.search(r"\bp[1-6]\b", (folder / name).read_text())
    names = {line.split(",")[0] for line in (folder / "subgroups.csv").read_text().splitlines()[1:]}
    assert len(names) == 5 and names == set(open_corpus(folder).participants)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "p1" / "wav_1.wav").write_bytes(b""), r"p1/wav_1\.wav: has zero length"),
        (lambda f: soundfile.write(f / "p1/wav_1.wav", np.zeros(0), 8000), r"wav_1\.wav: has zero length"),
        (lambda f: soundfile.write(f / "p1/wav_1.wav", np.tile([1.0, -1], 4000), 8000), r"wav_1\.wav: clipped: 100%"),
        (lambda f: shutil.rmtree(f / "p1"), r"/p1: no such file or folder"),
        (lambda f: (f / "p1.txt").unlink(), r"p1\.txt: cannot be read"),
        (lambda f: (f / "p1.txt").write_bytes(b"\xff"), r"p1\.txt: not UTF-8"),
        (lambda f: (f / "p1.txt").write_text("one\ntwo\nthree"), "2 recordings, but 3 answers"),
        (lambda f: (f / "p1.csv").write_text("word,start,end\nx,5,6\n"), r"words at 5\.0 s, but the recording ends"),
    ],
)
def test_what_is_wrong_with_a_participant_is_named(manifest, tmp_path, damage, reason):
    copied = tmp_path / "copied"
    shutil.copytree(manifest.parent, copied)
    damage(copied)
    if (copied / "p1.csv").exists():
        table = copied / "manifest.csv"
        table.write_text(table.read_text().replace("p1.txt", "p1.csv"))
    source = source_lib.InterviewSource(copied / "manifest.csv", settings=json.dumps(SETTINGS))
    with pytest.raises(InputError, match=reason):
        source.examine("p1")
    source.examine("p2")


def test_what_is_wrong_with_a_build_is_named(manifest, tmp_path):
    bad = tmp_path / "bad.csv"
    for content, options, reason in (
        ("participant,text\np,x\n", {}, "no column label:NAME"),
        ("participant,text,label:phq9\np,,1\n", {}, "all cells of recording, transcript and text are empty"),
        ("participant,text,label:phq9\np,x,1\n", {"settings": None}, "no participant of 1 is in"),
        ("participant,text,label:phq9\np,x,1\n", {}, "settings for audio, but nobody has that"),
    ):
        bad.write_text(content)
        with pytest.raises(InputError, match=reason):
            build(manifest, tmp_path / "data", **{"source": bad, **options})
    for name, content, reason in (
        ("a.json", "{", "a.json: settings of the features: not JSON"),
        ("a.json", '{"audio": {}, "audio": {}}', "a.json: settings of the features: an object has the key audio twice"),
        ("b.json", '{"video": {}}', "unknown modality"),
        ("c.json", '{"audio": {"hops": 3}}', "unknown setting of audio 'hops'"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=reason):
            build(manifest, tmp_path / "data", settings=tmp_path / name)
    with pytest.raises(InputError, match="give it a name of 1 to 40"):
        cli.build("interviews/My Lab", tmp_path, source=manifest)
    with pytest.raises(InputError, match="give --source=PATH: a manifest"):
        cli.build("interviews/lab", tmp_path)
    with pytest.raises(InputError, match="does not take synthetic"):
        cli.build("mmpsy/demo", tmp_path, synthetic=True)


def test_the_table_with_its_recordings(tmp_path):
    """`mmpsy/recordings`: the released layout of the table, and a folder of recordings per participant."""
    write_table(tmp_path, [entry(number, answers=2) for number in range(1, 31)])
    for number in range(1, 31):
        (tmp_path / "data" / f"user_{number}").mkdir()
        for k in (1, 2):
            path = tmp_path / "data" / f"user_{number}" / f"wav_{k}.wav"
            soundfile.write(path, speech_like(0.5, 8000, 100 * number + k), 8000)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"audio": SETTINGS["audio"]}))
    build_it = functools.partial(cli.build, "mmpsy/recordings", source=tmp_path, workers=0, settings=settings)
    corpus = open_corpus(build_it(tmp_path / "built"))
    assert len(corpus) == 30 and set(corpus.labels) == {"phq9", "gad7"}
    extractor = corpus.card["modalities"]["text"]["extractor"]
    assert extractor == {"name": "character_ngrams", "positions": 175, "placement": "corpus"}
    assert "MMPsy" not in (corpus.path / "README.md").read_text()
    (tmp_path / "data" / "user_3" / "wav_2.wav").rename(tmp_path / "data" / "user_3" / "wav_4.wav")
    with pytest.raises(InputError, match=r"user_3: 2 answers in the table and 2 recordings, wav_2 has no recording"):
        build_it(tmp_path / "again")
