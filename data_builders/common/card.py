"""What describes an exported folder: README.md and DATASHEET.md for people, croissant.json for machines.

All are rendered from `corpus.json` and from what only people know of a corpus, its `about.toml`, while the folder still
has its temporary name. The templates lie in `templates/`; the questions of the datasheet are those of Gebru et al.
(CACM 2021), and what only people can answer is named and left blank there. No file names a participant, except those
that were left out.
"""

import dataclasses
import functools
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import mmpsy_jax
from data_builders.common import croissant
from data_builders.common.source import folder_of
from mmpsy_jax.io import write_atomically, write_json

TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of the records.

    Attributes:
      dtype: "text", "bool", "int16", "int32", "float16" or "float32".
      shape: None is the ragged number of windows.
      meaning: a phrase for people.
    """

    dtype: str
    shape: tuple[int | None, ...]
    meaning: str

    @property
    def np_dtype(self) -> Any:
        """The type as TFDS takes it."""
        return np.dtype(self.dtype).type

    @property
    def kind(self) -> str:
        """Type and shape in words; W is the number of windows."""
        size = ", ".join("W" if extent is None else str(extent) for extent in self.shape)
        return self.dtype + (f" [{size}]" if size else "")


def record_features(corpus: Mapping[str, Any]) -> dict[str, Feature]:
    """The features of a record by the contract in `docs/architecture.md`, sorted by name.

    Args:
      corpus: content of `corpus.json`, or its `Plan.outline`.
    """
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
        classes = ", ".join(f"{i} {word}" for i, word in enumerate(corpus.get("classes", {}).get(label, ())))
        what = f"index of a class ({classes})" if classes else "total score of the questionnaire, or rating"
        features[label] = Feature(dtype, (), f"{what}; {missing} where missing")
    if corpus.get("turns"):
        features["n_turns"] = Feature("int32", (), "number of turns of the participant; 0 where nobody says who speaks")
        features["n_interviewer_characters"] = Feature("int32", (), "number of characters that others say")
    for name, modality in corpus["modalities"].items():
        dtype = "int32" if modality["kind"] == "ids" else modality.get("dtype") or options.get("dtype", "float16")
        features[f"has_{name}"] = Feature("bool", (), f"whether the participant has {name}")
        features[name] = Feature(dtype, (None, *modality["shape"]), "windows, zero-padded")
        features[f"{name}_length"] = Feature("int32", (None,), "valid steps of each window; 0 where it is absent")
    if options.get("include_text"):
        features["transcript"] = Feature("text", (), "the answers in clear text")
    return dict(sorted(features.items()))


def about(corpus: Mapping[str, Any], told: bool = True) -> dict[str, Any]:
    """What people know of a corpus beside `corpus.json`: the texts of `about.toml`, rendered.

    Args:
      corpus: content of `corpus.json`.
      told: whether the corpus' own `about.toml` is about these records, or what is known of anybody's files.

    Returns:
      the entries of `templates/about.toml`.
    """
    texts: dict[str, Any] = about_of(
        corpus["dataset"] if told else None, "synthetic" if corpus["synthetic"] else "people"
    )
    known = {
        **corpus,
        "options": corpus.get("options", {}),
        "extractors": {entry["extractor"]["name"] for entry in corpus["modalities"].values() if "extractor" in entry},
        "version_of_ours": mmpsy_jax.__version__,
        "general_disclaimer": mmpsy_jax.DISCLAIMER,
        "texts": texts,
    }
    for name, value in texts.items():  # in their order: some are made of others
        if isinstance(value, list):
            texts[name] = [line for one in value for line in _text(one, known).splitlines() if line]
        elif isinstance(value, str):
            texts[name] = _text(value, known)
    return texts


def about_of(name: str | None, variant: str = "people") -> dict[str, Any]:
    """The texts of `about.toml`, not rendered: those of all corpora, and over them those of one, if it has any."""
    entries: dict[str, Any] = {}
    folder = folder_of(name) if name else None
    for path in (TEMPLATES / "about.toml", *([folder / "about.toml"] if folder else [])):
        if path.is_file():
            texts = tomllib.loads(path.read_text(encoding="utf-8"))
            variants = {part: texts.pop(part, {}) for part in ("people", "synthetic")}
            entries |= texts | variants[variant]
    responsible = sorted(entries, key=lambda name: name.startswith("rai_"))  # last, since they repeat the others
    return {name: entries[name] for name in responsible}


def write_card(version_folder: str | os.PathLike, corpus: Mapping[str, Any], about_texts: Mapping[str, Any]) -> None:
    """Writes README.md, DATASHEET.md and croissant.json into a finished but not yet renamed version folder.

    Args:
      version_folder: holds the shards.
      corpus: the content of `corpus.json`.
      about_texts: of `about`.

    Raises:
      InputError: the folder holds no shards.
    """
    folder, features = Path(version_folder), record_features(corpus)
    known = {
        "corpus": corpus,
        "about": about_texts,
        "features": features,
        "total": sum(corpus["participants"].values()),
    }
    for name in ("README.md", "DATASHEET.md"):
        write_atomically(folder / name, _environment().get_template(name).render(known))
    write_json(folder / "croissant.json", croissant.describe(folder, corpus, features, about_texts))


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@functools.cache
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(text)


def _text(template: str, known: Mapping[str, Any]) -> str:
    return _template(template).render(known).strip()
