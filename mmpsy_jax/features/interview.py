"""One participant's recordings and transcript -> the inputs of a record: the code that builders and `predict` share."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpsy_jax.features.clip import Clip, Timeline
from mmpsy_jax.features.embeddings import EmbeddingSettings, SpeechEmbeddings, SpeechSettings, TokenEmbeddings
from mmpsy_jax.features.mel import LogMel, MelSettings
from mmpsy_jax.features.text import NGrams, TextSettings
from mmpsy_jax.features.transcript import Transcript
from mmpsy_jax.features.waveform import Waveform, WaveformSettings
from mmpsy_jax.features.windows import Extractor, Windows, cast
from mmpsy_jax.io import InputError, one_of

# By modality, extractors and their settings by name; the first is the default.
_KNOWN: dict[str, dict[str, tuple[type[Extractor], type]]] = {
    "audio": {
        LogMel.name: (LogMel, MelSettings),
        Waveform.name: (Waveform, WaveformSettings),
        SpeechEmbeddings.name: (SpeechEmbeddings, SpeechSettings),
    },
    "text": {NGrams.name: (NGrams, TextSettings), TokenEmbeddings.name: (TokenEmbeddings, EmbeddingSettings)},
}
INTERVIEWERS = "interviewer_"  # begins the names of the modalities of the interviewer


def make_extractor(modality: str, settings: Mapping[str, Any] | None) -> Extractor:
    """The extractor of a modality.

    Args:
      modality: "audio" or "text".
      settings: `name` of the extractor (default: log-mel, and character n-grams), and those fields of its settings
        that differ from the defaults.

    Raises:
      InputError: an unknown name or field, or a value that cannot be.
    """
    if modality not in _KNOWN:
        raise one_of("modality", modality, _KNOWN)
    settings, known = dict(settings or {}), _KNOWN[modality]
    name = settings.pop("name", next(iter(known)))
    if name not in known:
        raise one_of(f"extractor of {modality}", name, known)
    extractor, kind = known[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    for field in settings:
        if field not in fields:
            raise one_of(f"setting of {modality}", field, ["name", *fields])
    return extractor(kind(**settings))


def extractor_of(modality: str, entry: Mapping[str, Any]) -> Extractor | None:
    """The extractor that a modality of a corpus was made with; None where none of ours makes such windows.

    Args:
      modality: its name.
      entry: of the modality in `corpus.json`. Without `extractor` (corpora of released features, or of transcripts
        alone) it is the default one if that makes windows of the same kind and shape.
    """
    modality = modality.removeprefix(INTERVIEWERS)
    if modality not in _KNOWN:
        return None
    extractor = make_extractor(modality, entry.get("extractor"))
    card = extractor.card()
    return extractor if all(card[key] == entry[key] for key in ("kind", "shape", "time_axis")) else None


def dtype_of(entry: Mapping[str, Any], floats: Any) -> np.dtype:
    """The type of a modality's windows in records.

    Args:
      entry: of the modality in `corpus.json`.
      floats: type of features that have none of their own.
    """
    return np.dtype(entry.get("dtype", np.int32 if entry["kind"] == "ids" else floats))


@dataclasses.dataclass(frozen=True)
class Speech:
    """What one side of an interview says, and how it sounds.

    Attributes:
      recordings: files, or what is used of them, in order; empty where there are none.
      transcript: without answers where there is none; with the stretches that the recordings are cut to.
      sound: windows of the recordings where they were extracted before.
    """

    recordings: Sequence[Path | Clip] = ()
    transcript: Transcript = Transcript()  # noqa: RUF009  it is frozen
    sound: Windows | None = None


def record(
    recordings: Sequence[Path | Clip],
    transcript: Transcript,
    extractors: Mapping[str, Extractor],
    dtypes: Mapping[str, np.dtype],
    sound: Windows | None = None,
    interviewer: Speech | None = None,
    unread: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """What a record says about recordings and a transcript: the features of the record contract that follow from them.

    Args:
      recordings: in order; empty where there are none.
      transcript: without answers where there is none.
      extractors: of the modalities of the corpus.
      dtypes: of their windows.
      sound: windows of the recordings where they were extracted before.
      interviewer: the other side; read where there are extractors of its modalities.
      unread: modalities that only have a share in how the windows of the others lie, and are left out of the features.

    Returns:
      the features, and notes about what is odd but no error.

    Raises:
      InputError: nothing to extract, a file that cannot be used, or a transcript that does not fit the recordings.
    """
    answers = len(transcript.answers)
    if len(recordings) > 1 and transcript.times is None and answers not in (0, len(recordings)):
        raise InputError(
            f"{len(recordings)} recordings, but {answers} answers in the transcript: give an answer for each "
            "recording, or one recording, or a csv with the columns start and end"
        )
    if sound is None and recordings and "audio" in extractors:
        sound = extractors["audio"].extract(recordings, dtypes["audio"])
    windows = _windows(transcript, sound, extractors.get("audio"), extractors.get("text"))
    others = {name.removeprefix(INTERVIEWERS): one for name, one in extractors.items() if name.startswith(INTERVIEWERS)}
    if interviewer is not None and others:
        heard, words = interviewer.sound, interviewer.transcript
        if heard is None and interviewer.recordings and "audio" in others:
            heard = others["audio"].extract(interviewer.recordings, dtypes[f"{INTERVIEWERS}audio"])
        if not recordings:  # whose time is that of the windows
            words = dataclasses.replace(words, times=None)
        theirs = _windows(words, heard, others.get("audio"), others.get("text"))
        windows = _merge(windows, {f"{INTERVIEWERS}{name}": one for name, one in theirs.items()})
    read = {name: extractor for name, extractor in extractors.items() if name not in unread}
    if not read.keys() & windows.keys():
        raise InputError(f"holds nothing of what is read ({', '.join(read)})")
    notes = [f"{path}: {note}" for path, note in zip(recordings, sound.notes if sound else (), strict=False) if note]
    notes += [f"transcript: {note}" for note in transcript.notes]
    return features(windows, read, dtypes, sound.duration_s if sound else 0.0), notes


def _windows(
    transcript: Transcript, sound: Windows | None, audio: Extractor | None, text: Extractor | None
) -> dict[str, Windows]:
    """Windows of one side by "audio" and "text", equally many; starts are seconds of the recordings as they are.

    Args:
      transcript: of it.
      sound: windows of its recordings; None where there is nothing to hear.
      audio, text: extractors of both; None of what is not read.
    """
    if text is None or not transcript.text.strip():
        windows = {"audio": sound} if sound else {}
    elif sound is None:
        alone = text.extract(transcript)
        if transcript.times is not None and transcript.stretches is not None:
            first = text.positions(transcript)[1][:: text.settings.positions]
            alone = dataclasses.replace(alone, start_s=np.array(transcript.times, np.float32)[first])
        return {"text": alone}
    else:
        if transcript.times is None and len(sound.parts_s) > 1:
            transcript = transcript.spoken_in(sound.parts_s)
        if transcript.stretches is not None and transcript.times is not None:
            joined = Timeline(transcript.stretches).joined(np.array(transcript.times))
            transcript = dataclasses.replace(transcript, times=tuple(np.minimum(joined, sound.duration_s).tolist()))
        words, place = text.extract_beside(transcript, sound, audio.settings.window_seconds)
        values = np.zeros((len(place), *sound.values.shape[1:]), sound.values.dtype)
        values[place >= 0] = sound.values
        lengths = np.zeros(len(place), np.int32)
        lengths[place >= 0] = sound.lengths
        windows = {"text": words, "audio": Windows(values, lengths, words.start_s)}
    if sound is None or transcript.stretches is None:
        return windows
    timeline = Timeline(transcript.stretches)
    return {
        name: dataclasses.replace(one, start_s=timeline.source(one.start_s).astype(np.float32))
        for name, one in windows.items()
    }


def _merge(ours: Mapping[str, Windows], theirs: Mapping[str, Windows]) -> dict[str, Windows]:
    """Windows of two sides, the first beside the first and so on: those of the participant lie as without the others.

    Starts are the participant's; where the others have more windows, theirs follow.
    """
    starts = [next(iter(side.values())).start_s if side else np.zeros(0, np.float32) for side in (ours, theirs)]
    start_s = np.maximum.accumulate(np.concatenate([starts[0], starts[1][len(starts[0]) :]]))
    merged = {}
    for name, one in {**ours, **theirs}.items():
        more = len(start_s) - len(one.lengths)
        values = np.concatenate([one.values, np.zeros((more, *one.values.shape[1:]), one.values.dtype)])
        merged[name] = Windows(values, np.concatenate([one.lengths, np.zeros(more, np.int32)]), start_s)
    return merged


def features(
    by_modality: Mapping[str, Windows],
    extractors: Mapping[str, Extractor],
    dtypes: Mapping[str, np.dtype],
    duration_s: float,
) -> dict[str, Any]:
    """Windows of a participant as a record has them.

    Args:
      by_modality: equally many; what the participant lacks is not there.
      extractors, dtypes: of all modalities of the corpus.
      duration_s: seconds of sound.
    """
    start_s = next(iter(by_modality.values())).start_s
    count = len(start_s)
    record: dict[str, Any] = {
        "duration_s": np.float32(duration_s),
        "n_windows": np.int32(count),
        "window_start_s": start_s,
    }
    for name, extractor in extractors.items():
        windows = by_modality.get(name)
        if windows is None:
            empty = np.zeros((count, *extractor.shape), dtypes[name])
            windows = Windows(empty, np.zeros(count, np.int32), start_s)
        record |= {
            f"has_{name}": bool(windows.lengths.any()),
            name: cast(windows.values, dtypes[name], name),
            f"{name}_length": windows.lengths,
        }
    return record
