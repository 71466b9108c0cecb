"""`launch.py discrepancy`: a run with teacher and student, and clips, to tables and a page of where the two disagree.

Only held-out clips are compared: those of the validation split give the limit, those of the test split are judged. Of
the corpus that a run was trained on, its own predictions say which these are, fold by fold, and a fold's trainings
judge its clips only. Of another corpus the splits are its own, and all trainings are averaged.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

import mmpsy_jax
from mmpsy_jax.data import splits
from mmpsy_jax.data.records import Corpus, open_corpus
from mmpsy_jax.inference.inputs import corpus_of
from mmpsy_jax.inference.predict import CHUNK
from mmpsy_jax.io import InputError, try_folder, write_atomically, write_json
from mmpsy_jax.projects.affect import measures, page
from mmpsy_jax.projects.affect.measures import Clip, Frames
from mmpsy_jax.projects.affect.models import audio_visual
from mmpsy_jax.projects.affect.models.audio_visual import AUDIO, FACE
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run, run_files
from mmpsy_jax.training.finished_run import FinishedRun, FinishedTraining

PAGE, REPORT = "discrepancy.html", "discrepancy.json"
SPLITS = ("validation", "test")
# The largest face of each frame, whoever it is; and the label of planted disagreements.
ANY_FACE, MISMATCH = "any_face", "mismatch"


def discrepancy(workdir: str | Path, source: str | Path, output: str | Path) -> dict[str, Any]:
    """Compares teacher and student on held-out clips.

    Args:
      workdir: of a finished run of `audio_visual` with teacher and student.
      source: folder of built records.
      output: folder for `PAGE`, `REPORT` and the tables of `measures.py`.

    Returns:
      The content of `REPORT`.

    Raises:
      InputError: no such run, other records than it reads, or no held-out clips.
    """
    try_folder(output)
    run, folder = finished_run.load(workdir), Path(output)
    for one in run.trainings:
        if one.config.model.name != "audio_visual" or not (
            one.config.model.teacher or one.config.model.part == "joint"
        ):
            raise InputError(
                f"{workdir}: a run without a teacher: give one of configs/affect_student.py:frozen or :joint"
            )
    corpus = run.select_modalities(open_corpus(source))
    emotion = next((task for task in run.tasks if task.named), None)
    if emotion is None:
        raise InputError(f"{workdir}: no task of kind 'nominal', whose classes are the emotions: train with one")
    ratings = [task for task in run.tasks if task.scaled]
    parts = held_out(Path(workdir), run, corpus)
    clips = [clip for part in parts for clip in clips_of(part, run, corpus, emotion, ratings)]
    limits = measures.limits(clips)
    tested = [clip for clip in clips if clip.split == "test"]
    report = {
        "what": mmpsy_jax.DISCLAIMER,
        "mmpsy_jax": mmpsy_jax.__version__,
        "synthetic": bool(corpus.card["synthetic"] or run.card["synthetic"]),
        "trainings": len(run.trainings),
        **measures.summary(tested, limits, resamples=run.config.evaluation.bootstrap),
        "optimum": optimum(corpus.card, whole_test=len(limits) == 1),
    }
    measures.write_tables(folder, tested, limits, emotion.classes)
    html = page.render(report, clips, limits, emotions=emotion.classes, ratings=[task.name for task in ratings])
    write_atomically(folder / PAGE, html)
    write_json(folder / REPORT, report)
    return report


def optimum(card: Mapping[str, Any], whole_test: bool) -> dict[str, float]:
    """The best possible AUROC of planted disagreements that the card of a synthetic corpus names.

    Args:
      card: `corpus.json`.
      whole_test: the test split of the corpus is what is judged; otherwise only what is expected says anything.
    """
    known = card.get("optimum") or {}
    parts = ("population", "test") if whole_test else ("population",)
    return {part: known[part][MISMATCH]["both"]["auroc"] for part in parts if MISMATCH in known.get(part, {})}


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Trainings, and the clips that none of them was trained on.

    Attributes:
      trainings: that judge them.
      fold: theirs.
      members: positions in the corpus by split, validation and test, ascending.
    """

    trainings: tuple[FinishedTraining, ...]
    fold: int
    members: Mapping[str, Int[np.ndarray, " m"]]


