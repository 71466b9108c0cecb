"""What the value of each field of a config may be (`config.py` declares them), checked before anything is built or run.

`RULES` has an entry for every field but those that a model or an objective declares, which are annotated with theirs
(`mmpsy_jax/rules.py`). What depends on the corpus, such as the names of modalities, is checked when it is open.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmpsy_jax import models, objectives, registry
from mmpsy_jax.data.loader import PLACEMENTS
from mmpsy_jax.io import InputError, flatten, one_of
from mmpsy_jax.objectives.multitask import CLASS_WEIGHTS
from mmpsy_jax.objectives.weighting import WEIGHTINGS
from mmpsy_jax.rules import FLAG, NAME, NAMES, PATTERN, SHARE, TEXT, Rule, among, each, number, whole
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import sweep
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.config import jsonable, seeds
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.optimizer import SCHEDULES
from mmpsy_jax.training.selection import metric_names

LAYOUTS = ("auto", "vmap", "map", "sequence", "off")
THRESHOLDS = ("argmax", "f1", "sensitivity_80", "sensitivity_90", "youden")
LARGEST_SEED = 2**31 - 1  # a random key is made of an int32
MOST_SEEDS = 100_000


def _cadence(*, total: bool = False, zero: bool = True) -> Rule:
    """A length of training (cadence.py); `total`: of the whole, of which there are no percents."""

    def test(value: Any) -> bool:
        try:
            steps = to_steps(value, steps_per_epoch=1, batch_size=1, total=None if total else 1)
        except InputError:
            return False
        return zero or steps > 0

    units = "steps, epochs or examples" if total else "steps, epochs, examples or percent"
    return Rule(test, f"{'an' if zero else 'a positive'} amount and a unit ({units}), such as '2 epochs'")


WEIGHTS = Rule(
    lambda value: isinstance(value, Mapping | ConfigDict) and all(map(number(0).test, value.values())),
    "a finite number of at least 0 for each name",
)

RULES: dict[str, Rule] = {
    "name": NAME,
    "seed": whole(0, LARGEST_SEED),
    "seeds": whole(1, MOST_SEEDS),
    "seed_list": each(whole(0, LARGEST_SEED), f"whole numbers from 0 to {LARGEST_SEED}"),
    "total": _cadence(total=True, zero=False),
    "tasks": Rule(lambda value: isinstance(value, list | tuple), "a list of tasks"),
    "init_from": TEXT,
    "compile_cache": TEXT,
    "distributed": FLAG,
    "heartbeat_seconds": whole(1, 86_400),
    "data.dataset": NAME,
    "data.data_dir": TEXT,
    "data.folder": TEXT,
    "data.source": TEXT,
    "data.split_file": TEXT,
    "data.skip_bad": FLAG,
    "data.participants": whole(0),
    "data.workers": whole(0),
    "data.batch_size": whole(1, LARGEST_SEED),
    "data.modalities": NAMES,
    "data.max_windows": whole(0),
    "data.permute_modality": TEXT,
    "data.parts": whole(0),
    "data.packs": whole(0),
    "data.memory_gb": number(0),
    "data.placement": among(PLACEMENTS),
    "model.name": among(registry.names("models")),
    "objective.name": among(registry.names("objectives")),
    "objective.weighting": among(WEIGHTINGS),
    "objective.weights": WEIGHTS,
    "objective.class_weights": among(CLASS_WEIGHTS),
    "objective.dwa_temperature": number(0, above=True),
    "objective.gradnorm_alpha": number(),
    "objective.gradnorm_layer": PATTERN,
    "optimizer.learning_rate": number(0),
    "optimizer.schedule": among(SCHEDULES),
    "optimizer.warmup": _cadence(),
    "optimizer.final_fraction": number(0),
    "optimizer.weight_decay": number(0),
    "optimizer.decay_exclude": PATTERN,
    "optimizer.b1": SHARE,
    "optimizer.b2": SHARE,
    "optimizer.eps": number(0),
    "optimizer.clip": number(0),
    "optimizer.ema": SHARE,
    "optimizer.accumulate": whole(1),
    "selection.metric": NAME,
    "selection.every": _cadence(),
    "selection.patience": whole(0),
    "checkpoint.keep": whole(0),
    "mesh.replica": whole(1),
    "mesh.fsdp": FLAG,
    "replicas.layout": among(LAYOUTS),
    "replicas.memory_gb": number(0),
    "log.every": _cadence(),
    "log.tensorboard": FLAG,
    "cv.folds": whole(2, or_zero=True),
    "cv.repeats": whole(1),
    "cv.inner": whole(2, or_zero=True),
    "cv.validation_fraction": SHARE,
    "sweep": TEXT,
    "evaluation.bootstrap": whole(1),
    "evaluation.threshold": among(THRESHOLDS),
    "evaluation.multilabel": FLAG,
    "evaluation.baselines": FLAG,
    "evaluation.near_duplicates": FLAG,
    "evaluation.subgroups": TEXT,
}


def check(config: ConfigDict) -> None:
    """Raises InputError for the first value that its field cannot have, or that others of the config contradict."""
    _check_values(config)
    try:
        tasks = from_config(config.tasks)
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"config.tasks: an entry is no task ({error}): give dictionaries as `to_config` does"
        ) from error
    for task in tasks:
        if not all(map(number().test, task.cutoffs)):
            raise InputError(f"config.tasks: cut-offs {task.cutoffs} of {task.name!r} must be finite numbers")
    highest = max(seeds(config)) + config.cv.repeats - 1
    if highest > LARGEST_SEED:
        raise InputError(
            f"config.seed, config.seeds and config.cv.repeats: the last seed would be {highest}, and the largest "
            f"possible is {LARGEST_SEED}: take smaller seeds"
        )
    if config.seed_list and len(set(config.seed_list)) != config.seeds:
        raise InputError(
            f"config.seed_list = {tuple(config.seed_list)}, config.seeds = {config.seeds}: give --seeds=1111,1112 alone"
        )
    if config.selection.metric not in ("loss", "step"):
        known = ["loss", "step", *(name for task in tasks for name in metric_names(task))]
        if config.selection.metric not in known:
            raise one_of("config.selection.metric", config.selection.metric, known)
    if config.init_from and not Path(config.init_from).is_dir():
        raise InputError(
            f"config.init_from = {config.init_from!r}: no such folder: give the `checkpoints` folder of a run"
        )
    if config.evaluation.subgroups:
        from mmpsy_jax.evaluation.subgroups import read_subgroups  # takes seconds, and is seldom asked for

        read_subgroups(config.evaluation.subgroups)
    try:
        spec = json.loads(config.sweep or "{}")
    except ValueError as error:
        raise InputError(f"config.sweep is no JSON ({error}): name a file with --sweep=FILE.json") from error
    for point in sweep.points(spec, config):
        _check_values(overlay(config, point)) if point else None
    sweep.metric_of(spec, tasks)


def _check_values(config: ConfigDict) -> None:
    values = flatten(jsonable(config))
    values = {field: value for field, value in values.items() if not field.startswith("objective.weights.")}
    values["objective.weights"] = jsonable(config.objective.weights)
    values["tasks"] = config.tasks
    for field, rule in RULES.items():
        if field in values and not rule.test(values[field]):
            raise InputError(f"config.{field} = {values[field]!r:.80}: must be {rule.text}")
    models.check_fields(config.model.name, config.model.to_dict())
    objectives.check_fields(config.objective.name, config.objective.to_dict())
