"""Makes tests/projects/msa/golden: what MMSA's PyTorch models compute with SYNTHETIC (random) weights, and their sizes.

    python -m venv mmsa && mmsa/bin/pip install MMSA==2.2.1 && mmsa/bin/python tests/projects/msa/make_golden.py

Each file holds inputs of full length, parameters under the names of our networks, and the outputs. BERT is left out of
models that have it: features go in where it would give them; MAG-BERT has a tiny one, under `transformers`' names.
`parameters.json` has the number of parameters of every model with its published settings, without BERT.
"""

import importlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from MMSA.config import get_config_regression
from MMSA.models.singleTask.BERT_MAG import MAG

GOLDEN = Path(__file__).parent / "golden"
GROUPS = {
    "singleTask": ("tfn", "lmf", "lf_dnn", "ef_lstm", "mfn", "mult", "misa"),
    "multiTask": ("self_mm", "mtfn", "mlmf", "mlf_dnn"),
}
NAMES = ("text", "audio", "vision")
THEIRS = dict(zip(NAMES, ("text", "audio", "video"), strict=True))
SIZES, ROWS = (8, 3, 4), 5  # features of each modality, participants
SMALL = {
    "hidden_dims": [6, 4, 3], "text_out": 8, "post_fusion_dim": 7, "post_text_dim": 5, "post_audio_dim": 4,
    "post_video_dim": 3, "rank": 2, "memsize": 6, "hidden_size": 6, "dst_feature_dim_nheads": [6, 2], "nlevels": 1,
    "conv1d_kernel_size_l": 3, "conv1d_kernel_size_a": 1, "conv1d_kernel_size_v": 2, "a_lstm_hidden_size": 5,
    "v_lstm_hidden_size": 6, "audio_out": 4, "video_out": 3, "num_layers": 2,
}  # fmt: skip


# As TINY of mmpsy_jax/projects/msa/models/bert_mag.py.
TINY = {
    "vocab_size": 64, "max_position_embeddings": 64, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip


class NoBert(torch.nn.Module):
    """In the place of BERT: gives the features that the script keeps here, whatever ids it is asked for."""

    features = None

    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, _):
        return NoBert.features


def settings(name, corpus):
    """The published settings of a model, which reads sequences as long as the text."""
    made = get_config_regression(name, corpus)
    made.train_mode = "regression"
    made.seq_lens = made.seq_lens[0]  # as MMSA's alignment leaves it
    return made


def build(name, made):
    group = next(group for group, names in GROUPS.items() if name in names)
    module = importlib.import_module(f"MMSA.models.{group}.{name.upper()}")
    if hasattr(module, "BertTextEncoder"):
        module.BertTextEncoder = NoBert
    return getattr(module, name.upper())(made)


def corpora(name):
    return ("sims",) if name in ("mtfn", "mlmf", "mlf_dnn") else ("mosi", "mosei", "sims")


def count(name, corpus):
    model = build(name, settings(name, corpus))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def gate_and_head(made, config):
    """MMSA's gate and the head, which stand before and behind BERT."""
    made.device = "cpu"
    return MAG(config, made), torch.nn.Linear(config.hidden_size, 1)


def count_mag_bert(corpus):
    parts = gate_and_head(settings("bert_mag", corpus), transformers.BertConfig())
    return sum(p.numel() for part in parts for p in part.parameters())


def dense(layer, bias=True):
    made = {"kernel": layer.weight.T}
    return {**made, "bias": layer.bias} if bias else made


def readout(layer, name="sentiment"):
    return {"readout": {"kernel": layer.weight.T}, f"{name}_bias": layer.bias}


def norm(layer):
    return {"scale": layer.weight, "bias": layer.bias}


def lstm(layer, suffix="_l0"):
    """PyTorch's two biases are only ever added."""
    part = lambda kind: getattr(layer, f"{kind}{suffix}")  # noqa: E731
    inputs = {"kernel": part("weight_ih").T, "bias": part("bias_ih") + part("bias_hh")}
    return {"input": inputs, "recurrent": part("weight_hh").T}


def cell(layer):
    """A cell of Flax, which has a layer per gate; PyTorch's order is input, forget, cell, output."""
    made = lstm(layer, "")
    gates = zip("ifgo", *(x.chunk(4, dim=-1) for x in (*made["input"].values(), made["recurrent"])), strict=True)
    parts = {}
    for gate, kernel, bias, recurrent in gates:
        parts |= {f"i{gate}": {"kernel": kernel}, f"h{gate}": {"kernel": recurrent, "bias": bias}}
    return parts


