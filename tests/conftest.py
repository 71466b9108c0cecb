"""Set before jax is imported anywhere: CPU, eight virtual devices, no persistent state from the user's shell."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["MMPSY_TRACEBACK"] = "1"  # an unexpected exception fails a test with its traceback
# Small shapes run as fast without; compiling, most of the suite's time, takes half.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Equal programs are compiled once per session, also by the processes that tests start; XLA is most of the suite's time.
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit the folder of the process that starts them
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mmpsy_tests_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_configure(config):
    del config
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain 0.2.18 reads absl flags that nobody parses under pytest


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """The version folder of a small demo corpus (SYNTHETIC)."""
    from tests import corpora

    return corpora.build(tmp_path_factory.mktemp("corpus"))
