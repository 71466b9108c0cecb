"""The archive in volumes: equal to the folder, and every way in which it can be broken."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_source import write_source

from data_builders.mmpsy import source as source_lib
from data_builders.mmpsy import volumes
from mmpsy_jax.io import InputError


def archive_of(folder: Path, prefix: str = "np_data/", compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{prefix}np_data.json", "{}")
        for path in sorted((folder / "data" / "np_data").rglob("*.npy")):
            archive.write(path, prefix + str(path.relative_to(folder / "data" / "np_data")))
    return buffer.getvalue()


def cut(data: bytes, folder: Path, parts: int = 5) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(data) // parts)
    paths = [folder / f"np_data.zip.{number + 1:03d}" for number in range(parts)]
    for number, path in enumerate(paths):
        path.write_bytes(data[number * size : (number + 1) * size])
    return paths


@pytest.fixture
def corpus(tmp_path):
    """(unpacked corpus, folder with the table and five volumes)."""
    unpacked = write_source(tmp_path / "unpacked", participants=3)
    packed = tmp_path / "packed" / "data"
    packed.mkdir(parents=True)
    (packed / "wav_select.json").write_bytes((unpacked / "data" / "wav_select.json").read_bytes())
    return unpacked, packed


@pytest.mark.parametrize("prefix", ["", "np_data/", "data/np_data/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_volumes_give_the_records_of_the_folder(corpus, prefix, compression):
    unpacked, packed = corpus
    cut(archive_of(unpacked, prefix, compression), packed)
    from_folder, from_volumes = source_lib.ReleasedSource(unpacked), source_lib.ReleasedSource(packed)
    assert from_volumes.arrays.name.endswith("np_data.zip.001")
    for participant in from_folder.participants:
        one, other = from_folder.read(participant)[0], from_volumes.read(participant)[0]
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_one_whole_archive(corpus):
    unpacked, packed = corpus
    (packed / "np_data.zip").write_bytes(archive_of(unpacked))
    assert source_lib.ReleasedSource(packed).read("user_1")[0]["n_windows"] == 2
    cut(archive_of(unpacked), packed)
    with pytest.raises(InputError, match="holds both"):
        source_lib.ReleasedSource(packed)


def test_volume_file_reads_like_one_file(tmp_path):
    data = np.random.default_rng(0).bytes(1003)
    paths = cut(data, tmp_path, 4)
    with io.BufferedReader(volumes.VolumeFile(paths), 64) as file:
        assert file.read() == data
        for start, stop in ((0, 1), (249, 253), (700, 1003), (1000, 2000), (5000, 5001)):
            file.seek(start)
            assert file.read(stop - start) == data[start:stop]
        assert file.seek(-3, io.SEEK_END) == 1000 and file.read() == data[-3:]


def test_missing_volumes(corpus):
    unpacked, packed = corpus
    paths = cut(archive_of(unpacked), packed)
    kept = paths[2].read_bytes()
    paths[2].unlink()
    with pytest.raises(InputError, match=r"np_data\.zip\.003 missing"):
        source_lib.ReleasedSource(packed)
    paths[2].write_bytes(kept)
    paths[4].unlink()
    with pytest.raises(InputError, match=r"not a whole zip archive.*missing at the end"):
        source_lib.ReleasedSource(packed)


def test_short_volumes(corpus):
    unpacked, packed = corpus
    paths = cut(archive_of(unpacked), packed)
    whole = [path.read_bytes() for path in paths]
    paths[1].write_bytes(whole[1][:-10])
    with pytest.raises(
        InputError, match=r"np_data\.zip\.002: \d+ bytes, but the volumes before the last must be equal"
    ):
        source_lib.ReleasedSource(packed)
    paths[1].write_bytes(whole[1])
    paths[4].write_bytes(whole[4][:-10])
    with pytest.raises(InputError, match="not a whole zip archive"):
        source_lib.ReleasedSource(packed)
    paths[4].write_bytes(b"")
    with pytest.raises(InputError, match=r"np_data\.zip\.005: 0 bytes"):
        source_lib.ReleasedSource(packed)


def test_volumes_out_of_order(corpus):
    unpacked, packed = corpus
    paths = cut(archive_of(unpacked), packed)
    second, third = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(third)
    paths[2].write_bytes(second)
    with pytest.raises(InputError, match="out of order"):
        source_lib.ReleasedSource(packed)


def test_a_flipped_byte_is_found_when_the_window_is_read(corpus):
    unpacked, packed = corpus
    data = bytearray(archive_of(unpacked))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        member = archive.getinfo("np_data/user_2/mel-spectrogram/1.npy")
    data[member.header_offset + 300] ^= 1
    cut(bytes(data), packed)
    source = source_lib.ReleasedSource(packed)
    with pytest.raises(InputError, match=r"member np_data/user_2/mel-spectrogram/1\.npy: damaged in the archive"):
        source.read("user_2")
    source.read("user_1")


def test_entries_that_escape_and_other_members_not_to_be_trusted(tmp_path):
    def refused(message, *members):
        path = tmp_path / "np_data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, b"x")
        with pytest.raises(InputError, match=message):
            volumes.open_archive([path])

    for name in ("../user_1/0.npy", "np_data/../../0.npy", "/etc/0.npy", "C:/0.npy", "..\\0.npy"):
        refused("leaves the folder", "np_data/good.npy", name)
    link = zipfile.ZipInfo("np_data/link")
    link.external_attr = 0o120777 << 16
    refused("symbolic link", link)
    refused("is there twice", "np_data/a.npy", "np_data/A.npy")


def test_a_member_that_claims_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "MAX_MEMBER_BYTES", 10)
    with zipfile.ZipFile(tmp_path / "np_data.zip", "w") as archive:
        archive.writestr("a.npy", b"x" * 11)
    with pytest.raises(InputError, match="claims 11 bytes"):
        volumes.open_archive([tmp_path / "np_data.zip"])


def test_not_a_zip_at_all(tmp_path):
    (tmp_path / "np_data.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(InputError, match="not a whole zip archive"):
        volumes.open_archive([tmp_path / "np_data.zip"])
