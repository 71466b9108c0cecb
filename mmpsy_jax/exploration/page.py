"""`explore.html`, a function of `explore.json` alone: one file, no request leaves it, it names nobody."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mmpsy_jax.evaluation import plots, wording
from mmpsy_jax.evaluation.tables import Table, to_text
from mmpsy_jax.exploration.measures import SOUND, WORDS, measure_of

Content = Mapping[str, Any]  # of `explore.json`
QUANTILES = {
    "min": "least",
    "q05": "5 %",
    "q25": "25 %",
    "median": "median",
    "q75": "75 %",
    "q95": "95 %",
    "max": "most",
}
_DRAWN = ("duration_s", "speaking_s", "level_db", "snr_db", "n_words", "words_per_answer", "characters_per_answer")
_MOST_EFFECTS = 15  # of a picture
_MOST_PAIRS = 6  # of scores that are drawn together
_MOST_QUESTIONS = 4  # on a terminal
KINDS = {"spearman": "Spearman's rho", "cliff": "Cliff's delta"}


def render(content: Content) -> str:
    """The page as HTML text."""
    parts = list(_sections(content))
    for part in parts:
        part["pictures"] = {name: Markup(svg) for name, svg in part.get("pictures", {}).items()}
    return wording.template(Path(__file__).with_name("explore.html")).render(
        title=f"A look at {content['title']}",
        content=content,
        disclaimer=wording.disclaimer_of(list(content["scores"]), content["modalities"]) if content["scores"] else "",
        sections=[{"text": "", "tables": [], **part} for part in parts if part.get("tables") or part["pictures"]],
    )


def summary(content: Content) -> str:
    """The same for a terminal of 100 columns, without pictures."""
    lines = ["SYNTHETIC DATA: no number below says anything about real people."] if content["synthetic"] else []
    lines += [count(content)]
    effects = _effects(content, most=8)
    shown = [
        _sizes(content, short=True),
        _scores(content),
        *_told_apart(content),
        _duplicates(content),
        *itertools.islice(effects, _MOST_QUESTIONS),
    ]
    more = sum(1 for _ in effects)
    text = "\n".join(lines + [f"\n{to_text(table)}" for table in shown if table.rows])
    return f"{text}\n\n{more} more questions on the page" if more else text


def count(content: Content) -> str:
    """How many rows and persons there are."""
    rows = f"{content['n']:,} {content['unit']}"
    persons = "" if content["n_persons"] == content["n"] else f" of {content['n_persons']:,} people"
    left_out = sum(content["left_out"].values())
    return f"{content['title']}: {rows}{persons}" + (f", {left_out:,} left out" if left_out else "")


def _sections(content: Content) -> Iterator[dict[str, Any]]:
    unit = content["unit"]
    yield {"title": "Who is in it", "tables": [_who(content), _missing(content)]}
    drawn = {}
    for name in _DRAWN:
        if name in content["measures"]:
            title, scale = measure_of(name).title, measure_of(name).unit
            drawn[title] = _histogram(title, content["measures"][name]["histogram"], unit, scale)
    yield {
        "title": "Sound and words",
        "text": _what_is_measured(content),
        "tables": [_sizes(content)],
        "pictures": drawn,
    }
    pictures = {
        label: _histogram(label, score["histogram"], unit)
        for label, score in content["scores"].items()
        if "histogram" in score
    }
    pairs = [pair for pair in content["correlations"] if min(len(set(pair["cells"][one])) for one in "ab") > 2]
    for pair in pairs[:_MOST_PAIRS]:
        first, second = pair["labels"]
        pictures[f"{first} and {second}"] = _joint(pair)
    yield {
        "title": "Scores",
        "tables": [_scores(content), *_classes(content), _correlations(content)],
        "pictures": pictures,
    }
    yield {
        "title": "What goes with the scores",
        "text": EFFECTS.format(resamples=content["resamples"], n=len(content["effects"])),
        "tables": list(_effects(content, opened=True)),
        "pictures": dict(_forests(content)),
    }
    yield {
        "title": "Map",
        "text": " ".join([MAP.format(unit=unit), *[TOLD_APART] * bool(content["told_apart"])]),
        "tables": list(_told_apart(content)),
        "pictures": dict(_maps(content)),
    }
    yield {"title": "Who is alike", "text": ALIKE, "tables": [_duplicates(content)]}
    yield {"title": "Who looks odd", "text": ODD.format(**content["odd"]), "tables": [_odd(content)]}
    words = Table(
        "Words that most people use",
        ["word", "people", "share"],
        [[w["word"], w["persons"], f"{w['share']:.2f}"] for w in content.get("words", ())],
        opened=True,
    )
    yield {"title": "Words", "text": WORDS_TEXT, "tables": [words] if words.rows else []}


EFFECTS = (
    "Spearman's rank correlation with a score, and Cliff's delta between groups: above 0 where who has the higher "
    "score, or is in the group, has more of it. In brackets 95 % intervals over people ({resamples} resamples); Holm's "
    "correction is over all {n} effects. Do not let them choose what a model reads: "
    "they are of everybody, the test part included."
)
MAP = (
    "The first two principal components of all measures and mean embeddings, standardised; a dot is as many {unit} as "
    "lie there."
)
TOLD_APART = (
    "Where a group can be told apart by how it sounds or speaks, a model can learn the group in place of the score: "
    "judge it within groups, and on groups that it was not trained on. 0.5 is chance, and less means no more than that."
)
ALIKE = "Near-duplicates across people or splits may be one interview under two ids. look_at.csv names them."
ODD = (
    "{rows} have a measure whose modified z score lies beyond {limit}: distance from the median over the median "
    "absolute deviation, times 0.6745. That is no error by itself; listen to them. look_at.csv names them."
)
WORDS_TEXT = "Only words that at least ten people use. A Chinese or Japanese character counts as a word."


def _what_is_measured(content: Content) -> str:
    there = content["measures"]
    texts = []
    if any(measure_of(name).family == SOUND for name in there) and "snr_db" not in there:
        texts.append("Levels are not known: they are measured in recordings, and this source holds none as recorded.")
    if "snr_db" in there:
        texts.append("Levels are those of the recordings, of loud and of quiet frames of 25 ms.")
    if any(measure_of(name).family == WORDS for name in there) and "n_words" not in there:
        texts.append("Words are not counted: the transcripts are not at hand.")
    return " ".join(texts)


def _who(content: Content) -> Table:
    rows = [[content["unit"], content["n"]]]
    if content["n_persons"] != content["n"]:
        rows.append(["people", content["n_persons"]])
    rows += [[f"left out: {reason}", n] for reason, n in content["left_out"].items()]
    rows += [[f"split {split}", n] for split, n in content["splits"].items()]
    rows += [[f"{column}: {name}", n] for column, parts in content["groups"].items() for name, n in parts.items()]
    return Table("Counts", ["", content["unit"]], rows, opened=True)


def _missing(content: Content) -> Table:
    parts = list(content["missing"][0])[1:] if content["missing"] else []
    rows = [
        [one["what"], *(f"{one[part]['missing']} of {sum(one[part].values())}" for part in parts)]
        for one in content["missing"]
    ]
    return Table("What is missing", ["missing", *parts], rows, opened=True)


def _sizes(content: Content, short: bool = False) -> Table:
    rows = []
    shown = {name: title for name, title in QUANTILES.items() if not short or name not in ("q25", "q75")}
    for name, one in content["measures"].items():
        measure = measure_of(name)
        if not short or name in _DRAWN:
            rows.append([measure.title, one["n"], *(f"{one['quantiles'][q] / measure.unit:.4g}" for q in shown)])
    return Table("Measures", ["", content["unit"], *shown.values()], rows, opened=True)


def _scores(content: Content) -> Table:
    rows = [
        [label, one["known"], one["missing"], *(f"{one['quantiles'][q]:.4g}" for q in QUANTILES)]
        for label, one in content["scores"].items()
        if "quantiles" in one
    ]
    return Table("Scores", ["label", "known", "missing", *QUANTILES.values()], rows, opened=True)


def _classes(content: Content) -> Iterator[Table]:
    for label, one in content["scores"].items():
        if "classes" in one:
            yield Table(
                f"Classes of {label}",
                [label, content["unit"]],
                [list(pair) for pair in one["classes"].items()],
                opened=True,
            )


def _correlations(content: Content) -> Table:
    rows = [[" and ".join(one["labels"]), one["n"], wording.cell("spearman", one)] for one in content["correlations"]]
    return Table("Correlation of the scores", ["labels", content["unit"], KINDS["spearman"]], rows, opened=True)


def _by_question(content: Content) -> Iterator[tuple[str, list[Content]]]:
    for question, entries in itertools.groupby(content["effects"], key=lambda one: one["question"]):
        yield question, sorted(entries, key=lambda one: -abs(one["value"] or 0.0))


def _effects(content: Content, most: int | None = None, opened: bool = False) -> Iterator[Table]:
    """A table per question, the largest effects first."""
    for question, entries in _by_question(content):
        kind = entries[0]["kind"]
        rows = [
            [
                measure_of(one["measure"]).title,
                f"{one['n_event']} and {one['n'] - one['n_event']}" if kind == "cliff" else one["n"],
                wording.cell(kind, one, signed=True),
                wording.p_value(one.get("p")),
                wording.p_value(one.get("p_holm")),
            ]
            for one in entries[:most]
        ]
        note = f"the {most} largest of {len(entries)}" if most and len(entries) > most else ""
        yield Table(
            question, ["measure", content["unit"], KINDS[kind], "p", "p (Holm)"], rows, note=note, opened=opened
        )


def _told_apart(content: Content) -> Iterator[Table]:
    rows = [
        [
            one["column"],
            ", ".join(f"{name} {n}" for name, n in one["categories"].items()),
            wording.cell("auroc", one) if "value" in one else one["reason"],
        ]
        for one in content["told_apart"]
    ]
    if rows:
        yield Table(
            "Told apart by a linear classifier", ["by", content["unit"], "AUROC, cross-validated"], rows, opened=True
        )


def _duplicates(content: Content) -> Table:
    titles = ("groups", content["unit"], "groups across people", "groups across splits")
    rows = [[name, *one.values()] for name, one in content["duplicates"].items()]
    return Table("Near-duplicates", ["of", *titles], rows, opened=True)


def _odd(content: Content) -> Table:
    rows = [
        [measure_of(name).title, one["rows"], f"{one['farthest']:+.1f}"]
        for name, one in content["odd"]["measures"].items()
    ]
    return Table("Odd measures", ["measure", content["unit"], "farthest z"], rows, opened=True)


def _histogram(title: str, counts: Content, unit: str, scale: float = 1.0) -> str:
    with plots.figure(f"Histogram: {title}", size=(4.2, 2.6)) as drawing:
        drawing.axes.stairs(counts["counts"], np.array(counts["edges"]) / scale, fill=True, color=plots.COLOURS[0])
        drawing.axes.set(xlabel=title, ylabel=unit)
    return drawing.svg


def _joint(pair: Content) -> str:
    first, second = pair["labels"]
    with plots.figure(f"{second} over {first}", size=(4.2, 3.6)) as drawing:
        cells = pair["cells"]
        drawing.axes.scatter(
            cells["a"], cells["b"], s=14 * np.sqrt(cells["n"]), color=plots.COLOURS[0], alpha=0.6, linewidths=0
        )
        drawing.axes.set(xlabel=first, ylabel=second)
    return drawing.svg


def _forests(content: Content) -> Iterator[tuple[str, str]]:
    for question, entries in _by_question(content):
        shown = [one for one in entries if one["low"] is not None][:_MOST_EFFECTS]
        if shown:
            pairs = {measure_of(one["measure"]).title: (one, "") for one in shown}
            yield question, plots.forest(pairs, axis=KINDS[shown[0]["kind"]])


def _maps(content: Content) -> Iterator[tuple[str, str]]:
    drawn = content["map"]
    if not drawn:
        return
    for label, cells in drawn["scores"].items():
        with _map(f"Map by {label}", drawn) as drawing:
            dots = drawing.axes.scatter(
                cells["x"],
                cells["y"],
                s=_areas(cells),
                c=cells["mean"],
                cmap="viridis",
                edgecolors=plots.INK,
                linewidths=0.3,
            )
            drawing.figure.colorbar(dots, label=label)
        yield f"by {label}", drawing.svg
    for column, by_name in drawn["groups"].items():
        with _map(f"Map by {column}", drawn) as drawing:
            markers = itertools.cycle("osD^vP*")  # 35 pairs with the colours
            for (name, cells), colour, marker in zip(by_name.items(), itertools.cycle(plots.COLOURS), markers):
                drawing.axes.scatter(
                    cells["x"],
                    cells["y"],
                    s=_areas(cells),
                    color=colour,
                    marker=marker,
                    alpha=0.7,
                    linewidths=0,
                    label=name,
                )
            drawing.figure.legend(loc="outside lower center", ncols=2)
        yield f"by {column}", drawing.svg
    if not drawn["scores"] and not drawn["groups"]:
        with _map("Map", drawn) as drawing:
            drawing.axes.scatter(
                drawn["all"]["x"], drawn["all"]["y"], s=_areas(drawn["all"]), color=plots.COLOURS[0], linewidths=0
            )
        yield "everybody", drawing.svg


@contextlib.contextmanager
def _map(title: str, drawn: Content) -> Iterator[Any]:
    first, second = (f"component {k}, {100 * share:.0f} % of variance" for k, share in enumerate(drawn["explained"], 1))
    with plots.figure(title, size=(4.6, 4.0)) as drawing:
        drawing.axes.set(xlabel=first, ylabel=second)
        drawing.axes.tick_params(labelbottom=False, labelleft=False)
        yield drawing


def _areas(cells: Content) -> np.ndarray:
    return 22 * np.sqrt(cells["n"])
