"""Croissant JSON-LD (version 1.0) of an exported dataset, built with mlcroissant, which validates while it builds.

TFDS reads Croissant but does not write it. The record set `participants` describes the features of the TFDS records;
mlcroissant itself cannot decode ArrayRecord shards, tensorflow_datasets does. The record set `splits` is inline and
can be read anywhere. Every shard is listed with its sha256, so a copy can be verified.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpsy_jax.io import InputError, file_sha256

# The card is not data, and this file cannot hold its own digest.
_OWN = ("README.md", "DATASHEET.md", "croissant.json")
_FORMATS = {".json": "application/json", ".csv": "text/csv"}
# Entries of `about` with this beginning are those of the Responsible AI vocabulary.
_RESPONSIBLE = "rai_"
_ARRAY_RECORD = "https://github.com/google/array_record"


def describe(
    folder: Path,
    corpus: Mapping[str, Any],
    features: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON-LD document as a dictionary.

    Args:
      folder: version folder; its files are listed with size and sha256.
      corpus: content of `corpus.json`.
      features: of the records by name, `card.Feature`.
      about: title, summary, licence and so on, as `card.about` gives them.

    Raises:
      InputError: the folder holds no shards.
    """
    import mlcroissant as mlc  # takes two seconds to import, and only a build needs it

    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name not in _OWN]
    if not any(".array_record" in path.name for path in files):
        raise InputError(f"{folder}: no ArrayRecord shards there; write the card into a finished version folder")
    types = {
        "bool": mlc.DataType.BOOL,
        "text": mlc.DataType.TEXT,
        "int16": mlc.DataType.INT16,
        "int32": mlc.DataType.INT32,
        "float16": mlc.DataType.FLOAT16,
        "float32": mlc.DataType.FLOAT32,
    }

    def field(name: str) -> "mlc.Field":
        feature = features[name]
        shape = ",".join("-1" if size is None else str(size) for size in feature.shape)
        return mlc.Field(
            id=f"participants/{name}",
            name=name,
            description=feature.meaning,
            data_types=[types[feature.dtype]],
            is_array=bool(shape) or None,
            array_shape=shape or None,
            source=mlc.Source(file_set="records", extract=mlc.Extract(column=name)),
        )

    metadata = mlc.Metadata(
        name=f"{corpus['dataset']}_{corpus['config']}",
        description=f"{about['summary']} {about['disclaimer']}",
        license=[f"https://spdx.org/licenses/{about['license']}"] if about["license"] else None,
        url=about["url"] or None,
        version=corpus["version"],
        cite_as=about["citation"] or None,
        in_language=[about["language"]] if about["language"] else None,
        keywords=["speech", *(about.get("keywords") or corpus["labels"]), *["synthetic"] * corpus["synthetic"]],
        distribution=[*(_file(mlc, path) for path in files), _records(mlc)],
        record_sets=[
            mlc.RecordSet(
                id="splits",
                name="splits",
                description="Number of participants in each split; nobody is in two.",
                key=["splits/name"],
                data_types=[mlc.DataType.SPLIT],
                fields=[
                    mlc.Field(id="splits/name", name="name", data_types=[mlc.DataType.TEXT]),
                    mlc.Field(id="splits/participants", name="participants", data_types=[mlc.DataType.INTEGER]),
                ],
                data=[
                    {"splits/name": name, "splits/participants": count}
                    for name, count in corpus["participants"].items()
                ],
            ),
            mlc.RecordSet(
                id="participants",
                name="participants",
                description="One record per participant: tf.train.Example in ArrayRecord, read by tensorflow_datasets.",
                key=["participants/participant"],
                fields=[field(name) for name in features],
            ),
        ],
        **{key.removeprefix(_RESPONSIBLE): value for key, value in about.items() if key.startswith(_RESPONSIBLE)},
    )
    return metadata.to_json()


def _file(mlc, path: Path):
    return mlc.FileObject(
        id=path.name,
        name=path.name,
        content_url=path.name,
        content_size=f"{path.stat().st_size} B",
        encoding_formats=[_FORMATS.get(path.suffix, _ARRAY_RECORD)],
        sha256=file_sha256(path),
    )


def _records(mlc):
    return mlc.FileSet(
        id="records",
        name="records",
        description="All shards; the split is the part of the file name before `.array_record`.",
        includes=["*.array_record*"],
        encoding_formats=[_ARRAY_RECORD],
    )
