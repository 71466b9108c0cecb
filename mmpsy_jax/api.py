"""mmpsy_jax from Python and notebooks: `import mmpsy_jax as mp`; the same code as the verbs of the command line.

    report = mp.check("interviews/manifest.csv")
    folder = mp.build("interviews/lab", "interviews/manifest.csv")
    run = mp.train("interviews:phq9>=10", {"data.folder": folder, "cv.folds": 5})
    run.report, run.predictions, run.predict("new_interviews/")

What is wrong with input raises `mp.InputError`, whose message names value, rule and remedy. A script that builds with
worker processes must do so under `if __name__ == "__main__":`.
"""

import functools
import html
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from mmpsy_jax.commands import find_published
from mmpsy_jax.io import InputError, read_json

__all__ = ["Exploration", "InputError", "Report", "Run", "build", "check", "evaluate", "explore", "load_run", "train"]
Place = str | os.PathLike


class Report(dict):
    """The content of a `report.json`, which shows itself as its summary."""

    def summary(self) -> str:
        """What the command line prints: the headline of each task, beside the baselines."""
        from mmpsy_jax.evaluation.report import summary

        return summary(self)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


class Exploration(dict):
    """The content of an `explore.json`, which shows itself as its page."""

    def summary(self) -> str:
        """What the command line prints: sizes, scores, effects, what can be told apart."""
        from mmpsy_jax.exploration.page import summary

        return summary(self)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from mmpsy_jax.exploration.page import render

        frame = 'style="width: 100%; height: 40rem; border: 0" title="A look at a corpus"'
        return f'<iframe srcdoc="{html.escape(render(self))}" {frame}></iframe>'


class Run:
    """A finished run: what it left in its folder, and what it says about new people.

    Attributes:
      workdir: the folder.
    """

    def __init__(self, workdir: Place):
        self.workdir = Path(workdir)

    @functools.cached_property
    def report(self) -> Report:
        """Metrics with intervals, baselines, subgroups, flags."""
        return Report(read_json(self.workdir / "report.json", "train again"))

    @functools.cached_property
    def predictions(self) -> pandas.DataFrame:
        """`predictions.csv`: a row per participant, task, fold and seed."""
        return pandas.read_csv(self.workdir / "predictions.csv", dtype={"participant_id": str})

    def predict(self, source: Place, *, layout: str = "", **options: Any) -> pandas.DataFrame:
        """Predictions on new interviews or built records.

        Args:
          source: as `--input` of `launch.py predict`.
          layout: as `--layout`.
          **options: `modalities`, `encoders`, `ignore`, `abstain` of `inference.predict.predict`.

        Returns:
          a row per participant and task; `attrs["left_out"]` lists (what, reason) of what could not be used.

        Raises:
          InputError: as `inference.predict.predict`.
        """
        from mmpsy_jax.inference.predict import predict

        options["published"] = find_published(os.fspath(source), layout, os.fspath(self.workdir))
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "predictions.csv")
            failures = predict(self.workdir, source, table, **options)
            frame = pandas.read_csv(table, dtype={"participant_id": str})
        frame.attrs["left_out"] = [(one.what, one.reason) for one in failures]
        return frame

    def explain(self, source: Place, output: Place, *, layout: str = "", **options: Any) -> Path:
        """Writes what the run attended to in an interview, and what mattered.

        Args:
          source: as `--input` of `launch.py explain`.
          layout: as `--layout`.
          output: folder for page, table and JSON file.
          **options: of `inference.explain.explain`, such as `participant` and `task`.

        Returns:
          the page.

        Raises:
          InputError: as `inference.explain.explain`.
        """
        from mmpsy_jax.inference.explain import PAGE, explain

        published = find_published(os.fspath(source), layout, os.fspath(self.workdir))
        explain(self.workdir, source, output, published=published, **options)
        return Path(output, PAGE)

    def audit(self, source: Place = "") -> dict[str, Any]:
        """Membership inference: what the trainings of a cross-validation give away of whom they were trained on.

        Args:
          source: folder of the records that it was trained on, where they have moved.

        Returns:
          the content of `membership.json`; the report has it too.

        Raises:
          InputError: as `training.membership.audit`.
        """
        from mmpsy_jax.training.membership import audit

        self.__dict__.pop("report", None)  # is written anew
        return audit(self.workdir, source)

    def __repr__(self) -> str:
        return f"run in {self.workdir}\n{self.report.summary()}"

    def _repr_html_(self) -> str:
        page = html.escape(os.fspath(self.workdir / "report.html"))
        return f"{self.report._repr_html_()}<p>The whole report: <code>{page}</code></p>"


