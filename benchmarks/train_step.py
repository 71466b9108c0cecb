"""Milliseconds per training step, against PyTorch.

    python benchmarks/train_step.py --preset=small                  our step and PyTorch's, in turn (needs torch)
    python benchmarks/train_step.py --preset=small --ablations      our step with parts of it switched
    python benchmarks/train_step.py --configs                       operations and bytes of every shipped config

Inputs are SYNTHETIC: random numbers, float16 as they are stored, held in memory, for participants whose interviews
last as long as those of the demo corpus (lognormal). Both sides train the same network on the same participants; ours
packs their windows, PyTorch pads them to the participant with most windows, as `torch_peer.collate` does. Loss and
gradient from equal weights are compared first. Then the contestants take turns (`harness.py`): a turn is one step on
each of a few batches, timed until all of it is done, and repeated where other processes disturbed it.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.synthetic import WINDOW_SECONDS, Setting, packed, setting
from configs import gad, multitask, phq, smoke
from mmpsy_jax.models.base import Rates
from mmpsy_jax.training import mesh as meshes
from mmpsy_jax.training import step
from mmpsy_jax.training.cadence import to_steps
from mmpsy_jax.training.hparams import overlay
from mmpsy_jax.training.programs import RATES, build
from mmpsy_jax.training.step import Programs, compile_for, inference_params
from mmpsy_jax.training.train_statistics import head, start

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},  # configs/phq.py:demo
    "large": {"model.width": 256, "model.latents": 64, "model.layers": 4, "model.patch": 1, "data.batch_size": 8},
}
BATCHES = 4  # that a turn runs over
QUIET = 0.15  # cores that other processes may use during a turn; else it is repeated, `TRIES` times in all
TRIES = 3
PATIENCE = 20.0  # seconds that a turn waits for other processes to pause
GEMM = {"cpu": 2048, "gpu": 8192}  # rows of the square product whose speed is the ceiling
TOTAL, EPOCH = 156, 13  # steps: only the learning rate depends on them


class Ours(NamedTuple):
    """Our training step, compiled."""

    programs: Programs
    update: jax.stages.Compiled
    state: Any
    compile_s: float


def ours(data: Setting, batch: Mapping[str, Any]) -> Ours:
    """The update step of `mmpsy_jax.training`, which donates its state, and a fresh state."""
    labels = {
        task.label: np.array([p["labels"][task.label] for p in data.participants if "labels" in p])
        for task in data.tasks
    }
    fitted: dict[str, Any] = {"bias": {}, "class_weights": {}, "network": {}}
    for task in data.tasks:
        fitted["bias"] |= head(task).bias(start(task, labels[task.label]))
        if task.kind != "regression":
            fitted["class_weights"][task.name] = np.ones(task.n_classes, np.float32)
    for modality in data.modalities:
        if modality.kind == "ids":
            fitted["network"][f"{modality.name}_adapter"] = {"idf": np.ones(modality.vocabulary, np.float32)}
    functions = build(
        data.config, data.tasks, modalities=data.pieces, window_seconds=WINDOW_SECONDS / data.parts, total=TOTAL,
        steps_per_epoch=EPOCH,
    )  # fmt: skip
    programs = compile_for(functions, meshes.make_mesh(), batch, fitted)
    state = programs.init(np.int32(0), batch, fitted)
    began = time.perf_counter()
    update = programs.update.lower(state, batch).compile()
    return Ours(programs, update, state, time.perf_counter() - began)


def our_turn(data: Setting, batches: Sequence[Any]) -> tuple[Callable[[], None], Ours]:
    """One step on each batch, until everything is done."""
    built = ours(data, batches[0])
    state = [jax.tree.map(jnp.copy, built.state)]

    def turn() -> None:
        for batch in batches:
            state[0], _ = built.update(state[0], batch)
        jax.block_until_ready(state[0])

    return turn, built


# --- PyTorch ------------------------------------------------------------------------------------------------------


def torch_trainer(data: Setting, state: Any, device: str, **options: Any) -> Any:
    """A `torch_peer.Trainer` with our parameters."""
    from benchmarks import torch_peer

    config = data.config
    rates = Rates(**{name: config.model[field] for name, field in RATES.items()})
    plain = options.pop("plain", False)
    model = torch_peer.MentalPerceiver(
        data.modalities, [head(task) for task in data.tasks], WINDOW_SECONDS, rates, config.model, plain=plain
    )
    torch_peer.copy_parameters(model, jax.device_get(state["params"]["network"]))
    warmup = to_steps(config.optimizer.warmup, steps_per_epoch=EPOCH, batch_size=config.data.batch_size, total=TOTAL)
    return torch_peer.Trainer(model.to(device), data.tasks, config, TOTAL, warmup, dtype=config.model.dtype, **options)


def torch_batches(data: Setting, device: str) -> list[dict[str, Any]]:
    """The same participants padded, on the device."""
    from benchmarks import torch_peer

    names = [m.name for m in data.modalities]
    padded = [torch_peer.collate([data.participants[i] for i in members[0] if i >= 0], names) for members in data.plan]
    return [jax.tree.map(lambda x: x.to(device), batch) for batch in padded]


def torch_turn(trainer: Any, batches: Sequence[Any]) -> Callable[[], None]:
    """One step on each batch, until everything is done."""
    import torch

    def turn() -> None:
        for batch in batches:
            trainer.step(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return turn


def agreement(data: Setting, batch: Any, padded: Any, device: str) -> str:
    """Loss and gradient norm of both from equal weights, without dropout, in float32.

    Raises:
      SystemExit: they differ by more than 1e-4 of their size.
    """
    none = dict.fromkeys((f"model.{field}" for field in RATES.values()), 0.0)
    data = data._replace(config=overlay(data.config, {**none, "model.dtype": "float32"}))
    with jax.default_matmul_precision("highest"):
        built = ours(data, batch)
    reference = torch_trainer(data, built.state, device)
    _, metrics = built.update(built.state, batch)
    pairs = {
        name: (float(a), float(b))
        for name, a, b in zip(
            ("loss", "gradient norm"),
            (metrics["loss"], metrics["grad_norm"]),
            reference.gradients(padded),
            strict=True,
        )
    }
    text = "; ".join(f"{name} {a:.6f} (ours), {b:.6f} (PyTorch)" for name, (a, b) in pairs.items())
    if any(abs(a - b) > 1e-4 * max(1.0, abs(a)) for a, b in pairs.values()):
        sys.exit(f"error: the two networks differ: {text}")
    return text


# --- measuring ----------------------------------------------------------------------------------------------------


def _busy() -> float:
    """Core seconds that all processes of the machine have used."""
    ticks = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _wait() -> None:
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        busy = _busy()
        time.sleep(0.3)
        if _busy() - busy < 0.3 * QUIET:
            return


def quietly(turn: Callable[[], None], cpu_time: bool = False) -> tuple[float, bool]:
    """Seconds of a turn, of which the first one that other processes left alone counts, and whether there was one.

    Args:
      cpu_time: count this process's seconds on the core it is bound to, whatever else is waiting for it.
    """
    if cpu_time:
        began = time.process_time()
        turn()
        return time.process_time() - began, True
    for _ in range(TRIES):
        _wait()
        busy, mine, began = _busy(), time.process_time(), time.perf_counter()
        turn()
        seconds = time.perf_counter() - began
        others = (_busy() - busy - (time.process_time() - mine)) / seconds
        if others < QUIET:
            return seconds, True
    return seconds, False


def compare(
    turns: Mapping[str, Callable[[], None]], rounds: int, cpu_time: bool, heading: str
) -> dict[str, list[float]]:
    """Milliseconds per step by contestant and round; prints the table with ratios to the first one."""
    disturbed = []

    def timer(turn: Callable[[], None]) -> float:
        seconds, quiet = quietly(turn, cpu_time)
        disturbed.append(not quiet)
        return 1e3 * seconds / BATCHES

    times = harness.take_turns(turns, rounds, timer)
    print(f"{sum(disturbed)} of {len(disturbed)} turns disturbed by other processes\n")
    reference, *_ = times
    rows = ([name, *harness.spread(ms), f"{harness.ratio(ms, times[reference]):.2f}"] for name, ms in times.items())
    harness.print_table([heading, "ms per step", "lowest to highest", f"time / that of {reference}"], rows)
    return times


def ceilings(dtype: str, one_core: bool) -> tuple[float, float]:
    """GFLOP/s of a product of two large square matrices, and GB/s (read and written) of a copy of 256 MB, by XLA."""
    square, long = jnp.ones((GEMM[jax.default_backend()],) * 2, dtype), jnp.ones(64 << 20, jnp.float32)
    product, copy = jax.jit(lambda x: x @ x), jax.jit(lambda x, out: out.at[:].set(x + 1), donate_argnums=1)
    target = [jnp.copy(long)]

    def copied() -> None:
        target[0] = jax.block_until_ready(copy(long, target[0]))

    best = []
    for turn in (lambda: jax.block_until_ready(product(square)), copied):
        turn()
        best.append(min(quietly(turn, one_core)[0] for _ in range(7)))
    return 2 * len(square) ** 3 / best[0] / 1e9, 2 * long.nbytes / best[1] / 1e9


def analytic(data: Setting) -> float:
    """Floating-point operations of one training step on all slots: matrix products only, forward and backward.

    The adapters get no gradient of their input, so that they count twice, everything else three times.
    """
    model, heads = data.config.model, data.tasks
    d, latents, wide = model.width, model.latents, 2 * model.expansion * model.width**2
    absorbed = model.absorb if model.absorb is not None else latents * model.heads_attention <= d + latents
    mixing = latents * model.heads_attention if absorbed else d + latents
    of_slots = 0
    for m in data.pieces:
        tokens = -(-m.shape[0] // model.patch) if m.kind == "frames" else m.shape[0]
        adapter = m.shape[0] * m.shape[1] * d * (2 if m.kind == "ids" else 1)
        position = tokens * 32 * d if model.position == "fourier" else 0
        of_slots += data.slots[m.name] * (2 * adapter + 3 * (position + 2 * tokens * mixing * d))
    outputs = sum(task.n_classes if task.kind == "binary" else 1 for task in heads)
    encoder = latents * d * d * (2 if absorbed else 1) + latents * wide
    block = 4 * latents * d * d + 2 * latents * latents * d + latents * wide
    decoder = 2 * (latents + outputs) * d * d + 2 * latents * outputs * d + outputs * wide
    per_row = 3 * (encoder + model.layers * block + decoder)
    return 2.0 * (of_slots + data.config.data.batch_size * per_row)


# --- modes --------------------------------------------------------------------------------------------------------


def against_torch(data: Setting, rounds: int, device: str, with_compile: bool, one_core: bool) -> None:
    """Prints the agreement and the table of our step and PyTorch's."""
    import torch

    if one_core:
        torch.set_num_threads(1)

    batches, padded = [packed(data, members) for members in data.plan], torch_batches(data, device)
    print(f"equal weights, no dropout: {agreement(data, batches[0], padded[0], device)}")
    if device == "cuda":  # TF32, as JAX takes float32 products on such a GPU
        torch.set_float32_matmul_precision("high")
    turn, built = our_turn(data, batches)
    trainer = lambda **options: torch_turn(torch_trainer(data, built.state, device, **options), padded)  # noqa: E731
    turns = {
        "ours": turn,
        "PyTorch eager": trainer(),
        "PyTorch eager, attention written out": trainer(plain=True),
    }
    if with_compile:
        turns["torch.compile"] = trainer(compiled=True)
    times = compare(turns, rounds, one_core, "step")
    best = min(list(times)[1:], key=lambda name: statistics.median(times[name]))
    print(f"\nours takes {harness.ratio(times['ours'], times[best]):.2f} of the time of {best}, PyTorch's fastest")
    print(f"compiling our step took {built.compile_s:.1f} s")


