"""What the value of each field of a config may be (`config.py` declares them), checked before anything is built or run.

`RULES` has an entry for every field. Fields of `config.model` differ from network to network: one that is not listed
need only be finite. What depends on the corpus, such as the names of modalities, is checked when it is open.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmpsy_jax import models, registry
from mmpsy_jax.data.loader import PLACEMENTS
from mmpsy_jax.io import InputError, flatten, one_of
from mmpsy_jax.objectives.multitask import CLASS_WEIGHTS
from mmpsy_jax.objectives.weighting import WEIGHTINGS
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import sweep
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.config import jsonable, seeds
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.optimizer import SCHEDULES
from mmpsy_jax.training.selection import metric_names

LAYOUTS = ("auto", "vmap", "map", "sequence", "off")
POSITIONS = ("fourier", "learned", "none")
DTYPES = ("float32", "bfloat16", "float16")
THRESHOLDS = ("argmax", "f1", "sensitivity_80", "sensitivity_90", "youden")
LARGEST_SEED = 2**31 - 1  # a random key is made of an int32
MOST_SEEDS = 100_000
_INFINITY = float("inf")


class Rule(NamedTuple):
    """What a value must be: a test, and the same in words that follow "must be"."""

    test: Callable[[Any], bool]
    text: str


def _number(low: float = -_INFINITY, high: float = _INFINITY, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number from `low` to `high`; `above` and `below` exclude the ends."""
    sides = [(f"above {low:g}" if above else f"at least {low:g}") if low > -_INFINITY else ""]
    sides += [(f"below {high:g}" if below else f"at most {high:g}") if high < _INFINITY else ""]

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (value > low if above else value >= low) and (value < high if below else value <= high)

    ends = " and ".join(filter(None, sides))
    return Rule(test, f"a finite number{', ' if ends else ''}{ends}")


def _whole(low: int, high: int | None = None, *, or_zero: bool = False) -> Rule:
    """A whole number from `low` to `high`, or 0."""

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return (or_zero and value == 0) or (value >= low and (high is None or value <= high))

    ends = f"at least {low}" if high is None else f"from {low} to {high}"
    return Rule(test, f"a whole number, {'0 or ' if or_zero else ''}{ends}")


def _among(options: Collection[Any]) -> Rule:
    return Rule(lambda value: value in options, f"one of: {', '.join(map(str, options))}")


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


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return True


def _each(rule: Rule, text: str) -> Rule:
    return Rule(lambda value: isinstance(value, list | tuple) and all(map(rule.test, value)), text)


FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and "\0" not in value, "a text")
NAME = Rule(lambda value: TEXT.test(value) and value.strip() != "", "a name")
PATTERN = Rule(_is_pattern, "a regular expression")
SHARE = _number(0, 1, below=True)
NAMES = Rule(lambda value: _each(NAME, "").test(value) and len(set(value)) == len(value), "different names")
WIDTHS = Rule(lambda value: _each(_whole(1), "").test(value) and len(value) > 0, "whole numbers of at least 1")
WEIGHTS = Rule(
    lambda value: isinstance(value, Mapping | ConfigDict) and all(map(_number(0).test, value.values())),
    "a finite number of at least 0 for each name",
)

