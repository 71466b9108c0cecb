"""The Mental-Perceiver of `mmpsy_jax/models/` for PyTorch, written as one would write it there; a peer to time against.

Same parameters, equations, dropouts, losses, and optimizer, but PyTorch's usual means: participants padded to the one
with most windows ([b, w, ...], a mask), `nn.LayerNorm`, keys and values projected by `nn.Linear`,
`F.scaled_dot_product_attention`, fused AdamW, autograd. Only the benchmarks import this file: PyTorch is no requirement
of the package. `copy_parameters` fills it from our parameters, so that equal losses and gradients show that both
compute the same thing. Inputs are dense (features, not n-gram ids).

Letters of shapes: b participants, w windows of the longest one, t frames or tokens per window, n = tokens of all
windows, l latents, d width.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6  # of flax.linen.LayerNorm
BANDS, SHORTEST_SECONDS = 16, 2.0  # of `position.TimePosition`
FAR = 40.0  # see `objectives.losses.ordinal`


class Attention(nn.Module):
    """Multi-head attention; `plain` writes the two products out instead of calling the fused function."""

    def __init__(self, width: int, heads: int, dropout: float, *, key_bias: bool = True, plain: bool = False):
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=key_bias)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.heads, self.dropout, self.plain = heads, dropout, plain

    def forward(self, queries: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries [b, l, d] and inputs [b, n, d] to [b, l, d]; mask bool [b, n], True where there is something."""
        split = lambda x: x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.query(queries)), split(self.key(inputs)), split(self.value(inputs))
        mask = None if mask is None else mask[:, None, None]
        rate = self.dropout if self.training else 0.0
        if self.plain:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
            mixed = F.dropout(scores.float().softmax(-1).to(v.dtype), rate) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Sequential):
    """Linear, GELU (by tanh, as jax.nn.gelu), Linear, dropout."""

    def __init__(self, width: int, expansion: int, dropout: float):
        super().__init__(
            nn.Linear(width, width * expansion),
            nn.GELU(approximate="tanh"),
            nn.Linear(width * expansion, width),
            nn.Dropout(dropout),
        )


class Block(nn.Module):
    """Pre-norm residual block: attention over other inputs or over itself, then an MLP."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float, *, cross: bool, plain: bool):
        super().__init__()
        self.norm_query = nn.LayerNorm(width, EPSILON)
        self.norm_input = nn.LayerNorm(width, EPSILON) if cross else None
        self.attention = Attention(width, heads, dropout, plain=plain)
        self.norm_mlp, self.mlp = nn.LayerNorm(width, EPSILON), Mlp(width, expansion, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inputs: Tensor | None = None) -> Tensor:
        """[b, n, d] -> [b, n, d]."""
        normed = self.norm_query(x)
        x = x + self.dropout(self.attention(normed, normed if inputs is None else self.norm_input(inputs)))
        return x + self.mlp(self.norm_mlp(x))


class Encoder(nn.Module):
    """Learned latents read the tokens of their participant; no dropout of weights here, whole tokens are dropped."""

    def __init__(self, width: int, heads: int, expansion: int, latents: int, dropout: float, *, plain: bool):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(latents, width))
        self.norm_query, self.norm_input = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.attention = Attention(width, heads, 0.0, key_bias=False, plain=plain)
        self.norm_mlp, self.mlp = nn.LayerNorm(width, EPSILON), Mlp(width, expansion, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [b, n, d], mask [b, n] -> latents [b, l, d]."""
        queries = self.norm_query(self.latents).expand(len(tokens), -1, -1)
        x = self.latents + self.dropout(self.attention(queries, self.norm_input(tokens), mask))
        return x + self.mlp(self.norm_mlp(x))


