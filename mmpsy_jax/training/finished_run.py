"""A finished run, loaded without its corpus, and what all of its trainings say of anybody: enough to predict.

    run = finished_run.load("runs/phq")
    values, distances = run.predict(corpus, members)

Of each training: `network(shape)`, `variables` and `batches(corpus, members, shape)`, for whoever looks inside. No
optimizer and no losses are built, and labels are not read.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.data.assemble import Plans
from mmpsy_jax.data.in_memory import Resident, gather
from mmpsy_jax.data.pooled import dataset_of, differences, pooled_name
from mmpsy_jax.data.records import Corpus
from mmpsy_jax.io import InputError, flatten, read_json
from mmpsy_jax.modality import Modality
from mmpsy_jax.models.base import EMBEDDING
from mmpsy_jax.tasks import Task, from_config
from mmpsy_jax.training import batches as batching
from mmpsy_jax.training import embedding, programs, run_card, run_files, step
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training.batches import Batching
from mmpsy_jax.training.config import default, rename_fields
from mmpsy_jax.training.hparams import overlay

# Slots of a modality are this or a power of two above it, so that few programs are compiled whatever the lengths of the
# interviews.
FEWEST_SLOTS = 64
ROWS = 32

_predict = jax.jit(step.predict, static_argnums=0)


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedTraining:
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

    @functools.cached_property
    def variables(self) -> PyTree:
        """What its network is applied to, on the device."""
        return jax.device_put(step.variables_of(self.inference_params))

    def batching(self, corpus: Corpus, rows: int = ROWS) -> Batching:
        """How windows are cut, as when it was trained; batches of one pack of at most `rows` participants."""
        rows = min(rows, self.config.data.batch_size)
        fields = {
            "data.modalities": tuple(corpus.modalities),
            "data.packs": 1,
            "data.batch_size": rows,
            "privacy.epsilon": 0.0,
        }
        shape = batching.of(overlay(self.config, fields), corpus, meshes.one_device())
        slots = {name: 1 << (max(FEWEST_SLOTS, n) - 1).bit_length() for name, n in shape.sizes["slots"].items()}
        return shape._replace(sizes={**shape.sizes, "slots": slots})

    def network(self, shape: Batching) -> nn.Module:
        """Its network; takes one pack of a batch."""
        return programs.network(self.config, from_config(self.config.tasks), **shape.inputs)

    def batches(self, corpus: Corpus, members: Int[np.ndarray, " m"], shape: Batching) -> list[PyTree]:
        """All batches of the members, on the device, without labels."""
        limit = self.config.data.max_windows or None
        resident = Resident(corpus, members, labels=(), max_windows=limit, parts=shape.pieces.parts)
        plans = Plans(resident.pieces.counts, members=members, shuffle=False, seed=0, **shape.sizes)
        arrays = [resident.plan_arrays(members, shape.sizes["slots"]) for members in plans.epoch(0)]
        return [jax.device_put(gather(resident.arrays, plan, np)) for plan in arrays]

    def packs(self, corpus: Corpus, members: Int[np.ndarray, " m"], shape: Batching) -> list[PyTree]:
        """The only pack of each of `batches`, and the `index` of its rows."""
        parts = self.batches(corpus, members, shape)
        return [{name: value[0] for name, value in batch.items() if name != "labels"} for batch in parts]


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedRun:
    """All trainings of a run as one predictor: every fold and seed says its number, the mean of them counts.

    Attributes:
      card: `model.json`.
      modalities: its inputs, as records have them.
      trainings: all folds and seeds.
    """

    card: Mapping[str, Any]
    modalities: dict[str, Modality]
    trainings: tuple[FinishedTraining, ...]

    @property
    def config(self) -> ConfigDict:
        """What all trainings share in the way of tasks and data."""
        return self.trainings[0].config

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is predicted."""
        return from_config(self.config.tasks)

    def trained_on(self, participants: Sequence[str]) -> Bool[np.ndarray, " n"] | None:
        """Which of these ids any training of the run was trained on; None for a run that does not say."""
        members = self.card.get("members")
        if not members:
            return None
        return np.isin(run_card.digests_of(participants, members["salt"]), members["digests"])

    def trained_on_people_of(self, corpus: Corpus, further: Sequence[str] = ()) -> Bool[np.ndarray, " n"] | None:
        """Which participants of a corpus the run was trained on; None for a run that does not say.

        In a corpus of the run, or one whose card or whose card in the run says that it is of the same people, they are
        those of equal ids. Elsewhere equal ids are chance, and those of an equal interview count.

        Args:
          corpus: from `select_modalities`.
          further: ids in the run of others who count, such as those on whom thresholds were chosen.
        """
        if corpus.pooled:
            parts = [self.trained_on_people_of(part, further) for part in corpus.pooled.values()]
            return None if any(part is None for part in parts) else np.concatenate(parts)
        by_id = self.trained_on(corpus.participants)
        if by_id is None:
            return None
        if self.is_of(corpus):
            pooled, here = self.card.get("pooled") or (), dataset_of(corpus.card)
            names = [pooled_name(one["name"], "") for one in pooled if dataset_of(one) == here]
            if not names:
                plain = [name.rpartition("/")[2] for name in further] if pooled else further
                return by_id | np.isin(corpus.participants, plain)
            ids = [[name + one for one in corpus.participants] for name in names]
            return np.any([self.trained_on(one) | np.isin(one, further) for one in ids], axis=0)
        members, places = self.card["members"], np.flatnonzero(by_id)
        keys = run_card.interviews_of(corpus, places, list(self.modalities))
        by_id[places] = np.isin(run_card.digests_of(keys, members["salt"]), members.get("interviews", ()))
        return by_id

    def is_of(self, corpus: Corpus) -> bool:
        """Whether the run was trained on people of this corpus, by the names in both cards."""
        ours, theirs = (
            {dataset_of(one) for one in (card, *(card.get("pooled") or ()))} for card in (self.card, corpus.card)
        )
        declared = (
            {*(self.card.get("same_people_as") or ()), *ours},
            {*(corpus.card.get("same_people_as") or ()), *theirs},
        )
        return bool(declared[0] & theirs or ours & declared[1])

    def select_modalities(self, corpus: Corpus) -> Corpus:
        """The corpus with the modalities of the run alone, in its order.

        Raises:
          InputError: it lacks one, or has it in another shape or extracted by other settings.
        """
        for name, ours in self.modalities.items():
            if corpus.modalities.get(name) != ours:
                raise InputError(
                    f"{corpus.path}: modality {name!r} is {corpus.modalities.get(name, 'absent')}, but the run was "
                    f"trained on {ours}: give records that were built with the same settings"
                )
            extracted = [card["modalities"][name].get("extractor") or {} for card in (self.card, corpus.card)]
            if differing := all(extracted) and differences(*extracted):
                raise InputError(
                    f"{corpus.path}: {name!r} was extracted by other settings than those of the run "
                    f"({'; '.join(differing)}): build the records with the settings of the run (build --settings=FILE)"
                )
        return dataclasses.replace(corpus, modalities=self.modalities)

    def predict(
        self, corpus: Corpus, members: Int[np.ndarray, " m"]
    ) -> tuple[dict[str, Float[np.ndarray, "t m ..."]], Float[np.ndarray, "k m"]]:
        """What each training says about each member.

        Args:
          corpus: from `select_modalities`; its labels are not looked at.
          members: positions in the corpus, ascending.

        Returns:
          Per task the probability, expected band or score [t m], of a nominal task the probabilities of the classes
          [t m c] (`Task.averageable`); and how far the member's embedding lies from those of the
          training participants, as a fraction of the training's limit, by each of the k trainings that know
          (`training/embedding.py`).
        """
        batches: dict[tuple, list[PyTree]] = {}
        values: dict[str, list[np.ndarray]] = {task.name: [] for task in self.tasks}
        distances = []
        for training in self.trainings:
            shape = training.batching(corpus)
            key = (shape.pieces.parts, training.config.data.max_windows)
            if key not in batches:  # trainings that cut windows alike read the same batches
                batches[key] = training.batches(corpus, members, shape)
            network, variables = training.network(shape), training.variables
            parts = jax.device_get([_predict(network, variables, batch) for batch in batches[key]])
            outputs, index = batching.real_rows(parts)
            outputs = {name: rows[np.argsort(index)] for name, rows in outputs.items()}
            for task in self.tasks:
                values[task.name].append(task.averageable(outputs[task.name]))
            if training.embedding is not None:
                far = embedding.distance(training.embedding, outputs[EMBEDDING])
                distances.append(far / training.embedding["limit"])
        return {name: np.stack(parts) for name, parts in values.items()}, np.stack(distances)


