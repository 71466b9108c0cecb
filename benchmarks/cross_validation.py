"""Time from the command to the predictions of a cross-validation: ours against an ordinary PyTorch script.

    python launch.py build --dataset=mmpsy/demo --data_dir=DATA_DIR
    python benchmarks/cross_validation.py --dataset_dir=DATA_DIR/mmpsy/demo/1.0.0 [--folds=5] [--seeds=5] [--epochs=12]

Ours is `launch.py --config=configs/phq.py` in a fresh process with an empty compile cache, to the end of its report.
PyTorch's script is written as one usually is: .npy files per window on disk, a Dataset and a DataLoader that pads, the
network, losses, optimizer and selection by validation loss of `torch_peer.py` (which computes the same, as
`train_step.py` shows), one training after another in one process, predictions of the best epoch at the end. It runs
with 0 and with 2 workers, and the faster counts. Only `--torch_trainings` of the folds x seeds are run; their mean is
multiplied by the number of all, and the table says so. The demo corpus is SYNTHETIC.

`--one_core` binds everything to one core and counts CPU time, for a machine that other processes use too.
"""

import argparse
import copy
import csv
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

WORKERS = (0, 2)


# --- the PyTorch script: imports neither jax nor anything of ours -------------------------------------------------


def run_torch(plan_file: str, workers: int, trainings: int, one_core: bool) -> None:
    """Runs the first trainings of a plan; prints, as JSON, the seconds of its start and of each training."""
    began = _seconds(one_core)
    import torch
    import torch_peer

    if one_core:
        torch.set_num_threads(1)
    plan = json.loads(Path(plan_file).read_text())
    entries = {"modalities", "heads", "tasks"}
    lists = {name: [SimpleNamespace(**entry) for entry in plan[name]] for name in entries}
    config = SimpleNamespace(**{k: SimpleNamespace(**v) for k, v in plan["config"].items()})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start, times, rows = _seconds(one_core) - began, [], []
    for fold, seed in plan["trainings"][:trainings]:
        began = _seconds(one_core)
        rows += _train(plan, lists, config, fold, seed, workers, device)
        times.append(_seconds(one_core) - began)
    with open(Path(plan_file).with_name(f"torch_{workers}.csv"), "w", newline="") as file:
        csv.writer(file).writerows(rows)
    print(json.dumps({"start": start, "trainings": times}))
    del torch_peer


def _train(plan: dict, lists: dict, config: Any, fold: int, seed: int, workers: int, device: str) -> list[tuple]:
    import torch
    import torch_peer
    from torch.utils.data import DataLoader

    names = [m.name for m in lists["modalities"]]

    def loader(split: str) -> DataLoader:
        return DataLoader(
            torch_peer.NpyParticipants(Path(plan["folder"]), names, plan["participants"], plan["folds"][fold][split]),
            batch_size=plan["batch_size"],
            shuffle=split == "train",
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=functools.partial(torch_peer.collate, names=names),
            pin_memory=device == "cuda",
        )

    def on_device(batch: dict) -> dict:
        labels = {name: x.to(device) for name, x in batch["labels"].items()}
        return {**{k: x.to(device, non_blocking=True) for k, x in batch.items() if k != "labels"}, "labels": labels}

    torch.manual_seed(seed)
    model = torch_peer.MentalPerceiver(
        lists["modalities"], lists["heads"], plan["window_seconds"], config.rates, plan["model"]
    ).to(device)
    torch_peer.initialise(model)
    train, validation, test = loader("train"), loader("validation"), loader("test")
    total = len(train) * plan["epochs"]
    trainer = torch_peer.Trainer(
        model, lists["tasks"], config, total, max(1, round(0.05 * total)), dtype=plan["model"]["dtype"]
    )
    best, kept = float("inf"), None
    for _ in range(plan["epochs"]):
        model.train()
        for batch in train:
            trainer.step(on_device(batch))
        model.eval()
        with torch.no_grad():
            loss = sum(trainer.loss(on_device(batch)).item() * len(batch["window_start_s"]) for batch in validation)
        if loss < best:
            best, kept = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    rows, at = [], 0
    with torch.no_grad():
        for batch in test:
            outputs = model(on_device(batch))
            for i in range(len(batch["window_start_s"])):
                member = plan["folds"][fold]["test"][at]
                rows += [(member, fold, seed, name, *output[i].tolist()) for name, output in outputs.items()]
                at += 1
    return rows


def _seconds(one_core: bool) -> float:
    """A clock: wall time, or CPU time of this process and of its children that have ended."""
    if not one_core:
        return time.perf_counter()
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