def held_out(workdir: Path, run: FinishedRun, corpus: Corpus) -> list[HeldOut]:
    """Who is judged by whom.

    The corpus is the run's own where it has the same name and version, and holds a clip that the run held out.

    Raises:
      InputError: no validation or no test clips.
    """
    at = {name: i for i, name in enumerate(corpus.participants)}
    parts = []
    for one in {one["fold"]: one for one in reversed(run.card["trainings"])}.values():
        rows = run_files.load_predictions(workdir, run.card, one["folder"])
        positions = {
            split: {at[name] for name in rows.select(split=split).participant_id if name in at} for split in SPLITS
        }
        trainings = tuple(training for training in run.trainings if training.fold == one["fold"])
        members = {split: np.array(sorted(places), int) for split, places in positions.items()}
        parts.append(HeldOut(trainings, one["fold"], members))
    named = all(run.card[name] == corpus.card.get(name) for name in ("dataset", "config", "version"))
    if not named or not any(len(members) for part in parts for members in part.members.values()):
        parts = [HeldOut(run.trainings, 0, splits.by_name(corpus))]
    for split in SPLITS:
        if not all(len(part.members[split]) for part in parts):
            raise InputError(f"{corpus.path}: no {split} clip that the run has not seen: give records that have some")
    return sorted(parts, key=lambda part: part.fold)


def clips_of(part: HeldOut, run: FinishedRun, corpus: Corpus, emotion: Task, ratings: Sequence[Task]) -> Iterator[Clip]:
    """Outputs of teacher and student for the held-out clips, means over the trainings."""
    label = lambda name, i: float(corpus.labels[name][i]) if name in corpus.labels else float("nan")  # noqa: E731
    for split in SPLITS:
        for start in range(0, len(part.members[split]), CHUNK):
            members = part.members[split][start : start + CHUNK]
            chosen = judge(run.tasks, part.trainings, corpus, members)
            largest = None
            if split == "test" and ANY_FACE in corpus.card["modalities"]:
                everyone = np.arange(len(members))
                faces = of_largest_faces(corpus, members, run)
                largest = judge(run.tasks, part.trainings, faces, everyone)
            for at, i in enumerate(members.tolist()):
                face, speech = chosen.in_both(i)
                yield Clip(
                    participant=corpus.participants[i],
                    cluster=corpus.cluster[i],
                    split=split,
                    fold=part.fold,
                    emotion=label(emotion.label, i),
                    mismatch=label(MISMATCH, i),
                    start_s=chosen.seen.start_s[face],
                    seen=chosen.seen.outputs["watched"][emotion.name][face],
                    heard=chosen.heard.outputs["heard"][emotion.name][speech],
                    seen_ratings=side_by_side(chosen.seen.outputs["watched"], ratings)[face],
                    heard_ratings=side_by_side(chosen.heard.outputs["heard"], ratings)[speech],
                    seen_frames=chosen.seen.outputs["faces"][face].sum(axis=1),
                    heard_frames=chosen.heard.outputs["frames"][speech],
                    after=chosen.frames_of(i, emotion, ratings),
                    before=largest and largest.frames_of(at, emotion, ratings),
                )


