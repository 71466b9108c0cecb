"""Self-MM and the fusion baselines of MMSA on its feature files or on a SYNTHETIC corpus of their layout (docs/msa.md).

python launch.py --config=configs/msa.py:demo,self_mm                                    SYNTHETIC
python launch.py build --dataset=mmsa/mosi --source=unaligned_50.pkl --unpickle          once
python launch.py --config=configs/msa.py:mosi,lmf --seeds=1111,1112

The argument is a corpus (demo, mosi, mosei, sims, simsv2, or a name of one's own) and a model of `MODELS`. Sizes,
dropout, batches, learning rates and weight decay are those that MMSA publishes for the corpus. The demo and corpora of
one's own have those of MOSI, or of SIMSv2 for the models of `ON_OWN_LABELS`, which need labels of each modality, and
which MMSA has for SIMS and SIMSv2 alone. The scale of the ratings of one's own corpus is that of its card.

MAG-BERT trains a BERT of its own, in `--config.model.folder`; without one, which suits the demo alone, a tiny random
one.
"""

import re
from typing import Any

from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, choose_objective, default

CORPORA = ("mosi", "mosei", "sims", "simsv2")
# Fields of config.model by corpus, in the order of `CORPORA`; `dropout` is that of the fusion. None: not published.
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
    "mult": {
        "width": (50, 30, 50, 30),
        "heads_attention": (10, 6, 10, 6),
        "layers": (4, 4, 2, 4),
        "text_kernel": (5, 5, 5, 5),
        "audio_kernel": (5, 1, 1, 3),
        "vision_kernel": (5, 3, 1, 1),
        "text_attention_dropout": (0.3, 0.4, 0.2, 0.1),
        "audio_attention_dropout": (0.2, 0.0, 0.1, 0.2),
        "vision_attention_dropout": (0.0, 0.0, 0.0, 0.0),
        "relu_dropout": (0.0, 0.0, 0.0, 0.1),
        "residual_dropout": (0.0, 0.0, 0.2, 0.0),
        "input_dropout": (0.2, 0.0, 0.1, 0.2),
        "text_dropout": (0.5, 0.3, 0.3, 0.5),
        "dropout": (0.5, 0.5, 0.1, 0.3),
    },
    "misa": {
        "width": (128, 128, 128, 64),
        "dropout": (0.2, 0.5, 0.0, 0.5),
    },
    "tetfn": {
        "width": (50, 50, 50, 50),
        "heads_attention": (5, 5, 5, 5),
        "audio_hidden": (16, 32, 16, 16),
        "vision_hidden": (64, 32, 64, 32),
        "text_kernel": (1, 1, 3, 5),
        "audio_kernel": (1, 1, 5, 3),
        "vision_kernel": (1, 1, 5, 3),  # that of the audio, as MMSA has it; published: 3, 1, 1, 1
        "fusion_width": (64, 64, 64, 128),
        "text_width": (32, 64, 64, 64),
        "audio_width": (32, 32, 16, 16),
        "vision_width": (16, 16, 32, 32),
        "text_attention_dropout": (0.1, 0.1, 0.0, 0.1),
        "audio_attention_dropout": (0.0, 0.0, 0.1, 0.0),
        "vision_attention_dropout": (0.1, 0.1, 0.0, 0.1),
        "relu_dropout": (0.0, 0.1, 0.1, 0.0),
        "residual_dropout": (0.1, 0.0, 0.0, 0.1),
        "input_dropout": (0.0, 0.1, 0.0, 0.0),
        "text_dropout": (0.0, 0.1, 0.0, 0.1),
        "audio_dropout": (0.0, 0.0, 0.0, 0.0),
        "vision_dropout": (0.0, 0.1, 0.0, 0.0),
        "dropout": (0.0, 0.0, 0.1, 0.1),
    },
    "mtfn": {
        "text_hidden": (None, None, 256, 64),
        "text_out": (None, None, 256, 32),
        "audio_hidden": (None, None, 32, 16),
        "vision_hidden": (None, None, 256, 64),
        "fusion_width": (None, None, 64, 64),
        "text_width": (None, None, 64, 16),
        "audio_width": (None, None, 4, 5),
        "vision_width": (None, None, 8, 64),
        "audio_dropout": (None, None, 0.2, 0.3),
        "vision_dropout": (None, None, 0.2, 0.3),
        "dropout": (None, None, 0.2, 0.5),
    },
    "mlmf": {
        "text_hidden": (None, None, 256, 64),
        "text_out": (None, None, 128, 32),
        "audio_hidden": (None, None, 32, 16),
        "vision_hidden": (None, None, 256, 64),
        "rank": (None, None, 3, 6),
        "text_width": (None, None, 8, 16),
        "audio_width": (None, None, 4, 5),
        "vision_width": (None, None, 32, 16),
        "audio_dropout": (None, None, 0.3, 0.3),
        "vision_dropout": (None, None, 0.3, 0.3),
        "dropout": (None, None, 0.4, 0.4),
    },
    "mlf_dnn": {
        "text_hidden": (None, None, 64, 128),
        "text_out": (None, None, 32, 32),
        "audio_hidden": (None, None, 32, 32),
        "vision_hidden": (None, None, 64, 128),
        "fusion_width": (None, None, 32, 64),
        "text_width": (None, None, 16, 32),
        "audio_width": (None, None, 4, 4),
        "vision_width": (None, None, 32, 64),
        "audio_dropout": (None, None, 0.3, 0.2),
        "vision_dropout": (None, None, 0.3, 0.2),
        "dropout": (None, None, 0.5, 0.3),
    },
    "bert_mag": {
        "folder": ("", "", "", None),
        "beta_shift": (1.0, 1.0, 1.0, None),
        "dropout": (0.3, 0.2, 0.1, None),
    },
}
# Fields of config.objective by corpus; of the models of `ON_OWN_LABELS` weights of all modalities and of each alone.
OBJECTIVES: dict[str, dict[str, tuple]] = {
    "misa": {
        "difference": (0.1, 0.3, 0.3, 0.5),
        "similarity": (0.3, 0.8, 1.0, 1.0),
        "reconstruction": (1.0, 1.0, 0.8, 0.5),
    },
    "mtfn": {"weights": (None, None, (0.6, 0.4, 0.0, 1.0), (1.0, 0.4, 0.4, 0.8))},
    "mlmf": {"weights": (None, None, (0.2, 1.0, 0.4, 0.8), (0.4, 0.0, 0.4, 1.0))},
    "mlf_dnn": {"weights": (None, None, (0.6, 0.2, 0.8, 0.8), (0.8, 1.0, 0.6, 0.8))},
}
ON_OWN_LABELS = ("mtfn", "mlmf", "mlf_dnn")
# Batch, learning rate and weight decay by corpus. Of Self-MM, TETFN, MTFN, MLMF and MLF-DNN the rates and decays of all
# but BERT and the parts before the fusion. Decays published for MulT, MISA and MTFN never reach MMSA's optimizer.
TRAINING: dict[str, dict[str, tuple]] = {
    "self_mm": {"batch": (16, 32, 32, 16), "rate": (1e-3,) * 4, "decay": (1e-3, 1e-2, 1e-3, 1e-3)},
    "lf_dnn": {"batch": (128, 64, 128, 128), "rate": (1e-3, 2e-3, 5e-3, 5e-3), "decay": (1e-2, 1e-3, 5e-3, 0.0)},
    "tfn": {"batch": (32, 128, 32, 128), "rate": (1e-3, 5e-3, 5e-4, 2e-3), "decay": (0.0,) * 4},
    "lmf": {"batch": (64, 32, 64, 32), "rate": (1e-3, 1e-3, 2e-3, 2e-3), "decay": (5e-3, 1e-3, 5e-3, 1e-4)},
    "mfn": {"batch": (128, 64, 32, 64), "rate": (2e-3, 5e-4, 1e-3, 1e-3), "decay": (0.0, 1e-4, 0.0, 0.0)},
    "ef_lstm": {"batch": (32, 128, 128, 32), "rate": (1e-3, 5e-3, 5e-4, 5e-4), "decay": (5e-3, 1e-4, 1e-3, 0.0)},
    "mult": {"batch": (16, 4, 16, 16), "rate": (2e-3, 5e-4, 2e-3, 5e-4), "decay": (0.0,) * 4},
    "misa": {"batch": (16, 64, 64, 16), "rate": (1e-4,) * 4, "decay": (0.0,) * 4},
    "tetfn": {"batch": (64, 32, 64, 64), "rate": (3e-4, 1e-4, 3e-3, 3e-4), "decay": (1e-2, 1e-2, 1e-3, 1e-3)},
    "mtfn": {"batch": (None, None, 64, 32), "rate": (None, None, 5e-3, 5e-4), "decay": (None, None, 0.0, 0.0)},
    "mlmf": {"batch": (None, None, 128, 64), "rate": (None, None, 1e-3, 5e-3), "decay": (None, None, 5e-3, 1e-3)},
    "mlf_dnn": {"batch": (None, None, 32, 64), "rate": (None, None, 2e-3, 5e-3), "decay": (None, None, 0.0, 1e-4)},
    "bert_mag": {"batch": (32, 32, 32, None), "rate": (2e-5, 1e-5, 5e-5, None), "decay": (0.0, 0.0, 0.0, None)},
}
# Batches whose gradients make one update.
ACCUMULATE = {"self_mm": 4, "mult": 8, "misa": 2, "tetfn": 4}
OBJECTIVE = {"self_mm": "ulgm", "tetfn": "ulgm", "misa": "misa"}
MODELS = tuple(SIZES)


