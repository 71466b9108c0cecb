"""Subgroups and ablations as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmpsy_jax.evaluation.metrics import NAMES
from mmpsy_jax.evaluation.wording import estimate


def subgroups(found: Mapping[str, Any]) -> str:
    """What `subgroups.evaluate` found, a line per subgroup."""
    return found["reason"] if "reason" in found else "\n".join(_groups(found))


def _groups(found: Mapping[str, Any]) -> Iterator[str]:
    for column, tasks in found["columns"].items():
        for task, splits in tasks.items():
            for split, entries in splits.items():
                yield f"{column}, {task}, {split}:"
                for entry in entries:
                    yield f"  {entry['subgroup']}: {'suppressed' if 'suppressed' in entry else _group(entry)}"
    yield f"{found['n_unknown']} participants of the subgroups file have no prediction"


def _group(entry: Mapping[str, Any]) -> str:
    events = f", {entry['n_events']} events" if "n_events" in entry else ""
    cells = [f"{metric} {estimate(metric, cell)}" for metric, cell in entry["metrics"].items()]
    return f"{entry['n']} participants{events}   " + "   ".join(cells)


def ablations(made: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> str:
    """The first metric of each task in every run.

    Args:
      made: content of `ablations.json`.
      kinds: kind of each task by name.
    """
    width = max(len(entry["name"]) for entry in made)
    lines = [f"test split, 95% intervals in brackets, then the paired difference to {made[0]['name']}:"]
    for task, kind in kinds.items():
        metric = next(iter(NAMES[kind]))
        lines.append(f"{task}: {metric}")
        for entry in made:
            cells = [entry[key][task][metric] for key in ("tasks", "differences") if key in entry]
            lines.append(f"  {entry['name']:<{width}}  " + "   ".join(estimate(metric, cell) for cell in cells))
    return "\n".join(lines)
