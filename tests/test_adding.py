"""The table "To add ..." of docs/architecture.md: a new file each, in a copy of the code, and everything follows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    # A model, with its own config fields.
    "models/mean_pool.py": '''
import flax.linen as nn
import jax.numpy as jnp

from mmpsy_jax.models.base import EMBEDDING, NO_DROPOUT, Head, Modality, outputs_of
from mmpsy_jax.models.perceiver import masked_mean
from mmpsy_jax.rules import Count


class Model(nn.Module):
    """A linear layer over the means of all features."""

    modalities: tuple[Modality, ...]
    heads: tuple[Head, ...]
    window_seconds: float
    size: Count = 8

    @nn.compact
    def __call__(self, batch, rates=NO_DROPOUT):
        rows, means = batch["valid"].shape[0], []
        for modality in self.modalities:
            x, length = batch[modality.name], batch[f"{modality.name}_length"]
            mask = jnp.arange(x.shape[1]) < length[:, None]
            means.append(masked_mean(x, mask, batch[f"{modality.name}_row"], rows))
        hidden = nn.relu(nn.Dense(self.size)(jnp.concatenate(means, axis=-1)))
        values = nn.Dense(sum(head.n_values for head in self.heads), use_bias=False)(hidden)
        return {**outputs_of(self, self.heads, values), EMBEDDING: hidden}
''',
    # A fusion baseline of MMSA's kind.
    "projects/msa/models/summed.py": '''
from mmpsy_jax.models.base import EMBEDDING
from mmpsy_jax.projects.msa.sequences import SubnetModel


class Model(SubnetModel):
    """The sum of one vector per modality."""

    def fuse(self, features, rates):
        fused = sum(features.values())
        return {**self.read_out(fused), EMBEDDING: fused}
''',
    # An objective, with its own config field.
    "objectives/power.py": """
import dataclasses

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Objective:
    tasks: tuple
    exponent: float

    @property
    def names(self):
        return tuple(task.name for task in self.tasks)

    def __call__(self, outputs, labels, valid, class_weights):
        errors = [jnp.abs(outputs[t.name][:, 0] * t.maximum - labels[t.label]) ** self.exponent for t in self.tasks]
        sums = {t.name: ((e * valid).sum(), valid.sum()) for t, e in zip(self.tasks, errors)}
        return jnp.stack([e.mean() for e in errors]), (jnp.ones(len(errors), bool), sums)


def build(tasks, modalities, model=None, *, exponent: float = 1.5):
    return Objective(tuple(tasks), exponent)
""",
    # A verb.
    "commands/greet.py": '''
"""`launch.py greet`: says hello."""

import argparse


def main(arguments):
    argparse.ArgumentParser(prog="launch.py greet").parse_args(arguments)
    print("hello")
    return 0
''',
}
METRIC = '''

@metric("regression", "half the MAE", -1, EMPTY)
def half_mae(s: ScoreSums) -> np.ndarray:
    """Half the mean absolute error in points."""
    return s.absolute / 2
'''
USE = """
import jax, jax.numpy as jnp, numpy as np
from configs import smoke
from mmpsy_jax.io import InputError
from mmpsy_jax.models.base import Modality
from mmpsy_jax.tasks import Task, from_config, to_config
from mmpsy_jax.training import config_rules, programs
from mmpsy_jax.training.config import choose_model, choose_objective

config = smoke.get_config().copy_and_resolve_references()
config.unlock()
config.tasks = to_config([Task("sleep", "phq9", "regression", maximum=27.0)])  # a task of one's own: no file
tasks = from_config(config.tasks)
batch = {"valid": jnp.ones(2, bool)}
for name in ("text", "audio"):
    batch |= {name: jnp.ones((2, 3, 4)), f"{name}_length": jnp.full(2, 3), f"{name}_row": jnp.arange(2)}
inputs = {"modalities": [Modality(n, "features", (3, 4)) for n in ("text", "audio")], "window_seconds": 1.0}
for model, fields in (("mean_pool", {"size": 5}), ("summed", {"text_out": 6, "audio_hidden": 6})):
    choose_model(config, model, **fields)
    choose_objective(config, "power", exponent=3.0)
    config_rules.check(config)
    network = programs.network(config, tasks, **inputs)
    objective = programs.objective(config, tasks, ["text", "audio"])

    @jax.jit
    def outputs_and_loss(batch):
        outputs, _ = network.init_with_output(jax.random.key(0), batch)
        return outputs, objective(outputs, {"phq9": jnp.ones(2)}, batch["valid"], {})[0]

    outputs, loss = outputs_and_loss(batch)
    assert outputs["sleep"].shape == (2, 1) and np.isfinite(loss).all()
choose_model(config, "mean_pool", size=0)
try:
    config_rules.check(config)
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the code with the new files."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("mmpsy_jax", "configs", "data_builders"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", folder)
    for path, text in FILES.items():
        (folder / "mmpsy_jax" / path).write_text(text.lstrip())
    metrics = folder / "mmpsy_jax/evaluation/metrics.py"
    metrics.write_text(metrics.read_text().replace("\nNAMES = ", METRIC + "\n\nNAMES = ", 1))
    return folder


def run(clone, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_a_fusion_baseline_an_objective_and_a_task(clone):
    assert run(clone, "-c", USE) == "config.model.size = 0: must be a whole number, at least 1\n"


def test_a_verb(clone):
    assert run(clone, "launch.py", "greet") == "hello\n"
    assert "launch.py greet" in run(clone, "launch.py", "greet", "--help")


def test_a_metric(clone):
    rows = ["participant_id,task,y_true,y_pred", *(f"p{i},mood,{i}.5,{i + 1}" for i in range(20))]
    (clone / "predictions.csv").write_text("\n".join(rows))
    run(clone, "launch.py", "evaluate", "--predictions=predictions.csv", "--output=scored")
    assert "half the MAE" in (clone / "scored" / "report.html").read_text()
