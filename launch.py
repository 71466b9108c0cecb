"""The command line of mmpsy_jax.

    python launch.py --config=configs/phq.py [--workdir=DIR] [--config.FIELD=VALUE ...]   train, evaluate, report
    python launch.py --config=configs/msa.py:mosi,lmf --seeds=1111,1112                   with these seeds
    python launch.py build --dataset=mmpsy/released --source=DIR --data_dir=DIR           build TFDS records
    python launch.py check --source=DIR                                                   what is in a source
    python launch.py embed --input=SOURCE --encoder=HF_FOLDER --output=DIR                texts or sound as embeddings
    python launch.py evaluate --predictions=FILE.csv                                      score any predictions
    python launch.py report --workdirs RUN RUN ... [--output=DIR]                         compare runs
    python launch.py report --workdirs RUN --person-level                                 its predictions by person
    python launch.py ablate --config=configs/phq.py [--minutes=1,2]                       what each modality gives
    python launch.py predict --workdir=RUN --input=FOLDER|FILE --output=FILE.csv          use a trained model
    python launch.py explain --workdir=RUN --input=FOLDER|FILE --output=DIR               what mattered in an interview
    python launch.py discrepancy --workdir=RUN --input=RECORDS --output=DIR               where face and voice disagree
    python launch.py adapt --workdir=RUN --input=RECORDS --output=DIR --days=7            layers of new people
    python launch.py export --workdir=RUN --output=DIR                                    the same without mmpsy_jax
    python launch.py --version

Loader workers import this file again, so nothing heavy is imported at its top.
"""

import sys

# Command line of the builder, by the first part of a dataset's name.
BUILDERS = {
    "affect_video": "data_builders.affect_video.cli",
    "daily_mood": "data_builders.daily_mood.cli",
    "hotline": "data_builders.hotline.cli",
    "interviews": "data_builders.mmpsy.cli",
    "mmpsy": "data_builders.mmpsy.cli",
    "mmsa": "data_builders.mmpsy.cli",
}


def main(arguments: list[str]) -> int:
    """Runs one verb.

    Returns:
      the exit status: 0 done, 1 diverged, 2 bad input, 3 done but for some inputs, 143 interrupted by SIGTERM.
    """
    from mmpsy_jax.errors import InputError, one_of

    verbs = {
        "train": _train, "build": _build, "check": _check, "embed": _embed, "evaluate": _evaluate, "report": _report,
        "ablate": lambda rest: _train(rest, ablate=True), "predict": _predict, "explain": _explain, "adapt": _adapt,
        "discrepancy": _discrepancy, "export": _export,
    }  # fmt: skip
    verb = arguments[0] if arguments and not arguments[0].startswith("-") else "train"
    rest = arguments[1:] if verb == (arguments[:1] or [""])[0] else arguments
    try:
        if "--version" in arguments:
            import mmpsy_jax

            print(f"mmpsy_jax {mmpsy_jax.__version__}\n{mmpsy_jax.DISCLAIMER}")
            return 0
        if verb not in verbs:
            raise one_of("verb", verb, verbs)
        return verbs[verb](rest)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _train(arguments: list[str], ablate: bool = False) -> int:
    if "--help" in arguments or not arguments:
        print(__doc__)
        return 0 if arguments else 2

    import os
    from pathlib import Path

    from absl import app, flags, logging
    from ml_collections import config_flags

    from mmpsy_jax.errors import InputError, one_of

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
                shipped = sorted(p.stem for p in Path(__file__).parent.glob("configs/*.py"))
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

        from mmpsy_jax.training import mesh, run, sweep
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
            dataset_dir = _dataset(config, main_process=jax.process_index() == 0)
            workdir = Path(workdir or Path("runs") / (config.name + ("_ablations" if ablate else "")))
            if ablate:
                return _ablate(config, dataset_dir, workdir, minutes_flag.value)
            report = run.run(config, dataset_dir, workdir)
        except TrainingDiverged as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Interrupted as error:
            print(error, file=sys.stderr)
            return 143
        except OSError as error:
            if error.errno is None:
                raise
            raise InputError(
                f"{error.filename or workdir}: {error.strerror}: make room or permit access, then run again"
            ) from error
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


