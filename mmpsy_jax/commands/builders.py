"""The builders of corpora by name, and the records that a config asks for."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from mmpsy_jax.io import InputError, one_of

# Command line of the builder, by the first part of a dataset's name.
BUILDERS = {
    "affect_video": "data_builders.affect_video.cli",
    "daily_mood": "data_builders.daily_mood.cli",
    "hotline": "data_builders.hotline.cli",
    "interviews": "data_builders.mmpsy.cli",
    "mmpsy": "data_builders.mmpsy.cli",
    "mmsa": "data_builders.mmpsy.cli",
}


def builder(dataset: str) -> ModuleType:
    """The command line of the builder of a dataset, `<builder>/<config>`.

    Raises:
      InputError: nothing builds it.
    """
    name = dataset.partition("/")[0]
    if name not in BUILDERS:
        raise one_of("builder of dataset", dataset, [f"{known}/..." for known in BUILDERS])
    return importlib.import_module(BUILDERS[name])


def dataset_folder(config: ConfigDict, main_process: bool) -> str | Path:
    """The folder of built records; builds it first on the main process where it is not there.

    Raises:
      InputError: an option that the builder does not take, or what its `build` raises.
    """
    import jax
    from jax.experimental import multihost_utils

    data = config.data
    if data.folder:
        return data.folder
    cli = builder(data.dataset)
    known = ("source", "split_file", "skip_bad", "workers", "participants")
    options = {name: data[name] for name in known if data[name]}
    built = sorted(Path(data.data_dir, data.dataset).glob("[0-9]*/corpus.json"))  # not what a killed build left
    if built and not options and not data.dataset.partition("/")[2].startswith("demo"):
        return built[-1].parent  # its source need not be named again
    for name in options:
        if name not in inspect.signature(cli.build).parameters:
            raise InputError(f"config.data.{name} is not for {data.dataset}: leave it out")
    options["data_dir"] = data.data_dir
    if main_process:
        from data_builders.common.outcome import print_outcome

        folder = cli.build(data.dataset, **options)
        print_outcome(folder)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("dataset built")
        if not main_process:
            folder = cli.build(data.dataset, **options)  # it is there now: this only finds it
    return folder
