"""`launch.py export`: a finished run as StableHLO programs, safetensors weights and a loader that needs jax alone.

| file | holds |
|---|---|
| `program_<k>.stablehlo` | serialised `jax.export` program for cpu and cuda: (parameters, batch) -> value(s) per task |
| `weights_<i>.safetensors` | parameters of one training |
| `config.json` | inputs, tasks, which program and weights belong together, and what the model is for |
| `load_model.py` | loads and averages them with numpy and jax; a copy of a file of this folder |
| `huggingface/` | uploaded as it is by `huggingface_hub`, read by `mmpsy_jax.load_run`: card, weights, report |

Numbers of participants and of the slots of each modality are symbolic: one program serves every batch.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export as jax_export
from jaxtyping import Array, Float, PyTree

import mmpsy_jax
from mmpsy_jax.features import out_of_distribution
from mmpsy_jax.inference import load_model
from mmpsy_jax.inference.inputs import corpus_of, empty_record
from mmpsy_jax.io import InputError, public, read_json, try_folder, write_atomically, write_json
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training import finished_run, run_files
from mmpsy_jax.training.batches import Batching
from mmpsy_jax.training.config import identity
from mmpsy_jax.training.finished_run import FinishedRun
from mmpsy_jax.training.step import variables_of

PLATFORMS = ("cpu", "cuda")
TOLD = ("README.md", "report.json", "report.html")  # of a run, for people
WEIGHTS_AND_LIMITS = (run_files.WEIGHTS, run_files.EMBEDDING)  # of a training


def export(workdir: str | Path, output: str | Path) -> None:
    """Writes everything that predicting needs, without this package.

    Raises:
      InputError: no finished run, or a folder that is not empty.
    """
    try_folder(output)
    run, output = finished_run.load(workdir), Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there and not an empty folder: give another --output, or empty it")
    # Shapes of pieces follow from the modalities; an empty interview has them too.
    corpus = corpus_of(["nobody"], [empty_record()], run.modalities, run.card)
    programs: dict[str, str] = {}
    trainings = []
    for i, one in enumerate(run.trainings):
        shape, key = one.batching(corpus), identity(one.config)
        if key not in programs:
            programs[key] = f"program_{len(programs)}.stablehlo"
            program = lower(values_of(one.network(shape), run.tasks), one.inference_params, shape)
            write_atomically(output / programs[key], bytes(program.serialize()))
        run_files.save_weights(output, one.inference_params, f"weights_{i}.safetensors")
        trainings.append(
            {
                "program": programs[key],
                "weights": f"weights_{i}.safetensors",
                "fold": one.fold,
                "seed": one.seed,
                "parts": shape.pieces.parts,
                "max_windows": one.config.data.max_windows or None,
            }
        )
    write_atomically(output / "load_model.py", Path(load_model.__file__).read_bytes())
    write_json(
        output / "config.json",
        {
            "format": 1,
            "what": mmpsy_jax.DISCLAIMER,
            "mmpsy_jax": mmpsy_jax.__version__,
            "jax": jax.__version__,
            "platforms": list(PLATFORMS),
            **{name: public(run.card[name]) for name in ("synthetic", "window_seconds", "modalities")},
            "tasks": to_config(run.tasks),
            "trainings": trainings,
        },
    )

    _write_hub_folder(Path(workdir), output / run_files.HUB, run)


def _write_hub_folder(workdir: Path, folder: Path, run: FinishedRun) -> None:
    """What a run needs to predict, and what tells of it; not who was trained on, nor which characters they used.

    Raises:
      InputError: a file that is not the one that the run left.
    """
    copies = [f"{one['folder']}/{name}" for one in run.card["trainings"] for name in WEIGHTS_AND_LIMITS]
    for name in (*copies, *TOLD):
        if (workdir / name).is_file():
            run_files.check(workdir, run.card, name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(workdir / name, folder / name)
    write_json(folder / run_files.CONFIG, public(read_json(workdir / run_files.CONFIG, run_files.RESTORE)))
    card = {name: value for name, value in run_files.read_card(workdir).items() if name not in ("files", "members")}
    card["usual"] = {
        name: {
            "quantiles": {
                m: ends for m, ends in of["quantiles"].items() if not m.startswith(out_of_distribution.UNKNOWN)
            }
        }
        for name, of in card["usual"].items()
    }
    run_files.write_card(folder, public(card), [run_files.CONFIG, *copies])


def values_of(
    network: nn.Module, tasks: tuple[Task, ...]
) -> Callable[[PyTree, PyTree], dict[str, Float[Array, "b ..."]]]:
    """From parameters and one pack of a batch to what trainings are averaged in, in float32."""

    def values(evaluated: PyTree, batch: PyTree) -> dict[str, Float[Array, "b ..."]]:
        outputs = network.apply(variables_of(evaluated), batch)
        return {task.name: task.averageable(outputs[task.name], jnp) for task in tasks}

    return values


def lower(values: Callable[[PyTree, PyTree], PyTree], evaluated: PyTree, shape: Batching) -> jax_export.Exported:
    """The program for any number of participants b, and of slots s_0, s_1 ... of the modalities."""
    symbols = ["b", *(f"s_{i}" for i in range(len(shape.modalities)))]
    rows, *slots = jax_export.symbolic_shape(", ".join(symbols))
    spec = jax.ShapeDtypeStruct
    batch: dict[str, Any] = {"valid": spec((rows,), jnp.bool_)}
    for one, s in zip(shape.modalities, slots, strict=True):
        batch[one.name] = spec((s, *one.shape), shape.pieces.modalities[one.name].dtype)
        batch |= {f"{one.name}_{what}": spec((s,), jnp.int32) for what in ("length", "row")}
        batch[f"{one.name}_start_s"] = spec((s,), jnp.float32)
    parameters = jax.tree.map(lambda x: spec(x.shape, x.dtype), evaluated)
    return jax_export.export(jax.jit(values), platforms=PLATFORMS)(parameters, batch)
