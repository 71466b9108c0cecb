"""What `model.json` says of a run: its inputs, its trainings, what is usual in training, and what calibrates it."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from mmpsy_jax.data.pooled import folders_of
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.features import out_of_distribution
from mmpsy_jax.io import file_sha256, public, with_places
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches, privacy, run_files
from mmpsy_jax.training.config import fields_of
from mmpsy_jax.training.job import TrainJob
from mmpsy_jax.training.run_files import CONFIG, EMBEDDING, PREDICTIONS, WEIGHTS

# Participants whose inputs are read again to see what is usual.
SAMPLE = 1000
QUANTILES = (0.001, 0.999)
# Of the card of the corpus; `cluster` is None where everybody stands alone.
KEPT = (
    *("dataset", "config", "version", "synthetic", "window_seconds", "cluster", "reading"),
    *("label_ranges", "classes", "same_people_as", "pooled"),
)


def write(
    config: ConfigDict, corpus: Corpus, jobs: Sequence[TrainJob], workdir: Path, predictions: Predictions
) -> None:
    """Writes `model.json`.

    Args:
      config: of the whole run.
      corpus: that it was trained on.
      jobs: its trainings.
      workdir: of the whole run.
      predictions: of all trainings.
    """
    from mmpsy_jax.evaluation import calibration  # scikit-learn takes seconds, and all training is over by now

    ours = fields_of(config)
    members = np.unique(np.concatenate([one.splits["train"] for one in jobs]))
    salt, names = _salt([one.workdir for one in jobs]), batches.names_of(config, corpus)
    ids = {one for everybody in (corpus.participants, ids_in_corpora(corpus)) for one in np.array(everybody)[members]}
    known = {
        "digests": sorted(digests_of(ids, salt)),  # their order would tell more
        "interviews": sorted(digests_of(interviews_of(corpus, members, names), salt)),
    }
    calibrating = predictions
    if privacy.is_on(config) and "validation" not in predictions.split:
        calibrating = predictions.select(split="validation")  # errors on who is trained on elsewhere would tell of them
    card = {
        "format": run_files.FORMAT,
        **{name: corpus.card.get(name) for name in KEPT},
        "modalities": inputs_of(corpus, names),
        "unread": {name: public(entry) for name, entry in corpus.card["modalities"].items() if name not in names},
        "trainings": [
            {
                "folder": str(one.workdir.relative_to(workdir)),
                "fold": one.fold,
                "seed": one.seed,
                "fields": {k: v for k, v in fields_of(one.config).items() if ours.get(k) != v},
            }
            for one in jobs
        ],
        "usual": usual(corpus, names, members),
        "members": {"salt": salt, **known},
        "calibration": calibration.of_run(calibrating, from_config(config.tasks), config.evaluation.threshold),
    }
    of_trainings = [
        Path(one["folder"], name) for one in card["trainings"] for name in (WEIGHTS, EMBEDDING, PREDICTIONS)
    ]
    run_files.write_card(workdir, card, [CONFIG, PREDICTIONS, *map(str, of_trainings)])


def ids_in_corpora(corpus: Corpus) -> Sequence[str]:
    """Ids of all participants as their own corpora have them, which in pooled ones are part of a name."""
    return [name for part in corpus.pooled.values() for name in part.participants] or corpus.participants


def inputs_of(corpus: Corpus, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The entries of modalities in the card of a corpus, with their types; of paths the last part alone."""
    entries = {name: public(corpus.card["modalities"][name]) for name in names}
    return {name: {**entry, "dtype": str(corpus.modalities[name].dtype)} for name, entry in entries.items()}


def with_places_of_corpus(config: ConfigDict, card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a run; where its corpus was built on this machine, with the places of encoders, which it knows."""
    (folder, *_) = folders_of(folder_of(config, card))
    return {**card, **with_places(Path(folder), {"modalities": card["modalities"]})}


def folder_of(config: ConfigDict, card: Mapping[str, Any]) -> str | Path:
    """Where the records of a run lie, or lay; several of pooled ones, with commas."""
    named = [card[name] or "" for name in ("dataset", "config", "version")]
    return config.data.folder or Path(config.data.data_dir, *named)


def digests_of(texts: Iterable[str], salt: str) -> list[str]:
    """What tells whether a text is among some, without the texts: the first 32 bits of a salted digest of each."""
    return [hashlib.sha256(f"{salt}\x00{one}".encode()).hexdigest()[:8] for one in texts]


def interviews_of(corpus: Corpus, members: Int[np.ndarray, " m"], names: Sequence[str]) -> list[str]:
    """Per member the id in its own corpus, how much its windows hold, and a digest of the first of each modality.

    They are equal of the same interview under the same id.

    Args:
      names: of the modalities.
    """
    ids, ends, keys = ids_in_corpora(corpus), np.cumsum(corpus.n_windows), []
    for i in members.tolist():
        windows = slice(ends[i] - corpus.n_windows[i], ends[i])
        record = corpus.reader.read(i, names)
        first = hashlib.sha256(b"".join(record[name][0].tobytes() for name in names)).hexdigest()
        keys.append(" ".join([ids[i], *(str(corpus.window_lengths[name][windows].tolist()) for name in names), first]))
    return keys


def _salt(folders: Sequence[Path]) -> str:
    """The same whenever `model.json` is written anew; another for every run."""
    return hashlib.sha256(bytes.fromhex("".join(file_sha256(folder / WEIGHTS) for folder in folders))).hexdigest()[:32]


def usual(corpus: Corpus, names: Sequence[str], members: Int[np.ndarray, " m"]) -> dict[str, Any]:
    """Per modality, `quantiles` {measure: [low, high]} over training participants, and of ids the `known` bits.

    Of a cross-validation these are all who were trained on in any fold: no prediction is judged by them.
    """
    sample = np.sort(np.random.default_rng(0).permutation(members)[:SAMPLE])
    entries = {}
    for name in names:
        modality = corpus.modalities[name]
        entry, known = modality._asdict(), None
        if modality.kind == "ids":
            known = _known(corpus, name, members)
        rows = []
        for i in sample[corpus.has[name][sample]].tolist():
            record = corpus.reader.read(i, [name, f"{name}_length"])
            rows.append(out_of_distribution.measures(record[name], record[f"{name}_length"], entry, known))
        rows = [row for row in rows if row]
        columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
        entries[name] = {"quantiles": {k: np.quantile(v, QUANTILES).tolist() for k, v in columns.items()}}
        if known is not None:
            entries[name]["known"] = base64.b64encode(np.packbits(known)).decode()
    return entries


def _known(corpus: Corpus, name: str, members: Int[np.ndarray, " m"]) -> Bool[np.ndarray, "2 v"]:
    """Which ids of characters and of pairs at least two of the members use."""
    users = np.zeros((2, corpus.modalities[name].vocabulary), np.int32)
    for i in members[corpus.has[name][members]].tolist():
        windows = corpus.reader.read(i, [name])[name]
        for column in range(2):
            users[column, np.unique(windows[..., column])] += 1
    return users >= 2


def known_ids(packed: str, vocabulary: int) -> Bool[np.ndarray, "2 v"]:
    """The bits that `usual` packed: which characters and pairs of characters are known."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8))
    return bits[: 2 * vocabulary].reshape(2, vocabulary).astype(bool)