class Frames(nn.Module):
    """Log-mel windows [b, w, t, f] to tokens [b, w, t / patch, d]: `patch` neighbouring frames become one."""

    def __init__(self, width: int, patch: int, features: int):
        super().__init__()
        self.patch, self.projection = patch, nn.Linear(patch * features, width, bias=False)
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and their mask [b, w, n]."""
        n = frames.shape[2] // self.patch
        tokens = self.norm(self.projection(frames.reshape(*frames.shape[:2], n, -1)))
        return tokens, torch.arange(n, device=frames.device) * self.patch < length[..., None]


class Features(nn.Module):
    """Token embeddings [b, w, t, e] to tokens [b, w, t, d]."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.norm, self.projection = nn.LayerNorm(features, EPSILON), nn.Linear(features, width)

    def forward(self, features: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and their mask [b, w, t]."""
        mask = torch.arange(features.shape[2], device=features.device) < length[..., None]
        return self.projection(self.norm(features)), mask


class MentalPerceiver(nn.Module):
    """See `mmpsy_jax.models.mental_perceiver.Model`, whose arguments these are; `rates` are its `Rates`."""

    def __init__(self, modalities: Sequence, heads: Sequence, window_seconds: float, rates: Any, model: Mapping,
                 *, plain: bool = False):  # fmt: skip
        super().__init__()
        width, sizes = model["width"], (model["width"], model["heads_attention"], model["expansion"])
        self.names, self.heads = [m.name for m in modalities], heads
        self.rates, self.window_seconds = rates, window_seconds
        self.adapters = nn.ModuleDict(
            {m.name: Frames(width, model["patch"], m.shape[-1]) if m.kind == "frames" else Features(width, m.shape[-1])
             for m in modalities}
        )  # fmt: skip
        self.positions = nn.ModuleDict({m.name: nn.Linear(2 * BANDS, width, bias=False) for m in modalities})
        self.codes = nn.ParameterDict({m.name: torch.empty(width) for m in modalities})
        periods = np.geomspace(model["longest_seconds"], SHORTEST_SECONDS, BANDS)
        self.register_buffer("periods", torch.tensor(periods, dtype=torch.float32))
        self.encoder = Encoder(*sizes, model["latents"], rates.dropout, plain=plain)
        self.blocks = nn.ModuleList(
            Block(*sizes, rates.dropout, cross=False, plain=plain) for _ in range(model["layers"])
        )
        self.decoder = Block(*sizes, rates.dropout, cross=True, plain=plain)
        self.norm_out = nn.LayerNorm(width, EPSILON)
        self.counts = [head.n_classes if head.kind == "binary" else 1 for head in heads]
        self.priors, self.readout = (nn.Parameter(torch.empty(sum(self.counts), width)) for _ in range(2))
        self.pooled_readout = nn.Parameter(torch.empty(len(modalities), sum(self.counts), width))
        biases = {h.name: torch.empty(h.n_classes - 1 if h.kind == "ordinal" else c)
                  for h, c in zip(heads, self.counts, strict=True)}  # fmt: skip
        self.biases = nn.ParameterDict(biases)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs per task as the original's, from `<modality>` [b, w, t, f], `<modality>_length`, `window_start_s`."""
        parts, masks, pooled = [], [], []
        for name in self.names:
            tokens, mask = self.adapters[name](batch[name].float(), batch[f"{name}_length"])
            total = (tokens.float() * mask[..., None]).sum((1, 2))
            pooled.append(total / mask.sum((1, 2)).clamp(min=1)[:, None])
            n = tokens.shape[2]
            seconds = (torch.arange(n, device=mask.device) + 0.5) * (self.window_seconds / n)
            angle = 2 * math.pi * (batch["window_start_s"][..., None] + seconds)[..., None] / self.periods
            position = self.positions[name](torch.cat([angle.sin(), angle.cos()], -1))
            parts.append((tokens + position + self.codes[name]).flatten(1, 2))
            masks.append(mask.flatten(1))
        present = torch.stack([mask.any(1) for mask in masks], 1)
        if self.training and self.rates.modality and len(masks) > 1:
            keep = torch.rand(present.shape, device=present.device) >= self.rates.modality
            present = present & (keep | ~(keep & present).any(1, keepdim=True))
            masks = [mask & present[:, i, None] for i, mask in enumerate(masks)]
        mask = torch.cat(masks, 1)
        if self.training and self.rates.token:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= self.rates.token)
        latents = self.encoder(torch.cat(parts, 1), mask)
        for block in self.blocks:
            latents = block(latents)
        return self.decode(latents, torch.stack(pooled, 1) * present[..., None])

    def decode(self, latents: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Latents [b, l, d] and pooled tokens [b, modalities, d] to outputs per task."""
        decoded = self.norm_out(self.decoder(self.priors.expand(len(latents), -1, -1), latents)).float()
        values = (decoded * self.readout).sum(-1) + torch.einsum("bkd,kqd->bq", pooled, self.pooled_readout)
        outputs = {}
        for head, value in zip(self.heads, values.split(self.counts, 1), strict=True):
            bias = self.biases[head.name]
            if head.kind == "ordinal":
                bias = -torch.cat([bias[:1], F.softplus(bias[1:]) + 1e-3]).cumsum(0)
            outputs[head.name] = value + bias
        return outputs


def objective(tasks: Sequence, outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], share: float,
              delta: float) -> Tensor:  # fmt: skip
    """Sum over tasks of `objectives.multitask.Objective` with fixed weights and classes of weight one.

    Args:
      labels: scores [b] per label, NaN where missing.
      share: of 1 - CCC in the loss of scores.
      delta: points at which Huber turns linear.
    """
    total = 0.0
    for task in tasks:
        scores, output = labels[task.label], outputs[task.name].float()
        present = ~scores.isnan()
        scores = scores.nan_to_num()
        if task.kind == "regression":
            values = output[:, 0] * task.maximum
            each = F.huber_loss(values / delta, scores / delta, reduction="none")
        else:
            classes = torch.bucketize(scores, scores.new_tensor(task.cutoffs), right=True)
            each = F.cross_entropy(output, classes, reduction="none") if task.kind == "binary" else _ordinal(
                output, classes
            )  # fmt: skip
        loss = (each * present).sum() / present.sum().clamp(min=1)
        if task.kind == "regression":
            loss = (1 - share) * loss + share * (1 - _concordance(values, scores, present.float()))
        total = total + loss
    return total


def _ordinal(cumulative: Tensor, classes: Tensor) -> Tensor:
    edge = cumulative.new_full((len(cumulative), 1), FAR)
    logits = torch.cat([edge, cumulative.clamp(1e-3 - FAR, FAR - 1e-3), -edge], 1)
    above, below = logits[:, :-1], logits[:, 1:]
    log_p = F.logsigmoid(above) + F.logsigmoid(-below) + (-torch.expm1((below - above).clamp(max=-1e-6))).log()
    return -log_p.gather(1, classes[:, None])[:, 0]


def _concordance(values: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum().clamp(min=1e-9)
    mean = lambda x: (weights * x).sum() / total  # noqa: E731
    x, y = values - mean(values), targets - mean(targets)
    return 2 * mean(x * y) / (mean(x * x) + mean(y * y) + (mean(values) - mean(targets)) ** 2)


def _places(model: MentalPerceiver) -> dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """For each parameter here, the path of ours and how ours is turned into it."""
    turned = lambda x: x.reshape(model.priors.shape[1], -1).T  # noqa: E731  # kernels [in, out], heads apart or not
    joined = lambda x: x.reshape(-1, model.priors.shape[1]).T  # noqa: E731  # [heads, size, out]
    places: dict[str, tuple[str, Callable]] = {}
    for name in model.names:
        adapter = f"{name}_adapter"
        frames = isinstance(model.adapters[name], Frames)
        kernel, norm = f"adapters.{name}.projection", f"adapters.{name}.norm"
        places[f"{kernel}.weight"] = (f"{adapter}/kernel", np.transpose)
        if not frames:
            places[f"{kernel}.bias"] = (f"{adapter}/bias", np.asarray)
        for ours, theirs in (("scale", "weight"), ("bias", "bias")):
            places[f"{norm}.{theirs}"] = (f"{adapter}/norm{'/' if frames else '_'}{ours}", np.asarray)
        places[f"positions.{name}.weight"] = (f"{name}_position/projection/kernel", np.transpose)
        places[f"codes.{name}"] = (f"{name}_code", np.asarray)
    for name in ("priors", "readout", "pooled_readout"):
        places[name] = (name, np.asarray)
    for head in model.heads:
        places[f"biases.{head.name}"] = (f"{head.name}_{'cuts' if head.kind == 'ordinal' else 'bias'}", np.asarray)
    places["encoder.latents"] = ("encoder/latents", np.asarray)
    places["encoder.norm_input.weight"] = ("encoder/attention/norm_scale", np.asarray)
    places["encoder.norm_input.bias"] = ("encoder/attention/norm_bias", np.asarray)
    for name in ("key", "value", "out"):  # kept as matrices in `PackedAttention`
        places[f"encoder.attention.{name}.weight"] = (f"encoder/attention/{name}", np.transpose)
    places["encoder.attention.value.bias"] = ("encoder/attention/value_bias", np.ravel)
    layer = lambda i, turn: lambda x: turn(x[i])  # noqa: E731
    towers = [("encoder", "encoder", lambda turn: turn), ("decoder", "decoder", lambda turn: turn)]
    for i in range(len(model.blocks)):
        towers.append((f"blocks.{i}", "latent_stack/blocks", lambda turn, i=i: layer(i, turn)))
    for theirs, ours, of in towers:
        for name in ("query", "key", "value"):
            places.setdefault(f"{theirs}.attention.{name}.weight", (f"{ours}/attention/{name}/kernel", of(turned)))
            places.setdefault(f"{theirs}.attention.{name}.bias", (f"{ours}/attention/{name}/bias", of(np.ravel)))
        places.setdefault(f"{theirs}.attention.out.weight", (f"{ours}/attention/out/kernel", of(joined)))
        for name, number in (("up", 0), ("down", 2)):
            places[f"{theirs}.mlp.{number}.weight"] = (f"{ours}/mlp/{name}/kernel", of(np.transpose))
            places[f"{theirs}.mlp.{number}.bias"] = (f"{ours}/mlp/{name}/bias", of(np.asarray))
        for name in ("norm_query", "norm_input", "norm_mlp"):
            for mine, other in (("scale", "weight"), ("bias", "bias")):
                places.setdefault(f"{theirs}.{name}.{other}", (f"{ours}/{name}/{mine}", of(np.asarray)))
    for ours, theirs in (("scale", "weight"), ("bias", "bias")):
        places[f"norm_out.{theirs}"] = (f"norm_out/{ours}", np.asarray)
    return places


def copy_parameters(model: MentalPerceiver, network: Mapping[str, Any]) -> None:
    """Fills the module from our `state["params"]["network"]` (numpy or jax arrays, float32)."""
    flat: dict[str, np.ndarray] = {}

    def walk(tree: Any, path: str) -> None:
        if isinstance(tree, Mapping):
            for name, value in tree.items():
                walk(value, f"{path}/{name}" if path else name)
        else:
            flat[path] = np.asarray(tree)

    walk(network, "")
    places = _places(model)
    used = set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            path, turn = places[name]
            parameter.copy_(torch.tensor(np.ascontiguousarray(turn(flat[path]))))
            used.add(path)
    if used != flat.keys():
        raise ValueError(f"parameters that nobody took: {sorted(flat.keys() - used)}")


def initialise(model: MentalPerceiver) -> None:
    """Random values for the parameters that are not those of a PyTorch layer, which come initialised."""
    with torch.no_grad():
        for parameter in (model.encoder.latents, model.priors, model.readout, *model.codes.values()):
            parameter.normal_(0.0, 0.02)
        for parameter in (model.pooled_readout, *model.biases.values()):
            parameter.zero_()


class Trainer:
    """The usual training step: forward, backward, clip, AdamW, schedule."""

    def __init__(self, model: MentalPerceiver, tasks: Sequence, config: Any, total: int, warmup: int,
                 *, compiled: bool = False, dtype: str = "float32"):  # fmt: skip
        """`config` is ours (`objective`, `optimizer`); `total` and `warmup` are counted in steps."""
        self.model, self.clip = model, config.optimizer.clip
        device = next(model.parameters()).device
        excluded = re.compile(config.optimizer.decay_exclude)
        places, groups = _places(model), {True: [], False: []}
        for name, parameter in model.named_parameters():
            groups[not excluded.search(places[name][0])].append(parameter)
        decay = config.optimizer.weight_decay
        self.optimizer = torch.optim.AdamW(
            [{"params": groups[True], "weight_decay": decay}, {"params": groups[False], "weight_decay": 0.0}],
            lr=config.optimizer.learning_rate,
            betas=(config.optimizer.b1, config.optimizer.b2),
            eps=config.optimizer.eps,
            fused=True,
        )
        cosine = lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))  # noqa: E731
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: step / warmup if step < warmup else cosine(step)
        )

        def loss(batch: Mapping[str, Any]) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                outputs = model(batch)
            return objective(tasks, outputs, batch["labels"], config.objective.ccc, config.objective.delta)

        # One program per number of windows of the longest participant; there are few.
        self.loss = torch.compile(loss, dynamic=False) if compiled else loss

    def gradients(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Loss and global norm of the gradients (before clipping), which are then clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        return loss.detach(), nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def step(self, batch: Mapping[str, Any]) -> Tensor:
        """One update; returns the loss, still on the device."""
        loss, _ = self.gradients(batch)
        self.optimizer.step()
        self.schedule.step()
        return loss


def collate(participants: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The usual padded batch, [b, w, ...] per entry, with w the windows of the longest participant of it.

    Args:
      participants: of `<modality>` [windows, t, f], `<modality>_length` [windows], `window_start_s` [windows] (numpy
        arrays) and `labels` {name: number}.
      names: of the modalities.
    """
    batch: dict[str, Any] = {}
    for name in (*names, *(f"{name}_length" for name in names), "window_start_s"):
        parts = [torch.as_tensor(one[name]) for one in participants]
        batch[name] = nn.utils.rnn.pad_sequence(parts, batch_first=True)
    labels = {name: [one["labels"][name] for one in participants] for name in participants[0]["labels"]}
    batch["labels"] = {name: torch.tensor(scores, dtype=torch.float32) for name, scores in labels.items()}
    return batch


def write_windows(folder: Path, i: int, record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Writes the windows of a participant, one .npy file each; what else `NpyParticipants` needs, as plain lists."""
    for name in names:
        for w, window in enumerate(record[name]):
            np.save(folder / f"{name}_{i}_{w}.npy", np.ascontiguousarray(window))
    return {key: record[key].tolist() for key in ("window_start_s", *(f"{name}_length" for name in names))}


class NpyParticipants(torch.utils.data.Dataset):
    """A map-style dataset: the windows of one participant at a time, from the files of `write_windows`."""

    def __init__(self, folder: Path, names: Sequence[str], people: Sequence[Mapping[str, Any]], members: Any = None):
        """`people` are from `write_windows`, with `labels` where there are any; `members` are all by default."""
        self.folder, self.names, self.people = folder, names, people
        self.members = range(len(people)) if members is None else members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, at: int) -> dict[str, Any]:
        i = self.members[at]
        one = self.people[i]
        files = {
            name: [self.folder / f"{name}_{i}_{w}.npy" for w in range(len(one["window_start_s"]))]
            for name in self.names
        }
        windows = {name: np.stack([np.load(path) for path in paths]) for name, paths in files.items()}
        lengths = {f"{name}_length": np.asarray(one[f"{name}_length"]) for name in self.names}
        start = np.asarray(one["window_start_s"], np.float32)
        return {**windows, **lengths, "window_start_s": start, "labels": one.get("labels", {})}
