"""Set before jax is imported anywhere: CPU, eight virtual devices, no persistent state from the user's shell."""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("MPLBACKEND", "Agg")
# Equal programs are compiled once per session, also by the processes that tests start; XLA is most of the suite's time.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mmpsy_tests_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def pytest_configure(config):
    del config
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain 0.2.18 reads absl flags that nobody parses under pytest
