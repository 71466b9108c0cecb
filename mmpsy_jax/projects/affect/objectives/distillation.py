"""What a student learns from a teacher in addition to labels.

Of the clips that have both, with z the logits, y' the scores and e the embeddings of teacher (T) and student (S):

| name | loss |
|---|---|
| `soft_targets` | t^2 KL(softmax(z_T / t), softmax(z_S / t)), the sum over tasks of classes |
| `concordance` | 1 - CCC(y'_T, y'_S), the mean over tasks of scores (Lin 1989) |
| `alignment` | 1 - cos(e_T, e_S) |

The first is that of Hinton, Vinyals and Dean 2015 (arXiv 1503.02531). No gradient of these reaches the teacher, so that
it is never moved towards the student: the gap between them is what is measured later.

Departures from the paper: it asks for a loss that aligns the two without naming one; the others were chosen here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mmpsy_jax.io import InputError
from mmpsy_jax.objectives import multitask
from mmpsy_jax.objectives.base import Sums
from mmpsy_jax.rules import number
from mmpsy_jax.tasks import Task

TEACHER = "teacher_"
SOFT_TARGETS, CONCORDANCE, ALIGNMENT = "soft_targets", "concordance", "alignment"


@dataclasses.dataclass(frozen=True)
class Objective:
    """Losses of the student's labels, of the teacher's where it is trained along, and those above.

    Attributes:
      supervised: losses of labels.
      joint: the teacher learns from the labels, too; its losses are called `teacher_<task>`.
      temperature: t.
      learns_unlabelled: a teacher says something of clips without labels, too.
    """

    learns_unlabelled: ClassVar[bool] = True

    supervised: multitask.Objective
    joint: bool
    temperature: float | Float[Array, ""] = 2.0

    @property
    def names(self) -> tuple[str, ...]:
        """What the losses are called, in their order: the tasks first."""
        tasks = self.supervised.names
        soft = (SOFT_TARGETS,) if self._of_classes else ()
        scores = (CONCORDANCE,) if self._of_scores else ()
        return (*tasks, *soft, *scores, ALIGNMENT, *(f"{TEACHER}{name}" for name in tasks if self.joint))

    @property
    def _of_classes(self) -> list[str]:
        return [task.name for task in self.supervised.tasks if task.logits]

    @property
    def _of_scores(self) -> list[str]:
        return [task.name for task in self.supervised.tasks if task.scaled]

    def __call__(
        self,
        outputs: Mapping[str, Float[Array, "b _"]],
        labels: Mapping[str, Float[Array, " b"]],
        valid: Bool[Array, " b"],
        class_weights: Mapping[str, Float[Array, " _"]],
    ) -> tuple[Float[Array, " n"], tuple[Bool[Array, " n"], Sums]]:
        """Losses of a batch, which of them there is anything for, and what is merged over batches.

        Args: as `multitask.Objective`; outputs hold those of the teacher, too (`models/audio_visual.py`).

        Raises:
          InputError: there is no teacher.
        """
        if f"{TEACHER}embedding" not in outputs:
            raise InputError(
                "config.objective.name = 'distillation' needs a teacher: give config.model.teacher, the "
                "workdir of a run of one, or set config.model.part = 'joint'"
            )
        each, (present, sums) = self.supervised(outputs, labels, valid, class_weights)
        both = valid & (outputs["face_present"][:, 0] > 0) & (outputs["speech_present"][:, 0] > 0)
        terms = self.agreement(outputs, both.astype(jnp.float32))
        count = both.sum().astype(jnp.float32)
        every, there = [each, jnp.stack(list(terms.values()))], [present, jnp.full(len(terms), count > 0)]
        sums = {**sums, **{name: (loss * count, count) for name, loss in terms.items()}}
        if self.joint:
            theirs = {task.name: outputs[f"{TEACHER}{task.name}"] for task in self.supervised.tasks}
            seen = valid & (outputs["face_present"][:, 0] > 0)
            of_teacher, (labelled, merged) = self.supervised(theirs, labels, seen, class_weights)
            every, there = [*every, of_teacher], [*there, labelled]
            sums |= {f"{TEACHER}{name}": pair for name, pair in merged.items()}
        return jnp.concatenate(every), (jnp.concatenate(there), sums)

    def agreement(
        self, outputs: Mapping[str, Float[Array, "b _"]], weights: Float[Array, " b"]
    ) -> dict[str, Float[Array, ""]]:
        """The losses between teacher and student by name, 0 where no clip counts.

        Args:
          weights: 1 for clips that have both, else 0.
        """
        teacher = lambda name: jax.lax.stop_gradient(outputs[f"{TEACHER}{name}"])  # noqa: E731
        mean = lambda x: (x * weights).sum() / jnp.maximum(weights.sum(), 1.0)  # noqa: E731
        by_name = {}
        if self._of_classes:
            log_p = lambda logits: jax.nn.log_softmax(logits / self.temperature, axis=-1)  # noqa: E731
            each = [
                optax.losses.kl_divergence_with_log_targets(log_p(outputs[name]), log_p(teacher(name)))
                for name in self._of_classes
            ]
            by_name[SOFT_TARGETS] = self.temperature**2 * mean(sum(each))
        if self._of_scores:
            each = [multitask.concordance(outputs[k][:, 0], teacher(k)[:, 0], weights) for k in self._of_scores]
            by_name[CONCORDANCE] = jnp.where(weights.sum() > 0, 1 - sum(each) / len(each), 0.0)
        by_name[ALIGNMENT] = mean(
            optax.losses.cosine_distance(outputs["embedding"], teacher("embedding"), epsilon=1e-6)
        )
        return by_name


def build(
    tasks: Sequence[Task],
    modalities: Sequence[str],
    model: Mapping[str, Any],
    *,
    ccc: Annotated[float | Float[Array, ""], number(0, 1)] = 0.5,
    delta: Annotated[float | Float[Array, ""], number(0, above=True)] = 4.0,
    temperature: Annotated[float | Float[Array, ""], number(0, above=True)] = 2.0,
) -> Objective:
    """The objective of a run; arguments as of `multitask.build` and `Objective`. `model["part"]` says what is trained.

    Raises:
      InputError: a task with the name of a loss.
    """
    del modalities
    objective = Objective(multitask.build(tasks, ccc=ccc, delta=delta), model.get("part") == "joint", temperature)
    if len(set(objective.names)) < len(objective.names):
        raise InputError(
            f"config.tasks: the names {SOFT_TARGETS}, {CONCORDANCE}, {ALIGNMENT} and {TEACHER}... are taken by losses "
            "of the objective: choose others"
        )
    return objective
