"""Whether the values of a config are possible, each by its rule and together, before anything runs.

What depends on the corpus, such as the names of modalities, is checked when it is open.
"""

import json
from pathlib import Path

from ml_collections import ConfigDict

from mmpsy_jax import models, objectives
from mmpsy_jax.io import InputError, one_of
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import privacy, sweep
from mmpsy_jax.training.config import fields_of, jsonable, seeds
from mmpsy_jax.training.fields import LARGEST_SEED, NO_SUBGROUPS, rule_of
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.selection import metric_names


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
    privacy.check(config)
    if config.evaluation.subgroups not in ("", NO_SUBGROUPS):
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
    """Every value by its rule; those of the model and of the objective by their annotations."""
    values = {k: v for k, v in fields_of(config).items() if not k.startswith("objective.weights.")}
    values |= {"objective.weights": jsonable(config.objective.weights), "tasks": config.tasks}
    for field, value in values.items():
        rule = rule_of(field)
        if rule is not None and not rule.test(value):
            raise InputError(f"config.{field} = {value!r:.80}: must be {rule.text}")
    models.check_fields(config.model.name, config.model.to_dict())
    objectives.check_fields(config.objective.name, config.objective.to_dict())
