"""What describes an exported folder: README.md and DATASHEET.md for people, croissant.json for machines.

All are written from `corpus.json` and the shards, while the folder still has its temporary name: TFDS writes
`features.json` later, so the features are derived from the record contract (a test compares the two). No file
names a participant, except those that were left out.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_builders.common import croissant, datasheet
from data_builders.common.croissant import Feature
from mmpsy_jax.io import write_atomically, write_json


def write_card(version_folder: str | os.PathLike, corpus: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Writes README.md, DATASHEET.md and croissant.json into a finished but not yet renamed version folder.

    Args:
      version_folder: holds the shards.
      corpus: the content of `corpus.json`.
      said: what only the builder of a corpus knows, as `about.about` gives it.

    Raises:
      InputError: the folder holds no shards.
    """
    folder = Path(version_folder)
    features = record_features(corpus)
    write_atomically(folder / "README.md", render(corpus, features, said))
    write_atomically(folder / "DATASHEET.md", datasheet.render(corpus, said))
    write_json(folder / "croissant.json", croissant.describe(folder, corpus, features, said))


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
    if corpus.get("cluster"):
        features[corpus["cluster"]] = Feature("text", (), "who belongs together: stays in one piece when resampled")
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


def render(corpus: Mapping[str, Any], features: Mapping[str, Feature], said: Mapping[str, Any]) -> str:
    """The card as Markdown with the YAML header that Hugging Face reads."""
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
            + ("They are the words of minors: do not pass them on." if said["released"] else "Do not pass them on.")
        )
    parts += [_quality(corpus)]
    if corpus.get("optimum"):
        parts.append(_optimum(corpus["optimum"]))
    if said["license"] == "Apache-2.0":
        parts.append("## Licence\n\nApache-2.0, as mmpsy_jax.")
    elif said["license"]:
        parts.append(f"## Licence\n\n{said['licence_text'].strip()}")
        parts.append(f"## Citation\n\n```bibtex\n{said['citation'].strip()}\n```")
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
    for entry in corpus.get("notes", []):
        who = f"`{entry['participant']}`: " if entry["participant"] else ""  # "": of the whole corpus
        lines.append(f"Odd: {who}{entry['note']}")
    return "## Quality\n\n" + _bullets(lines)


def _optimum(optimum: Mapping[str, Any]) -> str:
    where = "test" if "test" in optimum else "population"
    by_scale = {scale: known for scale, known in optimum[where].items() if isinstance(known, Mapping)}
    names = list(dict.fromkeys(name for known in by_scale.values() for values in known.values() for name in values))
    rows = [
        f"| {scale} | {who} | " + " | ".join(f"{values[name]:.3f}" if name in values else "" for name in names) + " |"
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
