"""The contract of an objective: losses of a batch by name.

An objective that keeps something of earlier steps without training it also has `memory(scores, outputs)`, what it
begins with; `recall(memory, index)`, labels of a batch from it; `remember(memory, outputs, labels, index)`, the memory
after a step; and `histograms(memory)`, counts by name for pictures (`projects/msa/objectives/ulgm.py`).
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

Sums = dict[str, tuple[Float[Array, ""], Float[Array, ""]]]
# Of a batch: what the network returns by name, scores by label, which rows are no padding, weights of classes by task.
Outputs = Mapping[str, Float[Array, "b _"]]
Labels = Mapping[str, Float[Array, " b"]]
Rows = Bool[Array, " b"]
ClassWeights = Mapping[str, Float[Array, " _"]]
Losses = tuple[Float[Array, " n"], tuple[Bool[Array, " n"], Sums]]


@runtime_checkable
class Objective(Protocol):
    """What a training minimises; the losses of the tasks come first."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the losses are called, in their order."""

    def __call__(self, outputs: Outputs, labels: Labels, valid: Rows, class_weights: ClassWeights) -> Losses:
        """Losses of a batch.

        Args:
          outputs: of the network by task, and what else it returns.
          labels: scores by label, NaN where missing.
          valid: False for padding rows.
          class_weights: one weight per class, by task with classes.

        Returns:
          the losses, 0 where there is nothing to learn from; where there is something; by name (weighted sum, weight).
        """
