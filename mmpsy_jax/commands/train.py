"""`launch.py --config=...`: trains, evaluates, reports; what verbs that train share (`ablate`, `curve`)."""

import ast
import contextlib
import faulthandler
import importlib.util
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

import mmpsy_jax
from mmpsy_jax.commands.builders import dataset_folder
from mmpsy_jax.io import InputError, nearest, one_of
from mmpsy_jax.training.config import RENAMED, choose_model, choose_objective, fields_of, set_seeds

_CHOSEN = {"model": choose_model, "objective": choose_objective}
# What absl and ml_collections raise on a bad command line.
_OF_FLAGS = (AttributeError, KeyError, flags.Error, TypeError, ValueError)


class Verb(NamedTuple):
    """A verb that trains.

    Attributes:
      name: on the command line; "" for training itself.
      define: defines its options beside those of a training.
      act: does it, with the config and the workdir; returns the exit status.
      options: of its help.
      folder: what the default workdir ends with.
    """

    name: str
    define: Callable[[], None]
    act: Callable[[ConfigDict, Path], int]
    options: str = ""
    folder: str = ""


def main(arguments: list[str], verb: Verb | None = None) -> int:
    """Runs the verb; returns the exit status. Heavy imports wait until the command line is known to be right."""
    verb = verb or Verb("", lambda: None, _train)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_help(verb))
        return 0 if arguments else 2
    config = load_config(arguments)
    _parse(config, ["launch.py", *_without_config(arguments)], verb)
    return _start(config, Path(flags.FLAGS.workdir or Path("runs") / f"{config.name}{verb.folder}"), verb)


def _parse(config: ConfigDict, argv: Sequence[str], verb: Verb) -> None:
    """Reads the options of the verb, and those of the config into it."""
    verb.define()
    flags.DEFINE_string("workdir", "", "where everything of this run goes; default runs/<config.name>")
    flags.DEFINE_list("seeds", None, "seeds of the trainings, for example 1111,1112, one each")
    flags.DEFINE_string("sweep", "", "JSON file of settings to try, chosen on validation (docs/scale.md)")
    try:
        config_flags.DEFINE_config_dict("config", config, "fields of the config", sys_argv=argv)
        left = flags.FLAGS(argv)
    except _OF_FLAGS as error:
        raise InputError(_explain_flags(config, error)) from error
    if left[1:]:
        raise InputError(f"argument {left[1]!r}: every option is written --name=value")
    if flags.FLAGS.seeds is not None:
        if any(a.startswith("--config.seed") for a in argv):
            raise InputError("--seeds says all about seeds: leave out --config.seed and --config.seeds")
        set_seeds(config, flags.FLAGS.seeds)
    logging.use_absl_handler()
    if not flags.FLAGS["verbosity"].present:  # Orbax tells every step of a save at INFO
        logging.set_verbosity(logging.WARNING)
    with contextlib.suppress(AttributeError, OSError, ValueError):  # stderr may be no file
        faulthandler.enable()


def _start(config: ConfigDict, workdir: Path, verb: Verb) -> int:
    """Does what the verb does; returns the exit status."""
    from mmpsy_jax.training import interruption, sweep
    from mmpsy_jax.training.job import TrainingDiverged

    if flags.FLAGS.sweep:
        with config.unlocked():
            config.sweep = sweep.read(flags.FLAGS.sweep)
    try:
        return verb.act(config, workdir)
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except interruption.Interrupted as error:
        print(error, file=sys.stderr)
        return error.status
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(workdir)) from error  # a write does not know its file


def _train(config: ConfigDict, workdir: Path) -> int:
    report = train(config, workdir)
    if report:
        from mmpsy_jax.evaluation.report import summary

        print(summary(report))
        print(f"\nreport: {workdir / 'report.html'}")
    return 0


def train(config: ConfigDict, workdir: Path, call: Callable[..., Any] | None = None) -> Any:
    """Builds the corpus of a config where it is not there, and trains.

    Args:
      config: the whole config.
      workdir: of the run.
      call: what is called with config, folder of the records and workdir; `run.run` when not given.

    Returns:
      the content of `report.json`, or what the call gives.

    Raises:
      InputError: as `run.run`; TrainingDiverged: the loss is no number; Interrupted: stopped by a signal.
    """
    # Before jax is imported: XLA reads it when it is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    import jax

    from mmpsy_jax.training import config_rules, interruption, mesh, run

    if config.distributed:
        mesh.start_distributed(config.heartbeat_seconds)
    run.use_compile_cache(config.compile_cache)
    run.prepare(config, workdir) if call is None else config_rules.check(config)
    dataset_dir = dataset_folder(config, main_process=jax.process_index() == 0)
    with interruption.ending():
        return (call or run.run)(config, dataset_dir, workdir)


