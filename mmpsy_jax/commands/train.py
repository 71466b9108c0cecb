"""`launch.py --config=...`: trains, evaluates, reports; and `launch.py ablate`: the same without each modality."""

import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

import configs
from mmpsy_jax.commands.builders import dataset_folder
from mmpsy_jax.errors import InputError, one_of
from mmpsy_jax.files import flatten


def main(arguments: list[str], ablate: bool = False) -> int:
    """Runs the verb; returns the exit status. Heavy imports wait until the command line is known to be right."""
    config_flag = config_flags.DEFINE_config_file(
        "config", None, "a file of configs/, with `:argument` where it takes one"
    )
    workdir_flag = flags.DEFINE_string("workdir", "", "where everything of this run goes; default runs/<config.name>")
    if ablate:
        minutes_flag = flags.DEFINE_list("minutes", [], "also train on the first minutes alone, for example 1,2,5")
    seeds_flag = flags.DEFINE_list("seeds", None, "seeds of the trainings, for example 1111,1112, one each")
    sweep_flag = flags.DEFINE_string("sweep", "", "JSON file of settings to try, chosen on validation (docs/scale.md)")

    def parse(argv: list[str]) -> list[str]:
        for path in (a.split("=", 1)[1].split(":")[0] for a in argv if a.startswith("--config=")):
            if not Path(path).is_file():
                shipped = sorted(p.stem for p in Path(configs.__file__).parent.glob("*.py"))
                raise one_of(
                    "config file", path, [f"configs/{n}.py" for n in shipped if n not in ("__init__", "presets")]
                )
        try:
            left = flags.FLAGS(argv)
        except (AttributeError, KeyError, flags.Error, FileNotFoundError, TypeError, ValueError) as error:
            raise InputError(_explain_flags(argv, error)) from error
        if left[1:]:
            raise InputError(f"argument {left[1]!r}: every option is written --name=value")
        if config_flag.value is None:
            raise InputError("no config: give --config=configs/phq.py (see configs/)")
        if seeds_flag.value is not None and any(a.startswith("--config.seed") for a in argv):
            raise InputError("--seeds says all about seeds: leave out --config.seed and --config.seeds")
        return left

    def start(_: list[str]) -> int:
        config, workdir = config_flag.value, workdir_flag.value
        if not flags.FLAGS["verbosity"].present:  # Orbax tells every step of a save at INFO
            logging.set_verbosity(logging.WARNING)
        # Before jax is imported: XLA reads it when it is loaded.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        import jax

        from mmpsy_jax.training import config_rules, interruption, mesh, run, sweep
        from mmpsy_jax.training.config import set_seeds
        from mmpsy_jax.training.loop import Interrupted, TrainingDiverged

        if seeds_flag.value is not None:
            set_seeds(config, seeds_flag.value)
        if sweep_flag.value:
            with config.unlocked():
                config.sweep = sweep.read(sweep_flag.value)
        if config.distributed:
            mesh.start_distributed(config.heartbeat_seconds)
        run.use_compile_cache(config.compile_cache)
        try:
            workdir = Path(workdir or Path("runs") / f"{config.name}{'_ablations' if ablate else ''}")
            config_rules.check(config) if ablate else run.prepare(config, workdir)
            dataset_dir = dataset_folder(config, main_process=jax.process_index() == 0)
            with interruption.ending():
                if ablate:
                    return _ablate(config, dataset_dir, workdir, minutes_flag.value)
                report = run.run(config, dataset_dir, workdir)
        except TrainingDiverged as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Interrupted as error:
            print(error, file=sys.stderr)
            return error.status
        if report:
            from mmpsy_jax.evaluation.report import summary

            print(summary(report))
            print(f"\nreport: {workdir / 'report.html'}")
        return 0

    status = 0

    def keep_status(argv: list[str]) -> None:
        nonlocal status
        status = start(argv)
        sys.exit(status)

    app.run(keep_status, argv=["launch.py", *arguments], flags_parser=parse)
    return status


def _ablate(config: ConfigDict, dataset_dir: str | Path, workdir: Path, minutes: list[str]) -> int:
    from mmpsy_jax.evaluation import terminal
    from mmpsy_jax.training import ablations

    try:
        first = [float(text) for text in minutes]
    except ValueError as error:
        raise InputError(f"--minutes={','.join(minutes)}: give numbers, for example --minutes=1,2.5") from error
    made = ablations.ablate(config, dataset_dir, workdir, first)
    if made:
        print(terminal.ablations(made, {task["name"]: task["kind"] for task in config.tasks}))
        print(f"\nablations: {workdir / ablations.FILE}")
    return 0


def _explain_flags(argv: list[str], error: Exception) -> str:
    """One line for what absl and ml_collections raise on a bad command line; lists a config's fields."""
    text = str(error.args[0]) if error.args else str(error)
    given = next((a.split("=", 1)[1] for a in argv if a.startswith("--config=")), "")
    if given and isinstance(error, AttributeError | KeyError):
        from mmpsy_jax.training.config import default, jsonable

        known = ", ".join(sorted(flatten(jsonable(default()))))
        return f"unknown config field ({text.splitlines()[0]}): the fields are: {known}"
    # ml_collections quotes the whole traceback of a config file that raises: its last line is the message.
    return text.strip().splitlines()[-1].removeprefix("mmpsy_jax.errors.InputError: ")
