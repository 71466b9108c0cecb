"""The programs of a training, traced once: the compile cache saves compiling alone, half of the time."""

import contextlib

import jax
import pytest

from mmpsy_jax.training import loop, replica_programs, replicas

READ = ("model", "objective", "optimizer", "privacy", "mesh")


@contextlib.contextmanager
def compiled_once():
    """Trainings within it with one config and records of the same shapes run the same jitted programs.

    What stacked trainings share was compiled for their settings: those with `TrainJob.values` need a config that nobody
    else has. A test that patches what a network or an objective computes is not for it.
    """
    seen = {}

    def once(key, make, *arguments, **more):
        if key not in seen:
            seen[key] = make(*arguments, **more)
        return seen[key]

    def remember(module, name, key):
        make = getattr(module, name)
        patch.setattr(module, name, lambda *a, **k: once((name, *key(*a, **k)), make, *a, **k))

    def shapes(tree):
        return str(jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree))

    def settings(config, tasks, mesh, **inputs):
        """All that `programs.build` reads."""
        return str([config[name].to_dict() for name in READ] + [config.data.batch_size, tasks, inputs]), mesh

    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, replicas):
            remember(module, "build", settings)
        remember(
            loop,
            "compile_for",
            lambda functions, mesh, batch, fitted, **k: (id(functions), mesh, str(k), shapes((batch, fitted))),
        )
        remember(
            replicas,
            "ReplicaPrograms",
            lambda functions, mesh: (id(functions), mesh, str(replica_programs.compiler_options())),
        )
        yield
