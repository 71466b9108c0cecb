"""Configs: made of the table in `fields.py`; the files in `configs/` change a few fields.

Values may be given on the command line as `--config.optimizer.learning_rate=1e-3`. An unknown field is an error; which
values a field may have is checked by `config_rules.py`. Two configs are the same where their `identity` is.
"""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.io import InputError, flatten, one_of, write_json
from mmpsy_jax.tasks import EVERY, from_config, to_config
from mmpsy_jax.training import lock
from mmpsy_jax.training.fields import FIELDS, WEIGHING

FILE = "config.json"
# Fields as they were called before, in saved configs and on command lines.
RENAMED = {
    "data.groups": "data.packs",
    "data.exchange": "data.permute_modality",
    "evaluation.groups": "evaluation.subgroups",
}
# Fields that may differ when a run is taken up again: they change how it runs, not what it computes.
FREE_ON_RESUME = (
    "compile_cache",
    "data.data_dir",
    "data.memory_gb",
    "data.placement",
    "data.workers",
    "distributed",
    "evaluation",
    "heartbeat_seconds",
    "log",
    "mesh",
    "replicas.memory_gb",
)


def default() -> ConfigDict:
    """A config with the default of every field."""
    config = ConfigDict()
    for name, field in FIELDS.items():
        part, _, last = name.rpartition(".")
        if part and part not in config:
            config[part] = ConfigDict()
        (config[part] if part else config)[last] = copy.deepcopy(field.default)
    choose_model(config, "mental_perceiver")
    choose_objective(config, "multitask")
    return config


def choose_model(config: ConfigDict, name: str, **values: Any) -> None:
    """Gives `config.model` the fields of a model, with its defaults but for `values`.

    Raises:
      InputError: there is no such model, or it has no such field.
    """
    config.model = _declared("models", name, {}, values)


def choose_objective(config: ConfigDict, name: str, **values: Any) -> None:
    """Gives `config.objective` the fields of an objective, as `choose_model`."""
    config.objective = _declared("objectives", name, {k: field.default for k, field in WEIGHING.items()}, values)


def _declared(room: str, name: str, shared: Mapping[str, Any], values: Mapping[str, Any]) -> ConfigDict:
    known = {**shared, **registry.declared_fields(room, name)}
    for field in values:
        if field not in known:
            raise one_of(f"field of {registry.WHERE[room].rpartition('.')[0]} for {name!r}", field, known)
    return ConfigDict({"name": name, **known, **values})


def seeds(config: ConfigDict) -> tuple[int, ...]:
    """The seeds of the trainings of each split."""
    return tuple(config.seed_list) or tuple(range(config.seed, config.seed + config.seeds))


def set_seeds(config: ConfigDict, texts: Sequence[str]) -> None:
    """Takes the seeds that `--seeds` lists; the first one also divides folds and resamples, as `config.seed` does.

    Seeds that follow each other become `seed` and `seeds`, so that both ways to ask for a run are the same run.

    Raises:
      InputError: something that is no seed, or one seed twice.
    """
    if not texts or not all(text.isdecimal() for text in texts) or len(set(map(int, texts))) < len(texts):
        raise InputError(f"--seeds={','.join(texts)}: give different whole numbers, for example --seeds=1111,1112")
    numbers = tuple(map(int, texts))
    config.seed, config.seeds = numbers[0], len(numbers)
    follow = numbers == tuple(range(numbers[0], numbers[0] + len(numbers)))
    config.seed_list = () if follow else numbers


def jsonable(value: Any) -> Any:
    """Plain JSON values of a config."""
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    return [jsonable(v) for v in value] if isinstance(value, list | tuple) else value


def fields_of(config: ConfigDict) -> dict[str, Any]:
    """Plain JSON values by dotted name: {"data.batch_size": 32, ...}."""
    return flatten(jsonable(config))


def identity(config: ConfigDict) -> str:
    """A text that is the same for two configs exactly where all their fields are."""
    return json.dumps(fields_of(config), sort_keys=True, default=str)


def rename_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a config under the names that they have today, see `RENAMED`."""
    return {RENAMED.get(field, field): value for field, value in fields.items()}


def saved_fields(workdir: Path) -> dict[str, Any]:
    """`fields_of` the config that a workdir was trained with; empty where nothing was trained in it.

    Raises:
      InputError: `config.json` is damaged.
    """
    path = workdir / FILE
    trained = any(workdir.rglob("checkpoints/[0-9]*")) or any(workdir.rglob("predictions.csv"))
    if not path.exists() or not trained:
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        fields = rename_fields(flatten(saved))
        whole = isinstance(saved, dict) and isinstance(fields.get("data.packs", 0), int)
        if not whole or not all(isinstance(task.get("name"), str) for task in fields.get("tasks", ())):
            raise ValueError("no fields of a config")
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is not the JSON of a config"
        raise InputError(
            f"{path}: cannot be read ({reason}): this file tells what was trained here: restore it from a copy, or "
            "take another --workdir"
        ) from error
    return fields


def refuse_foreign(workdir: Path) -> None:
    """Raises InputError where a folder is neither empty nor a workdir."""
    if workdir.is_file():
        raise InputError(f"{workdir} is a file: give a new or empty folder as --workdir")
    if workdir.exists() and not (workdir / FILE).exists() and {*os.listdir(workdir)} - {lock.FILE}:
        raise InputError(f"{workdir} is not empty and holds no {FILE}: take another --workdir, or empty it")


def claim_workdir(config: ConfigDict, workdir: Path, *, writes: bool) -> None:
    """Writes `config.json` into a new workdir, or checks that an existing one was made by the same config.

    A workdir in which nothing was trained yet (the first try ended in an error) takes the new config.

    Raises:
      InputError: the workdir belongs to another config; the message shows each field that differs.
    """
    theirs = saved_fields(workdir)
    if theirs:
        ours = fields_of(config)
        ours["tasks"] = _completed(config, theirs.get("tasks") or ())
        free = lambda field: any(field == f or field.startswith(f + ".") for f in FREE_ON_RESUME)  # noqa: E731
        differ = [f for f in sorted(theirs.keys() | ours.keys()) if theirs.get(f) != ours.get(f) and not free(f)]
        if differ:
            shown = "; ".join(f"{f}: {theirs.get(f, 'absent')!r} there, {ours.get(f, 'absent')!r} now" for f in differ)
            raise InputError(
                f"{workdir} holds a run of another config ({shown}): take another --workdir, or the same config"
            )
    elif writes:
        refuse_foreign(workdir)
        write_json(workdir / FILE, jsonable(config))


def _completed(config: ConfigDict, saved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tasks of a config; what they leave to the corpus (ends of scales, classes) is as of the saved tasks."""
    there = {task["name"]: task for task in saved}
    tasks = jsonable(to_config(from_config(config.tasks))) if config.tasks else []
    left = ("minimum", "maximum", "classes", "codes")
    return [
        t | {n: v for n, v in there.get(t["name"], {}).items() if n in left and t.get(n) in (None, [EVERY])}
        for t in tasks
    ]