RULES: dict[str, Rule] = {
    "name": NAME,
    "seed": _whole(0, LARGEST_SEED),
    "seeds": _whole(1, MOST_SEEDS),
    "seed_list": _each(_whole(0, LARGEST_SEED), f"whole numbers from 0 to {LARGEST_SEED}"),
    "total": _cadence(total=True, zero=False),
    "tasks": Rule(lambda value: isinstance(value, list | tuple), "a list of tasks"),
    "init_from": TEXT,
    "compile_cache": TEXT,
    "distributed": FLAG,
    "heartbeat_seconds": _whole(1, 86_400),
    "data.dataset": NAME,
    "data.data_dir": TEXT,
    "data.folder": TEXT,
    "data.source": TEXT,
    "data.split_file": TEXT,
    "data.skip_bad": FLAG,
    "data.participants": _whole(0),
    "data.workers": _whole(0),
    "data.batch_size": _whole(1, LARGEST_SEED),
    "data.modalities": NAMES,
    "data.max_windows": _whole(0),
    "data.permute_modality": TEXT,
    "data.parts": _whole(0),
    "data.packs": _whole(0),
    "data.memory_gb": _number(0),
    "data.placement": _among(PLACEMENTS),
    "model.name": _among(registry.names("models")),
    "model.width": _whole(1),
    "model.heads_attention": _whole(1),
    "model.latents": _whole(1),
    "model.layers": _whole(1),
    "model.expansion": _whole(1),
    "model.patch": _whole(1),
    "model.position": _among(POSITIONS),
    "model.longest_seconds": _number(2, above=True),  # the shortest period of the Fourier features
    "model.dropout": SHARE,
    "model.token_dropout": SHARE,
    "model.ngram_dropout": SHARE,
    "model.modality_dropout": SHARE,
    "model.pooled_prior": FLAG,
    "model.embedding_scale": _number(0),
    "model.absorb": _among((True, False, None)),
    "model.remat": FLAG,
    "model.dtype": _among(DTYPES),
    "objective.name": _among(registry.names("objectives")),
    "objective.weighting": _among(WEIGHTINGS),
    "objective.weights": WEIGHTS,
    "objective.class_weights": _among(CLASS_WEIGHTS),
    "objective.ccc": _number(0, 1),
    "objective.delta": _number(0, above=True),
    "objective.cutoff": _number(),
    "objective.scale": _number(0, above=True),
    "objective.temperature": _number(0, above=True),
    "objective.difference": _number(0),
    "objective.similarity": _number(0),
    "objective.reconstruction": _number(0),
    "objective.dwa_temperature": _number(0, above=True),
    "objective.gradnorm_alpha": _number(),
    "objective.gradnorm_layer": PATTERN,
    "optimizer.learning_rate": _number(0),
    "optimizer.schedule": _among(SCHEDULES),
    "optimizer.warmup": _cadence(),
    "optimizer.final_fraction": _number(0),
    "optimizer.weight_decay": _number(0),
    "optimizer.decay_exclude": PATTERN,
    "optimizer.b1": SHARE,
    "optimizer.b2": SHARE,
    "optimizer.eps": _number(0),
    "optimizer.clip": _number(0),
    "optimizer.ema": SHARE,
    "optimizer.accumulate": _whole(1),
    "selection.metric": NAME,
    "selection.every": _cadence(),
    "selection.patience": _whole(0),
    "checkpoint.keep": _whole(0),
    "mesh.replica": _whole(1),
    "mesh.fsdp": FLAG,
    "replicas.layout": _among(LAYOUTS),
    "replicas.memory_gb": _number(0),
    "log.every": _cadence(),
    "log.tensorboard": FLAG,
    "cv.folds": _whole(2, or_zero=True),
    "cv.repeats": _whole(1),
    "cv.inner": _whole(2, or_zero=True),
    "cv.validation_fraction": SHARE,
    "sweep": TEXT,
    "evaluation.bootstrap": _whole(1),
    "evaluation.threshold": _among(THRESHOLDS),
    "evaluation.multilabel": FLAG,
    "evaluation.baselines": FLAG,
    "evaluation.near_duplicates": FLAG,
    "evaluation.subgroups": TEXT,
}
# Fields of the other networks: by name, or by the last word of a name such as `text_hidden`.
OF_MODELS: dict[str, Rule] = {
    "train": PATTERN,
    "freeze": PATTERN,
    "micro": FLAG,
    "lora_rank": _whole(0),
    "stride": _whole(1),
    "rank": _whole(1),
    "memory": _whole(1),
    "pieces": _whole(1),
    **dict.fromkeys(("hidden", "out", "kernel", "width"), _whole(1)),
    "channels": WIDTHS,
    "dropout": SHARE,
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
        if not all(map(_number().test, task.cutoffs)):
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
    known = config.model.name in registry.names("models")  # else the rule of `model.name` says so
    choices = models.choices(config.model.name) if known else {}
    choices = {f"model.{name}": _among(options) for name, options in choices.items()}
    for field, value in values.items():
        rule = choices.get(field) or RULES.get(field) or (_rule_of_model(field) if field.startswith("model.") else None)
        if rule is not None and not rule.test(value):
            raise InputError(f"config.{field} = {value!r:.80}: must be {rule.text}")
    _check_model(config.model)


def _rule_of_model(field: str) -> Rule:
    name = field.removeprefix("model.")
    known = OF_MODELS.get(name) or OF_MODELS.get(name.rpartition("_")[2])
    return known or Rule(lambda value: not isinstance(value, float) or math.isfinite(value), "finite")


def _check_model(model: ConfigDict) -> None:
    """Fields of one network that must fit each other."""
    both = all(name in models.fields(model.name) and model.get(name) for name in ("width", "heads_attention"))
    if both and model.width % model.heads_attention:
        raise InputError(
            f"config.model.heads_attention = {model.heads_attention}: must divide config.model.width = {model.width}"
        )