def check(source: Place, dataset: str = "", **options: Any) -> dict[str, Any]:
    """Looks at a source without building it; see `data_builders.common.cli.check`.

    Returns:
      counts; "problems" lists what would stop a build, "notes" what is odd, "lines" says it all.
    """
    from data_builders.common import cli

    return cli.check(source, dataset, **options)


def explore(source: Place, dataset: str = "", *, output: Place | None = None, **options: Any) -> Exploration:
    """Looks at a corpus, built or not: people, sound, words, scores and what goes with them.

    Args:
      source: as `--input` of `launch.py explore`.
      dataset: of a source that is not built; by default what the path looks like.
      output: folder for `explore.html`, `explore.json` and `look_at.csv`; None writes nothing.
      **options: `cutoffs` {label: number}, `include_text`, and those of `build` of a source that is not built.

    Raises:
      InputError: nothing that can be read, or somebody who cannot (without `skip_bad`).
    """
    from mmpsy_jax.commands.explore import explore

    return Exploration(explore(source, dataset, output=output, **options))


def build(dataset: str = "mmpsy/demo", source: Place | None = None, data_dir: Place = "data", **options: Any) -> Path:
    """Builds a corpus as TFDS records, or finds it built; see `data_builders.common.cli.build`.

    Returns:
      the folder of the records.
    """
    from data_builders.common import cli

    return cli.build(dataset, data_dir, source=source, **options)


def train(config: str = "phq", fields: Mapping[str, Any] | None = None, *, workdir: Place | None = None) -> Run:
    """Trains, evaluates and reports; goes on where an interrupted run of the same config stopped.

    Args:
      config: NAME or FILE, with `:ARGUMENT` where the config takes one, as `--config`.
      fields: values of config fields by dotted name, such as {"cv.folds": 5}.
      workdir: where everything goes; `runs/<config.name>` when not given.

    Raises:
      InputError: an unknown config or field, a value that it cannot have, or data that cannot be used.
      TrainingDiverged: the loss stopped being a number.
    """
    from absl import flags

    from mmpsy_jax.commands import train as command

    chosen = command.configure(config, fields or {})
    folder = Path(workdir) if workdir is not None else Path("runs") / chosen.name
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads absl flags
    command.train(chosen, folder)
    return Run(folder)


def load_run(workdir: Place) -> Run:
    """A finished run.

    Args:
      workdir: of the run, what `export` wrote of it, or the part of that which was shared.

    Raises:
      InputError: the folder holds none.
    """
    from mmpsy_jax.training import finished_run, run_files

    finished_run.load(workdir)
    return Run(run_files.folder_of(workdir))


def evaluate(
    predictions: pandas.DataFrame | Place,
    *,
    output: Place | None = None,
    compare: pandas.DataFrame | Place | None = None,
    subgroups: pandas.DataFrame | Place | None = None,
    maximum: Mapping[str, float] | None = None,
    **kinds: str | Sequence[str],
) -> Report:
    """Scores the predictions of any tool; see `launch.py evaluate`.

    Args:
      predictions: columns participant_id, task, y_true, y_prob or y_pred, and others that `docs/evaluation.md` names.
      output: folder for `report.json` and `report.html`; None writes nothing.
      compare: predictions of another tool for the same participants, compared in pairs.
      subgroups: participant_id and columns of categories.
      maximum: highest possible score, or band, by task.
      **kinds: names of tasks by kind, such as binary="screen", where the columns do not tell.

    Raises:
      InputError: a table that cannot be scored, or an unknown kind.
    """
    from mmpsy_jax.evaluation.infer_tasks import read_kinds
    from mmpsy_jax.evaluation.report import evaluate_file

    named = {kind: [tasks] if isinstance(tasks, str) else list(tasks) for kind, tasks in kinds.items()}
    ends = [f"{task}:{most:g}" for task, most in (maximum or {}).items()]
    with tempfile.TemporaryDirectory() as folder:
        files = {"predictions": predictions, "compare": compare, "subgroups": subgroups}
        for name, table in files.items():
            if isinstance(table, pandas.DataFrame):
                files[name] = Path(folder, f"{name}.csv")
                table.to_csv(files[name], index=False)
        scored = evaluate_file(files.pop("predictions"), kinds=read_kinds(ends, **named), output=output, **files)
    return Report(scored)
