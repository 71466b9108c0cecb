"""Tokens or seconds of audio per second of the pretrained encoders, against transformers on PyTorch.

    python benchmarks/encoders.py --device=gpu --dtype=bfloat16 --attention=xla        base sizes, a few minutes
    python benchmarks/encoders.py --batch=8 --tokens=128 --seconds=4         for a CPU
    python benchmarks/encoders.py --batch=8 --tokens=128 --train             a step of fine-tuning, without dropout

Weights are random (the same on both sides) and inputs are SYNTHETIC: random tokens and noise without padding, so that
neither side needs a mask. Both sides compute in the same precision with parameters of that precision, ours with the
attention that is the default. First the outputs are compared, then the contestants take turns (`harness.py`). Where
PyTorch is not installed, our own numbers are measured alone. `launch.py` has huge pages:
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 gives them to both sides.
"""

import argparse
import copy
import functools
import importlib
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the memory of the GPU
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from transformers import AutoConfig

from benchmarks import harness
from mmpsy_jax import encoders
from mmpsy_jax.encoders.config import build
from mmpsy_jax.encoders.convert import our_parameters

SAMPLE_RATE = 16_000


def whisper(width: int, layers: int) -> dict[str, Any]:
    """Fields of a Whisper of this size; heads have 64 channels and MLPs four times the width, as in all of them."""
    sizes = {"layers": layers, "attention_heads": width // 64, "ffn_dim": 4 * width}
    return {"d_model": width} | {f"{part}_{k}": v for part in ("encoder", "decoder") for k, v in sizes.items()}


MODELS: dict[str, tuple[str, dict[str, Any]]] = {  # model_type, fields that differ from the defaults of transformers
    "bert-base": ("bert", {"vocab_size": 21128}),  # of bert-base-chinese
    "wav2vec2-base": ("wav2vec2", {}),
    "hubert-base": ("hubert", {}),
    "whisper-base": ("whisper", whisper(512, 6)),
    "whisper-small": ("whisper", whisper(768, 12)),
}
LEARNING_RATE = 1e-5
TURN = 0.5  # seconds that a turn should last at least, in as many calls as that takes


class Contestant(NamedTuple):
    """One way to compute an encoder."""

    call: Callable[[], Any]  # dispatches one forward pass
    wait: Callable[[Any], None]  # until the result of `call` is there
    fetch: Callable[[Any], np.ndarray]


def inputs_of(kind: str, config: Any, arguments: argparse.Namespace) -> tuple[np.ndarray, float]:
    """A batch, and how many tokens or seconds of audio it holds."""
    generator = np.random.default_rng(0)
    if kind == "bert":
        rows, tokens = (2, 128) if arguments.small else (arguments.batch, arguments.tokens)
        return generator.integers(0, config.vocab_size, (rows, tokens)).astype(np.int32), rows * tokens
    rows = 1 if arguments.small else arguments.batch
    if kind == "whisper":
        shape = (rows, config.num_mel_bins, 2 * config.max_source_positions)
        return generator.standard_normal(shape, np.float32), rows * 30.0
    seconds = 2.0 if arguments.small else arguments.seconds
    return generator.standard_normal((rows, int(seconds * SAMPLE_RATE)), np.float32), rows * seconds


def ours(config: Any, params: Any, batch: np.ndarray, dtype: str, implementation: str) -> Contestant:
    """Our network, compiled."""
    network = build(config.to_dict(), dtype=dtype, implementation=implementation)
    run = jax.jit(lambda p, x: network.apply({"params": p}, x)["last_hidden_state"])
    inputs = jax.device_put(batch)
    return Contestant(lambda: run(params, inputs), jax.block_until_ready, lambda out: np.asarray(out, np.float32))


def our_step(config: Any, params: Any, batch: np.ndarray, dtype: str, implementation: str) -> Contestant:
    """A step of fine-tuning of our network: forward, backward, AdamW; what is fetched is the loss."""
    network = build(config.to_dict(), dtype=dtype, implementation=implementation)
    optimiser = optax.adamw(LEARNING_RATE, weight_decay=0.01)
    inputs = jax.device_put(batch)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, x: Any) -> tuple[Any, Any, Any]:
        def objective(p: Any) -> jax.Array:
            return jnp.square(network.apply({"params": p}, x)["last_hidden_state"].astype(jnp.float32)).mean()

        loss, gradient = jax.value_and_grad(objective)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = jax.tree.map(jnp.copy, params)
    trained = {"params": params, "state": optimiser.init(params)}

    def call() -> Any:
        trained["params"], trained["state"], loss = step(trained["params"], trained["state"], inputs)
        return loss

    return Contestant(call, jax.block_until_ready, lambda loss: np.asarray(loss, np.float32)[None])