def load(workdir: str | Path) -> FinishedRun:
    """Loads what a run has left, in its workdir or where `export` wrote it.

    Raises:
      InputError: the workdir holds no finished run, or a file of it is damaged or not the one that the run left.
    """
    workdir = run_files.folder_of(workdir)
    config_file, card_file = workdir / run_files.CONFIG, workdir / run_files.CARD
    if card_file.is_file() and not config_file.is_file():
        raise InputError(f"{config_file}: is gone: {run_files.RESTORE}")
    for file in (config_file, card_file):
        if not file.is_file():
            raise InputError(
                f"{workdir}: no {file.name}, so no finished run with a best checkpoint lies here: give the workdir of "
                "one, or run its command again, which goes on where it stopped"
            )
    card = run_files.read_card(workdir)
    run_files.check(workdir, card, run_files.CONFIG)
    config = _load_config(config_file)
    try:
        modalities = {name: Modality.of_card(name, e, e["dtype"]) for name, e in card["modalities"].items()}
        configs = [overlay(config, rename_fields(one["fields"])) for one in card["trainings"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{card_file}: modalities or fields are damaged: {run_files.AGAIN}") from error
    card = run_card.with_places_of_corpus(config, card)
    first = {one["fold"]: one for one in reversed(card["trainings"])}
    trainings = []
    for one, its_config in zip(card["trainings"], configs, strict=True):
        names = [str(Path(one["folder"], name)) for name in (run_files.WEIGHTS, run_files.EMBEDDING)]
        names = names[: 1 + (one is first[one["fold"]])]
        for name in names:
            run_files.check(workdir, card, name)
        weights, *rest = (workdir / name for name in names)
        of_people = _load_embedding(rest[0]) if rest else None
        trainings.append(
            FinishedTraining(its_config, run_files.load_weights(weights), one["fold"], one["seed"], of_people)
        )
    return FinishedRun(card, modalities, tuple(trainings))


def _load_config(path: Path) -> ConfigDict:
    saved = read_json(path, run_files.RESTORE)
    try:
        config, name = default(), saved["model"]["name"]
        config.model = ConfigDict({"name": name, **registry.declared_fields("models", name)})
        # Earlier runs kept the fields of the default network beside those of its own.
        foreign = {f"model.{field}" for field in default().model} - {f"model.{field}" for field in config.model}
        fields = rename_fields(flatten(saved))
        return overlay(config, {field: value for field, value in fields.items() if field not in foreign})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if isinstance(error, InputError) else type(error).__name__
        raise InputError(f"{path}: is damaged, or of another version ({reason}): {run_files.RESTORE}") from error


def _load_embedding(path: Path) -> dict[str, np.ndarray]:
    arrays = run_files.load_arrays(path)
    if "limit" not in arrays:
        raise InputError(f"{path}: holds no limit of distances: {run_files.AGAIN}")
    return arrays
