"""The records that a config asks for."""

from pathlib import Path

from ml_collections import ConfigDict


def dataset_folder(config: ConfigDict, main_process: bool) -> str | Path:
    """The folder of built records; builds it first on the main process where it is not there.

    Raises:
      InputError: what `cli.build` raises, also of an option that the corpus does not take.
    """
    import jax
    from jax.experimental import multihost_utils

    from data_builders.common import cli  # which reads sound and tables: not for a config with a typo

    data = config.data
    if data.folder:
        return data.folder
    known = ("source", "split_file", "skip_bad", "workers", "participants")
    options = {name: data[name] for name in known if data[name]}
    built = sorted(Path(data.data_dir, data.dataset).glob("[0-9]*/corpus.json"))  # not what a killed build left
    if built and not options and not data.dataset.partition("/")[2].startswith("demo"):
        return built[-1].parent  # its source need not be named again
    options["data_dir"] = data.data_dir
    if main_process:
        folder = cli.build(data.dataset, **options)
        cli.print_outcome(folder)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("dataset built")
        if not main_process:
            folder = cli.build(data.dataset, **options)  # it is there now: this only finds it
    return folder