def ablations(data: Setting, rounds: int, one_core: bool) -> None:
    """Prints our step with parts of it switched."""
    batches = [packed(data, members) for members in data.plan]
    no_dropout = dict.fromkeys((f"model.{field}" for field in RATES.values()), 0.0)
    variants: dict[str, dict[str, Any]] = {
        "absorb=True": {"model.absorb": True},
        "absorb=False": {"model.absorb": False},
        "no dropout": no_dropout,
        "remat": {"model.remat": True},
    }
    turns, built = {}, None
    turns["as configured"], built = our_turn(data, batches)
    for name, values in variants.items():
        turns[name], _ = our_turn(data._replace(config=overlay(data.config, values)), batches)
    ours_key, step.hash_key = step.hash_key, lambda key: key
    turns["masks by keys of jax.random (Threefry)"], _ = our_turn(data, batches)
    step.hash_key = ours_key
    if any(m.kind != "ids" for m in data.modalities):
        wider = lambda x: x.astype(jnp.float32) if x.dtype == jnp.float16 else x  # noqa: E731
        turns["inputs float32 in memory"], _ = our_turn(data, [jax.tree.map(wider, batch) for batch in batches])
    seen = inference_params(built.state)
    turns["forward only (evaluation)"] = lambda: jax.block_until_ready(
        [built.programs.predict(seen, batch) for batch in batches]
    )
    compare(turns, rounds, one_core, "our step")


