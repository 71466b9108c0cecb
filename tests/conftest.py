"""Set before jax is imported anywhere: CPU, eight virtual devices, no persistent state from the user's shell."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config):
    del config
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain 0.2.18 reads absl flags that nobody parses under pytest
