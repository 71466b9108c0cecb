"""`launch.py embed` from the command to the last file, against a plain script of transformers and PyTorch.

    python benchmarks/embed.py --of=text --count=250                a BERT base, transcripts of 20 to 2,000 words
    python benchmarks/embed.py --of=audio --count=3 --model=hubert  recordings of 5 minutes

Interviews and weights are SYNTHETIC and made here: words drawn at random, in lengths of a log-normal distribution, and
noise. Both sides are processes that are started anew for each round (`embed_peer.py` is the other), in turn; ours as
users start it, that is with huge pages. What they write is compared once.
"""

import argparse
import csv
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks import harness

HERE = Path(__file__).parent
WORDS = 20_000
RATE = 16_000
MINUTES = 5.0  # of a recording


def write_encoder(folder: Path, kind: str, layers: int) -> None:
    """A Hugging Face folder of base size, random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, num_hidden_layers=layers)
    if kind == "bert":
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(WORDS))]
        config.vocab_size = len(names)
        folder.mkdir(parents=True)
        (folder / "vocab.txt").write_text("\n".join(names) + "\n")
        transformers.BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
        extractor.save_pretrained(folder)
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def write_interviews(folder: Path, of: str, count: int) -> Path:
    """A manifest of transcripts or recordings."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(np.log(200), 0.8, count), 20, 2000).astype(int)
    rows = []
    for number, length in enumerate(lengths):
        row = {"participant": f"p{number:04}"}
        if of == "text":
            row["text"] = " ".join(f"word{word}" for word in generator.integers(0, WORDS, length))
        else:
            import soundfile

            row["recording"] = f"p{number:04}.wav"
            noise = 0.1 * generator.standard_normal(int(MINUTES * 60 * RATE), np.float32)
            soundfile.write(folder / row["recording"], noise, RATE)
        rows.append(row)
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def run(command: list[str], environment: dict[str, str]) -> None:
    """A process from its start to its end.

    Raises:
      RuntimeError: it failed.
    """
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{command[1]} failed:\n{process.stderr[-2000:]}")


def states_of(folder: Path) -> np.ndarray:
    """All states of a folder of npz files as one sorted sequence of rows, so that names of files do not matter."""
    files = [np.load(path)["states"].astype(np.float32) for path in sorted(folder.rglob("*.npz"))]
    files.sort(key=lambda states: (len(states), states[1].tolist()))
    return np.concatenate(files)


def contestants(
    arguments: argparse.Namespace, manifest: Path, encoder: Path, place: Path
) -> dict[str, Callable[[], Any]]:
    """A turn of each: everything anew, in an empty folder."""
    plain = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    ours = [sys.executable, str(HERE.parent / "launch.py"), "embed", f"--input={manifest}", f"--encoder={encoder}"]
    ours += arguments.options.split()
    peer = [sys.executable, str(HERE / "embed_peer.py"), arguments.of, str(manifest), str(encoder)]
    numbers = iter(range(10**6))

    def turn(name: str) -> None:
        output = place / f"{name}{next(numbers)}"
        run(
            [*ours, f"--output={output}"] if name == "ours" else [*peer, str(output), str(arguments.torch_batch)],
            plain,
        )

    return {name: functools.partial(turn, name) for name in ("ours", "torch")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=("text", "audio"), default="text")
    parser.add_argument("--model", help="bert, wav2vec2 or hubert; default: bert or wav2vec2")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--count", type=int, default=250, help="of transcripts, or of recordings of 5 minutes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--torch_batch", type=int, default=16, help="rows of PyTorch's batches")
    parser.add_argument("--options", default="", help="of launch.py embed, as one word")
    parser.add_argument("--only", help="one contestant by name, without a ratio")
    arguments = parser.parse_args()
    kind = arguments.model or {"text": "bert", "audio": "wav2vec2"}[arguments.of]
    print(f"{harness.machine('jax', 'flax', 'torch', 'transformers')}; inputs and weights SYNTHETIC\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_encoder(place / "encoder", kind, arguments.layers)
        manifest = write_interviews(place, arguments.of, arguments.count)
        turns = contestants(arguments, manifest, place / "encoder", place)
        turns = {name: turn for name, turn in turns.items() if arguments.only in (None, name)}
        times: harness.Times = {name: [] for name in turns}
        for number in range(arguments.rounds):
            for name in list(turns)[:: 1 if number % 2 == 0 else -1]:
                times[name].append(harness.seconds(turns[name]))
                print(f"{name} {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
        rows = []
        for name, values in times.items():
            ratio = f"{harness.ratio(values, times['ours']):.2f}" if "ours" in times else ""
            rows.append([kind, arguments.layers, arguments.count, name, *harness.spread(values), ratio, len(values)])
        print()
        header = ["model", "layers", "count", "contestant", "s", "lowest to highest", "time / ours", "rounds"]
        harness.print_table(header, rows)
        if len(turns) == 2:
            first = [next(path for path in place.iterdir() if path.name.startswith(name)) for name in turns]
            difference = np.abs(np.subtract(*map(states_of, first))).max()
            print(f"\nLargest difference of the stored float16 states: {difference:.1e}")


if __name__ == "__main__":
    main()
