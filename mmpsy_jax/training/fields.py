"""Every field of a config, declared once: its default, what a value of it must be, and what it means.

`config.py` makes configs of this table, `config_rules.py` holds values against it. Fields of `config.model` and
`config.objective` are declared by the file of the model or objective (`registry.declared_fields`); what their values
must be stands here. No jax is imported, so that the command line knows all fields before it is loaded.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.io import InputError
from mmpsy_jax.training.cadence import to_steps

LARGEST_SEED = 2**31 - 1  # a random key is made of an int32
CLASS_WEIGHTS = ("none", "balanced", "positive")
LAYOUTS = ("auto", "vmap", "sequence", "off")
PLACEMENTS = ("auto", "host", "device", "stream")
SCHEDULES = ("cosine", "constant", "linear")
THRESHOLDS = ("argmax", "f1", "sensitivity_80", "sensitivity_90", "youden")
WEIGHTINGS = ("fixed", "uncertainty", "revised", "restrained", "dwa", "druw", "gradnorm", "pcgrad")
_INFINITY = float("inf")


class Rule(NamedTuple):
    """What a value must be: a test, the same in words that follow "must be", and the choices where there are few."""

    test: Callable[[Any], bool]
    text: str
    choices: tuple[Any, ...] = ()


class Field(NamedTuple):
    """One field of a config."""

    default: Any
    rule: Rule
    meaning: str


def number(low: float = -_INFINITY, high: float = _INFINITY, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number from `low` to `high`; `above` and `below` exclude the ends."""
    sides = [(f"above {low:g}" if above else f"at least {low:g}") if low > -_INFINITY else ""]
    sides += [(f"below {high:g}" if below else f"at most {high:g}") if high < _INFINITY else ""]

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (value > low if above else value >= low) and (value < high if below else value <= high)

    ends = " and ".join(filter(None, sides))
    return Rule(test, f"a finite number{', ' if ends else ''}{ends}")


def whole(low: int, high: int | None = None, *, or_zero: bool = False) -> Rule:
    """A whole number from `low` to `high`, or 0."""

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return (or_zero and value == 0) or (value >= low and (high is None or value <= high))

    ends = f"at least {low}" if high is None else f"from {low} to {high}"
    return Rule(test, f"a whole number, {'0 or ' if or_zero else ''}{ends}")


def among(choices: Collection[Any]) -> Rule:
    """One of a few values."""
    return Rule(lambda value: value in choices, f"one of: {', '.join(map(str, choices))}", tuple(choices))


def cadence(*, of_all: bool = False, zero: bool = True) -> Rule:
    """A length of training (`cadence.py`); `of_all`: of the whole, of which there are no percents."""

    def test(value: Any) -> bool:
        try:
            steps = to_steps(value, steps_per_epoch=1, batch_size=1, total=None if of_all else 1)
        except InputError:
            return False
        return zero or steps > 0

    units = "steps, epochs or examples" if of_all else "steps, epochs, examples or percent"
    return Rule(test, f"{'an' if zero else 'a positive'} amount and a unit ({units}), such as '2 epochs'")


def each(rule: Rule, text: str) -> Rule:
    """A list of values that keep a rule."""
    return Rule(lambda value: isinstance(value, list | tuple) and all(map(rule.test, value)), text)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return True


FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and "\0" not in value, "a text")
NAME = Rule(lambda value: TEXT.test(value) and value.strip() != "", "a name")
PATTERN = Rule(_is_pattern, "a regular expression")
SHARE = number(0, 1, below=True)
NAMES = Rule(lambda value: each(NAME, "").test(value) and len(set(value)) == len(value), "different names")
WIDTHS = Rule(lambda value: each(whole(1), "").test(value) and len(value) > 0, "whole numbers of at least 1")
WEIGHTS = Rule(
    lambda value: isinstance(value, Mapping | ConfigDict) and all(map(number(0).test, value.values())),
    "a finite number of at least 0 for each name",
)
FINITE = Rule(lambda value: not isinstance(value, float) or math.isfinite(value), "finite")