class Segments(NamedTuple):
    """Segments of some clips, ordered by clip and time, and outputs for them by name.

    Probabilities of classes [... c], scores [...].
    """

    clip: Int[np.ndarray, " s"]
    start_s: Float[np.ndarray, " s"]
    outputs: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs for some clips.

    Attributes:
      seen: segments of faces: `watched` {task: [s ...]}, `frames` {task: [s n ...]} and `faces` [s n], 1 for a frame
        that shows one.
      heard: segments of speech: `heard` {task: [s ...]} and `frames` [s], how many there are.
      seconds: length of a segment.
    """

    seen: Segments
    heard: Segments
    seconds: float

    def in_both(self, clip: int) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " w"]]:
        """The segments of a clip that show a face and have speech: their places among those seen, and those heard."""
        seen = np.flatnonzero((self.seen.clip == clip) & self.seen.outputs["faces"].any(axis=1))
        heard = np.flatnonzero(self.heard.clip == clip)
        _, a, b = np.intersect1d(self.seen.start_s[seen], self.heard.start_s[heard], return_indices=True)
        return seen[a], heard[b]

    def frames_of(self, clip: int, emotion: Task, ratings: Sequence[Task]) -> Frames:
        """The frames of a clip that show a face."""
        chosen = self.seen.clip == clip
        shown, values = self.seen.outputs["faces"][chosen] > 0, self.seen.outputs["frames"]
        steps = shown.shape[1]
        seconds = self.seen.start_s[chosen][:, None] + (np.arange(steps) + 0.5) * (self.seconds / steps)
        return Frames(seconds[shown], values[emotion.name][chosen][shown], side_by_side(values, ratings)[chosen][shown])


def side_by_side(values: Mapping[str, Float[np.ndarray, "..."]], tasks: Sequence[Task]) -> Float[np.ndarray, "..."]:
    """The scores of several tasks along a new last axis."""
    if tasks:
        return np.stack([values[task.name] for task in tasks], axis=-1)
    return np.zeros((*next(iter(values.values())).shape[:-1], 0))


_traces = jax.jit(audio_visual.traces, static_argnums=0)


def judge(
    tasks: Sequence[Task], trainings: Sequence[FinishedTraining], corpus: Corpus, members: Int[np.ndarray, " m"]
) -> Outputs:
    """What trainings say of the members of a corpus, in the mean over them."""
    by_training = []
    for training in trainings:
        shape = training.batching(corpus)
        network, parts = training.network(shape), []
        for pack in training.packs(corpus, members, shape):
            inputs = {name: value for name, value in pack.items() if name != "index"}
            traced = jax.device_get(_traces(network, training.variables, inputs))
            watched, frames, heard = (
                {task.name: _averageable(task, one[task.name]) for task in tasks}
                for one in (traced.watched, traced.frames, traced.heard)
            )
            seen = {"watched": watched, "frames": frames, "faces": traced.faces.astype(np.float32)}
            pack = jax.device_get(pack)
            spoken = {"heard": heard, "frames": pack[f"{AUDIO}_length"].astype(np.float32)}
            parts.append((_segments(pack, FACE, seen), _segments(pack, AUDIO, spoken)))
        by_training.append([_ordered(one) for one in zip(*parts, strict=True)])
    seen, heard = (
        same[0]._replace(outputs=jax.tree.map(lambda *x: np.mean(x, axis=0), *(one.outputs for one in same)))
        for same in zip(*by_training, strict=True)
    )
    return Outputs(seen, heard, shape.pieces.seconds)


def _averageable(task: Task, output: Float[np.ndarray, "*n o"]) -> Float[np.ndarray, "..."]:
    values = task.averageable(output.reshape(-1, output.shape[-1]))
    return values.reshape(*output.shape[:-1], *values.shape[1:])


def _segments(pack: Mapping[str, np.ndarray], name: str, outputs: dict[str, Any]) -> Segments:
    """The slots of a pack that are used."""
    index, row = pack["index"], pack[f"{name}_row"]
    used = np.flatnonzero(row < len(index))
    return Segments(index[row[used]], pack[f"{name}_start_s"][used], jax.tree.map(lambda x: x[used], outputs))


def _ordered(parts: Sequence[Segments]) -> Segments:
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    order = np.lexsort((whole.start_s, whole.clip))
    return jax.tree.map(lambda x: x[order], whole)


def of_largest_faces(corpus: Corpus, members: Int[np.ndarray, " m"], run: FinishedRun) -> Corpus:
    """The members as a corpus whose faces are the largest of each frame, whoever they are."""
    records = []
    for i in members.tolist():
        record = corpus.read(i)
        faces = {FACE: record[ANY_FACE], f"{FACE}_length": record[f"{ANY_FACE}_length"]}
        records.append({**record, **faces})
    ids = [corpus.participants[i] for i in members.tolist()]
    return corpus_of(ids, records, run.modalities, run.card)
