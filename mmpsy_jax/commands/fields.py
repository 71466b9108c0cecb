"""`launch.py fields`: the fields of a config, from the places where they are declared."""

import argparse
import textwrap
from collections.abc import Iterator

import mmpsy_jax
from mmpsy_jax import registry
from mmpsy_jax.io import InputError, nearest
from mmpsy_jax.training.fields import CHOICES, FIELDS, WEIGHING


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} fields",
        description="Print the fields of a config: name, default, what a value must be, and meaning.",
    )
    parser.add_argument("pattern", nargs="?", default="", help="part of a name, such as seed, optimizer or lf_dnn")
    pattern = parser.parse_args(arguments).pattern.strip("*")
    fields = list(list_fields())
    chosen = [field for field in fields if pattern.casefold() in " ".join(field[:1] + field[4:]).casefold()]
    if not chosen:
        known = [field[0] for field in fields]
        close = nearest(pattern, [*known, *(name.rpartition(".")[2] for name in known)])
        raise InputError(f"no field has {pattern!r} in its name{close}: leave the pattern out to see all of them")
    for name, default, rule, meaning, owner in chosen:
        print(f"--config.{name}={default}" + (f"   ({owner})" if owner else ""))
        print(textwrap.indent(textwrap.fill(". ".join(filter(None, (meaning, rule))), 92), "      "))
    return 0


def list_fields() -> Iterator[tuple[str, str, str, str, str]]:
    """Name, default, rule and meaning of every field, and whose it is: "" where every config has it."""
    for name, field in FIELDS.items():
        yield name, _text(field.default), f"must be {field.rule.text}", field.meaning, ""
    for name, field in WEIGHING.items():
        yield f"objective.{name}", _text(field.default), f"must be {field.rule.text}", field.meaning, ""
    for room, part, chosen in (("models", "model", "mental_perceiver"), ("objectives", "objective", "multitask")):
        yield f"{part}.name", chosen, f"must be {CHOICES[f'{part}.name'].text}", f"which {part}", ""
        for owner in registry.names(room):
            for name, default in registry.declared_fields(room, owner).items():
                yield f"{part}.{name}", _text(default), "", "", f"{part} {owner}"


def _text(default: object) -> str:
    return repr(default) if default in ("", (), [], {}) else str(default)
