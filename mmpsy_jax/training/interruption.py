"""Signals that end a training: SIGTERM of a scheduler and SIGINT of Ctrl-C mean the same, save and end."""

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_asked = itertools.count(1)  # how often this process has asked whether to stop


class Interrupted(Exception):
    """A signal came; everything is saved, and the same command goes on from there.

    Attributes:
      status: exit status of the process, 128 and the number of the signal as shells have it.
    """

    def __init__(self, text: str, number: int = signal.SIGTERM):
        """`text` says what was saved; `number` is that of the signal."""
        self.status = 128 + number
        super().__init__(f"{signal.Signals(number).name}: {text}; run the same command again to go on")


class Stop(threading.Event):
    """Set by a signal, whose number it keeps."""

    number: int = signal.SIGTERM

    def receive(self, number: int, _: object) -> None:
        """A handler."""
        self.number = number
        self.set()

    def interrupted(self, text: str) -> Interrupted:
        """What to raise when `text` has been done."""
        return Interrupted(text, self.number)


@contextlib.contextmanager
def deferred() -> Iterator[Stop]:
    """Signals set the event instead of ending the process; whoever holds it asks `must_stop`, saves and raises.

    A signal that nobody has asked for when the block ends raises `Interrupted` there. Under jax.distributed the runtime
    itself listens to SIGTERM, so that all processes agree; SIGINT is handed on to it.
    """
    stop, alone = Stop(), jax.process_count() == 1
    handler = stop.receive if alone else lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    with _handled(SIGNALS if alone else SIGNALS[1:], handler):
        yield stop
    if stop.is_set():
        raise stop.interrupted("the training is saved")


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Outside `deferred`, signals end the process at once with one line: what is saved is whole, as after a kill.

    An exception raised by a handler would come out of whatever runs, for example out of Orbax as a damaged checkpoint.
    """

    def end(number: int, _: object) -> None:
        print(Interrupted("ended; what was saved before is kept", number), file=sys.stderr, flush=True)
        os._exit(128 + number)

    with _handled(SIGNALS if jax.process_count() == 1 else SIGNALS[1:], end):
        yield


def must_stop(stop: threading.Event) -> bool:
    """Whether to save and end now; every process asks equally often, and all get the same answer.

    The runtime agrees on the next number that nobody has asked with yet and waits for exactly that one: steps would not
    do, since replicas take several at once and the next training starts again with the first.
    """
    if jax.process_count() == 1:
        return stop.is_set()
    return multihost_utils.reached_preemption_sync_point(next(_asked))


@contextlib.contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handles signals in the main thread, which alone may."""
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
