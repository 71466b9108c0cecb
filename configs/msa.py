"""Self-MM and the fusion baselines of MMSA on its feature files or on a SYNTHETIC corpus of their layout (docs/msa.md).

python launch.py --config=configs/msa.py:demo,self_mm                                    SYNTHETIC
python launch.py build --dataset=mmsa/mosi --source=unaligned_50.pkl --unpickle          once
python launch.py --config=configs/msa.py:mosi,lmf --config.seed=1111 --config.seeds=5    seeds 1111 to 1115

The argument is a corpus (demo, mosi, mosei, sims, simsv2) and a model of `MODELS`. Sizes, dropout, batches, learning
rates and weight decay are those that MMSA publishes for the corpus; the demo has those of MOSI.
"""

from typing import Any

from mmpsy_jax.errors import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import default

CORPORA = ("mosi", "mosei", "sims", "simsv2")
# Fields of config.model by corpus, in the order of `CORPORA`; `dropout` is that of the fusion.
SIZES: dict[str, dict[str, tuple]] = {
    "self_mm": {
        "vision_hidden": (32, 32, 64, 64),
        "text_width": (32, 32, 64, 64),
        "audio_width": (16, 16, 16, 32),
        "dropout": (0.0, 0.1, 0.0, 0.0),
        "text_dropout": (0.1, 0.0, 0.1, 0.0),
        "audio_dropout": (0.1, 0.0, 0.1, 0.1),
        "vision_dropout": (0.0, 0.0, 0.0, 0.0),
    },
    "lf_dnn": {
        "text_hidden": (128, 128, 128, 64),
        "text_out": (256, 128, 256, 256),
        "audio_hidden": (16, 32, 32, 32),
        "vision_hidden": (128, 128, 128, 64),
        "fusion_width": (128, 128, 32, 32),
        "audio_dropout": (0.2, 0.2, 0.3, 0.4),
        "vision_dropout": (0.2, 0.2, 0.3, 0.4),
        "dropout": (0.2, 0.2, 0.5, 0.4),
    },
    "tfn": {
        "text_hidden": (128, 128, 128, 128),
        "text_out": (32, 128, 256, 128),
        "audio_hidden": (32, 16, 32, 32),
        "vision_hidden": (128, 128, 128, 128),
        "fusion_width": (64, 16, 32, 32),
        "audio_dropout": (0.3, 0.4, 0.4, 0.3),
        "vision_dropout": (0.3, 0.4, 0.4, 0.3),
        "dropout": (0.5, 0.4, 0.4, 0.5),
    },
    "lmf": {
        "text_hidden": (128, 128, 64, 64),
        "text_out": (64, 64, 32, 32),
        "audio_hidden": (16, 16, 16, 32),
        "vision_hidden": (128, 128, 64, 64),
        "rank": (3, 4, 4, 4),
        "audio_dropout": (0.3, 0.2, 0.2, 0.3),
        "vision_dropout": (0.3, 0.2, 0.2, 0.3),
        "dropout": (0.0, 0.0, 0.0, 0.0),  # published, but never applied
    },
    "ef_lstm": {
        "hidden": (128, 256, 32, 128),
        "layers": (4, 2, 3, 3),
        "dropout": (0.5, 0.4, 0.5, 0.2),
    },
    "mfn": {
        "text_hidden": (256, 128, 64, 128),
        "audio_hidden": (32, 32, 16, 16),
        "vision_hidden": (256, 128, 64, 128),
        "memory": (400, 128, 64, 400),
        "attention_width": (32, 128, 128, 32),
        "candidate_width": (64, 128, 128, 128),
        "keep_width": (256, 256, 64, 32),
        "write_width": (32, 256, 64, 32),
        "out_width": (128, 128, 64, 64),
        "attention_dropout": (0.2, 0.2, 0.2, 0.2),
        "candidate_dropout": (0.0, 0.5, 0.0, 0.5),
        "keep_dropout": (0.7, 0.7, 0.2, 0.5),
        "write_dropout": (0.5, 0.0, 0.7, 0.2),
        "dropout": (0.0, 0.5, 0.7, 0.2),
    },
}
# Batch, learning rate and weight decay by corpus. Of Self-MM those of everything but BERT, audio and vision.
TRAINING: dict[str, dict[str, tuple]] = {
    "self_mm": {"batch": (16, 32, 32, 16), "rate": (1e-3,) * 4, "decay": (1e-3, 1e-2, 1e-3, 1e-3)},
    "lf_dnn": {"batch": (128, 64, 128, 128), "rate": (1e-3, 2e-3, 5e-3, 5e-3), "decay": (1e-2, 1e-3, 5e-3, 0.0)},
    "tfn": {"batch": (32, 128, 32, 128), "rate": (1e-3, 5e-3, 5e-4, 2e-3), "decay": (0.0,) * 4},
    "lmf": {"batch": (64, 32, 64, 32), "rate": (1e-3, 1e-3, 2e-3, 2e-3), "decay": (5e-3, 1e-3, 5e-3, 1e-4)},
    "mfn": {"batch": (128, 64, 32, 64), "rate": (2e-3, 5e-4, 1e-3, 1e-3), "decay": (0.0, 1e-4, 0.0, 0.0)},
    "ef_lstm": {"batch": (32, 128, 128, 32), "rate": (1e-3, 5e-3, 5e-4, 5e-4), "decay": (5e-3, 1e-4, 1e-3, 0.0)},
}
MODELS = tuple(SIZES)


def get_config(argument: str = "demo,self_mm"):
    """`argument` is CORPUS,MODEL, see above."""
    corpus, _, model = argument.partition(",")
    if model not in MODELS:
        raise one_of("model of configs/msa.py:CORPUS,MODEL", model, MODELS)
    if corpus not in ("demo", *CORPORA):
        raise one_of("corpus of configs/msa.py:CORPUS,MODEL", corpus, ("demo", *CORPORA))
    published = CORPORA.index("mosi" if corpus == "demo" else corpus)
    chosen = lambda table: {name: values[published] for name, values in table.items()}  # noqa: E731
    highest = 1.0 if corpus in ("sims", "simsv2") else 3.0
    task = Task("sentiment", "sentiment", "regression", maximum=highest, minimum=-highest)

    config = default()
    config.name = f"msa_{corpus}_{model}"
    config.seed = 1111
    config.tasks = to_config([task])
    config.data.dataset = f"mmsa/{corpus}"
    config.data.parts = 1  # a clip is one sequence
    no_dropout = {"token_dropout": 0.0, "modality_dropout": 0.0}
    config.model.update({"name": model, **no_dropout, **chosen(SIZES[model])})
    _train(config, **chosen(TRAINING[model]))
    if model == "self_mm":
        config.objective.name = "ulgm"
        config.optimizer.accumulate = 4
    else:
        config.objective.update({"ccc": 0.0, "delta": 0.02 * highest})  # nearly the L1 loss of MMSA
    return config.lock()


def _train(config: Any, batch: int, rate: float, decay: float) -> None:
    config.total = "50 epochs"  # MMSA has no end but that of its patience
    config.data.batch_size = batch
    config.selection.patience = 8
    config.optimizer.update({"learning_rate": rate, "weight_decay": decay, "decay_exclude": "^$"})
    config.optimizer.update({"schedule": "constant", "warmup": "0 steps", "b2": 0.999, "clip": 0.0})
