"""The one exception that means "what you gave us cannot be used", and what becomes of every other one."""

import difflib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: a file, a table, a config field or a command line value.

    The message names what is wrong and where, the rule that it breaks, and the remedy. It never contains transcript
    text, nor a participant id together with a score.
    """


def one_of(what: str, value: object, options) -> InputError:
    """An error for a name that is not among the known ones; it says which is the nearest, and lists them all."""
    names = sorted(map(str, options))
    return InputError(f"unknown {what} {value!r}{nearest(value, names)}: choose one of: {', '.join(names)}")


def nearest(value: object, names: Iterable[str]) -> str:
    """A question whether the most similar of some names was meant, in parentheses; "" where none is similar."""
    close = difflib.get_close_matches(str(value), [*names], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def report_fault(error: BaseException) -> int:
    """Prints one line on stderr for an exception that nothing else handled.

    Where the operating system or the user is the cause, the line says so. Anything else is a fault of this software:
    files, lines and types of exceptions go to a log file. Their messages stay out of it, since they may quote data;
    with MMPSY_TRACEBACK=1 the exception is raised again, messages included.

    Returns:
      the exit status: 130 interrupted, 2 what the operating system refused, 70 a fault of this software.
    """
    if os.environ.get("MMPSY_TRACEBACK") == "1":
        raise error
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # the reader of a pipe, `head` for example, has seen enough
        sys.stdout = None  # the interpreter would try to flush it once more
        return 2
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or "a file of this command"
        print(f"error: {place}: {error.strerror}: make room or permit access, then run again", file=sys.stderr)
        return 2
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED: Out of memory" in str(error):
        print("error: not enough memory: take a smaller batch or model, or a larger machine", file=sys.stderr)
        return 2
    handle, path = tempfile.mkstemp(prefix="mmpsy_jax_fault_", suffix=".log")
    with os.fdopen(handle, "w") as file:
        file.write(_frames(error))
    print(
        f"error: {type(error).__name__} in mmpsy_jax, which is a fault of this software and not of your input: "
        f"please report it with {path} (it holds files, lines and types, no contents)",
        file=sys.stderr,
    )
    return 70


def _frames(error: BaseException) -> str:
    """Files, lines and types of an exception and of those behind it, the first one first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else _frames(cause) + "\nthen:\n"
    lines = [f"{f.filename}:{f.lineno} in {f.name}\n" for f in traceback.extract_tb(error.__traceback__)]
    return f"{before}{''.join(lines)}{type(error).__module__}.{type(error).__name__}\n"
