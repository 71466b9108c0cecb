"""`launch.py adapt`: personal layers for people outside the training data, from a few rated days.

For a person with layers R and B the output of mood q is y_q = m_q + h_q R_q / d + B_q, where m_q and
the d features h_q are shared (`models/macro_micro.py`) and stay as they are. The rest is linear in R and B, so nothing
is trained: for normal R, B and errors with variances d s_R, s_B and s_e, the rated days of a person have the covariance
C = s_R h h' / d + s_B + s_e I, and with a = C^-1 (y - m) the expected layers are R = s_R h' a and B = s_B sum(a):
random slopes and intercepts (Laird and Ware 1982). The three variances, the same for all people and moods, are those
under which the ratings of these days are most probable; no other day is used. Weight decay pulls the layers of
trained people to zero, too; here variances are estimated instead.

Departures from the paper: it adapts nobody.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Bool, Float, Int, PyTree

import mmpsy_jax
from mmpsy_jax.data.records import SPLITS, Corpus, open_corpus
from mmpsy_jax.evaluation import bootstrap, together, wording
from mmpsy_jax.evaluation.predictions import Predictions, write_csv
from mmpsy_jax.evaluation.scoring import finite
from mmpsy_jax.io import InputError, one_of, try_folder, write_json
from mmpsy_jax.projects.daily_mood.models.macro_micro import PERSON
from mmpsy_jax.tasks import Task
from mmpsy_jax.training import finished_run
from mmpsy_jax.training.finished_run import FinishedRun, FinishedTraining

MODEL = "macro_micro"
FILE = "adaptation.json"
ALL = "all"
VARIANCES = ("slope", "level", "error")
# Bounds of their logarithms; scores are shares of their maximum.
_LOG_VARIANCES = (-16.0, 2.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Days:
    """Days of people as one training sees them, by person and in the order of time.

    Attributes:
      member: position of each in the corpus.
      person: of each, a number.
      rated: of each rated day, which one of its person it is, from 1; 0 where no mood is rated.
      shared: [n q] what the shared layers say of each mood, as a share of its maximum.
      features: [n q d] of each mood.
      residual: [n q] rating less `shared`; NaN where there is none.
    """

    member: Int[np.ndarray, " n"]
    person: Int[np.ndarray, " n"]
    rated: Int[np.ndarray, " n"]
    shared: Float[np.ndarray, "n q"]
    features: Float[np.ndarray, "n q d"]
    residual: Float[np.ndarray, "n q"]


def adapt(
    workdir: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    days: Sequence[int],
    split: str = "test",
    n_bootstrap: int = bootstrap.RESAMPLES,
) -> dict[str, Any]:
    """Predicts the later days of people without personal layers, and with layers from their first rated days.

    Args:
      workdir: of a finished run without folds.
      source: folder of built records that name the person of each day.
      output: folder for `predictions_<days>_days.csv`, one per number of days, and `adaptation.json`.
      days: numbers of rated days of each person to adapt to; 0 is added. All are predicted on the same days: those that
        the largest number leaves.
      split: of the records whose people are adapted, "all" for everybody. Of the records that the run was trained on,
        only "test" holds people who played no part.
      n_bootstrap: resamples of people.

    Returns:
      the content of `adaptation.json`: per number of days the variances of each training, and the metrics on the other
      days, means over the tasks.

    Raises:
      InputError: no such run, other tasks than scores, records without persons or with other inputs, a wrong number of
        days, or nobody with a day left.
    """
    numbers = sorted({0, *days})
    if len(numbers) < 2 or min(numbers[1:]) < 2 or numbers[0] < 0:
        shown = ",".join(map(str, days))
        raise InputError(
            f"--days={shown}: give numbers of 2 or more: one day does not tell a person's level from chance"
        )
    try_folder(output)
    run = finished_run.load(workdir)
    _check(run, workdir)
    corpus, members = _people(run, source, split)
    known = [_days(run.tasks, one, corpus, members) for one in run.trainings]
    rated, member = known[0].rated, known[0].member
    asked = (rated == 0) | (rated > numbers[-1])
    if not asked.any():
        raise InputError(f"{source}: nobody has a day after the first {numbers[-1]} rated ones: give fewer --days")
    results: dict[str, Any] = {
        "format": 1,
        "what": mmpsy_jax.DISCLAIMER,
        "synthetic": bool(corpus.card["synthetic"] or run.card["synthetic"]),
        "days": {},
    }
    for number in numbers:
        fitted, values = zip(*[predict(one, number) for one in known], strict=True)
        rows = _tables(run.tasks, corpus, member[asked], [value[asked] for value in values])
        write_csv(Path(output) / f"predictions_{number}_days.csv", Predictions.concatenate(rows.values()))
        results["days"][str(number)] = {"variances": fitted, **together.entry(rows, {"resamples": n_bootstrap})}
    results = finite(results)
    write_json(Path(output) / FILE, results)
    return results


def summary(results: Mapping[str, Any]) -> str:
    """Mean CCC and MAE for each number of days as text for a terminal."""
    lines = ["SYNTHETIC DATA: no number below says anything about real people."] if results["synthetic"] else []
    for number, entry in results["days"].items():
        cells = [f"{wording.label(name)} {wording.estimate(name, entry['overall'][name])}" for name in ("ccc", "mae")]
        lines.append(f"{number:>3} rated days of each person   {'   '.join(cells)}")
    entry = results["days"]["0"]
    where = f"{entry['n_participants']} other days of {entry['n_clusters']} people, who are resampled"
    return "\n".join([*lines, f"means over {entry['n_tasks']} tasks, all on the same {where}"])


def _check(run: FinishedRun, workdir: str | Path) -> None:
    for one in run.trainings:
        if one.config.model.name != MODEL:
            raise InputError(f"{workdir}: a run of {one.config.model.name!r}: only {MODEL!r} has layers of people")
    if len({one.fold for one in run.trainings}) > 1:
        raise InputError(f"{workdir}: a run with folds has seen everybody in its records: train one without folds")


def _people(run: FinishedRun, source: str | Path, split: str) -> tuple[Corpus, Int[np.ndarray, " n"]]:
    """Records that the run can read, and which of them are asked about.

    Raises:
      InputError: as of `adapt`.
    """
    corpus = open_corpus(source)
    if not corpus.card.get("cluster"):
        raise InputError(f"{corpus.path}: does not say whose day a record is ('cluster' in corpus.json)")
    for task in run.tasks:
        if not task.scaled:
            raise InputError(f"task {task.name!r} is {task.kind}: layers have a closed form for scores only")
        if task.label not in corpus.labels:
            raise one_of(f"label of task {task.name!r}", task.label, corpus.labels)
    if split not in (*SPLITS, ALL):
        raise one_of("split", split, (*SPLITS, ALL))
    # Numbers of persons mean nothing in another corpus, and are not read here whatever they are.
    if PERSON in corpus.modalities and PERSON in run.modalities:
        corpus = dataclasses.replace(corpus, modalities={**corpus.modalities, PERSON: run.modalities[PERSON]})
    corpus = run.select_modalities(corpus)
    members = np.flatnonzero([split in (name, ALL) for name in corpus.split])
    if not len(members):
        raise InputError(f"{corpus.path}: split {split!r} has no record: give another --split")
    return corpus, members


def _days(tasks: Sequence[Task], training: FinishedTraining, corpus: Corpus, members: Int[np.ndarray, " n"]) -> Days:
    start = corpus.start_times({corpus.participants[i] for i in members})
    person = np.unique([corpus.cluster[i] for i in members], return_inverse=True)[1]
    order = np.lexsort(([start[corpus.participants[i]] for i in members], person))
    member, person = members[order], person[order]
    scores = np.stack([corpus.labels[task.label][member] / task.maximum for task in tasks], axis=1)
    has = ~np.isnan(scores).all(axis=1)
    reached = np.cumsum(has)
    first = np.searchsorted(person, person)  # day of each person
    rated = np.where(has, reached - (reached - has)[first], 0)
    shared, features = (seen[order] for seen in look(tasks, training, corpus, members))
    return Days(member, person, rated, shared, features, scores - shared)


def look(
    tasks: Sequence[Task], training: FinishedTraining, corpus: Corpus, members: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n q d"]]:
    """What the shared layers of a training say of the members, as shares of the maxima, and the features."""
    shape = training.batching(corpus)
    network = training.network(shape)

    @jax.jit
    def program(variables: PyTree, pack: PyTree) -> tuple[Float[Array, "b q"], Float[Array, "b q d"]]:
        if f"{PERSON}_length" in pack:  # days of nobody who is known
            pack = {**pack, f"{PERSON}_length": jnp.zeros_like(pack[f"{PERSON}_length"])}
        outputs, sown = network.apply(variables, pack, mutable=["intermediates"])
        return jnp.concatenate([outputs[task.name] for task in tasks], axis=1), sown["intermediates"]["emotions"][0]

    packs = training.packs(corpus, members, shape)
    parts = jax.device_get([(pack["index"], *program(training.variables, pack)) for pack in packs])
    index, shared, features = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(index)[-len(members) :]  # padding rows are -1
    return shared[order].astype(np.float64), features[order].astype(np.float64)


def predict(days: Days, number: int) -> tuple[dict[str, float] | None, Float[np.ndarray, "n q"]]:
    """Variances, and the predictions of every day with layers from the first `number` rated days of its person.

    A network that was trained for its CCC says more than can be expected, so that its ratings do not vary less than
    those of people. So layers are added to what the rated days make of the shared layers (`regress`), and all of it
    spreads again as the ratings do: by the ratio of deviations on the rated days, each predicted from the others.
    """
    if not number:
        return None, days.shared.copy()
    used = (days.rated > 0) & (days.rated <= number)
    days, mean = regress(days, used)
    variances = fit_variances(days, used)
    values, left_out = days.shared.copy(), days.shared[used]
    for person in np.unique(days.person):
        days_of = days.person == person
        slope, level = layers(days, days_of & used, variances)
        values[days_of] += np.einsum("nqd,qd->nq", days.features[days_of], slope) / slope.shape[1] + level
        left_out[days.person[used] == person] += left_out_layers(days, days_of & used, variances)
    rated = np.where(np.isnan(days.residual[used]), np.nan, left_out)
    truth = days.shared[used] + days.residual[used]
    ratio = np.sqrt(np.nanvar(truth, axis=0).sum() / max(np.nanvar(rated, axis=0).sum(), 1e-12))
    return variances, mean + ratio * (values - mean)


def regress(days: Days, used: Bool[np.ndarray, " n"]) -> tuple[Days, Float[np.ndarray, " q"]]:
    """Days whose `shared` is regressed on: each mood about its mean rating, with one slope for all moods.

    Args:
      used: the days whose ratings are looked at.

    Returns:
      the days, and the mean ratings; 0 of a mood that nobody has rated.
    """
    known = used[:, None] & ~np.isnan(days.residual)
    mean_of = lambda x: np.where(known, x, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)  # noqa: E731
    ratings = days.shared + days.residual
    mean, centred = mean_of(ratings), days.shared - mean_of(days.shared)
    slope = np.where(known, centred * (ratings - mean), 0).sum() / max(np.where(known, centred**2, 0).sum(), 1e-12)
    shared = mean + slope * centred
    return dataclasses.replace(days, shared=shared, residual=ratings - shared), mean


def left_out_layers(
    days: Days, counted: Bool[np.ndarray, " n"], variances: Mapping[str, float]
) -> Float[np.ndarray, "d q"]:
    """What layers from all other counted days of a person add to each of them."""
    residual, alike, known = _design(days, counted)
    inverse = np.linalg.inv(_covariance(alike, known, variances))
    weights = np.einsum("qnm,qm->qn", inverse, residual)
    return (residual - weights / np.diagonal(inverse, axis1=1, axis2=2)).T


def fit_variances(days: Days, used: Bool[np.ndarray, " n"]) -> dict[str, float]:
    """The `VARIANCES` that make the ratings of some days most probable; people and moods are independent.

    Args:
      days: of all people.
      used: which of them count.
    """
    people = [_design(days, used & (days.person == person)) for person in np.unique(days.person[used])]

    def loss(logs: Float[np.ndarray, " 3"]) -> float:
        variances, total = dict(zip(VARIANCES, np.exp(logs), strict=True)), 0.0
        for residual, alike, known in people:
            covariance = _covariance(alike, known, variances)
            total += (residual * np.linalg.solve(covariance, residual[..., None])[..., 0]).sum()
            total += np.linalg.slogdet(covariance)[1].sum()
        return total / 2

    start = np.full(3, np.log(np.nanvar(days.residual[used]) / 3 + 1e-6))
    best = scipy.optimize.minimize(loss, start, method="L-BFGS-B", bounds=[_LOG_VARIANCES] * 3)
    return {name: float(value) for name, value in zip(VARIANCES, np.exp(best.x), strict=True)}


def layers(
    days: Days, counted: Bool[np.ndarray, " n"], variances: Mapping[str, float]
) -> tuple[Float[np.ndarray, "q d"], Float[np.ndarray, " q"]]:
    """R and B of a person, expected given some days; zeros without any.

    Args:
      days: of all people.
      counted: the rated days of the person that count.
      variances: from `fit_variances`.
    """
    residual, alike, known = _design(days, counted)
    weights = np.linalg.solve(_covariance(alike, known, variances), residual[..., None])[..., 0]
    slope = variances["slope"] * np.einsum("qn,nqd->qd", weights, days.features[counted])
    return slope, variances["level"] * weights.sum(axis=1)


def _design(
    days: Days, counted: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "q k"], Float[np.ndarray, "q k k"], Bool[np.ndarray, "q k"]]:
    """Residuals, 0 where unknown; products of the features of two days over d; and which residuals are known."""
    residual, features = days.residual[counted].T, days.features[counted]
    known = ~np.isnan(residual)
    alike = np.einsum("nqd,mqd->qnm", features, features) / features.shape[-1]
    return np.where(known, residual, 0.0), alike, known


def _covariance(
    alike: Float[np.ndarray, "q k k"], known: Bool[np.ndarray, "q k"], variances: Mapping[str, float]
) -> Float[np.ndarray, "q k k"]:
    """Of the ratings of a person; an unknown one has variance 1 and is independent, so that it changes nothing."""
    both = known[:, :, None] & known[:, None, :]
    error = np.where(known, variances["error"], 1.0)
    return np.where(both, variances["slope"] * alike + variances["level"], 0.0) + error[:, :, None] * np.eye(
        len(error[0])
    )


def _tables(
    tasks: Sequence[Task], corpus: Corpus, member: Int[np.ndarray, " m"], values: Sequence[Float[np.ndarray, "m q"]]
) -> dict[str, Predictions]:
    """Predictions by task: the mean over trainings of what is cut to the range of each score."""
    who = {"cluster": [corpus.cluster[i] for i in member]}
    ids, tables = [corpus.participants[i] for i in member], {}
    for q, task in enumerate(tasks):
        clipped = [np.clip(value[:, q] * task.maximum, task.minimum, task.maximum) for value in values]
        truth = corpus.labels[task.label][member]
        tables[task.name] = Predictions.build(ids, task.name, truth, y_pred=np.mean(clipped, axis=0), **who)
    return tables