def their_step(model: Any, batch: np.ndarray, device: str, dtype: str, *, compiled: bool = False) -> Contestant:
    """The same step of the network of transformers, by PyTorch's fused AdamW."""
    import torch

    model = copy.deepcopy(model)
    network = model.encoder if model.config.model_type == "whisper" else model
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.01, fused=True)
    network = torch.compile(network) if compiled else network
    inputs = torch.tensor(batch, device=device)
    inputs = inputs.long() if batch.dtype == np.int32 else inputs.to(getattr(torch, dtype))

    def call() -> Any:
        loss = network(inputs).last_hidden_state.float().square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return Contestant(call, lambda loss: loss.item(), lambda loss: loss.detach().float().cpu().numpy()[None])


def theirs(model: Any, batch: np.ndarray, device: str, dtype: str, *, compiled: bool = False) -> Contestant:
    """The network of transformers."""
    import torch

    network = model.encoder if model.config.model_type == "whisper" else model
    network = torch.compile(network) if compiled else network
    inputs = torch.tensor(batch, device=device)
    inputs = inputs.long() if batch.dtype == np.int32 else inputs.to(getattr(torch, dtype))

    def call() -> Any:
        with torch.inference_mode():
            return network(inputs).last_hidden_state

    def wait(_: Any) -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    return Contestant(call, wait, lambda out: out.float().cpu().numpy())


