"""What a finished run leaves for whoever uses its model: enough to predict without the corpus.

| file | holds |
|---|---|
| `model.safetensors`, one per training | the best parameters and what was fitted, by path (`params/network/...`) |
| `embedding.safetensors`, one per fold | where its participants lie in the network (`embedding.py`) |
| `model.json`, one per run | the inputs, the trainings with their config fields, what is usual in training, and what |
| | calibrates its numbers (`evaluation/calibration.py`, `of_run`) |
| `config.json`, one per run | the config (written when the run began) |

`model.json` also holds the digests of all these files (`run_files.py`).
"""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jax.sharding import Mesh
from jaxtyping import Bool, PyTree
from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.data.records import Corpus, Modality
from mmpsy_jax.evaluation.predictions import Predictions, read_csv
from mmpsy_jax.features import out_of_distribution
from mmpsy_jax.io import InputError, file_sha256, flatten, read_json, write_atomically
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import run_files
from mmpsy_jax.training.config import default, jsonable
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.run_files import CARD, CONFIG, EMBEDDING, FORMAT, PREDICTIONS, RESTORE, WEIGHTS

SYNTHETIC = "SYNTHETIC: the run was trained on people whom a generator made; its numbers say nothing about anybody real"
# Participants whose inputs are read again to see what is usual.
SAMPLE = 1000
QUANTILES = (0.001, 0.999)
# Of the card of the corpus; `cluster` is None where everybody stands alone.
KEPT = ("dataset", "config", "version", "synthetic", "window_seconds", "cluster")
_EMPTY: dict[str, Any] = {"params": {"network": {}, "objective": {}}, "fitted": {"network": {}, "class_weights": {}}}


def to_host(tree: PyTree, mesh: Mesh) -> PyTree:
    """Numpy arrays of a tree that may be divided over the devices of all processes; every process must call it."""
    return jax.device_get(jax.jit(lambda x: x, out_shardings=meshes.replicated(mesh))(tree))


def save_weights(folder: Path, inference_params: PyTree, name: str = WEIGHTS) -> None:
    """Writes a safetensors file atomically.

    Args:
      inference_params: numpy arrays, such as those of `step.inference_params`.
    """
    flat = traverse_util.flatten_dict(inference_params, sep="/")
    write_atomically(folder / name, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in flat.items()}))


def load_weights(path: Path) -> PyTree:
    """The tree of a model that `save_weights` wrote.

    Raises:
      InputError: not there, or damaged.
    """
    flat = load_arrays(path)
    if not any(name.startswith("params/") for name in flat):
        raise InputError(f"{path}: holds no parameters of a network: {run_files.AGAIN}")
    made = traverse_util.flatten_dict(_EMPTY, keep_empty_nodes=True, sep="/")
    # Whatever has no array (an objective without parameters) is an empty dictionary.
    kept = {name: value for name, value in made.items() if not any(key.startswith(f"{name}/") for key in flat)}
    return traverse_util.unflatten_dict({**kept, **flat}, sep="/")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name.

    Raises:
      InputError: not there, or damaged.
    """
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}): {run_files.AGAIN}") from error


def describe(config: ConfigDict, corpus: Corpus, runs: Sequence[Any], workdir: Path, predictions: Predictions) -> None:
    """Writes `model.json`.

    Args:
      config: of the whole run.
      corpus: that it was trained on.
      runs: its trainings (`loop.TrainJob`).
      workdir: of the whole run.
      predictions: of all trainings.
    """
    from mmpsy_jax.evaluation import calibration  # scikit-learn takes seconds, and all training is over by now

    ours = flatten(jsonable(config))
    members = np.unique(np.concatenate([one.splits["train"] for one in runs]))
    kept = digests_of([corpus.participants[i] for i in members], _salt([one.workdir for one in runs]))
    names = batching.names_of(config, corpus)
    card = {
        "format": FORMAT,
        **{name: corpus.card.get(name) for name in KEPT},
        "modalities": {
            name: {**corpus.card["modalities"][name], "dtype": str(corpus.modalities[name].dtype)} for name in names
        },
        "trainings": [
            {
                "folder": str(one.workdir.relative_to(workdir)),
                "fold": one.fold,
                "seed": one.seed,
                "fields": {k: v for k, v in flatten(jsonable(one.config)).items() if ours.get(k) != v},
            }
            for one in runs
        ],
        "usual": usual(corpus, names, members),
        "members": {**kept, "digests": sorted(kept["digests"])},  # their order would tell more
        "calibration": calibration.of_run(predictions, from_config(config.tasks)),
    }
    names = [f"{one['folder']}/{name}" for one in card["trainings"] for name in (WEIGHTS, EMBEDDING, PREDICTIONS)]
    run_files.write_card(workdir, card, [CONFIG, PREDICTIONS, *(str(Path(name)) for name in names)])


def digests_of(participants: Sequence[str], salt: str) -> dict[str, Any]:
    """What tells whether an id is among some, without the ids: `salt`, and the first 32 bits of a digest of each."""
    made = [hashlib.sha256(f"{salt}\x00{one}".encode()).hexdigest()[:8] for one in participants]
    return {"salt": salt, "digests": made}


def _salt(folders: Sequence[Path]) -> str:
    """The same whenever `model.json` is written anew; another for every run."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(bytes.fromhex(file_sha256(folder / WEIGHTS)))
    return digest.hexdigest()[:32]


