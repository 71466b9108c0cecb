"""A tiny corpus in the released layout, written by hand: what the tests read. No real person is in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

MEL_SHAPE = (4, 30)
TEXT_SHAPE = (7, 5)
FOLDERS = {"audio": "mel-spectrogram", "text": "sentence_embeddings"}


def entry(number: int, answers: int = 4) -> dict[str, Any]:
    """One entry of the table; the text is nonsense, the scores follow from the number."""
    return {
        "user_id": f"user_{number}",
        "phq-label": {"score": number % 28, "level": "Normal"},
        "gad-label": {"score": number % 22, "level": "Normal"},
        "audios": {
            f"wav_{i}.wav": f"答{number}的第{i}句一二三四五六七八九十。" for i in reversed(range(1, answers + 1))
        },
    }


def write_table(folder: Path, entries: Any) -> Path:
    """Writes `folder`/data/wav_select.json."""
    path = folder / "data" / "wav_select.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return path


def window(number: int, position: int, modality: str, frames: int | None = None) -> np.ndarray:
    """Random window of one participant; `frames` of them valid, as float64 if any is padding, as in the release."""
    shape, axis = (MEL_SHAPE, 1) if modality == "audio" else (TEXT_SHAPE, 0)
    rng = np.random.default_rng([number, position, axis])
    values = rng.standard_normal(shape) + 3
    frames = shape[axis] if frames is None else frames
    if frames == shape[axis]:
        return values.astype(np.float32)
    values = np.moveaxis(values, axis, 0)
    values[frames:] = 0
    return np.moveaxis(values, 0, axis)


def windows_file(folder: Path, number: int, position: int, modality: str) -> Path:
    """Path of one window of user_<number>."""
    return folder / "data" / "np_data" / f"user_{number}" / FOLDERS[modality] / f"{position}.npy"


def write_windows(folder: Path, number: int, count: int) -> None:
    """Writes `count` windows per modality; the last ones are padded."""
    for modality, valid in (("audio", 11), ("text", 3)):
        for position in range(count):
            path = windows_file(folder, number, position, modality)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, window(number, position, modality, valid if position == count - 1 else None))


def write_source(folder: Path, participants: int = 30) -> Path:
    """The whole corpus: user_1 ... user_<participants>, one to three windows each, twelve for user_3."""
    write_table(folder, [entry(number) for number in range(1, participants + 1)])
    for number in range(1, participants + 1):
        write_windows(folder, number, 12 if number == 3 else 1 + number % 3)
    return folder