def configure(name: str, fields: Mapping[str, Any]) -> ConfigDict:
    """A config with some of its fields changed.

    Args:
      name: as `--config`.
      fields: values by dotted name.

    Raises:
      InputError: an unknown config or field, or a value of another type.
    """
    fields = {RENAMED.get(field, field): os.fspath(v) if isinstance(v, Path) else v for field, v in fields.items()}
    chosen = [f"--config.{part}.name={fields[f'{part}.name']}" for part in _CHOSEN if f"{part}.name" in fields]
    config = load_config([f"--config={name}", *chosen])
    known = fields_of(config)
    for field in fields:
        if field not in known and not any(one.startswith(f"{field}.") for one in known):
            raise one_of("config field", field, known)
    try:
        with config.unlocked():
            config.update_from_flattened_dict(fields)
    except _OF_FLAGS as error:
        raise InputError(_explain_flags(config, error)) from error
    return config


def _help(verb: Verb) -> str:
    lines = []
    for name, path in _shipped().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        title = ast.get_docstring(tree).splitlines()[0]
        text = textwrap.fill(f"{title} {_argument(tree)}", 98, initial_indent=" " * 20, subsequent_indent=" " * 20)
        lines.append(f"  {name:18}{text[20:]}")
    return (
        f"usage: {mmpsy_jax.program()} {verb.name}{' ' if verb.name else ''}--config=FILE[:ARGUMENT] [options]\n\n"
        "  --config=FILE[:ARGUMENT] a config that comes with the project, by name (phq) or path, or a file of yours\n"
        f"  --config.FIELD=VALUE     any field of the config; all of them: {mmpsy_jax.program()} fields\n"
        "  --config.cv.folds=5      folds of participants, --config.cv.repeats=3 whole cross-validations\n"
        "  --config.seeds=3         trainings of each fold, from --config.seed on\n"
        "  --workdir=DIR            where everything of this run goes; default runs/<config.name>; the same command\n"
        "                           again goes on where it stopped\n"
        "  --seeds=1111,1112        seeds of the trainings, one each\n"
        "  --sweep=FILE.json        settings to try, chosen on validation (docs/scale.md)\n"
        f"{verb.options}\nconfigs, with what their argument may be; the docstring of each file tells more:\n"
        + "\n".join(lines)
    )


def _shipped() -> dict[str, Path]:
    """The configs that come with the project, by name; in an installed package they lie in it."""
    package = Path(mmpsy_jax.__file__).parent
    places = [place for place in (package / "configs", package.parent / "configs") if place.is_dir()]
    return {path.stem: path for path in sorted(places[0].glob("*.py")) if path.stem != "__init__"}


def _find_config(path: str) -> Path:
    """The file of a config: of one's own, or one that comes with the project, as `phq` or `configs/phq.py`.

    Raises:
      InputError: there is none.
    """
    shipped, asked = _shipped(), Path(path)
    if asked.is_file():
        return asked
    if asked.parts in ((asked.stem,), ("configs", f"{asked.stem}.py")) and asked.stem in shipped:
        return shipped[asked.stem]
    raise one_of("config", path, shipped)


def _argument(tree: ast.Module) -> str:
    """What the argument of a config may be: the docstring of its `get_config`."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return ast.get_docstring(next(node for node in functions if node.name == "get_config")) or ""


def load_config(arguments: Sequence[str]) -> ConfigDict:
    """The config that `--config=FILE[:ARGUMENT]` names, with the fields of the model and the objective asked for.

    Where `--config.model.name` or `--config.objective.name` chooses another than the file does, its fields stand there
    with their defaults, so that the command line may set them.

    Raises:
      InputError: no such file, one that cannot be run, or an unknown name.
    """
    named = [b for a, b in zip(["", *arguments], [*arguments, ""], strict=True) if a == "--config"]
    named += [a.partition("=")[2] for a in arguments if a.startswith("--config=")]
    if not named:
        raise InputError("no config: give --config=configs/phq.py (see configs/)")
    path, _, argument = named[-1].partition(":")
    path = str(_find_config(path))
    spec = importlib.util.spec_from_file_location("config_file", path, loader=SourceFileLoader("config_file", path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(argument) if argument else module.get_config()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}: mend the config file") from error
    for part, choose in _CHOSEN.items():
        names = [a.partition("=")[2] for a in arguments if a.startswith(f"--config.{part}.name=")]
        if names and names[-1] != config[part].name:
            with config.unlocked():
                choose(config, names[-1])
    return config


def _without_config(arguments: Sequence[str]) -> list[str]:
    """The arguments but `--config`, which `load_config` has read; renamed fields by their new names."""
    kept = [a for before, a in zip(["", *arguments], arguments, strict=False) if before != "--config"]
    kept = [a for a in kept if a != "--config" and not a.startswith("--config=")]
    for before, now in RENAMED.items():
        kept = [re.sub(rf"^--config\.{before}(?==|$)", f"--config.{now}", a) for a in kept]
    return kept


def _explain_flags(config: ConfigDict, error: Exception) -> str:
    """One line for what absl and ml_collections raise on a bad command line; lists a config's fields."""
    text = str(error.args[0]) if error.args else str(error)
    if isinstance(error, AttributeError | KeyError):
        fields = sorted(fields_of(config))
        name = re.search(r"[\w.]+", text)[0]  # ml_collections names the last part alone
        close = nearest(name, [field.rpartition(".")[2] for field in fields])
        return f"unknown config field {name!r}{close}: the fields are: {', '.join(fields)}"
    return text.strip().splitlines()[-1]
