"""One reading of the records for all that is told of a run at its end; beside the training, with time that it leaves.

Windows are by far the largest part of a corpus: who wants to see them is called with every record, one in memory at a
time, instead of reading them again.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from mmpsy_jax.data.records import Corpus

Result = TypeVar("Result")
LOWEST = 19  # priority of a thread on Linux


class Visitor(Protocol):
    """Somebody who sees records."""

    def wants(self, i: int) -> Sequence[str]:
        """Modalities of participant `i` that `see` looks at."""

    def see(self, i: int, record: Mapping[str, Any]) -> None:
        """Looks at a record, which has these modalities and their lengths, and perhaps others."""


def visit(corpus: Corpus, visitors: Sequence[Visitor]) -> None:
    """Reads each record once, of it what any visitor wants.

    Raises:
      InputError: a damaged shard.
    """
    for i in range(len(corpus)):
        asked = [(visitor, visitor.wants(i)) for visitor in visitors]
        names = list(dict.fromkeys(name for _, those in asked for name in those))
        if names:
            record = corpus.reader.read(i, [*names, *(f"{name}_length" for name in names)])
            for visitor, those in asked:
                if those:
                    visitor.see(i, record)


class Beside(Generic[Result]):
    """A call in a thread that runs when nothing else does, and that nobody waits for who does not need its result."""

    def __init__(self, call: Callable[..., Result], *arguments: Any):
        self._outcome: list[Callable[[], Result]] = []
        self._thread = threading.Thread(target=self._run, args=(call, arguments), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        with contextlib.suppress(AttributeError, OSError):  # Linux alone has priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        try:
            value = call(*arguments)
            self._outcome.append(lambda: value)
        except BaseException as error:  # raised where the result is asked for
            self._outcome.append(lambda error=error: _raise(error))

    def result(self) -> Result:
        """What the call returned, or raises what it raised; waits for it."""
        self._thread.join()
        return self._outcome[0]()


def _raise(error: BaseException) -> Any:
    raise error
