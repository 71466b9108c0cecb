"""Where clips, speakers and labels stand: `clips.csv` of any folder, or MELD as published.

    DIR/clips.csv          columns clip (file in DIR), speaker, and where known emotion, valence, arousal
    MELD/{train,dev,test}_sent_emo.csv and MELD/{train_splits,dev_splits_complete,output_repeated_splits_test}/

Words of a clip are never read: a column `text` of `clips.csv` is allowed, MELD's `Utterance` is always there.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.affect_video import demo, records
from data_builders.affect_video.clips import EMOTIONS, LABELS, RATINGS, Clip
from data_builders.common.examine import Record
from data_builders.common.source import Config, Corpus, Option, Source, stat_sha256
from data_builders.common.store import Store
from mmpsy_jax.features.recording_folder import recordings_by_stem
from mmpsy_jax.io import InputError, number, one_of, read_table, whole

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


def read_clips(folder: Path) -> list[Clip]:
    """The clips of `clips.csv`, in its order; their cluster is the speaker.

    Raises:
      InputError: no table, a missing or unknown column, a cell that is not what its column holds, a clip twice.
    """
    path = folder / TABLE
    by_name = {}
    for line, row in read_table(path, REQUIRED, OPTIONAL).rows:
        name = row["clip"]
        for column in REQUIRED:
            if not row[column]:
                raise InputError(f"{path}: line {line}: {column} is empty: fill the cell")
        if name in by_name:
            raise InputError(f"{path}: line {line}: clip {name!r} is there twice: keep one row per clip")
        labels = {"emotion": _emotion(path, line, row.get("emotion", ""), dict(zip(EMOTIONS, EMOTIONS, strict=True)))}
        labels |= {
            rating: number(f"{path}: line {line}", rating, row.get(rating, ""), -1, 1, empty=math.nan)
            for rating in RATINGS
        }
        by_name[name] = Clip(name, row["speaker"], labels, folder / name)
    return list(by_name.values())


def read_meld(folder: Path) -> list[Clip]:
    """The clips of MELD; the division is the published one, and a cluster is a dialogue, which it keeps whole.

    The leading actors speak in all three parts, so that speakers cannot be kept apart. Dialogues are numbered in each
    part by itself.

    Raises:
      InputError: no table, a missing column, an unknown emotion, an utterance twice.
    """
    by_name = {}
    for published, (split, clips) in MELD_SPLITS.items():
        path = folder / f"{published}_sent_emo.csv"
        there = recordings_by_stem(folder / clips, (".mp4",))
        for line, row in read_table(path, _MELD_COLUMNS, extra="ignore").rows:
            dialogue, utterance = (
                whole(f"{path}: line {line}", name, row[name]) for name in ("Dialogue_ID", "Utterance_ID")
            )
            name = f"{published}/dia{dialogue}_utt{utterance}"
            if name in by_name:
                raise InputError(f"{path}: line {line}: dia{dialogue}_utt{utterance} is there twice: keep one row")
            labels = {"emotion": _emotion(path, line, row["Emotion"], MELD_EMOTIONS)} | dict.fromkeys(RATINGS, math.nan)
            stem = f"dia{dialogue}_utt{utterance}"
            video = there.get(stem, folder / clips / f"{stem}.mp4")
            by_name[name] = Clip(name, f"{published}/dia{dialogue}", labels, video, split)
    return list(by_name.values())


def _emotion(path: Path, line: int, text: str, names: Mapping[str, str]) -> float:
    """Index into `EMOTIONS` of an emotion under the names of a table; NaN where the cell is empty."""
    if not text:
        return math.nan
    if text not in names:
        raise one_of(f"emotion in line {line} of {path}", text, names)
    return float(EMOTIONS.index(names[text]))


class ClipSource(Source):
    """A record is one clip; its feature `speaker` (of MELD `dialogue`) names the cluster that stays together in splits.

    Args:
      path: folder of table and files.
      meld: the layout is that of MELD.
      window_seconds: longer clips become several windows.
      kept: folder of what was seen and heard in clips before; "" keeps nothing.
    """

    unit = "clips"
    label_dtype = "float32"
    dtype = records.DTYPE
    classes: Mapping[str, Sequence[str]] = {"emotion": EMOTIONS}
    ranges: Mapping[str, tuple[float, float]] = dict.fromkeys(RATINGS, (-1.0, 1.0))
    splits_clusters = may_rank = True
    records_per_shard = 32  # about 25 MB with clips of 6 s
    few = 50
    labels: tuple[str, ...] = LABELS

    def __init__(self, path: str | Path, *, meld: bool = False, window_seconds: float = 4.0, kept: str = ""):
        self.path = Path(path)
        clips = read_meld(self.path) if meld else read_clips(self.path)
        if not clips:
            raise InputError(f"{self.path}: its table names no clips: add a row for each")
        self.cluster = "dialogue" if meld else "speaker"
        if meld:
            self.listed_splits, self.splits_clusters = {clip.name: clip.split for clip in clips}, False
            self.split_rule = "as published: train, dev and test of MELD; leading actors are in all three"
        self.lacking = {clip.name: f"{clip.path}: its file is missing" for clip in clips if not clip.path.is_file()}
        self._kept = Store(kept)
        self._set(clips, window_seconds)

    def _set(self, clips: Sequence[Clip], window_seconds: float) -> None:
        if not 1 <= window_seconds <= 60 or round(window_seconds, 1) != window_seconds:
            raise InputError(
                f"window_seconds {window_seconds}: must be 1 to 60, in tenths, as there are 10 frames a second"
            )
        self.window_seconds, self.modalities = window_seconds, records.modalities(window_seconds)
        self._clips = {clip.name: clip for clip in clips}
        self.participants = tuple(self._clips)
        self.clusters = {name: clip.cluster for name, clip in self._clips.items()}

    def scores(self, participant: str) -> Mapping[str, float | None]:
        return self._clips[participant].labels

    def content(self, clip: Clip) -> records.Content:
        """What is seen and heard in a clip."""
        key = {"window_seconds": self.window_seconds, "face": self.modalities["face"]["extractor"]}
        make = functools.partial(records.read_clip, clip.path, self.window_seconds)
        return self._kept.get([clip.path], key, make, records.to_arrays, records.from_arrays)

    def examine(self, participant: str) -> tuple[Record, list[str]]:
        content = self.content(self._clips[participant])
        return records.record(content, self.window_seconds), list(content.notes)

    def verify(self, has: Mapping[str, int]) -> None:
        if not has["face"]:
            raise InputError(
                f"{self.path}: no clip shows a face that is found: frontal faces of at least a tenth of the height "
                "are needed; look at the clips, and at how they are turned"
            )

    def digests(self) -> dict[str, str]:
        """Changes with any id, cluster, label, or size of a file."""
        lines = []
        for clip in self._clips.values():
            size = clip.path.stat().st_size if clip.path and clip.path.is_file() else 0
            lines.append(f"{clip.name}\x00{clip.cluster}\x00{clip.labels}\x00{size}")
        return {"source_sha256": stat_sha256(lines)}


class DemoSource(ClipSource):
    """Clips that are drawn and not read.

    Args:
      path: is not read.
      participants: speakers.
      seed: of everything.
      seconds: shortest and longest clip.
      window_seconds: as of `ClipSource`.
      split_file: by speaker; what is planted depends on the split.
    """

    labels = (*LABELS, demo.LABEL)
    ranges: Mapping[str, tuple[float, float]] = {**ClipSource.ranges, demo.LABEL: (0.0, 1.0)}
    few = 10**9
    cluster = "speaker"
    splits_clusters = False

    def __init__(
        self,
        path: str | Path,
        *,
        participants: int = demo.SPEAKERS,
        seed: int = 0,
        seconds: tuple[float, float] = demo.SECONDS,
        window_seconds: float = 4.0,
        split_file: str | None = None,
    ):
        self.path, self._seconds = Path(path), tuple(seconds)
        clips, _ = demo.draw(demo.divide(participants, split_file), seed)
        self.listed_splits = {clip.name: clip.split for clip in clips}
        self._set(clips, window_seconds)

    def content(self, clip: Clip) -> records.Content:
        return demo.content(clip, self.window_seconds, self._seconds)

    def divide(self, fractions: Sequence[float], split_file: str | None) -> dict[str, str]:
        return super().divide(fractions, None)  # decided when the clips were drawn


CORPUS = Corpus(
    name="affect_video",
    versions={"1.0.0": "First layout: one clip per record, clustered by speaker."},
    configs={
        "demo": Config(
            "Synthetic: drawn faces and a synthetic voice.", DemoSource, demo=demo.write, fractions=demo.FRACTIONS
        ),
        "clips": Config("Video files and a table.", ClipSource, needs="the folder of the clips and of clips.csv"),
        "meld": Config(
            "MELD as published.", ClipSource, needs="the folder of MELD", fixed={"meld": True}, divided="as published"
        ),
    },
    options={"window_seconds": Option("longer clips become several windows (default 4)", float)},
    former={"speakers": "participants"},
    homepage="https://affective-meld.github.io/",
)
