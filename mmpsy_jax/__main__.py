"""The command line of mmpsy_jax: launch.py VERB --help tells the options of a verb.

Look
    check --source=DIR|MANIFEST [--deep]                            what a source holds, what is missing, what is odd
    explore --input=RECORDS|DIR|MANIFEST --output=DIR               a page: people, sound, words, scores, who is odd
    synthesize --dataset=interviews/daic_woz --output=DIR           a synthetic tree in the layout of a published corpus
Build
    build --dataset=mmpsy/released --source=DIR --data_dir=DIR      TFDS records of a corpus
    embed --input=SOURCE --encoder=HF_FOLDER --output=DIR           texts or sound as embeddings of a pretrained network
Train
    --config=configs/phq.py [--workdir=DIR] [--config.FIELD=VALUE] train, evaluate, report (also with "train" before it)
    fields [PATTERN]                                                config fields: default, what they may be, meaning
    ablate --config=configs/phq.py [--minutes=1,2]                  without each modality; probes of shortcuts
    plan --config=configs/phq.py [--topology=v5e:16x16]             what a device holds, does and sends; runs nothing
    curve --config=configs/phq.py [--reliability=0.86]              how much more participants would help
Judge
    evaluate --predictions=FILE.csv                                 the predictions of any tool
    report --workdirs RUN RUN ... [--output=DIR]                    runs beside each other
    transfer --workdir=RUN --input=RECORDS --output=DIR             a finished run on another corpus
    transfer --workdirs RUN RUN ... --inputs A B ... --output=DIR   trained on by tested on
    audit --workdir=RUN                                             what a cross-validation tells of who trained it
    report --json=FILE [--output=DIR]                               the page of any report.json anew
Use
    predict --workdir=RUN --input=FOLDER|FILE --output=FILE.csv     on new interviews
    explain --workdir=RUN --input=FOLDER|FILE --output=DIR          what mattered in an interview
    adapt --workdir=RUN --input=RECORDS --output=DIR --days=7       layers of new people, from a few rated days
    discrepancy --workdir=RUN --input=RECORDS --output=DIR          where face and voice disagree
Share
    export --workdir=RUN --output=DIR                               a trained model without mmpsy_jax, and for others
    --version
"""

# Loader workers import this file again, so nothing heavy is imported at its top.
import sys

# Huge pages; arrays of up to 4 GB come from one heap, which keeps up to 8 GB of what is freed.
MALLOC = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_threshold": 1 << 32, "trim_threshold": 1 << 33, "arena_max": 1}.items()
)


def main(arguments: list[str]) -> int:
    """Runs one verb.

    Returns:
      the exit status: 0 done, 1 diverged, 2 bad input, 3 done but for some inputs, 70 a fault of this software, 130
      interrupted by hand, 143 by SIGTERM.
    """
    from mmpsy_jax import registry
    from mmpsy_jax.io import InputError, report_fault

    named = bool(arguments) and not arguments[0].startswith("-")
    verb, rest = (arguments[0], arguments[1:]) if named else ("train", arguments)
    try:
        if not arguments or arguments[0] in ("help", "-h", "--help"):
            import mmpsy_jax

            print(__doc__.strip().replace("launch.py", mmpsy_jax.program()))
            return 0 if arguments else 2
        if "--version" in arguments:
            import mmpsy_jax

            print(f"mmpsy_jax {mmpsy_jax.__version__}\n{mmpsy_jax.DISCLAIMER}")
            return 0
        return registry.load("commands", verb).main(rest)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Exception, KeyboardInterrupt) as error:
        return report_fault(error)


def tune_malloc(program: list[str]) -> None:
    """Replaces this process by the same program with `MALLOC`, where glibc can give it.

    XLA frees the memory of a step after every step. Taking it anew cost a quarter to a third of a step on CPUs in pages
    of 4 kB, and a fifth in huge pages as long as it went back to the system (docs/benchmarks/train_step.md). glibc
    reads the settings only when a process starts. Who has set GLIBC_TUNABLES, be it to nothing, keeps what they set.
    """
    import os

    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, program, {**os.environ, "GLIBC_TUNABLES": MALLOC})


def run() -> None:
    """What `launch.py`, `mmpsy` and `python -m mmpsy_jax` do."""
    tune_malloc(sys.orig_argv)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
