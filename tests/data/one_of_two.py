"""One process of two: saves its packs of every batch (run by test_two_processes.py, not by pytest)."""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"


def main(folder: str, port: str, process: str, out: str) -> None:
    """Reads two epochs from each placement and saves this process's packs as `<placement>/<batch>/<name>`."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from mmpsy_jax.data.loader import make_loader
    from mmpsy_jax.data.records import open_corpus

    jax.distributed.initialize(f"localhost:{port}", 2, int(process))
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    corpus = open_corpus(folder)
    # Global, unlike the context manager: it also binds the prefetching threads.
    jax.config.update("jax_transfer_guard", "disallow")
    saved = {}
    for placement in ("host", "device", "stream"):
        with make_loader(
            corpus,
            np.arange(len(corpus)),
            batch_size=8,
            packs=4,
            seed=7,
            epochs=2,
            parts=5,
            placement=placement,
            sharding=sharding,
        ) as loader:
            for number, batch in enumerate(loader):
                for name in ("audio", "audio_length", "audio_row", "text", "text_row", "index", "valid"):
                    assert batch[name].shape[0] == 4 and batch[name].sharding.is_equivalent_to(sharding, 1)
                    shards = sorted(batch[name].addressable_shards, key=lambda shard: shard.index[0].start)
                    saved[f"{placement}/{number}/{name}"] = np.concatenate([np.asarray(s.data) for s in shards])
    np.savez(out, **saved)


if __name__ == "__main__":
    main(*sys.argv[1:])
