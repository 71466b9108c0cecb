"""mmpsy_jax: questionnaire scores of depression and anxiety from speech and text, in JAX."""

import sys

__version__ = "0.1.0"

DISCLAIMER = (
    "Research software: it estimates a self-report questionnaire score (PHQ-9, GAD-7) from speech and text. "
    "It is not a diagnostic device, is not validated against clinical interviews, and must not be used for "
    "decisions about an individual."
)


def program() -> str:
    """How the command line was called: `mmpsy` where the package is installed, else `launch.py`."""
    last = sys.argv[0].replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".exe")
    return {"mmpsy": "mmpsy", "__main__.py": "python -m mmpsy_jax"}.get(last, "launch.py")