SHIPPED = {
    "phq:demo": lambda: phq.get_config("demo"),
    "gad:demo": lambda: gad.get_config("demo"),
    "multitask:demo": lambda: multitask.get_config("demo"),
    "smoke": smoke.get_config,
    "phq:transcripts": lambda: phq.get_config("transcripts"),
    "gad:transcripts": lambda: gad.get_config("transcripts"),
    "multitask:transcripts": lambda: multitask.get_config("transcripts"),
}


def configs(rounds: int, dtype: str, one_core: bool) -> None:
    """Prints operations, bytes and speed of the step of every shipped config (`:released` has the sizes of `:demo`)."""
    flops_limit, bytes_limit = ceilings(dtype, one_core)
    side = GEMM[jax.default_backend()]
    print(f"ceilings: {flops_limit:.0f} GFLOP/s ({side}^3 product, {dtype}), {bytes_limit:.1f} GB/s (copy of 256 MB)\n")
    rows = []
    for name, get in SHIPPED.items():
        data = setting(overlay(get(), {"model.dtype": dtype}), batches=BATCHES)
        turn, built = our_turn(data, [packed(data, members) for members in data.plan])
        times = harness.take_turns({name: turn}, rounds, lambda turn: quietly(turn, one_core)[0])
        cost, seconds = built.update.cost_analysis(), statistics.median(times[name]) / BATCHES
        hand = analytic(data) / 1e9
        moved, rate = cost["bytes accessed"] / 1e9, hand / seconds
        numbers = (f"{1e3 * seconds:.1f}", f"{cost['flops'] / 1e9:.2f}", f"{hand:.2f}", f"{rate:.0f}")
        bytes_moved = (f"{moved:.2f}", f"{moved / seconds:.1f}")
        rows.append([name, *numbers, f"{rate / flops_limit:.0%}", *bytes_moved, f"{built.compile_s:.0f}"])
    columns = "config,ms per step,GFLOP by XLA,by hand,GFLOP/s,of the ceiling,GB by XLA,GB/s,compile s"
    harness.print_table(columns.split(","), rows)
    print(
        "\nGFLOP/s are those by hand. XLA counts the body of a loop once (so the\n"
        "adapters on CPUs), and bytes as the operands and results of every operation, cached or not."
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--windows", type=int, default=0, help="of every participant; 0 draws them (lognormal)")
    parser.add_argument("--no_compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--one_core", action="store_true", help="bind to one core, one thread; count CPU time")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--configs", action="store_true")
    arguments = parser.parse_args()
    if arguments.one_core:
        harness.bind_to_one_core()
    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[arguments.device])
    print(f"{harness.machine('jax', 'flax', 'optax', 'numpy', 'torch')}; jax on {jax.devices()[0]}")
    if arguments.configs:
        return configs(arguments.rounds, arguments.dtype, arguments.one_core)
    config = overlay(phq.get_config("demo"), {**PRESETS[arguments.preset], "model.dtype": arguments.dtype})
    data = setting(config, batches=BATCHES, equal=arguments.windows)
    longest = [max(len(data.participants[i]["window_start_s"]) for i in m[0] if i >= 0) for m in data.plan]
    slots = ", ".join(f"{name} {n}" for name, n in data.slots.items())
    print(
        f"preset {arguments.preset}, {arguments.dtype}; SYNTHETIC inputs; batch {config.data.batch_size}: packed "
        f"into slots for pieces of 1/{data.parts} window ({slots}), padded to {longest} windows; "
        f"{analytic(data) / 1e9:.1f} GFLOP per packed step; {arguments.rounds} rounds"
        + (", CPU time on one core" if arguments.one_core else "")
    )
    if arguments.ablations:
        return ablations(data, arguments.rounds, arguments.one_core)
    if not harness.installed("torch"):
        sys.exit("error: no PyTorch in this environment: docs/benchmarks/train_step.md says how to make one")
    device = "cuda" if arguments.device == "gpu" else "cpu"
    against_torch(data, arguments.rounds, device, not arguments.no_compile, arguments.one_core)


if __name__ == "__main__":
    main()
