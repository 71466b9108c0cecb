"""Which days train: by time within every person, or by person. A report must say which, since the questions differ.

`by_time` asks how well the coming days of people are estimated whose earlier days are known; `by_person` how well the
days of people are estimated of whom nothing is known.
"""

from collections.abc import Sequence

from data_builders.common import splits
from data_builders.daily_mood.source import Day
from mmpsy_jax.io import InputError

RULES = {
    "by_time": "by time within each person: the first days train, the last ones test; every person is in every split",
    "by_person": "by person: all days of a person are in one split",
}


def assign(days: Sequence[Day], rule: str, fractions: Sequence[float], split_file: str | None) -> dict[str, str]:
    """Split of every day by its name.

    Args:
      days: in the order of time within a person.
      rule: one of `RULES`.
      fractions: shares of train, validation and test.
      split_file: of `by_person`: CSV `participant,split` whose participants are persons.

    Raises:
      InputError: a person with fewer than three days (`by_time`), a split without persons (`by_person`).
    """
    people: dict[str, list[Day]] = {}
    for day in days:
        people.setdefault(day.person, []).append(day)
    if rule == "by_person":
        of_person = splits.assign(people, fractions, split_file=split_file, may_rank=True)
        return {day.name: of_person[day.person] for day in days}
    made = {}
    for own in people.values():
        if len(own) < len(splits.SPLITS):
            raise InputError(
                f"a person has {len(own)} days: division by time needs at least {len(splits.SPLITS)} of each: leave "
                "such persons out, or divide by person"
            )
        held = [max(1, round(share * len(own))) for share in fractions[1:]]
        sizes = [len(own) - sum(held), *held]
        names = [split for split, size in zip(splits.SPLITS, sizes, strict=True) for _ in range(size)]
        made |= {day.name: split for day, split in zip(own, names, strict=True)}
    return made
