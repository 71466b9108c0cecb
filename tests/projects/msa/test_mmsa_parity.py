"""The models of MMSA against its own PyTorch implementation: outputs of random weights, numbers of parameters."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.networks import variable_shapes
from tests.projects.msa.test_sequences import OWN, OWN_SCORES, SCORE, make

GOLDEN = Path(__file__).parent / "golden"
SUBNETS = {"text_hidden": 6, "text_out": 8, "audio_hidden": 4, "vision_hidden": 3}
WIDTHS = {"text_width": 5, "audio_width": 4, "vision_width": 3}
MODELS = {
    "mtfn": (OWN_SCORES, SUBNETS | OWN | WIDTHS | {"fusion_width": 7}),
    "mlmf": (OWN_SCORES, SUBNETS | OWN | WIDTHS | {"rank": 2, "text_out": 3}),
    "mlf_dnn": (OWN_SCORES, SUBNETS | OWN | WIDTHS | {"fusion_width": 7}),
    "self_mm": (
        SCORE,
        WIDTHS | {"audio_hidden": 5, "vision_hidden": 6, "audio_out": 4, "vision_out": 3, "fusion_width": 7},
    ),
    "mfn": (
        SCORE,
        {"text_hidden": 6, "audio_hidden": 4, "vision_hidden": 3, "memory": 6}
        | {f"{name}_width": 5 for name in ("attention", "candidate", "keep", "write", "out")},
    ),
    "mult": (
        SCORE,
        {"width": 6, "heads_attention": 2, "layers": 1, "text_kernel": 3, "audio_kernel": 1, "vision_kernel": 2},
    ),
    "misa": (SCORE, {"width": 6}),
}
# What our outputs are called there; self_mm's values of a modality are not tasks of ours.
NAMES = {"sentiment": "M", "sentiment_text": "T", "sentiment_audio": "A", "sentiment_vision": "V"}
VALUES = {f"{name}_value": letter for name, letter in (("text", "T"), ("audio", "A"), ("vision", "V"))}


def of(arrays, part):
    """The arrays below a name, as a tree."""
    start = f"{part}/"
    return traverse_util.unflatten_dict(
        {tuple(k.removeprefix(start).split("/")): v for k, v in arrays.items() if k.startswith(start)}
    )


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_mmsa(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        arrays = dict(arrays)
    inputs, expected = of(arrays, "input"), of(arrays, "output")
    rows = len(inputs["text"])
    batch = {"valid": jnp.ones(rows, bool)}
    for modality, x in inputs.items():
        batch |= {modality: x, f"{modality}_length": jnp.full(rows, x.shape[1]), f"{modality}_row": jnp.arange(rows)}
    heads, sizes = MODELS[name]
    model = make(name, {modality: x.shape[1:] for modality, x in inputs.items()}, heads, **sizes)
    variables = {"params": of(arrays, "params"), "fitted": of(arrays, "fitted")}
    shapes = variable_shapes(model, batch)["params"]
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, shapes)
    outputs = jax.jit(model.apply)(variables, batch)
    names = {ours: theirs for ours, theirs in (NAMES | VALUES).items() if ours in outputs}
    names |= {key: key for key in expected if key not in NAMES.values()}
    assert set(names.values()) == set(expected)
    for ours, theirs in names.items():
        found = outputs[ours]
        if name == "mtfn" and ours == "sentiment":
            found = 3 * found  # ours is a fraction of the maximum
        np.testing.assert_allclose(found, expected[theirs], rtol=2e-4, atol=2e-5, err_msg=ours)
