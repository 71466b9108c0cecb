"""A teacher that sees faces, a student that hears speech, and both together.

The paper fixes that the teacher is convolutional over face crops, the student convolutional and recurrent over speech,
and that the student is brought to agree with the teacher.

Teacher: a small CNN over each frame by itself, then attention over the frames of a segment in which there is a face
(Bahdanau et al. 2015, arXiv 1409.0473, with one learned query). Student: a small CNN over the log-mel spectrogram, a
GRU, and the same attention over its states, to which a linear function of what the segment sounds like as a whole is
added (`described`). Both give an embedding per segment, whose mean over the segments of a clip, weighted by their
frames, is the clip's; outputs are linear in it. The output of a frame therefore depends on that frame alone, and the
teacher's for a segment is their weighted mean (`traces`).

Departures from the paper: it names no sizes and no layers; all were chosen here.

Letters of shapes: s segments, n frames of one, p pixels of a crop, b clips, d width, o outputs of a head.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from mmpsy_jax.models import perceiver
from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, Rates, outputs_of
from mmpsy_jax.models.perceiver import Rate
from mmpsy_jax.rules import Count

FACE, AUDIO = "face", "audio"
# Pixels by which crops are moved in training.
SHIFT = 2
# Of the frequencies of the modulation spectrum, from the lowest; and what keeps the square root of nothing finite.
RHYTHM, EPSILON = 0.3, 1e-6
# Before the name of an output of the teacher, where the student has one of that name.
OF_TEACHER = "teacher_"
# Outputs [b 1]: whether there is a face, whether there is speech.
SEEN, HEARD = "face_present", "speech_present"


class Traces(NamedTuple):
    """Outputs of the networks for parts of clips.

    Attributes:
      faces: which frames show a face.
      frames: of the teacher, per task and frame.
      watched: of the teacher, per task and segment.
      heard: of the student, per task and segment.
    """

    faces: Bool[Array, "s n"]
    frames: dict[str, Float[Array, "s n o"]]
    watched: dict[str, Float[Array, "s o"]]
    heard: dict[str, Float[Array, "s o"]]


class Pooling(nn.Module):
    """Attention over the valid steps of a segment; 0 where there is none."""

    @nn.compact
    def __call__(self, x: Float[Array, "s n d"], mask: Bool[Array, "s n"]) -> Float[Array, "s d"]:
        hidden = jnp.tanh(nn.Dense(x.shape[-1], name="hidden")(x))
        scores = nn.Dense(1, use_bias=False, name="query")(hidden)[..., 0]
        weights = jax.nn.softmax(jnp.where(mask, scores, perceiver.MASKED_SCORE), axis=-1)
        return jnp.einsum("snd,sn->sd", x, jnp.where(mask, weights, 0))


class FaceNetwork(nn.Module):
    """Square grey crops in [0, 1] -> one vector per frame, and one per segment."""

    width: int
    channels: tuple[int, ...]

    @nn.compact
    def __call__(
        self, crops: Float[Array, "s n p"], mask: Bool[Array, "s n"], rate: Rate
    ) -> tuple[Float[Array, "s n d"], Float[Array, "s d"]]:
        side = math.isqrt(crops.shape[-1])
        crops = jax.nn.standardize(crops, axis=-1)
        x = crops.reshape(*crops.shape[:2], side, side)
        if self.has_rng("dropout"):
            x = moved(self.make_rng("dropout"), x)
        x = x.reshape(-1, side, side, 1)
        for number, size in enumerate(self.channels):
            # The first layer is of patches: as many channels as pixels lose nothing, and it is by far the largest.
            kernel, stride = (4, 4) if number == 0 else (3, 2)
            x = nn.relu(nn.Conv(size, (kernel, kernel), strides=stride, name=f"conv_{number}")(x))
        frames = nn.LayerNorm(name="norm")(nn.Dense(self.width, name="dense")(x.reshape(*crops.shape[:2], -1)))
        frames = perceiver.Dropout()(nn.relu(frames), rate)
        return frames, Pooling(name="pooling")(frames, mask)


def moved(key: jax.Array, crops: Float[Array, "s n h w"]) -> Float[Array, "s n h w"]:
    """Crops, each segment mirrored by chance, and all moved by the same up to `SHIFT` pixels."""
    mirror, shift = jax.random.split(key)
    mirrored = jax.random.bernoulli(mirror, shape=(len(crops), 1, 1, 1))
    down, right = jax.random.randint(shift, (2,), -SHIFT, SHIFT + 1)
    return jnp.roll(jnp.where(mirrored, crops[..., ::-1], crops), (down, right), axis=(2, 3))


def described(mel: Float[Array, "s t f"], length: Int[Array, " s"]) -> Float[Array, "s n"]:
    """What a recording sounds like as a whole: mean and spread of each band, and how its strength comes and goes.

    The last is the modulation spectrum of the mean over bands within the valid frames, under a Hann window: the
    amplitudes of the lowest `RHYTHM` of its frequencies (4.5 Hz of frames of 33 ms, where syllables are), scaled to a
    mean square of 1. All are 0 of a segment without frames.

    Args:
      mel: log-mel frames, time before bands.
      length: valid frames.
    """
    steps, within = mel.shape[1], jnp.arange(mel.shape[1]) < length[:, None]
    count = jnp.maximum(length, 1)[:, None]
    mean = (mel * within[..., None]).sum(axis=1) / count
    around = (mel - mean[:, None]) * within[..., None]
    spread = jnp.sqrt((around**2).sum(axis=1) / count + EPSILON)
    hann = jnp.sin(jnp.pi * (jnp.arange(steps) + 0.5) / count) ** 2
    waves = jnp.fft.rfft(around.mean(axis=2) * hann, axis=1)[:, : max(1, int(RHYTHM * (steps // 2 + 1)))]
    power = waves.real**2 + waves.imag**2 + EPSILON
    amplitude = jnp.sqrt(power / power.mean(axis=1, keepdims=True))
    return jnp.where(length[:, None] > 0, jnp.concatenate([mean, spread, amplitude], axis=1), 0)


class SpeechNetwork(nn.Module):
    """Log-mel segments -> one vector per segment: what was heard over time, and what it sounds like as a whole."""

    width: int
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, mel: Float[Array, "s t f"], length: Int[Array, " s"], rate: Rate) -> Float[Array, "s d"]:
        x, mask = mel[..., None], jnp.arange(mel.shape[1]) < length[:, None]
        for number, size in enumerate(self.channels):
            x = nn.relu(nn.Conv(size, (3, 3), strides=2, name=f"conv_{number}")(x * mask[..., None, None]))
            mask = mask[:, ::2]
        x = nn.relu(nn.LayerNorm(name="norm")(nn.Dense(self.width, name="dense")(x.reshape(*x.shape[:2], -1))))
        steps = jnp.maximum(mask.sum(axis=1), 1)
        states = nn.RNN(nn.GRUCell(self.width, name="gru"))(perceiver.Dropout()(x, rate), seq_lengths=steps)
        whole = perceiver.Dropout()(described(mel, length), rate)
        heard = Pooling(name="pooling")(perceiver.Dropout()(states, rate), mask)
        return heard + nn.Dense(self.width, use_bias=False, name="whole")(whole)


class Model(nn.Module):
    """Segments of clips -> outputs per task.

    Attributes:
      modalities: `FACE` and `AUDIO`, as far as `part` needs them.
      heads: the outputs.
      window_seconds: of a segment; not needed, since nothing here knows of time beyond a segment.
      part: "teacher": outputs are of the face; "student": of speech, with a frozen teacher where `teacher` names
        one; "joint": of speech, with a teacher that is trained along.
      teacher: workdir of a finished run of part "teacher", whose parameters are `fitted/teacher`
        (`projects/affect/teacher.py`); "" for none.
      width: of the embeddings.
      face_channels, speech_channels: of the convolutions.
      stride: a teacher in training looks at every so many-th frame of a segment, from a start by chance: neighbours are
        alike, and the time goes into frames.
    """

    RATES: ClassVar[dict[str, float]] = {"dropout": 0.1}

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    part: Literal["teacher", "student", "joint"] = "joint"
    teacher: str = ""
    width: Count = 64
    face_channels: tuple[int, ...] = (16, 32, 32)
    stride: Count = 4
    speech_channels: tuple[int, ...] = (16, 32)

    def __post_init__(self):
        if self.teacher and self.part != "student":
            raise ValueError(f"a frozen teacher belongs to part 'student', not {self.part!r}: set teacher = ''")
        sees, hears = self.part != "student" or self.teacher, self.part != "teacher"
        needed = {name for name, used in ((FACE, sees), (AUDIO, hears)) if used}
        names = {m.name for m in self.modalities}
        if names != needed:
            raise ValueError(
                f"part {self.part!r} reads {', '.join(sorted(needed))}, not {', '.join(sorted(names))}: "
                f"set config.data.modalities"
            )
        for m in self.modalities:
            if m.name == FACE and math.isqrt(m.shape[1]) ** 2 != m.shape[1]:
                raise ValueError(f"crops of {m.shape[1]} pixels are no squares: build the corpus anew")
            if m.name == FACE and not 1 <= self.stride <= m.shape[0]:
                raise ValueError(f"stride {self.stride}: at least 1 and at most the {m.shape[0]} frames of a segment")
        super().__post_init__()

    @nn.compact
    def __call__(self, batch: PyTree, rates: Rates = NO_DROPOUT) -> dict[str, Float[Array, "b _"]]:
        """Outputs per task and the embedding of each clip; of a teacher next to the student the same as `teacher_...`.

        Args:
          batch: one pack of a packed batch (docs/architecture.md), a piece being a segment.
          rates: of dropout; only `dropout` is used.

        Returns:
          as `mental_perceiver.Model`, and where there is a teacher, too, `SEEN` and `HEARD` [b 1].
        """
        if self.part == "teacher":
            return self.watch(batch, rates.dropout, "")
        outputs = self.listen(batch, rates.dropout)
        if self.part == "joint":
            outputs |= self.watch(batch, rates.dropout, OF_TEACHER)
        elif self.teacher:
            outputs |= self.watch_frozen(batch)
        else:
            return outputs
        rows = batch["valid"].shape[0]
        faces = present_faces(batch).any(axis=1)
        return outputs | {
            SEEN: in_clip(faces, batch[f"{FACE}_row"], rows),
            HEARD: in_clip(batch[f"{AUDIO}_length"] > 0, batch[f"{AUDIO}_row"], rows),
        }

    def watch(self, batch: PyTree, rate: Rate, prefix: str) -> dict[str, Float[Array, "b _"]]:
        """The teacher."""
        crops, mask = batch[FACE].astype(jnp.float32), present_faces(batch)
        if self.has_rng("dropout"):
            start = jax.random.randint(self.make_rng("dropout"), (), 0, self.stride)
            looked_at = start + jnp.arange(0, crops.shape[1] - self.stride + 1, self.stride)
            crops, mask = crops[:, looked_at], mask[:, looked_at]
        network = FaceNetwork(self.width, self.face_channels, name="teacher")
        frames, segments = network(crops, mask, rate)
        clips = clips_of(segments, mask.sum(axis=1), batch, FACE)
        of_clips, of_segments, of_frames = self.read_out(prefix, clips, segments, frames)
        self.sow("intermediates", "faces", mask)
        self.sow("intermediates", "frames", of_frames)
        self.sow("intermediates", "watched", of_segments)
        return {f"{prefix}{name}": value for name, value in {**of_clips, EMBEDDING: clips}.items()}

    def watch_frozen(self, batch: PyTree) -> dict[str, Float[Array, "b _"]]:
        """The teacher of another run."""
        faces = tuple(m for m in self.modalities if m.name == FACE)
        teacher = Model(
            faces,
            self.heads,
            self.window_seconds,
            "teacher",
            width=self.width,
            face_channels=self.face_channels,
            parent=None,
        )
        params = self.variable("fitted", "teacher", lambda: teacher.init(jax.random.key(0), batch)["params"]).value
        outputs, kept = teacher.apply({"params": params}, batch, mutable=["intermediates"])
        for name, (value,) in kept["intermediates"].items():
            self.sow("intermediates", name, value)
        return {f"{OF_TEACHER}{name}": value for name, value in outputs.items()}

    def listen(self, batch: PyTree, rate: Rate) -> dict[str, Float[Array, "b _"]]:
        """The student."""
        length = batch[f"{AUDIO}_length"]
        network = SpeechNetwork(self.width, self.speech_channels, name="student")
        segments = network(batch[AUDIO].astype(jnp.float32), length, rate)
        clips = clips_of(segments, length, batch, AUDIO)
        of_clips, of_segments = self.read_out("", clips, segments)
        self.sow("intermediates", "heard", of_segments)
        return {**of_clips, EMBEDDING: clips}

    def read_out(self, prefix: str, *embeddings: Float[Array, "*_ d"]) -> list[dict[str, Float[Array, "*_ o"]]]:
        """Outputs per task of several arrays of embeddings, by the same linear layer."""
        heads = tuple(head._replace(name=f"{prefix}{head.name}") for head in self.heads)
        ends = np.cumsum([head.n_values for head in heads])
        dense = nn.Dense(int(ends[-1]), use_bias=False, name=f"{prefix}readout")
        bias = outputs_of(self, heads, jnp.zeros((1, ends[-1])))  # what the outputs of nothing are
        values = [jnp.split(dense(x), ends[:-1], axis=-1) for x in embeddings]
        named = lambda parts: zip(self.heads, heads, parts, strict=True)  # noqa: E731
        return [{head.name: part + bias[renamed.name][0] for head, renamed, part in named(parts)} for parts in values]


def traces(model: Model, variables: Mapping[str, PyTree], batch: PyTree) -> Traces:
    """Outputs of the teacher and the student of a model for frames and segments.

    Args:
      model: with teacher and student.
      variables: `params` and `fitted`.
      batch: as of `Model`.
    """
    kept = model.apply(variables, batch, mutable=["intermediates"])[1]["intermediates"]
    return Traces(*(kept[name][0] for name in Traces._fields))


def present_faces(batch: PyTree) -> Bool[Array, "s n"]:
    """Which frames show a face: within the length, and not all zero."""
    crops = batch[FACE]
    return (jnp.arange(crops.shape[1]) < batch[f"{FACE}_length"][:, None]) & (crops != 0).any(axis=-1)


def clips_of(segments: Float[Array, "s d"], valid: Int[Array, " s"], batch: PyTree, name: str) -> Float[Array, "b d"]:
    """The mean over the segments of each clip, weighted by how many frames of them a modality has."""
    rows = batch["valid"].shape[0]
    return perceiver.masked_mean(segments[:, None], valid[:, None], batch[f"{name}_row"], rows)


def in_clip(segments: Bool[Array, " s"], row: Int[Array, " s"], rows: int) -> Float[Array, "b 1"]:
    """1 for clips in which any segment counts, else 0."""
    return (perceiver.merge_windows(segments.astype(jnp.float32), row, rows) > 0).astype(jnp.float32)[:, None]


def fit(config: Any, tasks: Sequence[Any], corpus: Any, members: Int[np.ndarray, " m"]) -> dict[str, Any]:
    """The frozen teacher of a run that asks for one (`projects/affect/teacher.py`; arguments as there)."""
    if not config.model.teacher:
        return {}
    from mmpsy_jax.projects.affect import teacher  # which loads finished runs; a network alone needs none

    return {"teacher": teacher.parameters(config, tasks, corpus, members)}
