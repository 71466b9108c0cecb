"""The affect_video builder on rendered video files (SYNTHETIC): what it reads, what it notes, what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import launch
from data_builders.affect_video import clips as clips_lib
from data_builders.affect_video import records, source
from data_builders.common import cli
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.features import faces, video
from mmpsy_jax.io import InputError
from tests import drawn_clips

WINDOW = 1.0  # seconds
MELD_HEADER = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
MELD_HEADER += ["Season", "Episode", "StartTime", "EndTime"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A clip of 1.6 s in which the second person is seen in few frames, one without sound, one without a face."""
    folder = tmp_path_factory.mktemp("videos")
    present = np.zeros((2, 16), bool)
    present[0, :13], present[1, 9:16] = True, True
    drawn_clips.write(folder / "both.mkv", present)
    drawn_clips.write(folder / "silent.mkv", present[:, :5], with_sound=False)
    drawn_clips.write(folder / "faceless.mkv", np.zeros((2, 12), bool))
    drawn_clips.write(folder / "nothing.mkv", np.zeros((2, 3), bool), with_sound=False)
    (folder / "words.mkv").write_text("no video")
    return folder


def table(folder, header, rows, name=source.TABLE):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def clips(videos, tmp_path):
    """Three good clips of three speakers."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("both", "silent", "faceless"):
        shutil.copy(videos / f"{name}.mkv", folder)
    rows = [
        ["both.mkv", "a", "happy", 0.5, -0.25, "secret"],
        ["silent.mkv", "b", "", "", 1, "secret"],
        ["faceless.mkv", "c", "angry", -1, "", "secret"],
    ]
    table(folder, ["clip", "speaker", "emotion", "valence", "arousal", "text"], rows)
    (folder / "split.csv").write_text("participant,split\na,train\nb,validation\nc,test\n")
    return folder


def build(clips, tmp_path, **options):
    options = {"source": clips, "split_file": clips / "split.csv", "window_seconds": WINDOW, **options}
    return cli.build("affect_video/clips", tmp_path / "data", **options)


def test_records_hold_what_is_seen_and_heard(clips, tmp_path):
    folder = build(clips, tmp_path)
    corpus = open_corpus(folder)
    assert corpus.participants == ("both.mkv", "silent.mkv", "faceless.mkv")
    assert corpus.cluster == ("a", "b", "c") and corpus.split == ("train", "validation", "test")
    assert corpus.card["classes"]["emotion"] == sorted(clips_lib.EMOTIONS) and corpus.card["synthetic"] is False
    np.testing.assert_array_equal(corpus.labels["emotion"], [3, np.nan, 0])
    np.testing.assert_array_equal(corpus.labels["valence"], np.float32([0.5, np.nan, -1]))
    np.testing.assert_array_equal(corpus.labels["arousal"], np.float32([-0.25, 1, np.nan]))
    both, silent, faceless = (corpus.read(i) for i in range(3))
    assert not any(b"secret" in path.read_bytes() for path in folder.iterdir())

    assert both["n_windows"] == 2 and both["window_start_s"].tolist() == [0, 1]
    assert both["face_length"].tolist() == both["any_face_length"].tolist() == [10, 6]
    tracked = faces.track(video.frames(clips / "both.mkv", 10))
    for name, wanted in (("face", tracked.face), ("any_face", tracked.any_face)):
        values = both[name].reshape(20, -1)
        assert values.dtype == np.float16 and values.min() >= 0 and values.max() <= 1
        np.testing.assert_array_equal(np.rint(255 * values[:16].astype(float)), wanted)
        assert not values[16:].any()
    np.testing.assert_array_equal(both["face"].reshape(20, -1).any(axis=1), np.arange(20) < 13)
    np.testing.assert_array_equal(both["any_face"].reshape(20, -1).any(axis=1), np.arange(20) < 16)

    wanted = records.log_mel(WINDOW).extract_samples([[drawn_clips.speech(1.6)]], np.float16)
    assert both["audio_length"].tolist() == [30, 19]
    np.testing.assert_allclose(both["audio"][0], wanted.values[0], atol=0.05)
    assert both["duration_s"] == pytest.approx(1.6)

    assert not silent["has_audio"] and not silent["audio_length"].any() and silent["duration_s"] == 0
    assert silent["has_face"] and silent["face_length"].tolist() == [5]
    assert faceless["has_audio"] and not faceless["has_face"] and not faceless["has_any_face"]
    assert faceless["face_length"].tolist() == [0, 0]
    notes = {note["participant"]: note["note"] for note in corpus.card["notes"]}
    assert notes == {"silent.mkv": "has no sound", "faceless.mkv": "shows no face"}


def test_a_dataset_in_place_is_refused_when_its_source_differs(clips, tmp_path):
    build(clips, tmp_path)
    (clips / source.TABLE).write_text((clips / source.TABLE).read_text().replace("happy", "sad"))
    with pytest.raises(InputError, match="source_sha256"):
        build(clips, tmp_path)


def test_bad_clips_are_refused_or_left_out(clips, videos, tmp_path):
    for name in ("nothing", "words"):
        shutil.copy(videos / f"{name}.mkv", clips)
    with (clips / source.TABLE).open("a") as file:
        file.write("words.mkv,a,,,,\nnothing.mkv,a,,,,\ngone.mkv,a,,,,\nalso_gone.mkv,a,,,,\n")
    with pytest.raises(
        InputError, match=r"2 of 7 participants cannot be read, the first is gone\.mkv .*its file is missing"
    ):
        build(clips, tmp_path)
    corpus = open_corpus(build(clips, tmp_path, skip_bad=True))
    assert corpus.participants == ("both.mkv", "silent.mkv", "faceless.mkv")
    reasons = {entry["participant"]: entry["reason"] for entry in corpus.card["skipped"]}
    assert sorted(reasons) == ["also_gone.mkv", "gone.mkv", "nothing.mkv", "words.mkv"]
    assert "missing" in reasons["gone.mkv"] and "cannot be read as a video" in reasons["words.mkv"]
    assert "has no sound and shows no face" in reasons["nothing.mkv"]

    (clips / "gone.mkv").write_bytes(b"")
    (clips / "also_gone.mkv").write_bytes(b"")
    with pytest.raises(InputError, match=r"words\.mkv: cannot be read as a video"):
        build(clips, tmp_path, overwrite=True)
    (clips / "split.csv").write_text("participant,split\na,train\nb,train\nc,train\n")
    with pytest.raises(InputError, match="validation, test"):
        build(clips, tmp_path, overwrite=True, skip_bad=True)


def test_a_corpus_without_one_face_is_refused(clips, tmp_path):
    for name in ("both", "silent"):
        shutil.copy(clips / "faceless.mkv", clips / f"{name}.mkv")
    with pytest.raises(InputError, match="no clip shows a face that is found"):
        build(clips, tmp_path)
    assert not list((tmp_path / "data" / "affect_video" / "clips").glob("*/corpus.json"))


def test_a_clip_that_was_cut_is_noted_and_refused_with_strict(clips, tmp_path):
    content = (clips / "both.mkv").read_bytes()
    (clips / "both.mkv").write_bytes(content[: len(content) // 2])
    corpus = open_corpus(build(clips, tmp_path))
    note = next(one["note"] for one in corpus.card["notes"] if one["participant"] == "both.mkv")
    assert note.startswith("cut off: header 1.6 s, found ")
    with pytest.raises(InputError, match=r"both\.mkv: cut off: header .*: mend this, or build without --strict"):
        build(clips, tmp_path, strict=True, overwrite=True)
    with pytest.raises(InputError, match="does not take strict"):
        cli.build("affect_video/demo", tmp_path, strict=True)


def test_a_split_whose_clips_are_all_bad_is_refused(clips, videos, tmp_path):
    shutil.copy(videos / "words.mkv", clips / "faceless.mkv")
    with pytest.raises(InputError, match="nobody is left in test"):
        build(clips, tmp_path, skip_bad=True)
    assert not (tmp_path / "data" / "affect_video" / "clips" / "1.0.0").exists()


def faults():
    header = ["clip", "speaker", "emotion", "valence"]
    yield "no speaker", ["clip", "emotion"], [["x", "sad"]], "no column speaker"
    yield "unknown column", ["clip", "speaker", "moood"], [["x", "a", "sad"]], "moood"
    yield "unknown emotion", header, [["x", "a", "joyful", ""]], r"emotion in line 2 .*'joyful'.*surprise"
    yield "rating too high", header, [["x", "a", "", 1.5]], "line 2: valence is no number from -1 to 1: mend"
    yield "rating no number", header, [["x", "a", "", "high"]], "line 2: valence is no number from -1 to 1: mend"
    yield "empty speaker", header, [["x", "", "", ""]], "line 2: speaker is empty"
    yield "twice", header, [["x", "a", "", ""], ["x", "b", "", ""]], "line 3: clip 'x' is there twice"
    yield "no rows", header, [], "names no clips"


@pytest.mark.parametrize(("header", "rows", "message"), [pytest.param(*f[1:], id=f[0]) for f in faults()])
def test_a_bad_table_is_refused(tmp_path, header, rows, message):
    table(tmp_path, header, rows)
    with pytest.raises(InputError, match=message):
        source.ClipSource(tmp_path)


def meld(videos, folder, emotion="joy"):
    """Two utterances of a dialogue in train, one in dev and test each; the same actor in all."""
    rows = {"train": [(0, 0), (0, 1)], "dev": [(0, 0)], "test": [(3, 1)]}
    for published, utterances in rows.items():
        clips = folder / source.MELD_SPLITS[published][1]
        clips.mkdir(parents=True)
        written = [
            [i, "secret, “words”", "Ross", emotion, "positive", d, u, 1, 1, "00:00:01,000", "00:00:02,000"]
            for i, (d, u) in enumerate(utterances)
        ]
        table(folder, MELD_HEADER, written, f"{published}_sent_emo.csv")
        for d, u in utterances:
            shutil.copy(videos / "silent.mkv", clips / f"dia{d}_utt{u}.mp4")
    return folder


def test_meld_keeps_its_published_division(videos, tmp_path):
    folder = cli.build("affect_video/meld", tmp_path / "data", source=meld(videos, tmp_path / "MELD"))
    corpus = open_corpus(folder)
    assert corpus.participants == ("train/dia0_utt0", "train/dia0_utt1", "dev/dia0_utt0", "test/dia3_utt1")
    assert corpus.split == ("train", "train", "validation", "test")
    assert corpus.cluster == ("train/dia0", "train/dia0", "dev/dia0", "test/dia3")
    assert corpus.card["cluster"] == "dialogue" and "published" in corpus.card["split_rule"]
    np.testing.assert_array_equal(corpus.labels["emotion"], [clips_lib.EMOTIONS.index("happy")] * 4)
    assert np.isnan(corpus.labels["valence"]).all() and np.isnan(corpus.labels["arousal"]).all()
    for path in (tmp_path / "MELD").rglob("*.mp4"):
        path.rename(path.with_suffix(".MP4"))
    assert not source.ClipSource(tmp_path / "MELD", meld=True).lacking
    with pytest.raises(InputError, match="split_file"):
        cli.build("affect_video/meld", tmp_path, source=tmp_path, split_file=tmp_path / "s.csv")


def test_melds_emotions_are_mapped_and_its_tables_checked(videos, tmp_path):
    counts = {name: clips_lib.EMOTIONS[index] for name, index in zip(source.MELD_EMOTIONS, range(7), strict=True)}
    assert counts == source.MELD_EMOTIONS  # both are in alphabetical order of ours
    folder = meld(videos, tmp_path, "contempt")
    with pytest.raises(InputError, match="'contempt'"):
        source.ClipSource(folder, meld=True)
    (folder / "dev_sent_emo.csv").unlink()
    shutil.copy(folder / "test_sent_emo.csv", folder / "train_sent_emo.csv")
    (folder / "train_sent_emo.csv").write_text((folder / "test_sent_emo.csv").read_text().replace("contempt", "anger"))
    with pytest.raises(InputError, match=r"dev_sent_emo\.csv"):
        source.ClipSource(folder, meld=True)


def test_arguments_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(InputError, match="affect_video/meld"):
        cli.build("affect_video/nothing", tmp_path)
    with pytest.raises(InputError, match="source"):
        cli.build("affect_video/clips", tmp_path)
    with pytest.raises(InputError, match="source"):
        cli.build("affect_video/demo", tmp_path, source=tmp_path)
    for seconds in (0.5, 61, 1.25):
        with pytest.raises(InputError, match="window_seconds"):
            cli.build("affect_video/demo", tmp_path, window_seconds=seconds)
    with pytest.raises(InputError, match="does not take seed"):
        cli.build("affect_video/clips", tmp_path, source=tmp_path, seed=1)
    with pytest.raises(InputError, match="seed -1"):
        cli.build("affect_video/demo", tmp_path, seed=-1)
    with pytest.raises(InputError, match="at least 3"):
        cli.build("affect_video/demo", tmp_path, participants=2)


def test_the_command_line_builds(clips, tmp_path, capsys):
    arguments = ["--dataset=affect_video/clips", f"--source={clips}", f"--data_dir={tmp_path}", "--workers=0"]
    assert launch.main(["build", *arguments, f"--split_file={clips / 'split.csv'}"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder == tmp_path / "affect_video" / "clips" / "1.0.0"
    assert json.loads((folder / "corpus.json").read_text())["participants"] == {"train": 1, "validation": 1, "test": 1}


def test_windows_hold_all_frames_and_no_crumbs_of_sound():
    mel = records.log_mel(WINDOW)
    for frames, samples, windows in ((10, 16000, 1), (11, 0, 2), (10, 17000, 1), (10, 20000, 2), (0, 40000, 3)):
        sound = mel.extract_samples([[drawn_clips.speech(samples / 16000)]], np.float16) if samples else None
        shown = np.arange(frames * 2304, dtype=np.uint32).reshape(frames, 2304) % 255 + 1
        pictures = {"face": shown.astype(np.uint8), "any_face": shown.astype(np.uint8)} if frames else None
        content = records.Content(sound, pictures, samples / 16000, frames)
        made = records.record(content, WINDOW)
        assert made["n_windows"] == windows and made["face_length"].sum() == frames
        assert made["audio_length"].sum() >= (sound.lengths.sum() - 3 if samples else 0)
        np.testing.assert_array_equal(np.rint(255 * made["face"].reshape(-1, 2304)[:frames].astype(float)), shown)
