"""Every field of a config, declared once: its default, what a value of it must be, and what it means.

`config.py` makes configs of this table, `config_rules.py` holds values against it. Fields of `config.model` and
`config.objective` are declared by the file of the model or objective (`registry.declared_fields`), whose annotations
say what their values must be (`mmpsy_jax/rules.py`). No jax is imported, so that the command line knows all fields
before it is loaded.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmpsy_jax import registry
from mmpsy_jax.io import InputError
from mmpsy_jax.rules import FLAG, NAME, NAMES, PATTERN, SHARE, TEXT, Rule, among, each, number, whole
from mmpsy_jax.training.cadence import to_steps

LARGEST_SEED = 2**31 - 1  # a random key is made of an int32
CLASS_WEIGHTS = ("none", "balanced", "positive")
LAYOUTS = ("auto", "vmap", "sequence", "off")
NO_SUBGROUPS = "none"
PLACEMENTS = ("auto", "host", "device", "stream")
SCHEDULES = ("cosine", "constant", "linear")
THRESHOLDS = ("argmax", "f1", "sensitivity_80", "sensitivity_90", "youden")
WEIGHTINGS = ("fixed", "uncertainty", "revised", "restrained", "dwa", "druw", "gradnorm", "pcgrad")


class Field(NamedTuple):
    """One field of a config."""

    default: Any
    rule: Rule
    meaning: str


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


WEIGHTS = Rule(
    lambda value: isinstance(value, Mapping | ConfigDict) and all(map(number(0).test, value.values())),
    "a finite number of at least 0 for each name",
)

# Of `config.objective` whatever the objective.
WEIGHING: dict[str, Field] = {
    "weighting": Field("fixed", among(WEIGHTINGS), "how losses become one update (objectives/weighting.py)"),
    "weights": Field({}, WEIGHTS, "weight per task, or loss of distillation; 1 where none is named"),
    "class_weights": Field("none", among(CLASS_WEIGHTS), "of the training split; positive: n_0 / n_1 for class 1"),
    "dwa_temperature": Field(10.0, number(0, above=True), "of dwa and druw: higher weighs tasks more alike"),
    "gradnorm_alpha": Field(1.5, number(0), "how strongly gradnorm pushes tasks that lag behind"),
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
    "data.folder": Field("", TEXT, "a built dataset, or A,B to pool several; then none is built or looked for"),
    "data.source": Field("", TEXT, "folder or table to build from; '' where the dataset needs none or is built"),
    "data.split_file": Field("", TEXT, "csv of participant,split; '' splits by a hash of the id"),
    "data.skip_bad": Field(False, FLAG, "leave out participants that cannot be read, and list them in the card"),
    "data.participants": Field(0, whole(0), "size of a demo corpus; 0 is its default"),
    "data.workers": Field(0, whole(0), "processes that build; 0 is one per core"),
    "data.batch_size": Field(32, whole(1, LARGEST_SEED), "participants per step over all devices and processes"),
    "data.modalities": Field(
        (), NAMES, "names to use; () is all that the dataset has, but for those of the interviewer"
    ),
    "data.max_windows": Field(0, whole(0), "windows per participant that are used, from the start; 0 is all"),
    "data.train_on_validation": Field(
        False, FLAG, "the validation split trains, too, once settings are chosen; nothing is selected then"
    ),
    "data.labelled_fraction": Field(
        1.0, number(0, 1, above=True), "of the training participants whose labels are known; the others' are hidden"
    ),
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
    "cv.folds_file": Field(
        "", TEXT, "csv of participant and fold instead of folds drawn by seed; 'published' for those of the dataset"
    ),
    "cv.repeats": Field(
        1, whole(1), "whole cross-validations, each divided anew; fold 7 of 5 x 2 is fold 2 of the second"
    ),
    "cv.inner": Field(0, whole(2, or_zero=True), "folds on which a sweep decides; 0: on the validation part"),
    "cv.validation_fraction": Field(
        0.15, SHARE, "of each fold's training participants; 0 where selection.metric is 'step'"
    ),
    "sweep": Field("", TEXT, "content of the file that --sweep names (sweep.py); '' for none"),
    "privacy.epsilon": Field(0.0, number(0), "of differentially private training (privacy.py); 0 trains without"),
    "privacy.delta": Field(0.0, number(0), "its other number; 0 is 1 / training participants"),
    "privacy.clip": Field(1.0, number(0, above=True), "norm to which the gradient of each participant is clipped"),
    "privacy.noise_multiplier": Field(0.0, number(0), "follows from epsilon: leave it at 0"),
    "privacy.rows": Field(0, whole(0), "room of a batch, follows from epsilon: leave it at 0"),
    "privacy.rate": Field(0.0, number(0), "chance of being drawn, follows from data.batch_size: leave it at 0"),
    "evaluation.bootstrap": Field(2000, whole(1), "resamples of participants per interval"),
    "evaluation.threshold": Field("youden", among(THRESHOLDS), "rule on validation for cut-offs; argmax: 0.5"),
    "evaluation.multilabel": Field(False, FLAG, "any number of the binary tasks may hold: means over them"),
    "evaluation.baselines": Field(True, FLAG, "fit the baselines beside the model"),
    "evaluation.near_duplicates": Field(True, FLAG, "look for near-duplicate transcripts and windows in two splits"),
    "evaluation.subgroups": Field(
        "", TEXT, "csv of participant_id and columns of categories instead of the corpus's own; 'none' for none"
    ),
}
# Of the fields that choose what the other fields of `config.model` and `config.objective` are.
CHOICES: dict[str, Rule] = {
    "model.name": among(registry.names("models")),
    "objective.name": among(registry.names("objectives")),
}


def rule_of(field: str) -> Rule | None:
    """What a value of a field must be; None of one that a model or an objective declares."""
    part, _, name = field.partition(".")
    if part == "objective" and name in WEIGHING:
        return WEIGHING[name].rule
    return FIELDS[field].rule if field in FIELDS else CHOICES.get(field)
