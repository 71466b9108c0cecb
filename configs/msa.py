"""Self-MM and the fusion baselines of MMSA on its feature files or on a SYNTHETIC corpus of their layout (docs/msa.md).

python launch.py --config=configs/msa.py:demo,self_mm                                    SYNTHETIC
python launch.py build --dataset=mmsa/mosi --source=unaligned_50.pkl --unpickle          once
python launch.py --config=configs/msa.py:mosi,lmf --seeds=1111,1112

The argument is a corpus (demo, mosi, mosei, sims, simsv2, or a name of your own) and a model. Sizes, dropout, batches,
learning rates and weight decay are those that MMSA publishes for the corpus (mmpsy_jax/projects/msa/published.csv). The
demo and corpora of your own take those of MOSI, or of SIMSv2 for MTFN, MLMF and MLF-DNN, which need labels of each
modality. The scale of the ratings of your own corpus is that of its card.

MAG-BERT trains the BERT in `--config.model.folder`; without one, which suits the demo alone, a tiny random
one.
"""

import re

from mmpsy_jax.io import one_of
from mmpsy_jax.projects.msa.published import CORPORA, MODELS, UNIMODAL_LABELS, settings
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, choose_objective, default


def get_config(argument: str = "demo,self_mm"):
    """`argument` is CORPUS,MODEL: "demo", "mosi", "mosei", "sims", "simsv2" or your own; "self_mm", "lmf", ..."""
    corpus, _, model = argument.partition(",")
    if model not in MODELS:
        raise one_of("model of configs/msa.py:CORPUS,MODEL", model, MODELS)
    if not re.fullmatch("[a-z][a-z0-9_]*", corpus):
        raise one_of("corpus of configs/msa.py:CORPUS,MODEL", corpus, ("demo", *CORPORA, "a name of your own"))
    published = settings(model, corpus if corpus in CORPORA else "simsv2" if model in UNIMODAL_LABELS else "mosi")
    if not published:
        known = [name for name in CORPORA if settings(model, name)]
        raise one_of(f"corpus that MMSA publishes settings of {model} for", corpus, ["demo", *known])
    highest = 1.0 if corpus in ("sims", "simsv2") else 3.0
    scale = {"maximum": highest, "minimum": -highest} if corpus in ("demo", *CORPORA) else {}
    weights = {field.rpartition(".")[2]: value for field, value in published.items() if ".weights." in field}

    config = default()
    config.name = f"msa_{corpus}_{model}"
    config.seed = 1111
    config.tasks = to_config([Task(name, name, "regression", **scale) for name in weights or ("sentiment",)])
    config.data.dataset = f"mmsa/{corpus}"
    config.data.modalities = ("tokens" if model == "bert_mag" else "text", "audio", "vision")
    config.data.parts = 1  # a clip is one sequence
    heads = {f"{label.removeprefix('sentiment_')}_head": label for label in weights if label != "sentiment"}
    choose_model(config, model, **heads)
    if "objective.name" in published:
        choose_objective(config, published.pop("objective.name"))
    else:
        config.objective.update({"ccc": 0.0, "delta": 0.02 * highest})  # nearly the L1 loss of MMSA
    config.objective.weights = weights
    config.total = "50 epochs"  # MMSA has no end but that of its patience
    config.selection.patience = 8
    config.optimizer.update({"decay_exclude": "^$", "schedule": "constant", "warmup": "0 steps"})
    config.optimizer.update({"b2": 0.999, "clip": 0.0})
    config.update_from_flattened_dict(published)
    if model == "bert_mag" and corpus == "demo":
        config.optimizer.learning_rate = 1e-3  # the published one is for a pretrained BERT
    return config.lock()
