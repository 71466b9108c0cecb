"""Exported runs, loaded by a process that cannot import this package. All data is SYNTHETIC."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import ModelCard

import mmpsy_jax
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.inference import load_model
from mmpsy_jax.inference.export import export
from mmpsy_jax.io import InputError
from mmpsy_jax.training import finished_run
from tests.runs import environment, launch

ALONE = """
import importlib.util, json, sys
assert importlib.util.find_spec("mmpsy_jax") is None
import numpy as np
from load_model import Model
held = np.load("interviews.npz", allow_pickle=False)
model, interviews = Model("."), {}
for key in held.files:
    number, name = key.split("/")
    interviews.setdefault(int(number), {})[name] = held[key]
interviews = [interviews[number] for number in sorted(interviews)]
for part in (interviews, interviews[:1]):
    print(json.dumps({name: value.tolist() for name, value in model.predict(part).items()}))
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"flax", "optax", "orbax", "tensorflow", "safetensors"}, loaded
"""


SEQUENCES = """
import sys
from types import SimpleNamespace
import jax, numpy as np
from mmpsy_jax.inference.export import lower, values_of
from mmpsy_jax.tasks import Task
from tests.networks import draw_variables
from tests.projects.msa.test_sequences import SIZES, SMALL, make, random_batch
task = (Task("sentiment", "sentiment", "regression", maximum=3.0),)
pieces = SimpleNamespace(modalities={name: SimpleNamespace(dtype=np.dtype("float32")) for name in SMALL})
for name in sys.argv[1:]:
    network, rng = make(name, **SIZES[name]), np.random.default_rng(0)
    variables = draw_variables(network, random_batch(rng))
    evaluated = {"params": {"network": variables["params"]}, "fitted": {"network": variables.get("fitted", {})}}
    values = values_of(network, task)
    program = lower(values, evaluated, SimpleNamespace(modalities=network.modalities, pieces=pieces))
    for batch in (random_batch(rng, rows=4, without=[("audio", 1)]), random_batch(rng, rows=1)):
        ours, theirs = (np.asarray(one(evaluated, batch)["sentiment"]) for one in (values, program.call))
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    print(name)
"""


def test_networks_with_lstms_are_exported_for_any_number_of_participants():
    result = launch(sys.executable, "-c", SEQUENCES, "lf_dnn", "tfn", "ef_lstm", env=environment())
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["lf_dnn", "tfn", "ef_lstm"]


@pytest.mark.parametrize("which", ["texts", "heard"])
def test_the_loader_gives_the_predictions_without_the_package(which, exported, request, tmp_path):
    *_, built, workdir = request.getfixturevalue(which)
    shutil.copytree(exported[which], tmp_path / "out")
    model = finished_run.load(workdir)
    corpus = model.select_modalities(open_corpus(built))
    members = np.arange(0, len(corpus), 5)
    wanted = {name: said.mean(axis=0) for name, said in model.predict(corpus, members)[0].items()}
    arrays = {}
    for i in members.tolist():
        record = corpus.read(i)
        for name in ("window_start_s", *(key for m in corpus.modalities for key in (m, f"{m}_length"))):
            arrays[f"{i}/{name}"] = record[name]
    np.savez(tmp_path / "out" / "interviews.npz", **arrays)
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
    shown = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path / "out", env=kept, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    together, first = map(json.loads, shown.stdout.splitlines())
    assert together.keys() == wanted.keys() and len(members) == 8
    for name, values in wanted.items():
        scale = 27 if name == "phq_score" else 1
        np.testing.assert_allclose(together[name], values, atol=1e-5 * scale)
        np.testing.assert_allclose(first[name], values[:1], atol=1e-5 * scale)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["platforms"] == ["cpu", "cuda"] and "not a diagnostic device" in config["what"]
    assert len(config["trainings"]) == len(model.trainings)
    hub = tmp_path / "out" / "huggingface"
    if (workdir / "README.md").exists():  # a training by itself leaves no card
        card = ModelCard.load(hub / "README.md")
        assert (
            card.data.library_name == "mmpsy_jax" and card.data.eval_results and "not a diagnostic device" in card.text
        )
    assert not [path.name for path in hub.rglob("*") if path.name.startswith("predictions")]
    assert mmpsy_jax.load_run(tmp_path / "out").workdir == hub
    again = finished_run.load(hub)
    same = again.predict(again.select_modalities(open_corpus(built)), members)[0]
    np.testing.assert_array_equal(same["phq_score"].mean(axis=0), wanted["phq_score"])


def test_the_reader_of_weights_agrees_with_safetensors(texts, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a/b": rng.standard_normal((3, 5)).astype(np.float16), "c": rng.integers(0, 9, 4).astype(np.int32)}
    (tmp_path / "x.safetensors").write_bytes(safetensors.numpy.save(arrays, metadata={"format": "np"}))
    made = load_model.read_safetensors(tmp_path / "x.safetensors")
    assert made.keys() == arrays.keys() and all(made[k].tobytes() == arrays[k].tobytes() for k in made)


def test_a_folder_in_use_is_left_alone(texts, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="not an empty folder"):
        export(texts[2], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_loader_averages_class_probabilities_before_it_names_a_class():
    said = [{"score": np.array([1.0]), "emotion": np.array([p])} for p in ([0.5, 0.4, 0.1], [0.3, 0.45, 0.25])]
    model = object.__new__(load_model.Model)
    one = {"program": "p", "parts": 1, "max_windows": None}
    model.config = {"trainings": [one, one], "modalities": {}, "window_seconds": 60.0}
    model.programs, model.weights = {"p": lambda weights, _: weights}, said
    assert {name: value.tolist() for name, value in model.predict([{}]).items()} == {"score": [1.0], "emotion": [1]}
