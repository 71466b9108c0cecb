"""`DATASHEET.md`: the questions of a datasheet (Gebru et al., CACM 2021), answered as far as the software knows.

The seven sections are those of the paper; the questions are in our own short words. What only people can answer is
named and left blank: an empty answer is not an answer of "no".
"""

from collections.abc import Callable, Mapping
from typing import Any

BLANK = "*To be filled in by a person.*"

Corpus = Mapping[str, Any]
Fill = Callable[[Corpus], str]


def render(corpus: Corpus, said: Mapping[str, Any]) -> str:
    """The datasheet as Markdown.

    Args:
      corpus: content of `corpus.json`.
      said: title, summary, licence and so on, as `about.about` gives them.
    """
    known = {**corpus, **said}
    parts = [f"# Datasheet of {said['title']}", said["summary"], f"> {said['disclaimer']}"]
    if said["synthetic"]:
        parts.append("**SYNTHETIC.** No person stands behind these records: questions about people do not apply.")
    for section, questions in _SECTIONS.items():
        parts.append(f"## {section}")
        parts += [f"**{question}** {fill(known) if fill else BLANK}" for question, fill in questions]
    return "\n\n".join(parts) + "\n"


def _of(released: str, synthetic: str, *, own: str | None = None) -> Fill:
    """An answer for the release, for records behind which nobody stands, and for recordings of one's own (or blank)."""

    def fill(corpus: Corpus) -> str:
        if corpus["synthetic"]:
            return synthetic
        return released if corpus["released"] else (own or BLANK)

    return fill


def _of_people(text: str, synthetic: str) -> Fill:
    """An answer that depends only on whether people stand behind the records."""
    return _of(text, synthetic, own=text)


def _count(corpus: Corpus) -> str:
    splits = ", ".join(f"{count:,} in {split}" for split, count in corpus["participants"].items())
    return f"{sum(corpus['participants'].values()):,} participants: {splits}."


def _contents(corpus: Corpus) -> str:
    shapes = [f"`{name}` in windows of {entry['shape']}" for name, entry in corpus["modalities"].items()]
    text = " Transcripts in clear text are included." if corpus.get("options", {}).get("include_text") else ""
    return f"{'; '.join(shapes)}, each of {corpus['window_seconds']:g} s. README.md lists every feature.{text}"


def _labels(corpus: Corpus) -> str:
    missing = "-1" if corpus.get("label_dtype", "int32") == "int32" else "NaN"
    return f"{', '.join(corpus['labels'])}; {missing} where one is missing."


def _instance(corpus: Corpus) -> str:
    made_up = "made-up " if corpus["synthetic"] else ""
    return f"One {made_up}{corpus.get('record', 'interview of a participant')}."


def _related(corpus: Corpus) -> str:
    if "cluster" in corpus:
        return f"Yes: records with the same `{corpus['cluster']}` belong together."
    return "There are none." if corpus["synthetic"] else BLANK


def _splits(corpus: Corpus) -> str:
    if "split_rule" in corpus:
        return f"Yes, {corpus['split_rule']}."
    return f"Yes, by participant: {', '.join(corpus['participants'])}. They follow from the id or a split file alone."


def _left_out(corpus: Corpus) -> str:
    return f"{len(corpus['skipped'])} participants were left out because their files are missing or damaged."


def _duplicates(corpus: Corpus) -> str:
    found = [
        f"{counts['shared']} identical {content} of different participants ({counts['across_splits']} across splits)"
        for content, counts in corpus.get("duplicates", {}).items()
    ]
    return f"{'; '.join(found)}." if found else BLANK


def _caveats(corpus: Corpus) -> str:
    return " ".join(corpus["caveats"])


def _provenance(corpus: Corpus) -> str:
    return " ".join(corpus["provenance"])


def _preprocessing(corpus: Corpus) -> str:
    dtype = corpus.get("options", {}).get("dtype")
    return f"The builder of mmpsy_jax wrote the windows into TFDS records{f' as {dtype}' if dtype else ''}."


def _raw(corpus: Corpus) -> str:
    return f"Not here. The sha256 of the source table is `{corpus['source_sha256']}`."


def _paper(corpus: Corpus) -> str:
    return corpus["url"] or ("docs/demo_corpus.md of mmpsy_jax." if corpus["license"] == "Apache-2.0" else BLANK)


def _licence(corpus: Corpus) -> str:
    return f"{corpus['license']}; the text stands in README.md." if corpus["license"] else BLANK


def _version(corpus: Corpus) -> str:
    return f"This is version {corpus['version']}. A new version gets a folder of its own beside it."


_NOBODY = "Does not apply: synthetic."
_SECTIONS: dict[str, tuple[tuple[str, Fill | None], ...]] = {
    "Motivation": (
        (
            "What was it made for?",
            _of("For research on estimating questionnaire totals from interviews.", "For testing software."),
        ),
        ("Who made it, on whose behalf?", _of(BLANK, "A seeded generator of software.")),
        ("Who paid for it?", None),
    ),
    "Composition": (
        ("What is one instance?", _instance),
        ("How many are there?", _count),
        ("All there are, or a sample of which larger set?", _of(BLANK, "All that the generator was asked for.")),
        ("What does an instance hold?", _contents),
        ("What are the labels?", _labels),
        ("Is anything missing?", _left_out),
        ("Are relations between instances known?", _related),
        ("Are there recommended splits?", _splits),
        ("Are there errors, noise or duplicates?", _duplicates),
        ("Does it depend on anything outside?", lambda _: "No: the folder is complete."),
        (
            "Does it hold what is confidential or could distress?",
            _of_people("Yes: what people say or rate about how they feel.", "No."),
        ),
        ("Does it tell subpopulations apart?", _of("No: no sex, age, school or class.", _NOBODY)),
        (
            "Can people be identified?",
            _of_people("Log-mel windows and text encodings are not anonymous: treat them as personal data.", _NOBODY),
        ),
        ("Is it sensitive?", _of("Yes: health of minors.", "No.")),
        ("What else should be known?", _caveats),
    ),
    "Collection": (
        ("How, by whom and when was it collected?", _provenance),
        ("How was the sample drawn?", _of(BLANK, "At random, by the seed of the generator.")),
        ("Was there an ethical review?", _of("None is part of the release.", _NOBODY)),
        ("Did people know, and did they consent?", _of("No consent form is part of the release.", _NOBODY)),
        ("Can consent be withdrawn?", _of(BLANK, _NOBODY)),
        ("Was the effect on those described studied?", _of(BLANK, _NOBODY)),
    ),
    "Preprocessing": (
        ("What was done to the data?", _preprocessing),
        ("Are the raw data kept?", _raw),
        ("Is the software for it available?", lambda _: "Yes: mmpsy_jax, Apache-2.0."),
    ),
    "Uses": (
        ("What has it been used for?", None),
        ("Where are papers and systems that use it?", _paper),
        ("What else could it be used for?", None),
        ("Which uses would be wrong?", lambda corpus: corpus["disclaimer"]),
    ),
    "Distribution": (
        ("Who gets it, how and when?", None),
        ("Under which licence?", _licence),
        ("Do others hold rights, or do export rules apply?", None),
    ),
    "Maintenance": (
        ("Who maintains it, and how are they reached?", None),
        ("Where are errors listed?", None),
        ("Will it be updated, and older versions kept?", _version),
        ("How long may records about people be kept?", _of(BLANK, _NOBODY)),
        ("Can others extend it?", None),
    ),
}
