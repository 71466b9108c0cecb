"""Milliseconds per training step of the models of MMSA, against MMSA's trainers.

    python3.11 -m venv mmsa && mmsa/bin/pip install MMSA==2.2.1 torch && mmsa/bin/pip install -r requirements.txt
    mmsa/bin/python benchmarks/msa.py [--models=lmf,mult] [--rounds=7]

Inputs are SYNTHETIC: random numbers of the shapes of MOSI's or SIMS's features, every modality as long as the text (as
in MMSA's aligned files), in memory. Both sides train the published sizes and batches with dropout. MMSA's side is its
own trainer, `do_train`, whose loader hands out a block of batches, then lets our side train on the same ones, and so on
in turn. BERT is left out on both sides: its features are what both read. Both take all cores of the process (`taskset
-c 0` in front binds it to one), and time on the clock counts, so the machine must be quiet. Printed are medians over
the rounds, and the median and the range of the ratios per round.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

from benchmarks import harness
from configs import msa
from mmpsy_jax import models
from mmpsy_jax.models.base import Modality
from mmpsy_jax.projects.msa import published
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import train_statistics
from mmpsy_jax.training.programs import build
from mmpsy_jax.training.step import compile_for

STEPS = {"mosi": 50, "sims": 39}
SIZES = {"mosi": {"text": 768, "audio": 5, "vision": 20}, "sims": {"text": 768, "audio": 33, "vision": 709}}
CLIPS = {"mosi": 1284, "sims": 1368}
LETTERS = {"text": "T", "audio": "A", "vision": "V"}
BATCHES = 8  # of a block: a multiple of those that any model accumulates
# MAG-BERT is hardly more than its BERT, release 2.2.1 lacks TETFN, and MTFN has 141 million parameters.
LEFT_OUT = ("bert_mag", "tetfn", "mtfn")


def corpus_of(name: str) -> str:
    """The corpus whose published settings are taken."""
    return "sims" if name in published.UNIMODAL_LABELS else "mosi"


def clips(name: str, batch: int) -> list[dict[str, np.ndarray]]:
    """SYNTHETIC batches: features by modality [b t f], scores by label [b], positions in the training split [b]."""
    corpus, rng = corpus_of(name), np.random.default_rng(0)
    batches = []
    for _ in range(BATCHES):
        values = {m: rng.normal(size=(batch, STEPS[corpus], f)).astype(np.float32) for m, f in SIZES[corpus].items()}
        labels = {label: rng.uniform(-1, 1, batch).astype(np.float32) for label in ("M", *LETTERS.values())}
        batches.append({**values, **labels, "index": rng.choice(CLIPS[corpus], batch, replace=False)})
    return batches


def our_block(name: str, batches: list[dict[str, np.ndarray]]) -> Callable[[], None]:
    """One step on each batch by the programs that `launch.py` trains with, compiled."""
    corpus = corpus_of(name)
    config = msa.get_config(f"{corpus},{name}")
    tasks = from_config(config.tasks)
    modalities = tuple(Modality(m, "features", (STEPS[corpus], f)) for m, f in SIZES[corpus].items())
    functions = build(config, tasks, modalities=modalities, window_seconds=10.0, total=1000, steps_per_epoch=100)
    scores = {task.label: np.random.default_rng(1).uniform(-1, 1, CLIPS[corpus]).astype(np.float32) for task in tasks}
    constants = {**train_statistics.of_scores(tasks, scores, "none"), "network": {}}
    if models.scales_inputs(config.model.name, config.model.to_dict()):
        ones = lambda m: np.ones(m.shape[1], np.float32)  # noqa: E731
        constants["network"] = {f"{m.name}_scale": {"mean": 0 * ones(m), "deviation": ones(m)} for m in modalities}
    if config.objective.name == "ulgm":
        constants["scores"] = scores
    mesh = meshes.make_mesh()
    packed = [jax.device_put(_packed(one, tasks), meshes.over_data(mesh)) for one in batches]
    programs = compile_for(functions, mesh, packed[0], constants)
    state = [programs.init(np.int32(0), packed[0], constants)]

    def block() -> None:
        for batch in packed:
            state[0], _ = programs.update(state[0], batch)
        jax.block_until_ready(state[0])

    return block


def _packed(one: Mapping[str, np.ndarray], tasks: Any) -> dict[str, Any]:
    """A batch of one group with a slot per clip (docs/architecture.md)."""
    rows = len(one["M"])
    batch: dict[str, Any] = {"valid": np.ones((1, rows), bool), "index": one["index"][None].astype(np.int32)}
    for name in LETTERS:
        batch |= {name: one[name][None], f"{name}_start_s": np.zeros((1, rows), np.float32)}
        batch[f"{name}_length"] = np.full((1, rows), one[name].shape[1], np.int32)
        batch[f"{name}_row"] = np.arange(rows, dtype=np.int32)[None]
    letter = lambda label: LETTERS.get(label.removeprefix("sentiment_"), "M")  # noqa: E731
    batch["labels"] = {task.label: one[letter(task.label)][None] for task in tasks}
    return batch


class Done(Exception):
    """Enough blocks were timed."""


class Loader:
    """What MMSA's trainer iterates over: the batches, timed in the pass that counts, with our block between them.

    Self-MM reads the labels in its first pass and moves them from its second epoch on: its third pass counts.
    """

    def __init__(self, batches: list[dict[str, Any]], bert: Any, ours: Callable[[], None], rounds: int, counts: int):
        """`bert` is where features stand in for those of BERT."""
        self.batches, self.bert, self.ours, self.rounds, self.left = batches, bert, ours, rounds, counts
        self.seconds: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.left -= 1
        if self.left:
            yield from self._block()
            return
        yield from self._block()
        self.ours()
        for _ in range(self.rounds):
            began = time.perf_counter()
            yield from self._block()
            middle = time.perf_counter()
            self.ours()
            self.seconds.append((time.perf_counter() - middle, middle - began))
        raise Done

    def _block(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches:
            self.bert.features = batch["features"]
            yield batch


def measure(name: str, rounds: int) -> tuple[int, list[tuple[float, float]]]:
    """The batch size, and per round the seconds of a block by us and by MMSA."""
    import torch
    from MMSA.config import get_config_regression
    from MMSA.models.AMIO import AMIO
    from MMSA.trains.ATIO import ATIO
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    corpus = corpus_of(name)
    args = get_config_regression(name, corpus)
    more = {"device": "cpu", "train_mode": "regression", "cur_seed": 0, "seq_lens": [STEPS[corpus]] * 3}
    args.update({**more, "feature_dims": list(SIZES[corpus].values()), "train_samples": CLIPS[corpus]})

    class NoBert(torch.nn.Module):
        features = None

        def __init__(self, *_: Any, **__: Any):
            super().__init__()

        def forward(self, _: Any) -> torch.Tensor:
            return NoBert.features

    for module in (sys.modules["MMSA.models.singleTask.MISA"], sys.modules["MMSA.models.multiTask.SELF_MM"]):
        module.BertTextEncoder = NoBert
    # The release passes an argument that PyTorch has since dropped.
    schedule = sys.modules["MMSA.trains.singleTask.MULT"]
    schedule.ReduceLROnPlateau = lambda *args, verbose=False, **kwargs: ReduceLROnPlateau(*args, **kwargs)
    drawn = clips(name, args.batch_size)
    batches = []
    for one in drawn:
        values = {m: torch.from_numpy(one[m]) for m in LETTERS}
        features = values["text"]
        if args.get("need_normalized"):  # the loader of MMSA does this once
            values = values | {m: values[m].mean(dim=1, keepdim=True) for m in ("audio", "vision")}
        if args.get("use_bert"):
            values["text"] = torch.ones(len(features), 3, features.shape[1])
        lengths = {f"{m}_lengths": torch.full((len(features),), features.shape[1]) for m in ("audio", "vision")}
        labels = {letter: torch.from_numpy(one[letter])[:, None] for letter in ("M", *LETTERS.values())}
        batches.append({**values, **lengths, "labels": labels, "features": features, "id": [""] * len(features),
                        "index": torch.from_numpy(one["index"])})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        args.model_save_path = Path(folder) / "model.pth"
        loader = Loader(batches, NoBert, our_block(name, drawn), rounds, 3 if name == "self_mm" else 1)
        with contextlib.suppress(Done):
            ATIO().getTrain(args).do_train(AMIO(args), {"train": loader, "valid": batches[:1]})
    return args.batch_size, loader.seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ",".join(name for name in published.MODELS if name not in LEFT_OUT)
    parser.add_argument("--models", default=default)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    used = len(os.sched_getaffinity(0))
    print(f"{harness.machine('jax', 'flax', 'torch', 'MMSA')}; SYNTHETIC inputs, {used} cores used")

    def rows() -> Iterator[list[Any]]:
        for name in options.models.split(","):
            batch, seconds = measure(name, options.rounds)
            ours, theirs = ([1e3 * x / BATCHES for x in column] for column in zip(*seconds, strict=True))
            middle, extent = harness.spread([b / a for a, b in seconds], ".2f")
            yield [name, batch, harness.spread(ours)[0], harness.spread(theirs)[0], middle, extent]

    columns = ["model", "batch", "ours, ms per step", "MMSA, ms per step", "MMSA / ours", "lowest to highest"]
    harness.print_table(columns, rows())


if __name__ == "__main__":
    main()