def usual(corpus: Corpus, names: Sequence[str], members: np.ndarray) -> dict[str, Any]:
    """Per modality, `quantiles` {measure: [low, high]} over training participants, and of ids the `known` bits.

    Of a cross-validation these are all who were trained on in any fold: nothing is inference_params with them.
    """
    sample = np.sort(np.random.default_rng(0).permutation(members)[:SAMPLE])
    made = {}
    for name in names:
        modality = corpus.modalities[name]
        known = _known(corpus, name, members) if modality.kind == "ids" else None
        rows = []
        for i in sample[corpus.has[name][sample]].tolist():
            record = corpus.reader.read(i, [name, f"{name}_length"])
            rows.append(
                out_of_distribution.measures(
                    record[name], record[f"{name}_length"], dataclasses.asdict(modality), known
                )
            )
        rows = [row for row in rows if row]
        columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
        made[name] = {"quantiles": {k: np.quantile(v, QUANTILES).tolist() for k, v in columns.items()}}
        if known is not None:
            made[name]["known"] = base64.b64encode(np.packbits(known)).decode()
    return made


def _known(corpus: Corpus, name: str, members: np.ndarray) -> Bool[np.ndarray, "2 v"]:
    """Which ids of characters and of pairs at least two of the members use."""
    users = np.zeros((2, corpus.modalities[name].vocabulary), np.int32)
    for i in members[corpus.has[name][members]].tolist():
        windows = corpus.reader.read(i, [name])[name]
        for column in range(2):
            users[column, np.unique(windows[..., column])] += 1
    return users >= 2


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a finished run.

    Attributes:
      config: of this training.
      inference_params: its best parameters (`step.inference_params`).
      fold, seed: which one it is.
      embedding: where its participants lie in the network (`embedding.fit`); None but for the first of its fold.
    """

    config: ConfigDict
    inference_params: PyTree
    fold: int
    seed: int
    embedding: Mapping[str, np.ndarray] | None


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run, loaded without its corpus.

    Attributes:
      card: `model.json`.
      modalities: its inputs, as records have them.
      trainings: all folds and seeds.
    """

    card: Mapping[str, Any]
    modalities: dict[str, Modality]
    trainings: tuple[Training, ...]

    def trained_on(self, participants: Sequence[str]) -> Bool[np.ndarray, " n"] | None:
        """Which of these ids any training of the run was trained on; None for a run that does not say."""
        kept = self.card.get("members")
        if not kept:
            return None
        return np.isin(digests_of(participants, kept["salt"])["digests"], kept["digests"])

    @property
    def config(self) -> ConfigDict:
        """What all trainings share in the way of tasks and data."""
        return self.trainings[0].config


def load(workdir: str | Path) -> FinishedRun:
    """Loads what a run has left.

    Raises:
      InputError: the workdir holds no finished run, or a file of it is damaged or not the one that the run left.
    """
    workdir = Path(workdir)
    if (workdir / CARD).is_file() and not (workdir / CONFIG).is_file():
        raise InputError(f"{workdir / CONFIG}: is gone: {RESTORE}")
    for name in (CONFIG, CARD):
        if not (workdir / name).is_file():
            raise InputError(
                f"{workdir}: no {name}, so no finished run with a best checkpoint lies here: give the workdir of one, "
                "or run its command again, which goes on where it stopped"
            )
    card = run_files.read_card(workdir)
    run_files.check(workdir, card, CONFIG)
    config = _config(workdir)
    try:
        modalities = {
            name: Modality(e["kind"], tuple(e["shape"]), e["time_axis"], e.get("vocabulary"), np.dtype(e["dtype"]))
            for name, e in card["modalities"].items()
        }
        configs = [overlay(config, one["fields"]) for one in card["trainings"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{workdir / CARD}: modalities or fields are damaged: {run_files.AGAIN}") from error
    first = {one["fold"]: one for one in reversed(card["trainings"])}
    trainings = []
    for one, own in zip(card["trainings"], configs, strict=True):
        names = [str(Path(one["folder"], name)) for name in (WEIGHTS, EMBEDDING)][: 1 + (one is first[one["fold"]])]
        for name in names:
            run_files.check(workdir, card, name)
        weights, *embedding = (workdir / name for name in names)
        trainings.append(
            Training(
                own,
                load_weights(weights),
                one["fold"],
                one["seed"],
                _embedding(embedding[0]) if embedding else None,
            )
        )
    return FinishedRun(card, modalities, tuple(trainings))


def _config(workdir: Path) -> ConfigDict:
    path = workdir / CONFIG
    saved = read_json(path, RESTORE)
    try:
        config, name = default(), saved["model"]["name"]
        config.model = ConfigDict({"name": name, **registry.declared_fields("models", name)})
        # Earlier runs kept the fields of the default network beside those of its own.
        foreign = {f"model.{field}" for field in default().model} - {f"model.{field}" for field in config.model}
        return overlay(config, {field: value for field, value in flatten(saved).items() if field not in foreign})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if isinstance(error, InputError) else type(error).__name__
        raise InputError(f"{path}: is damaged, or of another version ({reason}): {RESTORE}") from error


def predictions_of(workdir: str | Path, card: Mapping[str, Any], folder: str = "") -> Predictions:
    """The predictions that a run left: of one of its trainings, or of all of them.

    Args:
      card: `model.json`.
      folder: of the training; "" for the whole run.

    Raises:
      InputError: not there, damaged, or not as the run left it.
    """
    name = str(Path(folder, PREDICTIONS))
    run_files.check(Path(workdir), card, name)
    return read_csv(Path(workdir) / name)


def _embedding(path: Path) -> dict[str, np.ndarray]:
    arrays = load_arrays(path)
    if "limit" not in arrays:
        raise InputError(f"{path}: holds no limit of distances: {run_files.AGAIN}")
    return arrays


def known_ids(packed: str, vocabulary: int) -> Bool[np.ndarray, "2 v"]:
    """The bits that `usual` packed: which characters and pairs of characters are known."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8))
    return bits[: 2 * vocabulary].reshape(2, vocabulary).astype(bool)
