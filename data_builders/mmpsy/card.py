"""What describes an exported folder: README.md and DATASHEET.md for people, croissant.json for machines.

All are written from `corpus.json` and the shards, while the folder still has its temporary name: TFDS writes
`features.json` later, so the features are derived from the record contract (a test compares the two). No file
names a participant, except those that were left out.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_builders.interviews import about as own
from data_builders.mmpsy import croissant, datasheet
from data_builders.mmpsy.croissant import Feature
from data_builders.mmsa.about import about as about_mmsa
from mmpsy_jax.files import write_atomically, write_json

PAPER = "https://arxiv.org/abs/2408.12088"

CITATION = (Path(__file__).parent / "CITATIONS.bib").read_text(encoding="utf-8")

# The licence of the release asks for this notice in every copy or substantial portion.
LICENSE_OF_RELEASE = """\
MIT License. Copyright (c) 2024 ShuyeIT

Permission is hereby granted, free of charge, to any person obtaining a copy of this dataset and associated
documentation files (the "Dataset"), to deal in the Dataset without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Dataset, and to permit
persons to whom the Dataset is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Dataset.

THE DATASET IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE DATASET OR THE USE OR OTHER DEALINGS IN THE DATASET.
"""

DISCLAIMER = (
    "For research only. A model trained on these records estimates the total of a self-report questionnaire from "
    "speech. It is not a diagnostic device, has not been validated against clinical interviews, and must not be used "
    "for decisions about a person, for discipline, selection or surveillance. No estimate, high or low, replaces "
    "a professional. Where somebody is at risk, contact local emergency or crisis services."
)

_PROVENANCE = (
    "Interviews of secondary-school pupils in Guangdong, China, released as MMPsy in 2024 with PHQ-9 and GAD-7 totals. "
    "The publishers state that the data were collected with the authorisation of the education authority and "
    "anonymised; no consent form or ethics approval is part of the release.",
    "The release holds transcripts, log-mel windows (80 bands, about 30 frames/s, normalised over each recording, 60 s "
    "windows overlapping by 10 s) and token embeddings of chinese-bert-wwm-ext (175 tokens per window). No waveforms.",
    f"It has 1,275 participants, fewer than the 7,700 and more of the paper ({PAPER}): numbers of the paper cannot be "
    "reproduced on it. The splits here are ours, derived from the participant id alone.",
)

_CAVEATS = (
    "PHQ-9 totals run from 2 to 24: nobody scores 0 or 1, which points to an undocumented offset or filter. The "
    "release's documentation says that two control questions were added to each questionnaire. Report results for a "
    "second cut-off beside 10.",
    "The severity strings of the release contradict its own documentation. They are not part of these records; derive "
    "classes from the scores.",
    "PHQ-9 and GAD-7 totals correlate at 0.80: a model of one mostly learns the other.",
    "PHQ-9 and GAD-7 are themselves imperfect against a diagnosis, and in Chinese adolescents weaker than in adults: a "
    "study of 2,237 pupils who had screened positive found areas under the curve of 0.62 to 0.71 (BMC Psychiatry 2025, "
    "doi 10.1186/s12888-025-06754-y).",
    "No sex, age, school, class, date or item-level answer is in the release: subgroup fairness and splits by school "
    "are not assessable.",
    "The number of answers, which follows the interview's branching, correlates with the PHQ-9 total at 0.5 (in 1,020 "
    "participants). Always compare a model with a baseline that sees lengths only.",
    "BERT truncated 18 % of the transcripts at 512 tokens, and text windows are placed in equal steps over the text, "
    "not aligned with the sound.",
    "Log-mel spectrograms are not anonymous: voices can be recognised and words reconstructed from them. Treat the "
    "records, and anything trained on them, as personal data of minors.",
)

_IDS_CAVEAT = (
    "`text` is no secret: its ids are hashes of one to three neighbouring characters without a key, so the words can "
    "be recovered by trying all characters. Handle these records like the transcripts themselves. The encoder has no "
    "learned weights and knows no timing: `window_start_s` is a pseudo-time."
)

_SYNTHETIC_CAVEATS = (
    "No person stands behind these records. The sound is shaped noise, the text is meaningless characters; the scores "
    "are drawn from the released marginal distributions and a Gaussian copula.",
    "A signal of known strength was planted, so that the best possible result is known. A result on this corpus shows "
    "that software works, and says nothing about estimating mental health from speech.",
)


def write_card(version_folder: str | os.PathLike, corpus: Mapping[str, Any]) -> None:
    """Writes README.md, DATASHEET.md and croissant.json into a finished but not yet renamed version folder.

    Args:
      version_folder: holds the shards.
      corpus: the content of `corpus.json`.

    Raises:
      InputError: the folder holds no shards.
    """
    folder = Path(version_folder)
    features = record_features(corpus)
    write_atomically(folder / "README.md", render(corpus, features))
    write_atomically(folder / "DATASHEET.md", datasheet.render(corpus, about(corpus)))
    write_json(folder / "croissant.json", croissant.describe(folder, corpus, features, about(corpus)))


def about(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """What card and Croissant both say: title, summary, licence, caveats and so on."""
    if corpus["dataset"] == "mmsa":
        return about_mmsa(corpus)
    if own.is_own(corpus):
        return own.about(corpus)
    synthetic = bool(corpus["synthetic"])
    encoded = any(modality["kind"] == "ids" for modality in corpus["modalities"].values())
    return {
        "title": f"{corpus['dataset']}/{corpus['config']} {corpus['version']}",
        "summary": (
            "Synthetic interviews in the layout of the MMPsy release, made by a seeded generator with a planted "
            "signal. For testing software; not data about people."
            if synthetic
            else "Interviews of Chinese secondary-school pupils with PHQ-9 and GAD-7 totals, one record per "
            "participant: the public part of MMPsy as sharded TFDS records."
        ),
        "synthetic": synthetic,
        "license": "Apache-2.0" if synthetic else "MIT",
        "language": "zh",
        "provenance": (
            ("Written by `data_builders/mmpsy/demo.py` of mmpsy_jax; the equations are in its `docs/demo_corpus.md`.",)
            if synthetic
            else _PROVENANCE
        ),
        "caveats": _SYNTHETIC_CAVEATS if synthetic else (*_CAVEATS, *([_IDS_CAVEAT] if encoded else [])),
        "citation": "" if synthetic else CITATION,
        "url": "" if synthetic else PAPER,
        "disclaimer": DISCLAIMER,
    }


def record_features(corpus: Mapping[str, Any]) -> dict[str, Feature]:
    """The features of a record by the contract in `docs/architecture.md`, sorted by name."""
    options = corpus.get("options", {})
    features = {
        "participant": Feature("text", (), "id of the participant"),
        "n_answers": Feature("int32", (), "number of answers in the transcript"),
        "n_characters": Feature("int32", (), "number of characters in the transcript"),
        "duration_s": Feature("float32", (), "seconds of audio; 0 where there is none"),
        "n_windows": Feature("int32", (), "number of windows, W"),
        "window_start_s": Feature("float32", (None,), "start of each window in seconds"),
    }
    if corpus.get("group"):
        features[corpus["group"]] = Feature("text", (), "who belongs together: stays in one piece when resampled")
    for label in corpus["labels"]:
        dtype = corpus.get("label_dtype", "int32")
        missing = "-1" if dtype == "int32" else "NaN"
        features[label] = Feature(dtype, (), f"total score of the questionnaire, or rating; {missing} where missing")
    for name, modality in corpus["modalities"].items():
        dtype = "int32" if modality["kind"] == "ids" else modality.get("dtype") or options.get("dtype", "float16")
        features[f"has_{name}"] = Feature("bool", (), f"whether the participant has {name}")
        features[name] = Feature(dtype, (None, *modality["shape"]), "windows, zero-padded")
        features[f"{name}_length"] = Feature("int32", (None,), "valid steps of each window; 0 where it is absent")
    if options.get("include_text"):
        features["transcript"] = Feature("text", (), "the answers in clear text")
    return dict(sorted(features.items()))


def render(corpus: Mapping[str, Any], features: Mapping[str, Feature]) -> str:
    """The card as Markdown with the YAML header that Hugging Face reads."""
    said = about(corpus)
    total = sum(corpus["participants"].values())
    parts = [
        _header(said, total),
        f"# {said['title']}",
        said["summary"],
        f"> {said['disclaimer']}",
        _contents(corpus, total),
        "## Reading\n\nWith TensorFlow Datasets alone (TensorFlow itself is not needed):\n\n"
        "```python\nimport tensorflow_datasets as tfds\n\n"
        'records = tfds.builder_from_directory("<this folder>").as_data_source(split="train")\n'
        f'print(len(records), records[0]["{next(iter(corpus["modalities"]))}"].shape)\n```',
        _record(features),
        "## Where it comes from\n\n" + _bullets(said["provenance"]),
        "## What to know before using it\n\n" + _bullets(said["caveats"]),
    ]
    if "transcript" in features and not said["synthetic"]:
        parts.append(
            "**These records hold transcripts in clear text**, because the builder was asked to include them. "
            + ("Do not pass them on." if own.is_own(corpus) else "They are the words of minors: do not pass them on.")
        )
    parts += [_quality(corpus)]
    if corpus.get("optimum"):
        parts.append(_optimum(corpus["optimum"]))
    if said["license"] == "Apache-2.0":
        parts.append("## Licence\n\nApache-2.0, as mmpsy_jax.")
    elif said["license"]:
        parts.append(f"## Licence\n\n{LICENSE_OF_RELEASE.strip()}")
        parts.append(f"## Citation\n\n```bibtex\n{CITATION.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _header(said: Mapping[str, Any], total: int) -> str:
    size = "n<1K" if total < 1000 else "1K<n<10K" if total < 10_000 else "10K<n<100K"
    tags = ["speech", *(["interviews", "phq-9", "gad-7"] if said["license"] else []), "tfds"]
    tags += ["synthetic"] * said["synthetic"]
    known = f"license: {said['license'].lower()}\nlanguage:\n- {said['language']}\n" if said["license"] else ""
    return (
        f'---\npretty_name: "{said["title"]}"\n{known}'
        f"size_categories:\n- {size}\ntags:\n" + "\n".join(f"- {tag}" for tag in tags) + "\n---"
    )


def _contents(corpus: Mapping[str, Any], total: int) -> str:
    rows = [f"| participants | {total:,} |"]
    rows += [f"| in `{split}` | {count:,} |" for split, count in corpus["participants"].items()]
    rows.append("| labels | " + ", ".join(f"`{label}`" for label in corpus["labels"]) + " |")
    for name, modality in corpus["modalities"].items():
        shape = " x ".join(map(str, modality["shape"]))
        what = "features" if modality["kind"] == "features" else f"ids below {modality['vocabulary']:,} (0 is nothing)"
        rows.append(f"| `{name}` | windows of {shape}, {what} |")
    rows.append(f"| window | {corpus['window_seconds']:g} s |")
    rows.append(f"| sha256 of the source table | `{corpus['source_sha256']}` |")
    return "## Contents\n\n| | |\n|---|---|\n" + "\n".join(rows)


def _record(features: Mapping[str, Feature]) -> str:
    rows = []
    for name, feature in features.items():
        size = ", ".join("W" if extent is None else str(extent) for extent in feature.shape)
        rows.append(f"| `{name}` | {feature.dtype}{f' [{size}]' if size else ''} | {feature.meaning} |")
    return "## Record: one participant\n\n| feature | type | meaning |\n|---|---|---|\n" + "\n".join(rows)


def _quality(corpus: Mapping[str, Any]) -> str:
    skipped = corpus["skipped"]
    lines = [f"Participants left out because their files are missing or damaged: {len(skipped)}."]
    for content, counts in corpus.get("duplicates", {}).items():
        lines.append(
            f"Identical {content} of different participants: {counts['shared']}, of these in different splits: "
            f"{counts['across_splits']}."
        )
    lines += [f"Left out: `{entry['participant']}`: {entry['reason']}" for entry in skipped]
    lines += [f"Odd: `{entry['participant']}`: {entry['note']}" for entry in corpus.get("notes", [])]
    return "## Quality\n\n" + _bullets(lines)


def _optimum(optimum: Mapping[str, Any]) -> str:
    where = "test" if "test" in optimum else "population"
    by_scale = {scale: known for scale, known in optimum[where].items() if isinstance(known, Mapping)}
    names = list(next(iter(next(iter(by_scale.values())).values())))
    rows = [
        f"| {scale} | {who} | " + " | ".join(f"{values[name]:.3f}" for name in names) + " |"
        for scale, known in by_scale.items()
        for who, values in known.items()
    ]
    said = f"AUROC and AUPRC of score >= {optimum['cutoff']}.\n\n" if "cutoff" in optimum else ""
    return (
        f"## Best possible results ({where})\n\n{optimum['how']}\n\n{said}"
        f"| scale | from | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}\n" + "\n".join(rows)
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