# --- ours, and the input of both --------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Writes the .npy files and the plan of the PyTorch script (not counted): our folds, sizes and tasks."""
    import numpy as np
    import torch_peer

    from configs import phq
    from mmpsy_jax.data.records import open_corpus
    from mmpsy_jax.tasks import from_config
    from mmpsy_jax.training.config import jsonable
    from mmpsy_jax.training.plan_runs import folds
    from mmpsy_jax.training.programs import RATES
    from mmpsy_jax.training.train_statistics import head

    config = phq.get_config("demo")
    config.cv.folds, config.model.dtype = options.folds, options.dtype
    corpus, tasks = open_corpus(options.dataset_dir), from_config(config.tasks)
    participants = []
    for i in range(len(corpus)):
        record = corpus.read(i)
        record |= {name: np.moveaxis(record[name], 1 + m.time_axis, 1) for name, m in corpus.modalities.items()}
        labels = {"labels": {name: float(scores[i]) for name, scores in corpus.labels.items()}}
        participants.append(torch_peer.write_windows(folder, i, record, tuple(corpus.modalities)) | labels)
    shapes = {name: np.delete(m.shape, m.time_axis).tolist() for name, m in corpus.modalities.items()}
    plan = {
        "folder": str(folder),
        "participants": participants,
        "folds": [{k: v.tolist() for k, v in fold.items()} for fold in folds(config, tasks, corpus)],
        "trainings": [(fold, seed) for fold in range(options.folds) for seed in range(options.seeds)],
        "modalities": [
            {"name": n, "kind": m.kind, "shape": [m.steps, *shapes[n]]} for n, m in corpus.modalities.items()
        ],
        "heads": [head(task)._asdict() for task in tasks],
        "tasks": [dict(vars(task)) | {"n_classes": task.n_classes} for task in tasks],
        "window_seconds": float(corpus.card["window_seconds"]),
        "model": jsonable(config.model),
        "config": {
            "objective": jsonable(config.objective),
            "optimizer": jsonable(config.optimizer),
            "rates": {name: config.model[field] for name, field in RATES.items()},
        },
        "batch_size": config.data.batch_size,
        "epochs": options.epochs,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return plan


def timed(command: list[str], one_core: bool, **environment: str) -> tuple[float, str]:
    """Seconds of a command from its start to its end (CPU time with `one_core`), and what it printed."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return (sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before if one_core else wall), done.stdout


def main() -> None:
    """Measures and prints."""
    import harness

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", help="a built demo corpus")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--layout", default="auto", help="config.replicas.layout of ours")
    parser.add_argument("--torch_trainings", type=int, default=2, help="that are run; 0 for none, -1 for all")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS, help="of the DataLoader, each tried")
    parser.add_argument("--one_core", action="store_true", help="bind to one core, one thread; count CPU time")
    parser.add_argument("--as_torch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_core:
        harness.bind_to_one_core()
    if options.as_torch:
        return run_torch(options.as_torch, options.workers[0], options.torch_trainings, options.one_core)
    if not options.dataset_dir:
        parser.error("--dataset_dir: give the folder of a built demo corpus")
    kind = "CPU seconds on one core" if options.one_core else "seconds"
    platforms = {"cpu": "cpu", "gpu": "cuda"}[options.device]
    os.environ["JAX_PLATFORMS"] = platforms
    many = options.folds * options.seeds
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "launch.py", "--config=configs/phq.py", f"--config.data.folder={options.dataset_dir}",
            f"--config.cv.folds={options.folds}", f"--config.seeds={options.seeds}",
            f"--config.total={options.epochs} epochs", f"--config.model.dtype={options.dtype}",
            f"--config.replicas.layout={options.layout}", f"--config.compile_cache={folder}/cache",
            f"--workdir={folder}/run",
        ]  # fmt: skip
        print(f"{harness.machine('jax', 'torch')}, {options.device}; SYNTHETIC demo corpus")
        print(" ".join(command).replace(folder, "TMP"), flush=True)
        ours, _ = timed(command, options.one_core)
        n_rows = len(Path(folder, "run", "predictions.csv").read_text().splitlines()) - 1
        rows = [(f"ours, {many} trainings, report included ({n_rows} rows of predictions)", ours)]
        print(f"ours: {ours:.0f} {kind}", flush=True)
        if options.torch_trainings:
            prepare(options, Path(folder))
            count = many if options.torch_trainings < 0 else min(options.torch_trainings, many)
            for workers in options.workers:
                script = [
                    sys.executable, __file__, f"--as_torch={folder}/plan.json", "--workers", str(workers),
                    f"--torch_trainings={count}", *(["--one_core"] if options.one_core else []),
                ]  # fmt: skip
                spent, printed = timed(script, options.one_core)
                each = json.loads(printed.splitlines()[-1])["trainings"]
                whole = spent if count == many else spent + (many - count) * sum(each) / count
                mean = sum(each) / count
                how = "measured" if count == many else f"EXTRAPOLATED from {count} trainings, {mean:.1f} each"
                rows.append((f"PyTorch, DataLoader with {workers} workers: {how}", whole))
        print()
        cells = [(name, f"{whole:.0f}", f"{whole / ours:.2f}") for name, whole in rows]
        harness.print_table(["script", kind, "time / ours"], cells)
        if len(rows) > 1:
            best = min(whole for _, whole in rows[1:])
            print(f"\nours takes {ours / best:.2f} of the time of the PyTorch script")


if __name__ == "__main__":
    main()
