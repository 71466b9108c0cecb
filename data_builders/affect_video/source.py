"""Where clips, speakers and labels stand: `clips.csv` of any folder, or MELD as published.

    DIR/clips.csv          columns clip (file in DIR), speaker, and where known emotion, valence, arousal
    MELD/{train,dev,test}_sent_emo.csv and MELD/{train_splits,dev_splits_complete,output_repeated_splits_test}/

Words of a clip are never read: a column `text` of `clips.csv` is allowed, MELD's `Utterance` is always there.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmpsy_jax.features.recording_folder import recordings_by_stem
from mmpsy_jax.io import InputError, number, one_of, read_table, whole

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
RATINGS = ("valence", "arousal")
LABELS = ("emotion", *RATINGS)
TABLE = "clips.csv"
REQUIRED, OPTIONAL = ("clip", "speaker"), (*LABELS, "text")

# Published split -> ours, and its folder of clips.
MELD_SPLITS = {
    "train": ("train", "train_splits"),
    "dev": ("validation", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
MELD_EMOTIONS = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprise",
}
_MELD_COLUMNS = ("Emotion", "Dialogue_ID", "Utterance_ID")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
      name: unique id.
      cluster: who or what stays together in splits.
      labels: by name; NaN where missing. `emotion` is an index into `EMOTIONS`.
      path: of the video; None for a clip that is drawn.
      split: where the source itself says so.
    """

    name: str
    cluster: str
    labels: dict[str, float]
    path: Path | None = None
    split: str | None = None


def read_clips(folder: Path) -> list[Clip]:
    """The clips of `clips.csv`, in its order; their cluster is the speaker.

    Raises:
      InputError: no table, a missing or unknown column, a cell that is not what its column holds, a clip twice.
    """
    path = folder / TABLE
    made = {}
    for line, row in read_table(path, REQUIRED, OPTIONAL).rows:
        name = row["clip"]
        for column in REQUIRED:
            if not row[column]:
                raise InputError(f"{path}: line {line}: {column} is empty: fill the cell")
        if name in made:
            raise InputError(f"{path}: line {line}: clip {name!r} is there twice: keep one row per clip")
        labels = {"emotion": _emotion(path, line, row.get("emotion", ""), dict(zip(EMOTIONS, EMOTIONS, strict=True)))}
        labels |= {
            rating: number(f"{path}: line {line}", rating, row.get(rating, ""), -1, 1, empty=math.nan)
            for rating in RATINGS
        }
        made[name] = Clip(name, row["speaker"], labels, folder / name)
    return list(made.values())


def read_meld(folder: Path) -> list[Clip]:
    """The clips of MELD; the division is the published one, and a cluster is a dialogue, which it keeps whole.

    The leading actors speak in all three parts, so that speakers cannot be kept apart. Dialogues are numbered in each
    part by itself.

    Raises:
      InputError: no table, a missing column, an unknown emotion, an utterance twice.
    """
    made = {}
    for published, (split, clips) in MELD_SPLITS.items():
        path = folder / f"{published}_sent_emo.csv"
        there = recordings_by_stem(folder / clips, (".mp4",))
        for line, row in read_table(path, _MELD_COLUMNS, extra="ignore").rows:
            dialogue, utterance = (
                whole(f"{path}: line {line}", name, row[name]) for name in ("Dialogue_ID", "Utterance_ID")
            )
            name = f"{published}/dia{dialogue}_utt{utterance}"
            if name in made:
                raise InputError(f"{path}: line {line}: dia{dialogue}_utt{utterance} is there twice: keep one row")
            labels = {"emotion": _emotion(path, line, row["Emotion"], MELD_EMOTIONS)} | dict.fromkeys(RATINGS, math.nan)
            stem = f"dia{dialogue}_utt{utterance}"
            video = there.get(stem, folder / clips / f"{stem}.mp4")
            made[name] = Clip(name, f"{published}/dia{dialogue}", labels, video, split)
    return list(made.values())


def read(kind: str, folder: Path, skip_bad: bool = False) -> tuple[list[Clip], list[dict[str, str]]]:
    """The clips whose files are there, and what `corpus.json` says of the others.

    Args:
      kind: "clips" or "meld".
      folder: of table and files.
      skip_bad: leave out clips whose files are missing.

    Raises:
      InputError: no clips, a bad table, or missing files that are not to be left out; it lists them all.
    """
    clips = {"clips": read_clips, "meld": read_meld}[kind](folder)
    if not clips:
        raise InputError(f"{folder}: its table names no clips: add a row for each")
    missing = [clip for clip in clips if not clip.path.is_file()]
    if missing and not skip_bad:
        names = ", ".join(str(clip.path.relative_to(folder)) for clip in missing)
        raise InputError(
            f"{folder}: {len(missing)} of the {len(clips)} clips that its table names are missing: {names}: add the "
            "files, or leave these clips out with --skip_bad"
        )
    gone = {clip.name for clip in missing}
    skipped = [{"participant": name, "reason": "its file is missing"} for name in sorted(gone)]
    return [clip for clip in clips if clip.name not in gone], skipped


def _emotion(path: Path, line: int, text: str, names: Mapping[str, str]) -> float:
    """Index into `EMOTIONS` of an emotion under the names of a table; NaN where the cell is empty."""
    if not text:
        return math.nan
    if text not in names:
        raise one_of(f"emotion in line {line} of {path}", text, names)
    return float(EMOTIONS.index(names[text]))


def digest(clips: Sequence[Clip]) -> str:
    """Changes with any id, cluster, label, or size of a file."""
    made = hashlib.sha256()
    for clip in clips:
        size = clip.path.stat().st_size if clip.path else 0
        made.update(f"{clip.name}\x00{clip.cluster}\x00{clip.labels}\x00{size}\n".encode())
    return made.hexdigest()
