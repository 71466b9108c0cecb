"""Tensors of a Hugging Face folder: model.safetensors, or its shards. Nothing is ever unpickled."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from mmpsy_jax.io import InputError, read_json, require_file

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Types of tensors that numpy reads; whole numbers are those of buffers.
TYPES = ("BF16", "F16", "F32", "F64", "BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """{name: array} of all tensors, in the types that they are stored in; what two names share is there under both.

    Raises:
      InputError: there is no safetensors file (with how to convert a pickle), a shard is missing, one is damaged, a
        tensor is of a type that is not read, or the index lists a tensor that no shard has.
    """
    if (folder / SINGLE).exists():
        return _with_aliases(*_read(folder / SINGLE))
    if not (folder / INDEX).exists():
        if any((folder / name).exists() for name in PICKLED):
            raise InputError(
                f"{folder} holds a pickle (pytorch_model.bin), which is never opened here since it can run any code: "
                f"convert it to {SINGLE} once, as docs/encoders.md says"
            )
        raise InputError(f"{folder} has neither {SINGLE} nor {INDEX}: give the folder of a Hugging Face model")
    places = read_json(folder / INDEX, "copy it again").get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"{folder / INDEX} has no weight_map: copy it again")
    shards = sorted(set(places.values()))
    missing = [name for name in shards if Path(name).name != name or not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} of {len(shards)} shards, first {missing[0]}: copy all of them")
    tensors, metadata = {}, {}
    for name in shards:
        of_shard = _read(folder / name)
        tensors, metadata = tensors | of_shard[0], metadata | of_shard[1]
    tensors = _with_aliases(tensors, metadata)
    absent = sorted(set(places) - set(tensors))
    if absent:
        raise InputError(f"{folder / INDEX} lists tensors that no shard has, first {absent[0]}: copy all files again")
    return tensors


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file, and its metadata.

    Raises:
      InputError: no regular file, damaged, or of a type that numpy has not.
    """
    require_file(path)
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                kind = file.get_slice(name).get_dtype()
                if kind not in TYPES:
                    raise InputError(
                        f"{path}: {name} is stored as {kind}: take the file with float32, float16 or bfloat16"
                    )
                tensors[name] = file.get_tensor(name)
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or cut off ({error}): copy it again") from None


def _with_aliases(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> dict[str, np.ndarray]:
    """The tensors, also under the names that safetensors' `save_model` only lists: {name left out: name stored}."""
    return {name: tensors[stored] for name, stored in metadata.items() if stored in tensors} | tensors
