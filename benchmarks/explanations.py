"""Whether explanations find a planted place, on the demo corpus (SYNTHETIC): a part of another interview is spliced in.

    python benchmarks/explanations.py --workdir=RUN --records=DIR [--pairs=30]

Every frame and token of the demo corpus carries the signal (docs/demo_corpus.md): it has no place to point at. Here
20 s of the recording and 60 tokens of the text of a test participant with a low score, at random places, are those of
one with a high score. Printed: AUROC of "is spliced in" over the units of an interview, mean over pairs, and how often
the deletion curve of a method was better than all random orders.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.inference.explain import views
from mmpsy_jax.inference.explain_methods import METHODS, Explained, deletion
from mmpsy_jax.inference.inputs import corpus_of
from mmpsy_jax.training import finished_run

LOW, HIGH = 5, 15
FRAMES, TOKENS = 600, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--records", required=True)
    parser.add_argument("--pairs", type=int, default=30)
    options = parser.parse_args()
    model, rng = finished_run.load(options.workdir), np.random.default_rng(0)
    corpus = model.select_modalities(open_corpus(options.records))
    (task,) = (one for one in model.tasks if one.kind == "regression" and one.label == "phq9")
    # Whole first windows: one shape, one compilation.
    first = np.cumsum(corpus.n_windows) - corpus.n_windows
    full = [corpus.window_lengths[name][first] == modality.steps for name, modality in corpus.modalities.items()]
    usable = np.all([*full, np.array(corpus.split) == "test"], axis=0)
    hosts = np.flatnonzero(usable & (corpus.labels["phq9"] < LOW))
    donors = np.flatnonzero(usable & (corpus.labels["phq9"] >= HIGH))
    areas_of = {(method, name): [] for method in METHODS for name in corpus.modalities}
    better = {method: [] for method in METHODS}
    for _ in range(options.pairs):
        host, donor = (
            {name: np.array(value[:1]) for name, value in corpus.read(rng.choice(group)).items() if np.ndim(value)}
            for group in (hosts, donors)
        )
        start = {"audio": 40 * int(rng.integers(0, 31)), "text": 2 * int(rng.integers(0, 58))}
        at = {
            "audio": slice(start["audio"], start["audio"] + FRAMES),
            "text": slice(start["text"], start["text"] + TOKENS),
        }
        host["audio"][..., at["audio"]] = donor["audio"][..., at["audio"]]
        host["text"][:, at["text"]] = donor["text"][:, at["text"]]
        one = corpus_of(["spliced"], [host], model.modalities, model.card)
        explained = Explained(views(model, one), task)
        attributions = explained.attributions()
        curve = deletion(explained, attributions)
        for method, values in attributions.items():
            better[method].append(curve.p[method] <= 0.05)
            for name in corpus.modalities:
                units = [(i, unit) for i, unit in enumerate(explained.units) if unit.modality == name]
                scale = 30 if name == "audio" else 1
                inside = [at[name].start <= unit.start * scale < at[name].stop for _, unit in units]
                areas_of[method, name].append(roc_auc_score(inside, values[[i for i, _ in units]]))
    print(f"SYNTHETIC: {options.pairs} interviews of {len(hosts)} hosts and {len(donors)} donors")
    for (method, name), areas in areas_of.items():
        print(f"{method:22} {name:6} AUROC {np.mean(areas):.3f} (sd {np.std(areas):.3f})")
    for method, times in better.items():
        print(f"{method:22} better than all random orders: {np.mean(times):.2f}")


if __name__ == "__main__":
    main()
