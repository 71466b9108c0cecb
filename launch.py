"""The command line in a checkout: python launch.py VERB --help. Where the package is installed, `mmpsy` is the same."""

# Loader workers import this file again, so nothing heavy is imported at its top.
from mmpsy_jax.__main__ import MALLOC, main, run, tune_malloc

__all__ = ["MALLOC", "main", "run", "tune_malloc"]

if __name__ == "__main__":
    run()
