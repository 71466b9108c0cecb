"""Every field of a config with its default and meaning; the files in `configs/` change a few of them.

Values may be given on the command line as `--config.optimizer.learning_rate=1e-3`. An unknown field is an error; which
values a field may have stands in `config_rules.py`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.io import InputError, flatten, one_of, write_json
from mmpsy_jax.training import lock

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


# Fields of `config.objective` whatever the objective.
WEIGHING = {
    "weighting": "fixed",  # uncertainty, revised, restrained, dwa, druw, gradnorm, pcgrad (objectives/weighting.py)
    "weights": {},  # weight per task, or loss of distillation; 1 where not given
    "class_weights": "none",  # or balanced, or positive (n_0 / n_1 for class 1), from the training split
    "dwa_temperature": 10.0,  # of dwa and druw: higher weighs tasks more alike
    "gradnorm_alpha": 1.5,  # how strongly gradnorm pushes tasks that lag behind
    "gradnorm_layer": "",  # expression for paths of parameters that gradnorm measures; "" is all
}


def default() -> ConfigDict:
    """The default of every field."""
    config = ConfigDict()
    config.name = "run"  # name of the workdir below runs/ where --workdir is not given
    config.seed = 0  # starts every random stream: splits of folds, initialisation, order, dropout
    config.seeds = 1  # trainings per split, with seeds seed, seed + 1, ...
    config.seed_list = ()  # their seeds where these do not follow each other (--seeds): then `seeds` of them
    config.total = "30 epochs"  # length of a training: steps, epochs or examples
    config.tasks = []  # plain dictionaries of mmpsy_jax.tasks.Task
    config.init_from = ""  # `checkpoints` folder of another run: start from its best parameters
    config.compile_cache = ".jax_cache"  # folder of compiled programs, reused by later runs; "" for none
    config.distributed = False  # join the processes of a pod, of Slurm, or of JAX_COORDINATOR_ADDRESS
    config.heartbeat_seconds = 30  # a dead process stops the others after this long

    config.data = ConfigDict()
    config.data.dataset = "mmpsy/demo"  # builder and its config
    config.data.data_dir = "data"  # where built datasets lie: data_dir/mmpsy/demo/1.0.0
    config.data.folder = ""  # a built dataset (also somebody else's export); then nothing below is built or looked for
    config.data.source = ""  # folder or table to build from; "" where the dataset needs none or is built
    config.data.split_file = ""  # csv of participant,split; "" splits by a hash of the id
    config.data.skip_bad = False  # leave out participants that cannot be read, and list them in the card
    config.data.participants = 0  # size of a demo corpus; 0 is its default
    config.data.workers = 0  # processes that build; 0 is one per core
    config.data.batch_size = 32  # participants per step over all devices and processes
    config.data.modalities = ()  # names to use; () is all that the dataset has
    config.data.max_windows = 0  # windows per participant that are used, from the start; 0 is all
    config.data.permute_modality = ""  # modality that participants have from each other, as a control; "" for none
    config.data.parts = 0  # pieces of a window, of which empty ones are left out; 0 is up to 5, as they divide
    config.data.packs = 0  # parts of a batch, packed each by itself; 0 is one per device that shares a batch
    config.data.memory_gb = 4.0  # what the corpus may take in memory before it is streamed
    config.data.placement = "auto"  # device, host, stream, or auto: in memory when it fits

    config.model = ConfigDict()  # `name`, and the fields of that model: its attributes and rates of dropout
    choose_model(config, "mental_perceiver")
    config.objective = ConfigDict()  # `name`, the fields of that objective, and how losses are weighed
    choose_objective(config, "multitask")

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"  # or constant, linear
    config.optimizer.warmup = "5 percent"
    config.optimizer.final_fraction = 0.0  # of the peak learning rate at the end
    config.optimizer.weight_decay = 1e-2
    config.optimizer.decay_exclude = r"bias|scale|_cuts|_code|log_variance|sigma|latents|priors"  # paths without decay
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.98
    config.optimizer.eps = 1e-8  # raise it, and parameters with small gradients (rare n-grams) move less
    config.optimizer.clip = 1.0  # global norm of the gradient; 0 for none
    config.optimizer.ema = 0.0  # decay of the moving average that is evaluated; 0 for none
    config.optimizer.accumulate = 1  # batches per update

    config.selection = ConfigDict()  # which checkpoint is kept, on validation only
    config.selection.metric = "loss"  # or <task>/<metric>, or "step": the last evaluation, whatever it says
    config.selection.every = "1 epochs"
    config.selection.patience = 0  # evaluations without a better value before stopping; 0 never stops

    config.checkpoint = ConfigDict()
    config.checkpoint.keep = 2  # latest ones, beside the best

    config.mesh = ConfigDict()
    config.mesh.replica = 1  # parts that the devices are divided into, each training its own replicas
    config.mesh.fsdp = False  # divide parameters and optimizer state over the devices that share a batch

    config.replicas = ConfigDict()  # folds x seeds x settings as one program (replicas.py)
    config.replicas.layout = "auto"  # vmap, map, sequence, or auto: what is faster; off: one training after another
    config.replicas.memory_gb = 0.0  # what all replicas may take; 0 is the device's memory, or half of the free host's

    config.log = ConfigDict()
    config.log.every = "1 epochs"
    config.log.tensorboard = True

    config.cv = ConfigDict()
    config.cv.folds = 0  # participant folds over the whole corpus; 0 uses the dataset's own splits
    config.cv.repeats = 1  # whole cross-validations, each divided anew; fold 7 of 5 x 2 is fold 2 of the second
    config.cv.inner = 0  # folds of each training part on which a sweep decides; 0 decides on the validation part
    config.cv.validation_fraction = 0.15  # of each fold's training participants; 0 where selection.metric is "step"

    config.sweep = ""  # content of the file that --sweep names (sweep.py); "" for none

    config.evaluation = ConfigDict()
    config.evaluation.bootstrap = 2000  # resamples of participants per interval
    config.evaluation.threshold = (
        "youden"  # rule on validation: also f1, sensitivity_80, sensitivity_90; or argmax: 0.5
    )
    config.evaluation.multilabel = False  # the binary tasks are labels of which any number may hold: means over them
    config.evaluation.baselines = True
    config.evaluation.near_duplicates = True  # look for near-duplicate transcripts and windows in two splits
    config.evaluation.subgroups = ""  # csv of participant_id and columns of categories, for subgroups; "" for none
    return config


def choose_model(config: ConfigDict, name: str, **values: Any) -> None:
    """Gives `config.model` the fields of a model, with its defaults but for `values`.

    Raises:
      InputError: there is no such model, or it has no such field.
    """
    config.model = _fields_of("models", name, {}, values)


def choose_objective(config: ConfigDict, name: str, **values: Any) -> None:
    """Gives `config.objective` the fields of an objective, as `choose_model`."""
    config.objective = _fields_of("objectives", name, WEIGHING, values)


def _fields_of(room: str, name: str, shared: Mapping[str, Any], values: Mapping[str, Any]) -> ConfigDict:
    known = {**shared, **registry.declared_fields(room, name)}
    for field in values:
        if field not in known:
            raise one_of(f"field of {registry.WHERE[room].rpartition('.')[0]} for {name!r}", field, known)
    return ConfigDict({"name": name, **known, **values})


def seeds(config: ConfigDict) -> tuple[int, ...]:
    """The seeds of the trainings of each split."""
    return tuple(config.seed_list) or tuple(range(config.seed, config.seed + config.seeds))


def set_seeds(config: ConfigDict, given: Sequence[str]) -> None:
    """Takes the seeds that `--seeds` lists; the first one also divides folds and resamples, as `config.seed` does.

    Seeds that follow each other become `seed` and `seeds`, so that both ways to ask for a run are the same run.

    Raises:
      InputError: something that is no seed, or one seed twice.
    """
    if not given or not all(text.isdecimal() for text in given) or len(set(map(int, given))) < len(given):
        raise InputError(f"--seeds={','.join(given)}: give different whole numbers, for example --seeds=1111,1112")
    numbers = tuple(map(int, given))
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


def saved_fields(workdir: Path) -> dict[str, Any]:
    """Fields of the config that a workdir was trained with, {"data.batch_size": 32, ...}; empty where it was not.

    Raises:
      InputError: `config.json` is damaged.
    """
    path = workdir / FILE
    trained = any(workdir.rglob("checkpoints/[0-9]*")) or any(workdir.rglob("predictions.csv"))
    if not path.exists() or not trained:
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        fields = flatten(saved)
        whole = isinstance(saved, dict) and isinstance(fields.get("data.packs", fields.get("data.groups", 0)), int)
        if not whole or not all(isinstance(task.get("name"), str) for task in fields.get("tasks", ())):
            raise ValueError("no fields of a config")
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is not the JSON of a config"
        raise InputError(
            f"{path}: cannot be read ({reason}): this file tells what was trained here: restore it from a copy, or "
            "take another --workdir"
        ) from error
    return {RENAMED.get(field, field): value for field, value in fields.items()}


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
    ours = jsonable(config)
    theirs = saved_fields(workdir)
    if theirs:
        mine = flatten(ours)
        free = lambda field: any(field == f or field.startswith(f + ".") for f in FREE_ON_RESUME)  # noqa: E731
        mine["tasks"] = _with_ends(mine["tasks"], theirs.get("tasks"))
        fields = [f for f in sorted(theirs.keys() | mine.keys()) if theirs.get(f) != mine.get(f) and not free(f)]
        if fields:
            shown = "; ".join(f"{f}: {theirs.get(f, 'absent')!r} there, {mine.get(f, 'absent')!r} now" for f in fields)
            raise InputError(
                f"{workdir} holds a run of another config ({shown}): take another --workdir, or the same config"
            )
    elif writes:
        refuse_foreign(workdir)
        write_json(workdir / FILE, ours)


def _with_ends(tasks: list[dict[str, Any]], saved: Any) -> list[dict[str, Any]]:
    """Tasks whose scales end where those of the saved ones do, if the config leaves that to the corpus."""
    if not isinstance(saved, list) or len(saved) != len(tasks):
        return tasks
    left = [{k: there.get(k) for k, v in here.items() if v is None} for here, there in zip(tasks, saved, strict=True)]
    return [here | ends for here, ends in zip(tasks, left, strict=True)]