def _ablate(config, dataset_dir, workdir, minutes: list[str]) -> int:
    from mmpsy_jax.errors import InputError
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


def _build(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", default="mmpsy/demo")
    _builder(parser.parse_known_args(arguments)[0].dataset).main_build(arguments)
    return 0


def _check(arguments: list[str]) -> int:
    from data_builders.mmpsy import cli

    cli.main_check(arguments)
    return 0


def _dataset(config, main_process: bool):
    """The folder of built records; builds it first on the main process where it is not there."""
    import inspect
    from pathlib import Path

    import jax
    from jax.experimental import multihost_utils

    from mmpsy_jax.errors import InputError

    data = config.data
    if data.folder:
        return data.folder
    cli = _builder(data.dataset)
    known = ("source", "split_file", "skip_bad", "workers", "participants")
    options = {name: data[name] for name in known if data[name]}
    built = sorted(Path(data.data_dir, data.dataset).glob("[0-9]*/corpus.json"))  # not what a killed build left
    if built and not options and not data.dataset.partition("/")[2].startswith("demo"):
        return built[-1].parent  # of which source it was made need not be said again
    for name in options:
        if name not in inspect.signature(cli.build).parameters:
            raise InputError(f"config.data.{name} is not for {data.dataset}: leave it out")
    options["data_dir"] = data.data_dir
    if main_process:
        folder = cli.build(data.dataset, **options)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("dataset built")
        if not main_process:
            folder = cli.build(data.dataset, **options)  # it is there now: this only finds it
    return folder


def _builder(dataset: str):
    """The command line of the builder of a dataset, `<builder>/<config>`."""
    import importlib

    from mmpsy_jax.errors import one_of

    name = dataset.partition("/")[0]
    if name not in BUILDERS:
        raise one_of("builder of dataset", dataset, [f"{known}/..." for known in BUILDERS])
    return importlib.import_module(BUILDERS[name])


def _explain_flags(argv: list[str], error: Exception) -> str:
    """One line for what absl and ml_collections raise on a bad command line; lists a config's fields."""
    text = str(error.args[0]) if error.args else str(error)
    given = next((a.split("=", 1)[1] for a in argv if a.startswith("--config=")), "")
    if given and isinstance(error, AttributeError | KeyError):
        from mmpsy_jax.files import flatten
        from mmpsy_jax.training.config import default, jsonable

        known = ", ".join(sorted(flatten(jsonable(default()))))
        return f"unknown config field ({text.splitlines()[0]}): the fields are: {known}"
    # ml_collections quotes the whole traceback of a config file that raises: its last line is the message.
    return text.strip().splitlines()[-1].removeprefix("mmpsy_jax.errors.InputError: ")


def _evaluate(arguments: list[str]) -> int:
    import argparse

    from mmpsy_jax.evaluation import terminal
    from mmpsy_jax.evaluation.report import evaluate_file, summary

    parser = argparse.ArgumentParser(prog="launch.py evaluate", description="Scores a predictions.csv of any tool.")
    parser.add_argument("--predictions", required=True, help="csv: participant_id, task, y_true, y_prob | y_pred, ...")
    parser.add_argument("--output", default=None, help="folder for report.json and report.html; default: only print")
    parser.add_argument("--compare", default=None, help="another predictions.csv of the same participants, in pairs")
    parser.add_argument("--groups", default=None, help="csv: participant_id and columns of categories, for subgroups")
    options = parser.parse_args(arguments)
    files = {"output": options.output, "compare": options.compare, "groups": options.groups}
    report = evaluate_file(options.predictions, **files)
    print(summary(report))
    if options.groups:
        print(terminal.subgroups(report["subgroups"]))
    return 0


def _report(arguments: list[str]) -> int:
    import argparse

    from mmpsy_jax.errors import InputError
    from mmpsy_jax.evaluation import persons
    from mmpsy_jax.evaluation.report import summary
    from mmpsy_jax.evaluation.run_comparison import compare_runs

    parser = argparse.ArgumentParser(prog="launch.py report", description="Compares runs with the first of them.")
    parser.add_argument("--workdirs", required=True, nargs="+", help="folders of runs on the same participants")
    parser.add_argument("--output", default="runs/comparison", help="folder for report.html, report.json and tables/")
    parser.add_argument("--person-level", action="store_true", help="of one run: persons.html in it, PERSONAL DATA")
    options = parser.parse_args(arguments)
    if options.person_level:
        if len(options.workdirs) != 1:
            raise InputError(f"--person-level is for one run, not {len(options.workdirs)}: give one of --workdirs")
        print(f"personal data, keep them safe: {persons.write(options.workdirs[0])}")
        return 0
    print(summary(compare_runs(options.workdirs, options.output)))
    print(f"\nreport: {options.output}/report.html")
    return 0


def _predict(arguments: list[str]) -> int:
    import argparse

    import mmpsy_jax
    from mmpsy_jax.inference.predict import predict

    parser = argparse.ArgumentParser(prog="launch.py predict", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run; all its folds and seeds are averaged")
    parser.add_argument("--input", required=True, help="folder or file of interviews, or a folder of built records")
    parser.add_argument("--output", required=True, help="csv to write")
    parser.add_argument("--modalities", default=None, help="names with commas: read these only, the rest is absent")
    parser.add_argument("--encoder", nargs="+", default=(), help="folders of the networks that embed, if moved")
    parser.add_argument("--no-abstain", action="store_true", help="a number also where there is a reason against it")
    options = parser.parse_args(arguments)
    names = options.modalities.split(",") if options.modalities else None
    more = {"modalities": names, "encoders": options.encoder, "abstain": not options.no_abstain}
    failures = predict(options.workdir, options.input, options.output, **more)
    _list(failures)
    print(f"{options.output}\n{mmpsy_jax.DISCLAIMER}")
    return 3 if failures else 0


def _list(failures) -> None:
    for one in failures:
        print(f"left out: {one.what}: {one.reason}", file=sys.stderr)


def _embed(arguments: list[str]) -> int:
    import argparse

    from mmpsy_jax.inference.embed import DTYPES, EVERY, PRECISIONS, embed

    parser = argparse.ArgumentParser(prog="launch.py embed", description="Interviews to embeddings of a network.")
    parser.add_argument("--input", required=True, help="manifest, wav_select.json, or other file or folder")
    parser.add_argument("--encoder", required=True, help="Hugging Face folder: BERT reads texts, HuBERT ... hear sound")
    parser.add_argument("--output", required=True, help="folder to fill; one left half-done is completed")
    parser.add_argument("--whole", action="store_true", help="of texts: all tokens, not the first 512 alone")
    parser.add_argument("--every", type=int, default=EVERY, help="of sound: frames of 20 ms that are averaged")
    parser.add_argument("--layers", type=int, nargs="+", help="hidden states to average; default: the last")
    parser.add_argument("--dtype", default="float16", choices=DTYPES, help="of the stored states")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="of the computation")
    parser.add_argument("--batch_size", type=int, default=16)
    options = vars(parser.parse_args(arguments))
    given, encoder, output = (options.pop(name) for name in ("input", "encoder", "output"))
    failures = embed(given, encoder, output, **options)
    _list(failures)
    print(output)
    return 3 if failures else 0


def _explain(arguments: list[str]) -> int:
    import argparse

    import mmpsy_jax
    from mmpsy_jax.inference.explain import PAGE, explain

    parser = argparse.ArgumentParser(prog="launch.py explain", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run; all its folds and seeds are averaged")
    parser.add_argument("--input", required=True, help="folder or file of interviews, or a folder of built records")
    parser.add_argument("--output", required=True, help="folder for page, table and JSON file: about one person")
    parser.add_argument("--participant", default=None, help="id; needed where the input holds several")
    parser.add_argument("--task", default=None, help="default: the first task of the run")
    parser.add_argument("--modalities", default=None, help="names with commas: read these only, the rest is absent")
    parser.add_argument("--encoder", nargs="+", default=(), help="folders of the networks that embed, if moved")
    parser.add_argument("--show_text", action="store_true", help="the page shows the words of the transcript")
    options = parser.parse_args(arguments)
    explain(
        options.workdir,
        options.input,
        options.output,
        participant=options.participant,
        task=options.task,
        modalities=options.modalities.split(",") if options.modalities else None,
        encoders=options.encoder,
        show_text=options.show_text,
    )
    print(f"{options.output}/{PAGE}\n{mmpsy_jax.DISCLAIMER}")
    return 0


def _discrepancy(arguments: list[str]) -> int:
    import argparse

    import mmpsy_jax
    from mmpsy_jax.inference.discrepancy import PAGE, discrepancy

    parser = argparse.ArgumentParser(prog="launch.py discrepancy", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run with a teacher beside the student")
    parser.add_argument("--input", required=True, help="folder of built records with validation and test clips")
    parser.add_argument("--output", required=True, help="folder for page, tables and JSON file; the tables name clips")
    options = parser.parse_args(arguments)
    report = discrepancy(options.workdir, options.input, options.output)
    if found := report["mismatch"].get("gap"):
        print(f"AUROC of planted disagreements: {found['value']:.3f}")
    print(f"{options.output}/{PAGE}\n{mmpsy_jax.DISCLAIMER}")
    return 0


def _adapt(arguments: list[str]) -> int:
    import argparse

    import mmpsy_jax
    from mmpsy_jax.errors import InputError
    from mmpsy_jax.inference.adapt import adapt, summary

    parser = argparse.ArgumentParser(prog="launch.py adapt", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run of a macro_micro config, without folds")
    parser.add_argument("--input", required=True, help="folder of built records of days")
    parser.add_argument("--output", required=True, help="folder for predictions and adaptation.json")
    parser.add_argument("--days", required=True, help="rated days of each person to adapt to; several with commas")
    parser.add_argument("--split", default="test", help="of the records; all for everybody; default: test")
    options = parser.parse_args(arguments)
    try:
        days = [int(text) for text in options.days.split(",")]
    except ValueError as error:
        raise InputError(f"--days={options.days}: give whole numbers with commas, for example 3,7") from error
    print(summary(adapt(options.workdir, options.input, options.output, days=days, split=options.split)))
    print(f"{options.output}\n{mmpsy_jax.DISCLAIMER}")
    return 0


def _export(arguments: list[str]) -> int:
    import argparse

    import mmpsy_jax
    from mmpsy_jax.inference.export import export

    parser = argparse.ArgumentParser(prog="launch.py export", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run")
    parser.add_argument("--output", required=True, help="empty or new folder for programs, weights and loader")
    options = parser.parse_args(arguments)
    export(options.workdir, options.output)
    print(f"{options.output}\n{mmpsy_jax.DISCLAIMER}")
    return 0


def use_huge_pages(program: list[str]) -> None:
    """Replaces this process by the same program with huge pages for large arrays, where glibc can give them.

    XLA returns the memory of a step after every step. In pages of 4 kB, taking it anew cost a quarter to a third of a
    step on CPUs (docs/benchmarks/train_step.md). glibc reads the setting only when a process starts. Who has set
    GLIBC_TUNABLES, be it to nothing, keeps what they set.
    """
    import os

    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, program, {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})


if __name__ == "__main__":
    use_huge_pages(sys.orig_argv)
    sys.exit(main(sys.argv[1:]))