def get_config(argument: str = "demo,self_mm"):
    """`argument` is CORPUS,MODEL, see above."""
    corpus, _, model = argument.partition(",")
    if model not in MODELS:
        raise one_of("model of configs/msa.py:CORPUS,MODEL", model, MODELS)
    if not re.fullmatch("[a-z][a-z0-9_]*", corpus):
        raise one_of("corpus of configs/msa.py:CORPUS,MODEL", corpus, ("demo", *CORPORA, "a name of your own"))
    as_published = corpus if corpus in CORPORA else "simsv2" if model in ON_OWN_LABELS else "mosi"
    at = CORPORA.index(as_published)
    chosen = lambda table: {name: values[at] for name, values in table.items()}  # noqa: E731
    if TRAINING[model]["batch"][at] is None:
        known = [name for name, size in zip(CORPORA, TRAINING[model]["batch"], strict=True) if size is not None]
        raise one_of(f"corpus that MMSA publishes settings of {model} for", corpus, ["demo", *known])
    highest = 1.0 if corpus in ("sims", "simsv2") else 3.0
    scale = {"maximum": highest, "minimum": -highest} if corpus in ("demo", *CORPORA) else {}
    names = ["sentiment"]
    if model in ON_OWN_LABELS:
        names += [f"sentiment_{modality}" for modality in ("text", "audio", "vision")]

    config = default()
    config.name = f"msa_{corpus}_{model}"
    config.seed = 1111
    config.tasks = to_config([Task(name, name, "regression", **scale) for name in names])
    config.data.dataset = f"mmsa/{corpus}"
    config.data.modalities = ("tokens" if model == "bert_mag" else "text", "audio", "vision")
    config.data.parts = 1  # a clip is one sequence
    choose_model(config, model, **chosen(SIZES[model]))
    objective = chosen(OBJECTIVES.get(model, {}))
    if model in ON_OWN_LABELS:
        objective["weights"] = dict(zip(names, objective["weights"], strict=True))
        config.model.update({name.replace("sentiment_", "") + "_head": name for name in names[1:]})
    if model not in OBJECTIVE:
        objective |= {"ccc": 0.0, "delta": 0.02 * highest}  # nearly the L1 loss of MMSA
    choose_objective(config, OBJECTIVE.get(model, "multitask"), **objective)
    _train(config, **chosen(TRAINING[model]))
    if model == "bert_mag" and corpus == "demo":
        config.optimizer.learning_rate = 1e-3  # our choice: the published one is for a pretrained BERT
    config.optimizer.accumulate = ACCUMULATE.get(model, 1)
    return config.lock()


def _train(config: Any, batch: int, rate: float, decay: float) -> None:
    config.total = "50 epochs"  # MMSA has no end but that of its patience
    config.data.batch_size = batch
    config.selection.patience = 8
    config.optimizer.update({"learning_rate": rate, "weight_decay": decay, "decay_exclude": "^$"})
    config.optimizer.update({"schedule": "constant", "warmup": "0 steps", "b2": 0.999, "clip": 0.0})
