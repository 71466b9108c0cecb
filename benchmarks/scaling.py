"""How time and memory grow with participants, length of interviews, replicas and devices: the exponents.

    python benchmarks/scaling.py [--participants=300,1000,3000,10000] [--data_dir=DIR] [--only=participants]

Every point is measured in a separate process, which reports its seconds and its peak memory. All data are SYNTHETIC:
demo corpora with small windows (16 bands x 60 frames, 12 tokens of 24) for what depends on the number of participants,
random numbers of full size for what depends on windows. Devices are virtual ones that share the cores: what is shown
there is the cost of dividing, no speed-up.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness

SMALL = {"audio_shape": (16, 60), "text_shape": (12, 24)}
SETTINGS = {
    "participants": "300,1000,3000,10000",
    "windows": "1,4,16",
    "replicas": "1,4,16",
    "devices": "1,2,4,8",
}


def participants(count: int, data_dir: str) -> dict[str, float]:
    """One streamed epoch over a small corpus of `count` people, first without and then with training."""
    from data_builders.common import cli
    from mmpsy_jax.data.loader import make_loader
    from mmpsy_jax.data.records import open_corpus

    folder = Path(data_dir) / f"people_{count}"
    began = time.monotonic()
    built = cli.build("mmpsy/demo", folder, participants=count, workers=2, **SMALL)
    build_s = time.monotonic() - began
    corpus = open_corpus(built)
    with make_loader(corpus, np.arange(count), batch_size=32, placement="stream", parts=1, epochs=1) as loader:
        began = time.monotonic()
        for _ in loader:
            pass
        read_s = time.monotonic() - began
    train_s = _epoch(corpus, {"data.placement": "stream"})
    return {"build s": build_s, "read s": read_s, "train s": train_s, "records/s": count / read_s}


def _epoch(corpus, changes: dict) -> float:
    """Seconds of an epoch of configs/smoke.py after the first step (which compiles)."""
    import jax

    from configs import smoke
    from mmpsy_jax.data.loader import make_loader
    from mmpsy_jax.tasks import from_config
    from mmpsy_jax.training import batches, mesh, programs, step, train_statistics

    config = smoke.get_config()
    config.model.patch = 10
    config.update_from_flattened_dict(changes)
    grid, tasks = mesh.make_mesh(), from_config(config.tasks)
    shape = batches.of(config, corpus, grid)
    everyone = np.arange(len(corpus))
    options = {**shape.sizes, "parts": shape.pieces.parts, "placement": config.data.placement}
    with make_loader(corpus, everyone, sharding=mesh.over_data(grid), **options) as loader:
        per_epoch, first = loader.batches_per_epoch, next(loader)
        functions = programs.build(
            config, tasks, modalities=shape.modalities, window_seconds=shape.pieces.seconds, total=100,
            steps_per_epoch=per_epoch,
        )  # fmt: skip
        constants = train_statistics.fit(config, tasks, shape.modalities, corpus, everyone)
        compiled = step.compile_for(functions, grid, first, constants)
        state = compiled.init(np.int32(0), first, constants)
        state, _ = compiled.update(state, first)
        jax.block_until_ready(state)
        began = time.monotonic()
        for _ in range(per_epoch):
            state, _ = compiled.update(state, next(loader))
        jax.block_until_ready(state)
        return time.monotonic() - began


def windows(count: int, data_dir: str) -> dict[str, float]:
    """A step of configs/phq.py:demo for 8 people with `count` full windows each, in the middle of ten."""
    del data_dir
    return {"step s": _step(people=8, count=count)}


def devices(count: int, data_dir: str) -> dict[str, float]:
    """A step for 16 people with 2 windows each, divided over `count` virtual devices."""
    del data_dir
    return {"step s": _step(people=16, count=2, packs=count)}


def _random_batch(people: int, count: int, packs: int, parts: int = 5) -> dict[str, np.ndarray]:
    rng, each = np.random.default_rng(0), people // packs
    slots = each * count * parts
    batch = {
        "labels": {name: rng.integers(0, 20, (packs, each)).astype(np.float32) for name in ("phq9", "gad7")},
        "valid": np.ones((packs, each), bool),
        "index": np.arange(people, dtype=np.int32).reshape(packs, each),
    }
    for name, steps, size in (("audio", 1800 // parts, 80), ("text", 175 // parts, 768)):
        batch |= {
            name: rng.standard_normal((packs, slots, steps, size), np.float32).astype(np.float16),
            f"{name}_length": np.full((packs, slots), steps, np.int32),
            f"{name}_start_s": np.tile(12.0 * np.arange(count * parts, dtype=np.float32), (packs, each)),
            f"{name}_row": np.tile(np.repeat(np.arange(each, dtype=np.int32), count * parts), (packs, 1)),
        }
    return batch


def _functions(people: int):
    from configs import phq
    from mmpsy_jax.models.base import Modality
    from mmpsy_jax.tasks import from_config
    from mmpsy_jax.training import programs, train_statistics

    config = phq.get_config()
    config.data.batch_size = people
    tasks = from_config(config.tasks)
    inputs = (Modality("audio", "frames", (360, 80)), Modality("text", "features", (35, 768)))
    functions = programs.build(config, tasks, modalities=inputs, window_seconds=12.0, total=100, steps_per_epoch=10)
    scores = {task.label: np.arange(20, dtype=np.float32) for task in tasks}
    constants = {**train_statistics.of_scores(tasks, scores, "none"), "network": {}}
    return functions, constants


def _step(people: int, count: int, packs: int = 1) -> float:
    import jax

    from mmpsy_jax.training import mesh, step

    functions, constants = _functions(people)
    grid = mesh.make_mesh()
    batch = jax.device_put(_random_batch(people, count, packs), mesh.over_data(grid))
    compiled = step.compile_for(functions, grid, batch, constants)
    state = [compiled.init(np.int32(0), batch, constants)]

    def turn() -> None:
        state[0], _ = compiled.update(state[0], batch)
        jax.block_until_ready(state[0])

    return float(np.median(harness.take_turns({"step": turn}, 10)["step"]))


def replicas(count: int, data_dir: str) -> dict[str, float]:
    """A step of `count` replicas for 8 people with one window each: one after another, and all at once."""
    del data_dir
    import jax

    functions, constants = _functions(8)
    batch = jax.device_put(_random_batch(8, 1, 1))
    init = jax.jit(jax.vmap(functions.init, in_axes=(0, None, None)))
    states = init(np.arange(count, dtype=np.int32), batch, constants)
    update = lambda state: functions.update(state, batch, {})  # noqa: E731
    layouts = {"sequence s": lambda states: jax.lax.map(update, states), "vmap s": jax.vmap(update)}
    programs = {name: jax.jit(layout) for name, layout in layouts.items()}
    turns = {name: lambda run=run: jax.block_until_ready(run(states)) for name, run in programs.items()}
    return {name: float(np.median(times)) for name, times in harness.take_turns(turns, 7).items()}


def main() -> None:
    """Prints one table per quantity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, values in SETTINGS.items():
        parser.add_argument(f"--{name}", default=values)
    parser.add_argument("--data_dir", default="data/scaling")
    parser.add_argument("--only", default=",".join(SETTINGS))
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        what, value = options.point.split(",")
        from absl import flags

        flags.FLAGS.mark_as_parsed()  # grain reads absl flags
        return harness.print_point(globals()[what](int(value), options.data_dir))
    print(f"SYNTHETIC data; {harness.machine('jax')}\n")
    for what in options.only.split(","):
        arguments = [__file__, f"--point={what},{{count}}", f"--data_dir={options.data_dir}"]
        flags = f"--xla_force_host_platform_device_count={'{count}' if what == 'devices' else 1}"
        counts = [int(count) for count in getattr(options, what).split(",")]
        harness.grow(what, counts, arguments, JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
        print()


if __name__ == "__main__":
    main()