def attention(weight, bias, out, heads):
    width = len(out.weight)
    split = (heads, width // heads)
    made = {
        name: {"kernel": w.T.reshape(width, *split), "bias": b.reshape(split)}
        for name, w, b in zip(("query", "key", "value"), weight.chunk(3), bias.chunk(3), strict=True)
    }
    return made | {"out": {"kernel": out.weight.T.reshape(*split, width), "bias": out.bias}}


def subnets(model):
    """LSTM of the text; normalisation and layers of the others."""
    made = {"text_lstm": lstm(model.text_subnet.rnn), "text_dense": dense(model.text_subnet.linear_1)}
    fitted = {}
    for ours, theirs in (("audio", model.audio_subnet), ("vision", model.video_subnet)):
        made[f"{ours}_scale"] = {"weight": theirs.norm.weight, "bias": theirs.norm.bias}
        deviation = (theirs.norm.running_var + theirs.norm.eps).sqrt()
        fitted[f"{ours}_scale"] = {"mean": theirs.norm.running_mean, "deviation": deviation}
        made |= {f"{ours}_{i}": dense(getattr(theirs, f"linear_{i}")) for i in (1, 2, 3)}
    for ours, theirs in THEIRS.items():
        layers = [getattr(model, f"post_{theirs}_layer_{i}") for i in (1, 2, 3)]
        made |= {f"{ours}_own_{i}": dense(layers[i - 1]) for i in (1, 2)}
        made[f"{ours}_readout"] = dense(layers[2], bias=False)
        made[f"sentiment_{ours}_bias"] = layers[2].bias
    return made, fitted


def fused_layers(model):
    layers = [getattr(model, f"post_fusion_layer_{i}") for i in (1, 2, 3)]
    return {"fusion_1": dense(layers[0]), "fusion_2": dense(layers[1]), **readout(layers[2])}


def mtfn(model):
    made, fitted = subnets(model)
    made |= fused_layers(model)
    # There the product is of audio, vision and text, here of text, audio and vision.
    sizes = [len(made["audio_3"]["bias"]) + 1, len(made["vision_3"]["bias"]) + 1, len(made["text_dense"]["bias"]) + 1]
    kernel = made["fusion_1"]["kernel"]
    made["fusion_1"]["kernel"] = kernel.reshape(*sizes, -1).permute(2, 0, 1, 3).reshape(kernel.shape)
    return made, fitted


def mlmf(model):
    made, fitted = subnets(model)
    made |= {
        f"{o}_factor": getattr(model, f"{t}_factor") for o, t in zip(NAMES, ("text", "audio", "video"), strict=True)
    }
    return made | {"fusion_weights": model.fusion_weights, "sentiment_bias": model.fusion_bias[0]}, fitted


def mlf_dnn(model):
    made, fitted = subnets(model)
    made |= fused_layers(model)
    sizes = [len(made[f"{name}_3"]["bias"]) for name in ("audio", "vision")] + [len(made["text_dense"]["bias"])]
    audio, vision, text = made["fusion_1"]["kernel"].split(sizes)
    made["fusion_1"]["kernel"] = torch.cat([text, audio, vision])
    return made, fitted


def mfn(model):
    step = {f"lstm_{i}": cell(getattr(model, f"lstm_{letter}")) for i, letter in enumerate("lav")}
    for ours, theirs in (("attention", "att1"), ("candidate", "att2"), ("keep", "gamma1"), ("write", "gamma2")):
        step |= {f"{ours}_{i}": dense(getattr(model, f"{theirs}_fc{i}")) for i in (1, 2)}
    return {"step": step, "out_1": dense(model.out_fc1), **readout(model.out_fc2)}, {}


def self_mm(model):
    made = {}
    for ours, theirs in THEIRS.items():
        layers = [getattr(model, f"post_{theirs}_layer_{i}") for i in (1, 2, 3)]
        made |= {f"{ours}_1": dense(layers[0]), f"{ours}_head_1": dense(layers[1]), f"{ours}_readout": dense(layers[2])}
        if ours != "text":
            net = getattr(model, f"{theirs}_model")
            made |= {f"{ours}_lstm": lstm(net.rnn), f"{ours}_dense": dense(net.linear_1)}
    layers = [getattr(model, f"post_fusion_layer_{i}") for i in (1, 2, 3)]
    kernel = layers[0].weight.T  # of text, audio and vision, as here
    made["fusion_1"] = {"kernel": kernel, "bias": layers[0].bias}
    return made | {"fusion_head_1": dense(layers[1]), **readout(layers[2])}, {}


def transformer(model, heads):
    made = {"norm_out": norm(model.layer_norm)}
    for i, layer in enumerate(model.layers, 1):
        own = layer.self_attn
        made[f"attention_{i}"] = attention(own.in_proj_weight, own.in_proj_bias, own.out_proj, heads)
        made |= {f"norm_{i}": norm(layer.layer_norms[0]), f"norm_up_{i}": norm(layer.layer_norms[1])}
        made |= {f"up_{i}": dense(layer.fc1), f"down_{i}": dense(layer.fc2)}
    return made


def mult(model):
    made, letters = {}, dict(zip(NAMES, "lav", strict=True))
    for ours, letter in letters.items():
        made[f"{ours}_in"] = {"conv": {"kernel": getattr(model, f"proj_{letter}").weight.permute(2, 1, 0)}}
        made[f"{ours}_memory"] = transformer(getattr(model, f"trans_{letter}_mem"), model.num_heads)
        for other, of in letters.items():
            if other != ours:
                made[f"{ours}_from_{other}"] = transformer(getattr(model, f"trans_{letter}_with_{of}"), model.num_heads)
    made |= {"residual_1": dense(model.proj1), "residual_out": dense(model.proj2)}
    return made | readout(model.out_layer), {}


def misa(model):
    made = {"shared": dense(model.shared[0])}
    for ours, letter in zip(NAMES, "tav", strict=True):
        project, private = getattr(model, f"project_{letter}"), getattr(model, f"private_{letter}")
        made |= {f"{ours}_1": dense(project[0]), f"{ours}_norm": norm(project[2]), f"{ours}_private": dense(private[0])}
        made[f"{ours}_remake"] = dense(getattr(model, f"recon_{letter}")[0])
        if ours != "text":
            made[f"{ours}_lstm_norm"] = norm(getattr(model, f"{letter}layer_norm"))
            for i in (1, 2):
                rnn = getattr(model, f"{letter}rnn{i}")
                made |= {f"{ours}_lstm_{i}": lstm(rnn), f"{ours}_lstm_{i}_backward": lstm(rnn, "_l0_reverse")}
    layer = model.transformer_encoder.layers[0]
    own = layer.self_attn
    made["attention"] = attention(own.in_proj_weight, own.in_proj_bias, own.out_proj, 2)
    made |= {"norm_attention": norm(layer.norm1), "norm_network": norm(layer.norm2)}
    made |= {"up": dense(layer.linear1), "down": dense(layer.linear2)}
    # There the codes are private text, vision, audio, shared text, vision, audio; here audio comes before vision.
    first, width = model.fusion[0], len(own.out_proj.weight)
    kernel = first.weight.T.reshape(6, width, -1)[[0, 2, 1, 3, 5, 4]].reshape(6 * width, -1)
    return made | {"fusion": {"kernel": kernel, "bias": first.bias}, **readout(model.fusion[3])}, {}


def flat(tree, path=()):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, (*path, name))
        else:
            yield "/".join((*path, name)), value.detach().numpy()