# Of `config.objective` whatever the objective.
WEIGHING: dict[str, Field] = {
    "weighting": Field("fixed", among(WEIGHTINGS), "how losses become one update (objectives/weighting.py)"),
    "weights": Field({}, WEIGHTS, "weight per task, or loss of distillation; 1 where none is named"),
    "class_weights": Field("none", among(CLASS_WEIGHTS), "of the training split; positive: n_0 / n_1 for class 1"),
    "dwa_temperature": Field(10.0, number(0, above=True), "of dwa and druw: higher weighs tasks more alike"),
    "gradnorm_alpha": Field(1.5, number(), "how strongly gradnorm pushes tasks that lag behind"),
    "gradnorm_layer": Field("", PATTERN, "expression for paths of parameters that gradnorm measures; '' is all"),
}
# Of everything else but `config.model`.
FIELDS: dict[str, Field] = {
    "name": Field("run", NAME, "name of the workdir below runs/ where --workdir is not given"),
    "seed": Field(0, whole(0, LARGEST_SEED), "starts every random stream: splits of folds, initialisation, dropout"),
    "seeds": Field(1, whole(1, 100_000), "trainings per split, with seeds seed, seed + 1, ..."),
    "seed_list": Field(
        (), each(whole(0, LARGEST_SEED), f"whole numbers from 0 to {LARGEST_SEED}"), "seeds of no sequence (--seeds)"
    ),
    "total": Field("30 epochs", cadence(of_all=True, zero=False), "length of a training: steps, epochs or examples"),
    "tasks": Field(
        [], Rule(lambda value: isinstance(value, list | tuple), "a list of tasks"), "dictionaries of mmpsy_jax.tasks"
    ),
    "init_from": Field("", TEXT, "`checkpoints` folder of another run: start from its best parameters"),
    "compile_cache": Field(".jax_cache", TEXT, "folder of compiled programs, reused by later runs; '' for none"),
    "distributed": Field(False, FLAG, "join the processes of a pod, of Slurm, or of JAX_COORDINATOR_ADDRESS"),
    "heartbeat_seconds": Field(30, whole(1, 86_400), "a dead process stops the others after this long"),
    "data.dataset": Field("mmpsy/demo", NAME, "builder and its config"),
    "data.data_dir": Field("data", TEXT, "where built datasets lie: data_dir/mmpsy/demo/1.0.0"),
    "data.folder": Field("", TEXT, "a built dataset (also somebody else's export); then none is built or looked for"),
    "data.source": Field("", TEXT, "folder or table to build from; '' where the dataset needs none or is built"),
    "data.split_file": Field("", TEXT, "csv of participant,split; '' splits by a hash of the id"),
    "data.skip_bad": Field(False, FLAG, "leave out participants that cannot be read, and list them in the card"),
    "data.participants": Field(0, whole(0), "size of a demo corpus; 0 is its default"),
    "data.workers": Field(0, whole(0), "processes that build; 0 is one per core"),
    "data.batch_size": Field(32, whole(1, LARGEST_SEED), "participants per step over all devices and processes"),
    "data.modalities": Field((), NAMES, "names to use; () is all that the dataset has"),
    "data.max_windows": Field(0, whole(0), "windows per participant that are used, from the start; 0 is all"),
    "data.permute_modality": Field("", TEXT, "modality that participants have from each other, as a control"),
    "data.parts": Field(0, whole(0), "pieces of a window; empty ones are left out; 0: up to 5, as they divide"),
    "data.packs": Field(0, whole(0), "parts of a batch, packed each by itself; 0: one per device that shares a batch"),
    "data.memory_gb": Field(4.0, number(0), "what the corpus may take in memory before it is streamed"),
    "data.placement": Field("auto", among(PLACEMENTS), "where windows lie; auto: in memory when they fit"),
    "optimizer.learning_rate": Field(1e-3, number(0), "peak of the schedule"),
    "optimizer.schedule": Field("cosine", among(SCHEDULES), "decay of the learning rate after the warm-up"),
    "optimizer.warmup": Field("5 percent", cadence(), "linear, from 0 to the peak"),
    "optimizer.final_fraction": Field(0.0, number(0), "of the peak learning rate at the end"),
    "optimizer.weight_decay": Field(1e-2, number(0), "of AdamW"),
    "optimizer.decay_exclude": Field(
        r"bias|scale|_cuts|_code|log_variance|sigma|latents|priors", PATTERN, "paths of parameters without decay"
    ),
    "optimizer.b1": Field(0.9, SHARE, "decay of the mean of gradients"),
    "optimizer.b2": Field(0.98, SHARE, "decay of the mean of their squares"),
    "optimizer.eps": Field(1e-8, number(0), "higher: parameters with small gradients (rare n-grams) move less"),
    "optimizer.clip": Field(1.0, number(0), "global norm of the gradient; 0 for none"),
    "optimizer.ema": Field(0.0, SHARE, "decay of the moving average that is evaluated; 0 for none"),
    "optimizer.accumulate": Field(1, whole(1), "batches per update"),
    "selection.metric": Field("loss", NAME, "on validation: also <task>/<metric>; 'step': the last evaluation"),
    "selection.every": Field("1 epochs", cadence(), "how often validation is evaluated"),
    "selection.patience": Field(0, whole(0), "evaluations without a better value before stopping; 0 never stops"),
    "checkpoint.keep": Field(2, whole(0), "latest ones, beside the best"),
    "mesh.replica": Field(1, whole(1), "parts that the devices are divided into, each training its own replicas"),
    "mesh.fsdp": Field(False, FLAG, "divide parameters and optimizer state over the devices that share a batch"),
    "replicas.layout": Field("auto", among(LAYOUTS), "of folds x seeds x settings (replicas.py); off: one by one"),
    "replicas.memory_gb": Field(0.0, number(0), "of all replicas; 0: the device's memory, or half of the free host's"),
    "log.every": Field("1 epochs", cadence(), "how often losses are logged"),
    "log.tensorboard": Field(True, FLAG, "write files for TensorBoard"),
    "cv.folds": Field(0, whole(2, or_zero=True), "folds of participants over all splits; 0 uses the dataset's splits"),
    "cv.repeats": Field(
        1, whole(1), "whole cross-validations, each divided anew; fold 7 of 5 x 2 is fold 2 of the second"
    ),
    "cv.inner": Field(0, whole(2, or_zero=True), "folds on which a sweep decides; 0: on the validation part"),
    "cv.validation_fraction": Field(
        0.15, SHARE, "of each fold's training participants; 0 where selection.metric is 'step'"
    ),
    "sweep": Field("", TEXT, "content of the file that --sweep names (sweep.py); '' for none"),
    "evaluation.bootstrap": Field(2000, whole(1), "resamples of participants per interval"),
    "evaluation.threshold": Field("youden", among(THRESHOLDS), "rule on validation for cut-offs; argmax: 0.5"),
    "evaluation.multilabel": Field(False, FLAG, "any number of the binary tasks may hold: means over them"),
    "evaluation.baselines": Field(True, FLAG, "fit the baselines beside the model"),
    "evaluation.near_duplicates": Field(True, FLAG, "look for near-duplicate transcripts and windows in two splits"),
    "evaluation.subgroups": Field("", TEXT, "csv of participant_id and columns of categories; '' for none"),
}
# Rules for fields of objectives, and of models by name or by the last word of a name such as `text_hidden`.
OF_OBJECTIVES: dict[str, Rule] = {
    "name": among(registry.names("objectives")),
    "ccc": number(0, 1),
    "delta": number(0, above=True),
    "cutoff": number(),
    "scale": number(0, above=True),
    "temperature": number(0, above=True),
    "difference": number(0),
    "similarity": number(0),
    "reconstruction": number(0),
}
OF_MODELS: dict[str, Rule] = {
    "name": among(registry.names("models")),
    **dict.fromkeys(
        ("heads_attention", "latents", "layers", "expansion", "patch", "stride", "rank", "memory", "pieces"), whole(1)
    ),
    **dict.fromkeys(("hidden", "out", "kernel", "width"), whole(1)),
    "lora_rank": whole(0),
    "position": among(("fourier", "learned", "none")),
    "longest_seconds": number(2, above=True),  # the shortest period of the Fourier features
    "dropout": SHARE,
    **dict.fromkeys(("pooled_prior", "remat", "micro"), FLAG),
    "embedding_scale": number(0),
    "absorb": among((True, False, None)),
    "dtype": among(("float32", "bfloat16", "float16")),
    **dict.fromkeys(("train", "freeze"), PATTERN),
    "channels": WIDTHS,
}


def rule_of(field: str) -> Rule | None:
    """What a value of a field must be; a field of a model that is not listed need only be finite."""
    part, _, name = field.partition(".")
    if part == "model":
        return OF_MODELS.get(name) or OF_MODELS.get(name.rpartition("_")[2]) or FINITE
    if part == "objective":
        return WEIGHING[name].rule if name in WEIGHING else OF_OBJECTIVES.get(name)
    return FIELDS[field].rule if field in FIELDS else None
