"""The one exception that means "what you gave us cannot be used"; `launch.py` prints it as a single message."""


class InputError(ValueError):
    """Bad input from the user: a file, a table, a config field or a command line value.

    The message names what is wrong and where, the rule that it breaks, and the remedy. It never contains transcript
    text, nor a participant id together with a score.
    """


def one_of(what: str, value: object, options) -> InputError:
    """An error for a name that is not among the known ones; it lists them all."""
    names = ", ".join(sorted(map(str, options)))
    return InputError(f"unknown {what} {value!r}: choose one of: {names}")
