"""mmpsy_jax: questionnaire scores of depression and anxiety from speech and text, in JAX.

From Python: `import mmpsy_jax as mp`, then what `api.py` offers, such as `mp.train`; nothing is imported before that.
"""

import importlib
import sys
from typing import Any

__version__ = "0.1.0"

OFFERED = ("InputError", "Report", "Run", "build", "check", "evaluate", "explore", "load_run", "train")  # by `api.py`

DISCLAIMER = (
    "Research software: it estimates a self-report questionnaire score (PHQ-9, GAD-7) from speech and text. "
    "It is not a diagnostic device, is not validated against clinical interviews, and must not be used for "
    "decisions about an individual."
)


def program() -> str:
    """How the command line was called: `mmpsy` where the package is installed, else `launch.py`."""
    last = sys.argv[0].replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".exe")
    return {"mmpsy": "mmpsy", "__main__.py": "python -m mmpsy_jax"}.get(last, "launch.py")


def __getattr__(name: str) -> Any:
    if name.startswith("__") or name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mmpsy_jax.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *OFFERED])
