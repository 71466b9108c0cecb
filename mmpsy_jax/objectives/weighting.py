"""From the losses of N tasks to one update: how much each task counts.

With L_k the loss of task k, w_k its fixed weight (`config.objective.weights`), and s_k = sigma_k learned:

| name | what is minimised |
|---|---|
| `fixed` | sum_k w_k L_k |
| `uncertainty` | sum_k w_k (exp(-z_k) L_k + z_k) / 2 with z_k = ln s_k^2 |
| `revised` | sum_k w_k (L_k / (2 s_k^2) + ln(1 + s_k^2)) |
| `restrained` | sum_k w_k (L_k / (N s_k^2) + ln(1 + s_k^2)) + abs(1 - sum_k abs(s_k)) |
| `dwa` | sum_k w_k l_k L_k with l_k = N softmax_k(L_k(t - 1) / L_k(t - 2) / T), one until two losses are known |
| `druw` | sum_k w_k ((l_k + 1 / (N s_k^2)) L_k + ln(1 + s_k^2)) + abs(1 - sum_k abs(s_k)) |
| `gradnorm` | sum_k w_k v_k L_k with v = N softmax(u); u is trained so that the tasks' gradients have like sizes |
| `pcgrad` | as `fixed`, but where the gradients of two tasks point against each other, those parts are taken out |

Kendall, Gal and Cipolla 2018 (arXiv 1705.07115); Liebel and Koerner 2018 (arXiv 1805.06334); restrained and DRUW: Song
et al. 2022 (arXiv 2206.11049); dynamic weight average: Liu, Johns and Davison 2019 (arXiv 1803.10704); GradNorm: Chen
et al. 2018 (arXiv 1711.02257); PCGrad: Yu et al. 2020 (arXiv 2001.06782). Liu et al. take means of epochs and T = 2,
Song et al. losses of batches and T = 10, as here. Their script neither trains sigma nor has the regularisers in its
loss; here both is done, as the paper says. All sigma start at 1/N.

Departures from the papers: a task without a label in a batch takes no part in it; abs(s_k) counts as at least
`SMALLEST`; GradNorm's v is a softmax, which keeps it positive with sum N, its L_k(0) is the first loss of a batch, and
`layer` may name all of the network.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmpsy_jax.io import InputError, one_of

WEIGHTINGS = ("fixed", "uncertainty", "revised", "restrained", "dwa", "druw", "gradnorm", "pcgrad")
# Which of them have a sigma per task, look back at losses, restrain the sum of sigma, need the gradient of each task.
SIGMA, LOOKS_BACK = ("revised", "restrained", "druw"), ("dwa", "druw")
RESTRAINED, PER_TASK = ("restrained", "druw"), ("gradnorm", "pcgrad")
SMALLEST = 1e-3
# Keeps ratios of losses finite.
EPSILON = 1e-8

Losses = Float[Array, " n"]
Present = Bool[Array, " n"]
Trained = Mapping[str, Losses]
Memory = Mapping[str, Float[Array, "..."]]
# Parameters of the network -> losses [n]; which tasks have a label in the batch [n], and anything else.
TaskLosses = Callable[[PyTree], tuple[Losses, tuple[Present, Any]]]
# The number that is minimised, gradients like the parameters, the memory after the batch, what else the losses gave.
Update = tuple[Float[Array, ""], dict[str, PyTree], Memory, Any]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """One of `WEIGHTINGS`, for N tasks.

    Attributes:
      name: which one.
      weights: w_k, N of them.
      temperature: T of `dwa` and `druw`.
      alpha: of `gradnorm`, how strongly tasks that lag behind are pushed; 0 makes all gradients alike in size.
      layer: regular expression for the paths of the parameters whose gradients `gradnorm` measures; the paper takes the
        last layer that the tasks share. "" measures all of the network.
    """

    name: str
    weights: tuple[float | Float[Array, ""], ...]
    temperature: float = 10.0
    alpha: float = 1.5
    layer: str = ""

    @property
    def fixed(self) -> Losses:
        """w_k."""
        return jnp.stack([jnp.asarray(weight, jnp.float32) for weight in self.weights])

    def init(self) -> dict[str, Losses]:
        """The trained state: `log_variance`, `sigma`, `loss_scale`, or nothing."""
        n = len(self.weights)
        if self.name == "uncertainty":
            return {"log_variance": jnp.zeros(n)}
        if self.name in SIGMA:
            return {"sigma": jnp.full(n, 1 / n)}
        return {"loss_scale": jnp.zeros(n)} if self.name == "gradnorm" else {}

    def memory(self) -> Memory:
        """What is remembered but not trained: `previous` losses [2 n], the last first; `first` losses [n]; 0: none."""
        n = len(self.weights)
        if self.name in LOOKS_BACK:
            return {"previous": jnp.zeros((2, n))}
        return {"first": jnp.zeros(n)} if self.name == "gradnorm" else {}

    def remember(self, memory: Memory, losses: Losses, present: Present) -> Memory:
        """The memory after a batch; tasks without a label keep theirs."""
        seen = present & (losses > 0)
        if "previous" in memory:
            return {"previous": jnp.where(seen, jnp.stack([losses, memory["previous"][0]]), memory["previous"])}
        if "first" in memory:
            return {"first": jnp.where(seen & (memory["first"] == 0), losses, memory["first"])}
        return {}

    def factors(self, trained: Trained, memory: Memory) -> Losses:
        """What each loss is multiplied by, beside w_k."""
        n = len(self.weights)
        if self.name == "uncertainty":
            return 0.5 * jnp.exp(-trained["log_variance"])
        if self.name == "gradnorm":
            return n * jax.nn.softmax(trained["loss_scale"])
        terms = []
        if self.name in SIGMA:
            count = 2 if self.name == "revised" else n
            terms.append(1 / (count * jnp.square(away_from_zero(trained["sigma"]))))
        if self.name in LOOKS_BACK:
            terms.append(dynamic_average(memory["previous"], self.temperature))
        return sum(terms) if terms else jnp.ones(n)

    def total(self, trained: Trained, memory: Memory, losses: Losses, present: Present) -> Float[Array, ""]:
        """The number that is minimised.

        Args:
          trained: the trained state.
          memory: of the batches before this one.
          losses: of this batch.
          present: tasks that have a label in it.
        """
        each = self.factors(trained, memory) * losses
        if self.name == "uncertainty":
            each = each + 0.5 * trained["log_variance"]
        if self.name in SIGMA:
            each = each + jnp.log1p(jnp.square(trained["sigma"]))
        total = jnp.where(present, self.fixed * each, 0.0).sum()
        return total + jnp.abs(1 - jnp.abs(trained["sigma"]).sum()) if self.name in RESTRAINED else total

    def gradients(
        self, task_losses: TaskLosses, params: Mapping[str, PyTree], memory: Memory, key: jax.Array
    ) -> Update:
        """Gradients of one batch.

        Args:
          task_losses: see `TaskLosses`.
          params: `network`, and the trained state as `objective`.
          memory: of the batches before this one.
          key: for the order in which `pcgrad` projects.
        """
        if self.name in PER_TASK:
            return self._per_task(task_losses, params, memory, key)

        def minimised(params: Mapping[str, PyTree]) -> tuple[Float[Array, ""], Any]:
            losses, (present, rest) = task_losses(params["network"])
            return self.total(params["objective"], memory, losses, present), (losses, present, rest)

        (total, (losses, present, rest)), gradients = jax.value_and_grad(minimised, has_aux=True)(params)
        return total, gradients, self.remember(memory, losses, present), rest

    def _per_task(
        self, task_losses: TaskLosses, params: Mapping[str, PyTree], memory: Memory, key: jax.Array
    ) -> Update:
        """As `gradients`, from the gradient of each task: N times the memory of one."""
        trained, n = params["objective"], len(self.weights)
        losses, pull, (present, rest) = jax.vjp(task_losses, params["network"], has_aux=True)
        each = jax.vmap(lambda one: pull(one)[0])(jnp.diag(self.fixed))
        memory = self.remember(memory, losses, present)
        if self.name == "gradnorm":
            factors = self.factors(trained, memory)
            of_trained = jax.grad(self._imbalance)(trained, memory, losses, present, self._sizes(each))
        else:
            flat = [leaf.reshape(n, -1) for leaf in jax.tree.leaves(each)]
            factors, of_trained = surgery(sum(leaf @ leaf.T for leaf in flat), key), {}
        network = jax.tree.map(lambda leaf: jnp.tensordot(factors, leaf, axes=1), each)
        return self.total(trained, memory, losses, present), {"network": network, "objective": of_trained}, memory, rest

    def _sizes(self, each: PyTree) -> Losses:
        """Norm of each task's gradient of the parameters that `layer` names."""
        named = [
            (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(each)
        ]
        chosen = [leaf for name, leaf in named if re.search(self.layer, name)]
        if not chosen:
            raise InputError(
                f"config.objective.gradnorm_layer = {self.layer!r} matches no parameter of the network, for example "
                f"{named[0][0]!r}: give a regular expression that does, or '' for all of them"
            )
        return jnp.sqrt(sum(jnp.square(leaf).reshape(len(leaf), -1).sum(axis=1) for leaf in chosen))

    def _imbalance(
        self, trained: Trained, memory: Memory, losses: Losses, present: Present, sizes: Losses
    ) -> Float[Array, ""]:
        """L_grad of GradNorm: sum_k abs(G_k - mean(G) r_k^alpha) with G_k = v_k `sizes`_k; the target is constant.

        r_k is the loss over its first value, divided by the mean of these over the tasks that are present.
        """
        mean = lambda x: jnp.where(present, x, 0.0).sum() / jnp.maximum(present.sum(), 1)  # noqa: E731
        weighted = self.factors(trained, memory) * sizes
        left = losses / (memory["first"] + EPSILON)
        target = mean(weighted) * (left / (mean(left) + EPSILON)) ** self.alpha
        return jnp.where(present, jnp.abs(weighted - jax.lax.stop_gradient(target)), 0.0).sum()


def away_from_zero(sigma: Losses) -> Losses:
    """`sigma` with a size of at least `SMALLEST`, whose gradient passes so that it can leave the edge again."""
    edge = jnp.where(sigma < 0, -SMALLEST, SMALLEST)
    return sigma + jax.lax.stop_gradient(jnp.where(jnp.abs(sigma) < SMALLEST, edge, sigma) - sigma)


def dynamic_average(previous: Float[Array, "2 n"], temperature: float) -> Losses:
    """l_k of DWA from the last two losses, the last first; one while any of them is 0, that is not known."""
    last, before = previous
    average = len(last) * jax.nn.softmax((last + EPSILON) / (before + EPSILON) / temperature)
    return jnp.where((previous > 0).all(), average, 1.0)


def surgery(products: Float[Array, "n n"], key: jax.Array) -> Losses:
    """PCGrad as factors of the gradients whose sum is the update, from their products.

    Each gradient g_i, going through the others in random order, loses its part along g_j where it points against it:
    g_i - (g_i g_j / g_j g_j) g_j with the g_j as they were. All of them stay sums of the g_j, so that their factors
    and the products of the g_j tell everything.
    """
    n = len(products)

    def project(i: Array, key: jax.Array) -> Losses:
        def along(factors: Losses, j: Array) -> tuple[Losses, None]:
            product = factors @ products[j]
            against = (j != i) & (product < 0)
            size = jnp.where(against, products[j, j], 1.0)
            return factors.at[j].add(jnp.where(against, -product / size, 0.0)), None

        return jax.lax.scan(along, jax.nn.one_hot(i, n), jax.random.permutation(key, n))[0]

    return jax.vmap(project)(jnp.arange(n), jax.random.split(key, n)).sum(axis=0)


def build(
    name: str, tasks: Sequence[str], *, weights: Mapping[str, float | Float[Array, ""]], **fields: Any
) -> Weighting:
    """The weighting of a run; other arguments as of `Weighting`, weights by task name and one where none is named.

    Raises:
      InputError: a weight for a task that is not trained.
    """
    unknown = sorted(set(weights) - set(tasks))
    if unknown:
        raise one_of("task in config.objective.weights", unknown[0], tasks)
    return Weighting(name, tuple(weights.get(task, 1.0) for task in tasks), **fields)
