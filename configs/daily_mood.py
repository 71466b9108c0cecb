"""Mood ratings of a day from a wristband and speech: macro-micro personalisation with DRUW (JMIR e59512).

python launch.py --config=configs/daily_mood.py             the built-in demo (SYNTHETIC): coming days of known people
python launch.py --config=configs/daily_mood.py:by_person   days of unknown people
python launch.py --config=configs/daily_mood.py:by_time --config.data.dataset=daily_mood/table_by_time
  --config.data.source=TABLE.csv                            the published nine moods
python launch.py --config=configs/daily_mood.py:by_time,stress,energy --config.data.source=TABLE.csv
                                                            your own ratings, by the names of their columns

--config.model.fusion=none|concat|max|attention|gated|self|cross; --config.model.micro=False: one layer for all;
--config.model.linear=False --config.total="40 epochs": layers of people by steps instead of in closed form;
--config.data.train_on_validation=True --config.selection.metric=step: the validation days train, too;
--config.objective.weighting=druw|dwa|restrained|... (mmpsy_jax/objectives/weighting.py). Best published mean CCC: 0.503
(private data). Departures from the paper: docs/daily_mood.md.
"""

from data_builders.daily_mood.columns import LABELS, MOODS, RULES
from mmpsy_jax.io import one_of
from mmpsy_jax.tasks import Task, to_config
from mmpsy_jax.training.config import choose_model, default


def get_config(argument: str = "by_time"):
    """`argument` is "by_time" or "by_person", then names of your own ratings, with commas."""
    rule, *columns = (part.strip() for part in argument.split(","))
    if rule not in RULES:
        raise one_of("argument of the config", rule, RULES)
    config = default()
    config.name = f"daily_mood_{rule}"
    named = zip(columns, columns, strict=True) if columns else zip(MOODS, LABELS, strict=True)
    config.tasks = to_config(Task(name, label, "regression") for name, label in named)
    config.data.dataset = f"daily_mood/{'table' if columns else 'demo'}_{rule}"
    config.data.parts = 1  # a day is one step
    choose_model(config, "macro_micro", standardize=True, linear=True)
    config.objective.update({"weighting": "druw", "ccc": 1.0})
    config.optimizer.update({"learning_rate": 3e-3, "weight_decay": 0.3})
    config.total = "4 epochs"  # what slopes and intercepts leave is little
    config.evaluation.near_duplicates = False  # there are neither transcripts nor recordings
    return config.lock()
