"""Sound files that are not what they claim: joined, cut, unfinished, with holes, cancelled channels (SYNTHETIC)."""

import os
import struct

import numpy as np
import pytest
import soundfile

from mmpsy_jax.features import mel, recording, recording_folder, waveform
from mmpsy_jax.io import InputError
from tests.features import recordings
from tests.features.recordings import RATE, tone

KINDS = ("wav", "flac", "aiff", "ogg", "opus", "caf", "w64", "au", *recordings.CODECS)
# Decoders read both parts of these; of others the first one, which is refused.
READ_WHOLE = ("mp3", "ogg", "opus", "aac", "amr", "webm", "mka", "mkv")
UNFINISHED = "the header names no length: read to the end of the file"


def noise(seconds):
    return np.random.default_rng(0).normal(0, 0.1, seconds * RATE).astype(np.float32)


def read(path, **options):
    """Samples, and what is noted."""
    level = recording.Level()
    samples = np.concatenate(list(recording.samples(path, RATE, level, **options)))
    assert level.seconds == pytest.approx(len(samples) / RATE, abs=1e-3)
    return samples, level.note(path)


def measured(path):
    level = recording.measure(path)
    return level.seconds, level.note(path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_read_whole_and_measured_alike(tmp_path, kind):
    path = recordings.write(tmp_path / f"a.{kind.upper()}", tone())
    samples, note = read(path)
    assert note == "" and len(samples) / RATE == pytest.approx(5.0, abs=0.13)  # encoders of AAC begin with silence
    middle = samples[RATE : 4 * RATE]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(220, abs=1)
    assert measured(path) == (pytest.approx(len(samples) / RATE, abs=0.1), "")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mp4"])
def test_joined_files_are_read_whole_or_refused(tmp_path, kind):
    parts = [recordings.write(tmp_path / f"{hz}.{kind}", tone(hz=hz)) for hz in (220, 440)]
    path = tmp_path / f"joined.{kind}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    if kind in READ_WHOLE:
        samples, _ = read(path)
        assert len(samples) / RATE == pytest.approx(10.0, abs=0.3) and measured(path)[0] == pytest.approx(10.0, abs=0.3)
        last = samples[-2 * RATE :]
        assert np.argmax(np.abs(np.fft.rfft(last))) / 2 == pytest.approx(440, abs=1)
    else:
        for look in (read, measured):
            with pytest.raises(InputError, match=rf"joined\.{kind}: holds more than is decoded: another file"):
                look(path)


def _ogg_checksum(page):
    """Of RFC 3533: a CRC of 32 bits, 0x04c11db7, unreflected."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def test_an_ogg_file_without_the_mark_of_its_last_page_is_whole(tmp_path):
    path = recordings.write(tmp_path / "a.ogg", tone())
    content = bytearray(path.read_bytes())
    last = content.rfind(b"OggS\0")
    content[last + 5] &= ~4  # as many recorders leave it
    content[last + 22 : last + 26] = bytes(4)
    content[last + 22 : last + 26] = _ogg_checksum(content[last:]).to_bytes(4, "little")
    before, _ = read(path)
    path.write_bytes(content)
    samples, note = read(path)
    assert note == "" and len(samples) / RATE == pytest.approx(len(before) / RATE, abs=0.13)


def test_streams_of_an_ogg_file_may_differ_in_channels_and_rate(tmp_path):
    parts = [tone(), np.stack([tone(hz=440)] * 2, axis=1)]
    for number, (part, rate) in enumerate(zip(parts, (RATE, 44100), strict=True)):
        soundfile.write(tmp_path / f"{number}.ogg", part, rate)
    path = tmp_path / "joined.ogg"
    path.write_bytes(b"".join((tmp_path / f"{number}.ogg").read_bytes() for number in range(2)))
    samples, note = read(path)
    assert note == "" and len(samples) / RATE == pytest.approx(5 + 5 * RATE / 44100, abs=0.01)
    last = samples[-RATE:]  # 440 Hz that are played at another rate
    assert np.argmax(np.abs(np.fft.rfft(last))) == pytest.approx(440 * 44100 / RATE, abs=2)
    assert measured(path)[0] == pytest.approx(len(samples) / RATE, abs=0.01)


@pytest.mark.parametrize("kind", ["wav", "aiff", "caf", "w64", "au", "mp3", "ogg", "opus", "webm", "mka"])
@pytest.mark.parametrize("share", [0.3, 0.51, 0.9])
def test_a_file_that_was_cut_is_noted_and_measured_as_it_is_read(tmp_path, kind, share):
    path = recordings.write(tmp_path / f"a.{kind}", noise(20))
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    samples, note = read(path)
    assert note.startswith("cut off: ") and len(samples) / RATE < 19
    if kind not in ("ogg", "opus", "caf"):
        assert note.startswith(f"cut off: header 20.0 s, found {len(samples) / RATE:.1f} s")
    if kind in ("wav", "aiff"):
        assert len(samples) / RATE == pytest.approx(20 * share, abs=0.02)
    seconds, noted = measured(path)
    assert seconds == pytest.approx(len(samples) / RATE, abs=0.15) and noted.startswith("cut off: ")


def test_the_two_cut_files_of_the_report(tmp_path):
    path = recordings.write(tmp_path / "a.wav", tone())
    path.write_bytes(path.read_bytes()[:80_000])
    assert read(path)[1] == "cut off: header 5.0 s, found 2.5 s" == measured(path)[1]
    path.write_bytes(path.read_bytes()[: 44 + 2 * 1000])
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(content)
    samples, note = read(path)
    assert len(samples) == 1000 and note == "cut off: header 93750.0 s, found 0.1 s"
    short = recordings.write(tmp_path / "short.wav", tone(0.1))
    short.write_bytes(short.read_bytes()[:-1600])
    assert read(short)[1] == "cut off: header 0.100 s, found 0.050 s" == measured(short)[1]


@pytest.mark.parametrize("kind", ["flac", "m4a"])
def test_cut_files_that_cannot_be_decoded_are_refused(tmp_path, kind):
    path = recordings.write(tmp_path / f"a.{kind}", noise(5))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for look in (read, measured):
        with pytest.raises(InputError, match=f"a.{kind}: c"):
            look(path)


@pytest.mark.parametrize(
    ("riff", "data", "note"),
    [
        (0, 0, UNFINISHED),
        (0xFFFFFFFF, 0xFFFFFFFF, UNFINISHED),
        (160_036, 0, UNFINISHED),
        (160_036, 0xFFFFFFFF, UNFINISHED),
        (0x7FFFF024, 0x7FFFF000, UNFINISHED),
        (0x80000024, 0x80000000, UNFINISHED),
        (0, 160_000, ""),
    ],
)
def test_a_header_without_a_length_is_read_to_the_end(tmp_path, riff, data, note):
    path = recordings.write(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(content)
    samples, noted = read(path)
    np.testing.assert_allclose(samples, tone(), atol=4e-5)
    assert noted == note and measured(path) == (pytest.approx(5.0), note)


def test_chunks_and_garbage_behind_the_samples_are_no_fault(tmp_path):
    path = recordings.write(tmp_path / "a.wav", tone())
    whole = path.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    for behind, riff in ((chunk, len(whole) - 8 + len(chunk)), (b"\x00" * 300, len(whole) - 8), (b"x", len(whole) - 8)):
        path.write_bytes(whole[:4] + struct.pack("<I", riff) + whole[8:] + behind)
        samples, note = read(path)
        assert len(samples) == 5 * RATE and note == ""
    empty = whole[:4] + struct.pack("<I", 36 + len(chunk)) + whole[8:40] + struct.pack("<I", 0) + chunk
    path.write_bytes(empty)
    with pytest.raises(InputError, match="has zero length"):
        read(path)


@pytest.mark.parametrize("kind", ["mkv", "mka", "mp4", "m4a", "webm"])
def test_a_hole_in_the_track_is_filled_with_silence(tmp_path, kind):
    samples = 0.1 * tone(4.0)
    samples[3 * RATE : 3 * RATE + 800] *= 8  # a loud word at 3.0 s
    path = recordings.write(tmp_path / f"a.{kind}", samples, hole=(1.0, 2.5))
    heard, note = read(path)
    assert note == "holes: 1.5 s are missing and were filled with silence"
    assert len(heard) / RATE == pytest.approx(4.0, abs=0.08)
    assert np.flatnonzero(np.abs(heard) > 0.15)[0] / RATE == pytest.approx(3.0, abs=0.08)
    assert not heard[round(1.2 * RATE) : round(2.4 * RATE)].any()
    assert measured(path) == (pytest.approx(4.0, abs=0.08), note)


def test_opposite_channels_are_noted_with_both_levels_and_one_can_be_taken(tmp_path):
    left = tone()
    soundfile.write(tmp_path / "opposite.wav", np.stack([left, -left], 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "step.wav", np.stack([left, -left + 2.0**-15], 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "apart.wav", np.stack([left, np.roll(left, 18)], 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", np.stack([left, 0 * left], 1), RATE, subtype="FLOAT")
    before = 10 * np.log10(np.mean(left.astype(float) ** 2))
    wanted = f"channels cancel each other: {before:.1f} dB before they are averaged"
    assert read(tmp_path / "opposite.wav")[1].startswith(f"{wanted}, -inf dB after")
    assert read(tmp_path / "step.wav")[1].startswith(f"{wanted}, -96.3 dB after")
    assert read(tmp_path / "one.wav")[1] == read(tmp_path / "apart.wav")[1] == ""
    for channel, sign in ((1, 1), (2, -1)):
        samples, note = read(tmp_path / "opposite.wav", channel=channel)
        np.testing.assert_allclose(samples, sign * left, atol=1e-6)
        assert note == ""
    with pytest.raises(InputError, match=r"silent throughout: channels cancel each other: .* setting channel"):
        mel.LogMel().extract([tmp_path / "opposite.wav"], np.dtype(np.float32))
    made = mel.LogMel(mel.MelSettings(channel=1)).extract([tmp_path / "opposite.wav"], np.dtype(np.float32))
    soundfile.write(tmp_path / "left.wav", left, RATE, subtype="FLOAT")
    alone = mel.LogMel().extract([tmp_path / "left.wav"], np.dtype(np.float32))
    np.testing.assert_array_equal(made.values, alone.values)
    second = waveform.Waveform(waveform.WaveformSettings(channel=2)).extract([tmp_path / "one.wav"], np.dtype(np.int16))
    assert not second.values.any() and second.notes == ("silent: every sample has the same value",)
    with pytest.raises(InputError, match="the setting channel is 3, but there are 2 channels"):
        read(tmp_path / "one.wav", channel=3)
    for settings in (mel.MelSettings, waveform.WaveformSettings):
        with pytest.raises(InputError, match="channel is -1, must be a whole number"):
            settings(channel=-1)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for path, kind in ((tmp_path / "pipe.wav", "a named pipe"), (tmp_path / "folder.wav", "a folder")):
        for look in (read, measured):
            with pytest.raises(InputError, match=rf"{path.name}: is {kind}, and only regular files are read"):
                look(path)
        assert recording.header_seconds(path) == 0.0
    with pytest.raises(InputError, match="/dev/zero: is a device"):
        read(type(tmp_path)("/dev/zero"))


def test_a_time_stamp_far_ahead_is_refused(tmp_path):
    path = recordings.write(tmp_path / "a.mkv", tone(2.0), hole=(1.0, 1.0))
    assert read(path)[1] == ""
    clock = recording._Clock(path)
    assert clock.gap(0.0) == 0.0
    clock.seconds += 1.0
    with pytest.raises(InputError, match=r"a\.mkv: its time stamps jump by 1000000 s"):
        clock.gap(1_000_001.0)


def test_damaged_files_of_every_kind_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = set()
    for kind in KINDS:
        whole = recordings.write(tmp_path / f"whole.{kind}", tone(0.5)).read_bytes()
        path = tmp_path / f"damaged.{kind}"
        for number in range(12):
            content = bytearray(whole)
            for place in rng.integers(0, 80 if number % 2 else len(content), 4):
                content[place] = rng.integers(256)
            path.write_bytes(content[: rng.integers(1, len(content))] if number % 3 == 0 else content)
            for look in (read, measured):
                try:
                    look(path)
                    outcomes.add("read")
                except InputError as error:
                    assert str(path) in str(error)
                    outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_folder_gives_its_recordings_and_what_is_left_unread(tmp_path):
    for name in ("wav_10.WAV", "wav_2.m4a", "wav_9.Opus", "notes.pdf", ".hidden", "Thumbs.db", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    files = recording_folder.list_recordings(tmp_path)
    assert [file.name for file in files] == ["wav_2.m4a", "wav_9.Opus", "wav_10.WAV"]
    rest = recording_folder.visible(file for file in tmp_path.iterdir() if file not in files)
    assert [file.name for file in rest] == ["b.txt", "more", "notes.pdf"]
    many = [tmp_path / f"{n}.pdf" for n in range(8)]
    assert recording_folder.name_unread(many).endswith("4.pdf and 3 more")
    assert recording_folder.recordings_by_stem(tmp_path / "nowhere") == {}
    (tmp_path / "wav_2.wav").touch()
    with pytest.raises(InputError, match=r"two recordings differ in their suffix alone \(\.m4a and \.wav\)"):
        recording_folder.list_recordings(tmp_path)
    with pytest.raises(InputError, match="holds no recording"):
        recording_folder.list_recordings(tmp_path / "more")


def test_the_order_of_files_is_that_of_their_names_whatever_the_system_lists(tmp_path):
    files = [tmp_path / name for name in ("a/2.wav", "b/2.wav", "c/2.wav", "a/10.wav", "b/1.wav", "b/.hidden")]
    expected = [tmp_path / name for name in ("b/1.wav", "a/2.wav", "b/2.wav", "c/2.wav", "a/10.wav")]
    assert recording_folder.visible(files) == recording_folder.visible(reversed(files)) == expected