def torch_model(config: Any, device: str, dtype: str, attention: str) -> Any:
    """A model of transformers with random weights, the same for every kind of attention."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation=attention)
    return model.eval().to(device, getattr(torch, dtype))


def turns_of(
    contestants: dict[str, Contestant], clock: Callable[[], float]
) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    """A turn of each, in as many calls as make it last, and how many these are."""

    def turn(one: Contestant, calls: int) -> None:
        for _ in range(calls):
            out = one.call()
        one.wait(out)

    calls = {}
    for name, one in contestants.items():
        turn(one, 1)  # compiles
        calls[name] = int(np.clip(TURN / harness.seconds(lambda one=one: turn(one, 1), clock), 1, 100))
    return {name: functools.partial(turn, one, calls[name]) for name, one in contestants.items()}, calls


def run(name: str, arguments: argparse.Namespace) -> Iterator[list[Any]]:
    """Measures one model; yields its rows of the table."""
    kind, fields = MODELS[name]
    config = AutoConfig.for_model(kind, **fields)
    batch, amount = inputs_of(kind, config, arguments)
    device = "cuda" if arguments.device == "gpu" else "cpu"
    contestants = {}
    mine, peer = (our_step, their_step) if arguments.train else (ours, theirs)
    if harness.installed("torch"):
        model = torch_model(config, device, arguments.dtype, "sdpa")
        contestants["torch, SDPA"] = peer(model, batch, device, arguments.dtype)
        if arguments.compile:
            contestants["torch, SDPA, compiled"] = peer(model, batch, device, arguments.dtype, compiled=True)
        if arguments.eager:
            plain = torch_model(config, device, arguments.dtype, "eager")
            contestants["torch, eager"] = peer(plain, batch, device, arguments.dtype)
        tensors = {key: value.float().cpu().numpy() for key, value in model.state_dict().items()}
        shapes = jax.eval_shape(lambda: encoders.make(config.to_dict()).params)
        params = our_parameters(kind, tensors, shapes, jnp.dtype(arguments.dtype))
    else:
        params = encoders.make(config.to_dict(), param_dtype=arguments.dtype).params
    params = jax.device_put(params)
    contestants = {"ours": mine(config, params, batch, arguments.dtype, "auto"), **contestants}
    for way in arguments.attention.split(",") if arguments.attention else ():
        contestants[f"ours, {way} attention"] = mine(config, params, batch, arguments.dtype, way)

    results = {}
    for label, one in list(contestants.items()):
        try:
            results[label] = one.fetch(one.call())
        except Exception as error:  # what a machine cannot run must not end the measurement of the others
            yield [name, label, f"failed: {type(error).__name__} {str(error)[:80]!r}", *[""] * 6]
            del contestants[label]
    clock = time.process_time if arguments.one_core else time.perf_counter
    turns, calls = turns_of(contestants, clock)
    timer = lambda turn: harness.seconds(turn, clock)  # noqa: E731
    times = harness.take_turns(turns, arguments.rounds, timer, limit=arguments.limit)
    unit = "tokens/s" if kind == "bert" else "s of audio/s"
    ms = {label: [1e3 * seconds / calls[label] for seconds in values] for label, values in times.items()}
    for label, values in ms.items():
        scale = results["ours"].std() or np.abs(results["ours"]).max()
        error = np.abs(results[label] - results["ours"]).max() / scale
        speed = f"{1e3 * amount / statistics.median(values):,.1f} {unit}"
        cells = (f"{harness.ratio(values, ms['ours']):.2f}", f"{error:.1e}", len(values))
        yield [name, label, "x".join(map(str, batch.shape)), *harness.spread(values), speed, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    shipped = [name for name in MODELS if name != "whisper-base"]
    parser.add_argument("--models", default=",".join(shipped), help=f"of {', '.join(MODELS)}, separated by commas")
    parser.add_argument("--batch", type=int, default=32, help="rows")
    parser.add_argument("--tokens", type=int, default=512, help="of a row")
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio in a row; Whisper's rows are 30 s")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of rounds per model, after compilation")
    parser.add_argument("--small", action="store_true", help="one or two short rows")
    parser.add_argument("--one_core", action="store_true", help="bind to one core, one thread each, count CPU time")
    parser.add_argument("--attention", help="also ours with these, separated by commas: xla, blocked, cudnn")
    parser.add_argument("--train", action="store_true", help="a step of fine-tuning instead of a forward pass")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--eager", action="store_true", help="also transformers' attention written out")
    arguments = parser.parse_args()
    torch = importlib.import_module("torch") if harness.installed("torch") else None
    if arguments.one_core:
        harness.bind_to_one_core()
        if torch:
            torch.set_num_threads(1)
    # Named, so that a GPU which JAX cannot use is an error.
    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda,cpu"}[arguments.device])
    if arguments.dtype == "float32":  # neither side rounds factors to TF32
        jax.config.update("jax_default_matmul_precision", "highest")
        if torch:
            torch.backends.cudnn.allow_tf32 = False
    versions = harness.machine("jax", "flax", "torch", "transformers")
    device = jax.devices()[0].device_kind
    print(f"{versions}; {device}; {arguments.dtype}, inputs and weights SYNTHETIC\n")
    columns = "model,contestant,batch,ms per pass,lowest to highest,speed,time / ours,difference,rounds"
    harness.print_table(
        columns.split(","), itertools.chain.from_iterable(run(name, arguments) for name in arguments.models.split(","))
    )
    print(
        "\nDifference: the largest absolute one from ours, in standard deviations of ours (--train: of first losses)."
    )


if __name__ == "__main__":
    main()
