"""Settings to try, and the choice among them on validation alone.

A sweep is a JSON file:

    {"method": "grid", "fields": {"optimizer.learning_rate": [1e-3, 3e-3], "model.dropout": [0.1, 0.3]}}
    {"method": "random", "points": 12, "seed": 0, "fields": {"optimizer.learning_rate": {"log_uniform": [1e-4, 1e-2]},
                                                          "model.latents": {"choice": [8, 16]}}}

A field is any of the config's (`training/config.py`) but those of the records and their division, which all points
share (`data.labelled_fraction`, `data.permute_modality`, ...); `uniform` and `log_uniform` draw between two numbers,
`choice` among values. With `"metric": "<task>/<metric>"` another validation metric decides than that of the first
task, with `"metric": "mean/<metric>"` its mean over all tasks.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.io import InputError, one_of, read_json
from mmpsy_jax.tasks import Task
from mmpsy_jax.training.config import fields_of
from mmpsy_jax.training.hparams import is_dynamic
from mmpsy_jax.training.selection import LESS_IS_BETTER, quick_metrics

METHODS = ("grid", "random")
DRAWS = ("choice", "log_uniform", "uniform")
MEAN = "mean"  # over all tasks, in place of the name of one
FIXED = ("cv", "data.data_dir", "data.dataset", "data.folder", "data.source", "distributed", "name", "seed",
         "seed_list", "seeds", "tasks", "mesh", "replicas", "sweep")  # fmt: skip
# Of the records and their division, which are read once before any point is trained.
OF_CORPUS = ("data.labelled_fraction", "data.participants", "data.permute_modality", "data.skip_bad",
             "data.split_file", "data.train_on_validation", "data.workers")  # fmt: skip


def read(path: str | Path) -> str:
    """The content of a sweep file, as `config.sweep` keeps it: with the config, it tells what was tried.

    Raises:
      InputError: it cannot be read, is no JSON object, or has a key twice.
    """
    return json.dumps(read_json(path, "give a JSON object, see docs/scale.md"))


def points(spec: Mapping[str, Any], config: ConfigDict) -> list[dict[str, Any]]:
    """The settings of a sweep, each {field: value}; one empty setting for no sweep.

    Raises:
      InputError: an unknown method, field, kind of draw or entry, no value, or a value of another type than the field.
    """
    if not spec:
        return [{}]
    unknown = sorted(spec.keys() - {"method", "fields", "points", "seed", "metric"})
    if unknown:
        raise one_of("entry of the sweep", unknown[0], ("fields", "method", "metric", "points", "seed"))
    method, fields = spec.get("method", "grid"), spec.get("fields") or {}
    if method not in METHODS:
        raise one_of("method of the sweep", method, METHODS)
    if not isinstance(fields, Mapping) or not fields:
        raise InputError('sweep: "fields" must name at least one field of the config with the values to try')
    if method == "grid":
        for field, values in fields.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"sweep: field {field!r} of a grid needs a list of values")
        drawn = [dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())]
    else:
        rng = np.random.default_rng(spec.get("seed", 0))
        drawn = [
            {field: _draw(field, how, rng) for field, how in fields.items()} for _ in range(spec.get("points", 10))
        ]
    if not drawn:
        raise InputError("sweep: it has no point: give at least one")
    known = fields_of(config)
    return [{field: _checked(field, value, known) for field, value in point.items()} for point in drawn]


def _draw(field: str, how: Any, rng: np.random.Generator) -> Any:
    kind, values = next(iter(how.items())) if isinstance(how, Mapping) and len(how) == 1 else ("", None)
    if kind not in DRAWS:
        raise one_of(f"draw of field {field!r} (such as {{'uniform': [0, 0.5]}})", kind or str(how), DRAWS)
    if not isinstance(values, list) or not values or (kind != "choice" and len(values) != 2):
        raise InputError(f"sweep: field {field!r}: {kind} needs {'values' if kind == 'choice' else 'two bounds'}")
    if kind == "choice":
        return values[int(rng.integers(len(values)))]
    low, high = map(float, values)
    if not low < high or (kind == "log_uniform" and low <= 0):
        raise InputError(f"sweep: field {field!r}: bounds {low}, {high} must ascend, and be positive for log_uniform")
    if kind == "uniform":
        return float(rng.uniform(low, high))
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _checked(field: str, value: Any, known: Mapping[str, Any]) -> Any:
    """The value as the type of the config's field."""
    if field.startswith("objective.weights."):
        return float(value)
    if field in OF_CORPUS:
        raise InputError(
            f"sweep: field {field!r} is about the records that all points share, and would change nothing: start one "
            f"run per value with --config.{field}=..., each with a --workdir of its own"
        )
    if field not in known or any(field == name or field.startswith(name + ".") for name in FIXED):
        fixed = (*FIXED, *OF_CORPUS)
        free = [name for name in known if not any(name == f or name.startswith(f + ".") for f in fixed)]
        raise one_of("field of the sweep", field, sorted(free))
    now = known[field]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(now, float) and number:
        return float(value)
    if now is not None and not isinstance(value, type(now)):
        raise InputError(f"sweep: field {field!r} is a {type(now).__name__} ({now!r} in the config), not {value!r}")
    return value


def parts(point: Mapping[str, Any], all_points: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, float]]:
    """A point's fields that need a program of their own, and those that replicas bring as arrays.

    Fields that never differ are left to the program too; so is whatever is zero at some point and switched off there.
    """
    dynamic = {
        field: value
        for field, value in point.items()
        if is_dynamic(field, [other[field] for other in all_points if field in other])
    }
    return {field: value for field, value in point.items() if field not in dynamic}, dynamic


def metric_of(spec: Mapping[str, Any], tasks: Sequence[Task]) -> tuple[str, Sequence[Task], str]:
    """What decides, as the file may say it; the tasks whose mean it is; and the validation metric.

    Raises:
      InputError: not a task and one of its metrics.
    """
    named = spec.get("metric") or f"{tasks[0].name}/{tasks[0].tuned_by}"
    name, _, metric = named.partition("/")
    chosen = [task for task in tasks if task.name == name] or (tasks if name == MEAN else [])
    if not chosen or not metric:
        raise one_of("metric of the sweep (as task/metric), task", name, [MEAN, *(task.name for task in tasks)])
    return named, chosen, metric


def score(predictions: Predictions | None, tasks: Sequence[Task], metric: str) -> float:
    """Mean over tasks of a training's values on its validation part, higher is better; NaN for one that diverged."""
    if predictions is None:
        return float("nan")
    scores = []
    for task in tasks:
        values = quick_metrics(task, predictions.select(task=task.name, split="validation").known())
        if metric not in values:
            raise one_of("metric of the sweep", f"{task.name}/{metric}", [f"{task.name}/{name}" for name in values])
        scores.append(-values[metric] if metric in LESS_IS_BETTER else values[metric])
    return float(np.mean(scores))


def choose(scores: Sequence[float]) -> int:
    """The best point, the first of equals.

    Raises:
      InputError: none has a score.
    """
    if np.isnan(scores).all():
        raise InputError("sweep: every point diverged or has no validation score: lower the learning rates")
    return int(np.nanargmax(scores))