@torch.no_grad()
def golden(name, convert, steps):
    """Writes what a small model with random weights gives for random sequences."""
    torch.manual_seed(0)
    made = settings(name, "sims")
    made.feature_dims = list(SIZES)
    for field in SMALL.keys() & made.keys():
        made[field] = SMALL[field]
    for layer in ("NN1Config", "NN2Config", "gamma1Config", "gamma2Config", "outConfig"):
        if layer in made:
            made[layer]["shapes"] = 5
    model = build(name, made).eval()
    if name == "misa":  # its width of the text is written down as BERT's
        model.project_t[0] = torch.nn.Linear(SIZES[0], made.hidden_size)
    for parameter in [*model.parameters(), *model.buffers()]:
        # MTFN's range of outputs is a parameter that is not trained; statistics of a normalisation have more entries.
        if parameter.is_floating_point() and (parameter.requires_grad or parameter.numel() > 1):
            parameter.copy_((parameter + 0.2 * torch.randn_like(parameter).abs()).half().float())
    inputs = [torch.randn(ROWS, t, f).half().float() for t, f in zip(steps, SIZES, strict=True)]
    text, audio, vision = inputs
    ids = torch.ones(ROWS, 3, steps[0])
    NoBert.features = text
    if name == "self_mm":
        lengths = [torch.full((ROWS,), t) for t in steps[1:]]
        found = model(ids, (audio, lengths[0]), (vision, lengths[1]))
    elif name == "misa":
        found = model(ids, audio, vision)
        for ours, letter in zip(NAMES, "tav", strict=True):
            kinds = (("private", "utt_private_{}"), ("shared", "utt_shared_{}"), ("given", "utt_{}_orig"))
            for kind, field in (*kinds, ("remade", "utt_{}_recon")):
                found[f"{ours}_{kind}"] = getattr(model, field.format(letter))
    elif name in ("mult", "mfn"):
        found = model(text, audio, vision)
    else:
        found = model(text, audio.mean(dim=1, keepdim=True), vision.mean(dim=1, keepdim=True))
    params, fitted = convert(model)
    arrays = {f"input/{one}": x.numpy() for one, x in zip(NAMES, inputs, strict=True)}
    arrays |= {f"params/{path}": value for path, value in flat(params)}
    arrays |= {f"fitted/{path}": value for path, value in flat(fitted)}
    arrays |= {f"output/{key}": value.numpy() for key, value in found.items() if not key.startswith(("Feature", "L"))}
    np.savez_compressed(GOLDEN / f"{name}.npz", **arrays)


