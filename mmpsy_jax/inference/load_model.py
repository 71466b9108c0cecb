"""Predicts with an exported model. Needs Python, numpy and jax; neither this project nor any other package.

    from load_model import Model
    values = Model("folder of the export").predict([interview, ...])   # {task: one number per interview}

An interview is a dictionary of arrays with W windows, as the records of the corpus have them:
`window_start_s` [W] in seconds and, for each modality that is there, `<modality>` [W, ...] and `<modality>_length` [W]
(valid frames or tokens of each window). `config.json` gives shapes and dtypes. The values are the probability of
score >= cut-off (binary tasks), the expected band (ordinal) or the score (regression), averaged over all trainings.

Research software: it estimates a self-report questionnaire score. It is not a diagnostic device.
"""

import json
from pathlib import Path

import jax
import numpy as np
from jax import export

_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "BOOL": np.bool_}


def read_safetensors(path):
    """{name: array} of a safetensors file: eight bytes of header length, a JSON header, then the raw arrays."""
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    arrays = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(data[start + begin : start + end], _DTYPES[entry["dtype"]])
            arrays[name] = flat.reshape(entry["shape"])
    return arrays


def nested(flat):
    """{"a/b": x} -> {"a": {"b": x}}, with the dictionaries that may be empty."""
    tree = {"params": {"network": {}, "objective": {}}, "fitted": {"network": {}, "class_weights": {}}}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def pieces_of(interview, name, entry, parts, max_windows, window_seconds):
    """Pieces of an interview in which a modality has something: their values (time first), lengths and starts."""
    shape, axis, steps = tuple(entry["shape"]), entry["time_axis"], entry["shape"][entry["time_axis"]] // parts
    window_start = np.asarray(interview["window_start_s"], np.float32)[: max_windows or None]
    count = len(window_start)
    windows = np.asarray(interview.get(name, np.zeros((count, *shape))), entry["dtype"])[:count]
    lengths = np.asarray(interview.get(f"{name}_length", np.zeros(count)), np.int32)[:count]
    turned = np.moveaxis(windows, 1 + axis, 1)
    values = turned.reshape(count * parts, steps, *turned.shape[2:])
    length = np.clip(lengths[:, None] - np.arange(parts, dtype=np.int32) * steps, 0, steps)
    start = window_start[:, None] + np.arange(parts, dtype=np.float32) * np.float32(window_seconds / parts)
    kept = length > 0
    return {name: values[kept.reshape(-1)], f"{name}_length": length[kept], f"{name}_start_s": start[kept]}


def batch_of(interviews, modalities, parts, max_windows, window_seconds):
    """Of each modality the pieces of all interviews one behind the other, and the row of each piece."""
    batch = {"valid": np.ones(len(interviews), bool)}
    for name, entry in modalities.items():
        pieces = [pieces_of(one, name, entry, parts, max_windows, window_seconds) for one in interviews]
        row = np.repeat(np.arange(len(interviews)), [len(one[name]) for one in pieces])
        # One unused slot comes last: where nobody has the modality, the program still needs one.
        batch[f"{name}_row"] = np.append(row, len(interviews)).astype(np.int32)
        for key in pieces[0]:
            joined = np.concatenate([one[key] for one in pieces])
            batch[key] = np.pad(joined, [(0, 1)] + [(0, 0)] * (joined.ndim - 1))
    return batch


class Model:
    """All trainings of an exported run."""

    def __init__(self, folder):
        folder = Path(folder)
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.programs = {}
        self.weights = []
        for one in self.config["trainings"]:
            if one["program"] not in self.programs:
                content = bytearray((folder / one["program"]).read_bytes())
                self.programs[one["program"]] = jax.jit(export.deserialize(content).call)
            self.weights.append(nested(read_safetensors(folder / one["weights"])))

    def predict(self, interviews):
        """{task: [len(interviews)]}, the mean over all trainings, or the index of the class of the greatest mean
        probability; interviews of new lengths are compiled anew."""
        values = []
        for one, weights in zip(self.config["trainings"], self.weights, strict=True):
            batch = batch_of(
                interviews,
                self.config["modalities"],
                one["parts"],
                one["max_windows"],
                self.config["window_seconds"],
            )
            values.append(jax.device_get(self.programs[one["program"]](weights, batch)))
        means = {name: np.mean([part[name] for part in values], axis=0) for name in values[0]}
        return {name: mean if mean.ndim == 1 else mean.argmax(axis=1) for name, mean in means.items()}
