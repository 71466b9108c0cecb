"""What is made once per session, whatever the number of xdist's workers: corpora and finished runs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """What `make(folder)` returned, which the first worker called while the others waited.

    Args:
      factory: the fixture `tmp_path_factory`.
      name: of the folder; unique in the suite. Nothing in it may be changed by a test.
      make: fills the folder and returns what JSON can hold; paths become text.
    """
    base = factory.getbasetemp()  # of this worker, in the folder of the session
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared_{name}"
    whole = folder.with_suffix(".json")
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker whose attempt failed
            folder.mkdir(parents=True)
            whole.write_text(json.dumps(make(folder), default=str))
        return json.loads(whole.read_text())
