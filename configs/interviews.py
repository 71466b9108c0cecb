"""Anybody's interviews, built from a manifest (docs/data.md): tasks by argument, 5 folds.

python launch.py --config='configs/interviews.py:phq9>=10' --config.data.folder=data/interviews/NAME/1.0.0

The argument lists tasks, with commas between them; quote it, since `>` means something to a shell:
  phq9>=10             whether the score reaches a cut-off
  phq9>=5/10/15/20     the band between ascending cut-offs
  phq9<=27             the score itself, of which 27 is the highest possible
  stress               the score itself, on the scale that the corpus has (build --ranges=stress:0:3)
  emotion=*            which class, of all that occur in the corpus
  emotion=anger/fear   which of some classes; participants of another class have no label then
"""

import re

from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import presets

_NUMBER = r"-?\d+(?:\.\d+)?"
_TASK = re.compile(rf"([a-z][a-z0-9_]*)(?:(>=|<=)({_NUMBER}(?:/{_NUMBER})*)|(=)(\*|[^/]+(?:/[^/]+)+))?")


def get_config(argument: str = "phq9>=10,phq9<=27"):
    """`argument` lists tasks, with commas: phq9>=10, phq9>=5/10/15/20, phq9<=27, or a label alone (its score)."""
    config = presets.experiment("interviews", "demo", [task_of(part) for part in argument.split(",")])
    with config.unlocked():
        config.name = "interviews"
        config.data.dataset = "interviews/lab"
        config.total = "30 epochs"
        config.data.batch_size = 16
        config.cv.folds = 5
        config.cv.validation_fraction = 0.2
    return config


def task_of(text: str) -> Task:
    """The task that a part of the argument stands for; named `<label>_screen`, `_bands`, `_score` or `_class`.

    Raises:
      InputError: it stands for none.
    """
    match = _TASK.fullmatch(text.strip())
    if not match or (match[2] == "<=" and "/" in match[3]):
        raise InputError(
            f"task {text!r}: write LABEL, LABEL>=CUTOFF, LABEL>=CUTOFF/CUTOFF/..., LABEL<=HIGHEST_SCORE, LABEL=* or "
            "LABEL=CLASS/CLASS/..."
        )
    if match[4]:
        classes = tuple(name.strip() for name in match[5].split("/"))
        return Task(f"{match[1]}_class", match[1], "nominal", classes=classes)
    if not match[2]:
        return Task(f"{match[1]}_score", match[1], "regression")
    label, numbers = match[1], tuple(float(number) for number in match[3].split("/"))
    if match[2] == "<=":
        return Task(f"{label}_score", label, "regression", maximum=numbers[0])
    if len(numbers) == 1:
        return Task(f"{label}_screen", label, "binary", numbers)
    return Task(f"{label}_bands", label, "ordinal", numbers)