@torch.no_grad()
def golden_mag_bert():
    """Writes what a tiny MAG-BERT gives for words of different numbers and what is aligned to them."""
    torch.manual_seed(0)
    made = settings("bert_mag", "sims")
    made.feature_dims = [TINY["hidden_size"], *SIZES[1:]]
    config = transformers.BertConfig(attn_implementation="eager", **TINY)
    bert, (gate, classifier) = transformers.BertModel(config), gate_and_head(made, config)
    for parameter in (parameter for part in (bert, gate, classifier) for parameter in part.eval().parameters()):
        parameter.copy_((parameter + 0.2 * torch.randn_like(parameter)).half().float())
    lengths = torch.tensor([7, 5, 3, 1, 6])
    mask = torch.arange(7) < lengths[:, None]
    ids = torch.randint(1, TINY["vocab_size"], mask.shape) * mask
    types = torch.randint(0, 2, mask.shape) * mask
    audio, vision = (torch.randn(*mask.shape, size).half().float() * mask[..., None] for size in SIZES[1:])
    # As MMSA's MAG_BertModel, which does not run with transformers 5: the layers read what the gate gives.
    bert.embeddings.register_forward_hook(lambda module, given, embedded: gate(embedded, vision, audio))
    found = classifier(bert(ids, attention_mask=mask.float(), token_type_ids=types).pooler_output)
    shared = {"norm": norm(gate.LayerNorm)}
    for ours, letter in (("audio", "a"), ("vision", "v")):
        shared |= {f"{ours}_weight": dense(getattr(gate, f"W_h{letter}"))}
        shared |= {f"{ours}_shift": dense(getattr(gate, f"W_{letter}"))}
    arrays = {f"params/{path}": value for path, value in flat({"gate": shared, **readout(classifier)})}
    arrays |= {f"bert/{name}": value.numpy() for name, value in bert.state_dict().items()}
    inputs = {"tokens": torch.stack([ids, types], dim=-1).int(), "audio": audio, "vision": vision, "length": lengths}
    arrays |= {f"input/{name}": value.numpy() for name, value in inputs.items()}
    np.savez_compressed(GOLDEN / "bert_mag.npz", **arrays, **{"output/M": found.numpy()})


def main():
    GOLDEN.mkdir(exist_ok=True)
    table = {name: {c: count(name, c) for c in corpora(name)} for names in GROUPS.values() for name in names}
    table["bert_mag"] = {corpus: count_mag_bert(corpus) for corpus in ("mosi", "mosei", "sims")}
    table = {"MMSA": importlib.metadata.version("MMSA"), **table}
    (GOLDEN / "parameters.json").write_text(json.dumps(table, indent=1) + "\n")
    uneven, even = (6, 9, 7), (6, 6, 6)
    for convert, steps in (
        (mtfn, uneven), (mlmf, uneven), (mlf_dnn, uneven), (self_mm, uneven), (mult, uneven), (mfn, even), (misa, even),
    ):  # fmt: skip
        golden(convert.__name__, convert, steps)
    golden_mag_bert()


if __name__ == "__main__":
    main()
