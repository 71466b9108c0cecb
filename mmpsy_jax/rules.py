"""What the value of a config field may be: a test, and the same in words; and what categories of people may be.

A field of a model or of an objective has its rule in its annotation (`width: Count = 64`); plain types have one too.
`training/fields.py` has those of all other fields.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from mmpsy_jax.io import InputError

_INFINITY = float("inf")
# Of subgroups: more are no categories, and a longer name may be an answer: a report shows neither.
MOST_SUBGROUPS = 20
LONGEST_NAME = 40


class Rule(NamedTuple):
    """What a value must be: a test, the same in words that follow "must be", and the choices where there are few."""

    test: Callable[[Any], bool]
    text: str
    choices: tuple[Any, ...] = ()


class Divides(NamedTuple):
    """The value must divide that of another field of the same model or objective."""

    field: str


def number(low: float = -_INFINITY, high: float = _INFINITY, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number from `low` to `high`; `above` and `below` exclude the ends."""
    sides = [(f"above {low:g}" if above else f"at least {low:g}") if low > -_INFINITY else ""]
    sides += [(f"below {high:g}" if below else f"at most {high:g}") if high < _INFINITY else ""]

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (value > low if above else value >= low) and (value < high if below else value <= high)

    ends = " and ".join(filter(None, sides))
    return Rule(test, f"a finite number{', ' if ends else ''}{ends}")


def whole(low: int, high: int | None = None, *, or_zero: bool = False, multiple_of: int = 1) -> Rule:
    """A whole number from `low` to `high`, or 0."""

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int) or value % multiple_of:
            return False
        return (or_zero and value == 0) or (value >= low and (high is None or value <= high))

    kind = "whole number" if multiple_of == 1 else f"multiple of {multiple_of}"
    ends = f"at least {low}" if high is None else f"from {low} to {high}"
    return Rule(test, f"a {kind}, {'0 or ' if or_zero else ''}{ends}")


def among(options: Collection[Any]) -> Rule:
    """One of a few values."""
    return Rule(lambda value: value in options, f"one of: {', '.join(map(str, options))}", tuple(options))


def each(rule: Rule, text: str) -> Rule:
    """A sequence of values that all keep a rule."""
    return Rule(lambda value: isinstance(value, list | tuple) and all(map(rule.test, value)), text)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return True


FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and "\0" not in value, "a text")
NAME = Rule(lambda value: TEXT.test(value) and value.strip() != "", "a name")
PATTERN = Rule(_is_pattern, "a regular expression")
SHARE = number(0, 1, below=True)
NAMES = Rule(lambda value: each(NAME, "").test(value) and len(set(value)) == len(value), "different names")
WIDTHS = Rule(lambda value: each(whole(1), "").test(value) and len(value) > 0, "whole numbers of at least 1")

# Annotations of fields.
Count = Annotated[int, whole(1)]
Heads = Annotated[int, whole(1), Divides("width")]
Share = Annotated[float, SHARE]
Pattern = Annotated[str, PATTERN]
Precision = Literal["float32", "bfloat16", "float16"]
_OF_TYPES = {
    bool: FLAG,
    str: TEXT,
    int: whole(0),
    float: number(),
    bool | None: among((True, False, None)),
    tuple[int, ...]: WIDTHS,
}


def rule_of(annotation: Any) -> Rule:
    """The rule of a field with this annotation.

    Raises:
      KeyError: it has none.
    """
    rules = [part for part in getattr(annotation, "__metadata__", ()) if isinstance(part, Rule)]
    if rules:
        return rules[0]
    return among(get_args(annotation)) if get_origin(annotation) is Literal else _OF_TYPES[annotation]


def check_fields(values: Mapping[str, Any], annotations: Mapping[str, Any], where: str) -> None:
    """Holds values against the annotations of their fields.

    Args:
      values: by field; those without an annotation are passed over.
      annotations: by field.
      where: what messages have before a field, such as "config.model".

    Raises:
      InputError: a value that its field cannot have.
    """
    for field, annotation in annotations.items():
        if field not in values:
            continue
        value, rule = values[field], rule_of(annotation)
        if not rule.test(value):
            raise InputError(f"{where}.{field} = {value!r:.80}: must be {rule.text}")
        for part in getattr(annotation, "__metadata__", ()):
            if isinstance(part, Divides) and part.field in values and values[part.field] % value:
                other = f"{where}.{part.field} = {values[part.field]}"
                raise InputError(f"{where}.{field} = {value}: must divide {other}")


def unfit_categories(values: Iterable[str]) -> str:
    """Why values are no categories of a report, and the remedy, to follow a column's name; empty where they are."""
    different = set(values)
    if len(different) > MOST_SUBGROUPS:
        return (
            f"has {len(different)} different values: group them into at most {MOST_SUBGROUPS}, or, where they are "
            "persons or families, leave it out and call it cluster when building"
        )
    if (longest := max(map(len, different))) > LONGEST_NAME:
        return f"has a value of {longest} characters: give categories of at most {LONGEST_NAME}, no texts"
    return ""
