"""`launch.py plan`: what the programs of a config hold, do and send on devices that need not be there."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mmpsy_jax.commands import train
from mmpsy_jax.io import InputError

READ = 1e9  # bytes/s that a host is taken to read
# Nobody is asked which TPU this machine is, and others may compile beside us.
COMPILER = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_MIN_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_OPTIONS = """\
  --topology=v5e:16x16     TPU chips by name, seen by the TPU's own compiler on any machine (extra [tpu]);
                           by default the devices of this machine. Nothing is run
  --participants=1000,...  how many are trained on, to tell the hours
"""


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    return train.main(arguments, train.Verb("plan", _define, _plan, _OPTIONS))


def _define() -> None:
    flags.DEFINE_string("topology", "", "TPU chips by name, such as v5e:16x16; default: the devices of this machine")
    flags.DEFINE_list("participants", ["1000", "10000", "100000", "1000000"], "how many are trained on")


def _plan(config: ConfigDict, workdir: Path) -> int:
    del workdir  # nothing is written
    topology, named = flags.FLAGS.topology, flags.FLAGS.participants
    if not all(text.isdecimal() and int(text) for text in named):
        raise InputError(f"--participants={','.join(named)}: give whole numbers, for example --participants=1000,50000")
    if topology:
        _require_compiler()
    from mmpsy_jax.commands.builders import dataset_folder
    from mmpsy_jax.data.pooled import open_corpora
    from mmpsy_jax.evaluation import tables
    from mmpsy_jax.inference.export import values_of
    from mmpsy_jax.training import compiled_cost, config_rules, pod_plan, run

    config_rules.check(config)
    run.use_compile_cache("")
    corpus = open_corpora(dataset_folder(config, main_process=True), config.data.modalities)
    config = run.with_ranges(config, corpus)
    run.check(config, run.from_config(config.tasks), corpus)
    devices = find_devices(topology)
    chip = compiled_cost.CHIPS.get(topology.partition(":")[0])
    hosts = len({device.process_index for device in devices})
    where = f"{topology}, {hosts} hosts" if topology else "the devices of this machine"
    print(
        f"{config.name} on {where}: {len(devices)} x {devices[0].device_kind}. Compiled only: nothing was run.",
        flush=True,
    )
    entries = []
    for entry in pod_plan.plan(config, corpus, devices, chip, values_of):
        sends = entry.cost and f"compiled in {entry.compiled_in:.0f} s, sends {compiled_cost.text_of(entry.cost.sent)}"
        print(f"  {entry.name}: {sends or entry.reason}", flush=True)  # compiling takes minutes
        entries += [entry] if entry.cost else []
    for table in tables_of(entries, config, [int(text) for text in named], chip, hosts):
        print(f"\n{tables.to_text(table)}")
    return 0


def _require_compiler() -> None:
    """Sets what the TPU's compiler needs where there is no TPU, before jax is loaded.

    Raises:
      InputError: it is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "--topology: the TPU's compiler, the package libtpu, is not installed: install this project with its extra "
            "[tpu], or the libtpu that your jax names (pip install 'jax[tpu]'), or leave --topology out"
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    for name, value in COMPILER.items():
        os.environ.setdefault(name, value)


def find_devices(topology: str) -> list[Any]:
    """The chips of a topology, or the devices of this machine.

    Raises:
      InputError: the compiler knows no such topology.
    """
    import jax
    from jax.experimental import topologies

    if not topology:
        return jax.devices()
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:  # whatever libtpu raises, of several types
        raise InputError(
            f"--topology={topology}: libtpu knows no such chips ({str(error).splitlines()[0][:100]}): give a "
            "generation and how its chips lie, such as v5e:2x4, v5e:16x16, v4:2x2x4 or v6e:4x4"
        ) from error


def tables_of(entries: Any, config: Any, participants: list[int], chip: Any, hosts: int) -> Any:
    """What a device holds, does and sends for each program; and the steps and hours that follow."""
    from mmpsy_jax.evaluation.tables import Table
    from mmpsy_jax.training import compiled_cost, pod_plan

    mega = compiled_cost.mega
    holds = f" of {chip.holds / 1e9:.0f} GB" if chip else ""
    rows = []
    for one in entries:
        cost = one.cost
        looped = compiled_cost.text_of(cost.sent_inside) if one.trainings and one.steps > 1 else ""
        sends = compiled_cost.text_of(cost.sent) + (f" (in the steps: {looped})" if looped else "")
        least = f"{1e3 * cost.least_seconds(chip):.3f} ms" if cost.least_seconds(chip) else None
        least = f"{least} + {cost.unestimated} without estimate" if least and cost.unestimated else least
        rows.append([one.name, mega(cost.bytes_held), f"{cost.flops / 1e9:.3f}", mega(cost.moved), sends, least])
    columns = ("program", f"holds{holds}", "GFLOP", "memory traffic", "sends", "takes at least")
    note = "\n".join(f"{one.name}: {one.what}" for one in entries)
    yield Table("A device, for a run of each program; of replicas for a step", columns, rows, note)
    trained = [one for one in entries if one.trainings and one.cost.least_seconds(chip)]
    if not trained:
        return
    columns = ("program", "steps/s at most", "reads per host", *(f"hours, {n:,} participants" for n in participants))
    rows = []
    for one in trained:
        rate = 1 / one.cost.least_seconds(chip)  # steps in a loop are counted once
        read = one.batch_bytes / hosts * rate
        cells = [f"{max(pod_plan.hours(one, config, n, chip) * max(1, read / READ), 0):.3g}" for n in participants]
        rows.append([one.name, f"{rate:,.0f}", f"{read / 1e9:,.1f} GB/s" if read else "nothing", *cells])
    note = f"hours at least, for {config.total}; where windows are streamed, a host reads at most {READ / 1e9:.0f} GB/s"
    yield Table("All trainings", columns, rows, note)
