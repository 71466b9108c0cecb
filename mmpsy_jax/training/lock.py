"""One process trains in a workdir: a lock of the operating system, which ends with the process, however it ends."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from mmpsy_jax.io import InputError

FILE = ".training.lock"


@contextlib.contextmanager
def exclusive(workdir: Path) -> Iterator[None]:
    """Holds a workdir, which is made where it is missing; leaves no file there but after a kill.

    Raises:
      InputError: another process trains there, or nothing can be written there.
    """
    path = workdir / FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = _open_locked(path)
    except BlockingIOError as error:
        raise InputError(
            f"{workdir}: another process trains here: wait until it has ended, or take another --workdir"
        ) from error
    except OSError as error:
        raise InputError(
            f"{error.filename or workdir}: cannot be written ({error.strerror}): permit writing or make room, or take "
            "another --workdir"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock goes: who waits for this very file must not get it
        os.close(handle)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                os.close(handle)
                raise
            logging.warning("%s: this file system has no locks: see to it that one process alone trains here", path)
        with contextlib.suppress(FileNotFoundError):  # its last holder may have removed the file in between
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return handle
        os.close(handle)
