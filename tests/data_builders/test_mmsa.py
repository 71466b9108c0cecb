"""MMSA's feature files: a pickle of their layout through to opened records, what is refused, and the synthetic demo."""

import json
import pickle

import numpy as np
import pytest

from data_builders.mmpsy import cli
from data_builders.mmsa import demo, source
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.errors import InputError

SIZES = {"train": 5, "valid": 3, "test": 4}
TEXT, AUDIO, VISION = (6, 8), (9, 3), (7, 4)


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def content(seed=0, aligned=False):
    rng = np.random.default_rng(seed)
    made = {}
    for split, n in SIZES.items():
        words = rng.integers(2, TEXT[0] + 1, n)
        mask = (np.arange(TEXT[0]) < words[:, None]).astype(np.float32)
        ids, types = rng.integers(1, 99, mask.shape), rng.integers(0, 2, mask.shape)
        part = {
            "raw_text": np.array([f"words of {split} {i}, so many of them" for i in range(n)], dtype=object),
            "id": [f"{split}$_${i}" for i in range(n)],
            "text": rng.normal(size=(n, *TEXT)).astype(np.float32),
            "text_bert": np.stack([ids, mask, types], axis=1).astype(np.float32),
            "audio": rng.normal(size=(n, *AUDIO)).astype(np.float32),
            "vision": rng.normal(size=(n, *VISION)),
            "audio_lengths": rng.integers(1, AUDIO[0] + 1, n).tolist(),
            "vision_lengths": rng.integers(1, VISION[0] + 1, n).tolist(),
            "annotations": ["Positive"] * n,
            "regression_labels": rng.uniform(-3, 3, n).astype(np.float32),
        }
        part |= {f"regression_labels_{m}": rng.uniform(-1, 1, n).astype(np.float32) for m in "TAV"}
        if aligned:
            part |= {name: rng.normal(size=(n, TEXT[0], size)) for name, size in (("audio", 3), ("vision", 4))}
            del part["audio_lengths"], part["vision_lengths"]
        made[split] = part
    made["train"]["audio"][1, 0, 0] = -np.inf
    made["train"]["audio_lengths" if not aligned else "id"][1] = 4 if not aligned else "train$_$1"
    return made


def write(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pickle_becomes_records_with_true_lengths(tmp_path, protocol):
    given = content()
    file = write(tmp_path / "unaligned.pkl", given, protocol)
    folder = cli.build("mmsa/sims", tmp_path / "data", source=file, unpickle=True, workers=0)
    corpus = open_corpus(folder)
    assert corpus.card["participants"] == {"train": 5, "validation": 3, "test": 4}
    assert not corpus.card["synthetic"]
    assert list(corpus.modalities) == ["text", "audio", "vision", "tokens"]
    tokens = corpus.modalities["tokens"]
    assert (tokens.kind, tokens.shape, tokens.dtype) == ("ids", (TEXT[0], 2), np.int32)
    assert tokens.vocabulary == 1 + max(part["text_bert"][:, 0].max() for part in given.values())
    for i, name in enumerate(corpus.participants):
        split, row = name.split("$_$")
        part, record = given[split], corpus.read(i)
        assert corpus.split[i] == source.SPLIT_NAMES[split]
        lengths = {"text": int(part["text_bert"][int(row), 1].sum())}
        lengths |= {m: part[f"{m}_lengths"][int(row)] for m in ("audio", "vision")}
        for m, length in lengths.items():
            assert record[f"{m}_length"].tolist() == [length]
            wanted = np.where(np.isfinite(part[m][int(row)]), part[m][int(row)], 0).astype(np.float32)
            np.testing.assert_array_equal(record[m][0, :length], wanted[:length])
            assert not record[m][0, length:].any()
        length = lengths["text"]
        assert record["tokens_length"].tolist() == [length]
        np.testing.assert_array_equal(record["tokens"][0, :length], part["text_bert"][int(row), [0, 2], :length].T)
        assert not record["tokens"][0, length:].any()
        for label, field in source.LABELS.items():
            assert corpus.labels[label][i] == part[field][int(row)]
    assert min(corpus.labels["sentiment"]) < 0
    assert corpus.card["notes"] == [{"participant": "train$_$1", "note": "audio: 1 values are not finite, taken for 0"}]


def test_aligned_features_are_as_long_as_the_text(tmp_path):
    given = content(aligned=True)
    file = write(tmp_path / "aligned.pkl", given)
    opened = source.open_source(source.safe_source(file, tmp_path / "kept", unpickle=True))
    record, _ = opened.examine("test$_$2")
    assert record["vision_length"].tolist() == record["text_length"].tolist()
    assert record["vision"].shape == (1, 6, 4)


@pytest.mark.parametrize("wrong", ["half", "negative", "nothing", "type", "shape"])
def test_ids_that_are_none_are_refused(tmp_path, wrong):
    given = content()
    values = given["valid"]["text_bert"]
    numbers = {"half": 1.5, "negative": -1, "nothing": np.nan, "type": 2, "shape": 1}
    values[0, 2 if wrong == "type" else 0, 0] = numbers[wrong]
    given["valid"]["text_bert"] = values[:, :2] if wrong == "shape" else values
    folder = source.safe_source(write(tmp_path / "a.pkl", given), tmp_path / "kept", unpickle=True)
    with pytest.raises(InputError, match=r"valid/text_bert\.npy: must hold ids"):
        source.open_source(folder)


def test_a_file_without_ids_has_no_tokens(tmp_path):
    given = content()
    for part in given.values():
        del part["text_bert"]
    folder = source.safe_source(write(tmp_path / "a.pkl", given), tmp_path / "kept", unpickle=True)
    assert list(source.open_source(folder).modalities) == ["text", "audio", "vision"]


def test_a_pickle_needs_consent_and_is_converted_once(tmp_path):
    file = write(tmp_path / "unaligned.pkl", content())
    with pytest.raises(InputError, match="add --unpickle"):
        cli.build("mmsa/mosi", tmp_path / "data", source=file)
    first = source.safe_source(file, tmp_path / "kept", unpickle=True)
    stamp = (first / "train" / "text.npy").stat().st_mtime_ns
    assert source.safe_source(file, tmp_path / "kept", unpickle=True) == first
    assert (first / "train" / "text.npy").stat().st_mtime_ns == stamp


def bad(tmp_path):
    spy, whole = tmp_path / "spy", content()
    yield "asks for", Evil(spy)
    yield "asks for", {**whole, "train": {**whole["train"], "annotations": Evil(spy)}}
    yield "dictionary for each of", {"train": whole["train"]}
    yield "not numbers", {**whole, "test": {**whole["test"], "text": np.array(["a"] * 4)}}


def test_anything_but_features_is_refused_and_leaves_nothing(tmp_path):
    for said, value in bad(tmp_path):
        file = write(tmp_path / "bad.pkl", value)
        with pytest.raises(InputError, match=said):
            source.safe_source(file, tmp_path / "kept", unpickle=True)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged"):
        source.safe_source(file, tmp_path / "kept", unpickle=True)
    assert not (tmp_path / "spy").exists()
    assert not list((tmp_path / "kept").glob("*"))


def test_a_clip_in_two_splits_is_refused(tmp_path):
    given = content()
    given["test"]["id"][0] = given["train"]["id"][0]
    with pytest.raises(InputError, match="more than once"):
        source.open_source(source.safe_source(write(tmp_path / "a.pkl", given), tmp_path / "kept", unpickle=True))


def test_the_demo_holds_what_its_card_promises(tmp_path):
    folder = cli.build("mmsa/demo", tmp_path, participants=300, seed=3, workers=0)
    assert cli.build("mmsa/demo", tmp_path, participants=300, seed=3, workers=0) == folder
    with pytest.raises(InputError, match="already holds"):
        cli.build("mmsa/demo", tmp_path, participants=300, seed=4, workers=0)
    corpus = open_corpus(folder)
    card = json.loads((folder / "corpus.json").read_text())
    assert card["synthetic"]
    assert "SYNTHETIC" in demo.__doc__
    assert "synthetic" in (folder / "README.md").read_text().lower()
    # A linear model of the mean of each modality comes near the best possible absolute error, and not below it.
    means = {m: np.stack([_mean(corpus.read(i), m) for i in range(300)]) for m in demo.SHARES}
    x, y = np.column_stack([np.ones(300), *means.values()]), corpus.labels["sentiment"]
    train, test = (np.array(corpus.split) == name for name in ("train", "test"))
    said = np.clip(x @ np.linalg.lstsq(x[train], y[train], rcond=None)[0], -3, 3)
    best = card["optimum"]["test"]["sentiment"]
    error = np.abs(said - y)[test].mean()
    assert best["both"]["mae"] < error < best["both"]["mae"] + 0.35
    assert best["both"]["mae"] < min(best[m]["mae"] for m in demo.SHARES)
    assert corpus.modalities["tokens"].vocabulary == 34
    # Ids say what the text says: after the first, their mean goes with its label.
    words = [corpus.read(i)["tokens"][0, 1 : corpus.read(i)["tokens_length"][0], 0].mean() for i in range(300)]
    assert np.corrcoef(words, corpus.labels["sentiment_text"])[0, 1] > 0.85


def _mean(record, name):
    return record[name][0, : record[f"{name}_length"][0]].mean(axis=0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mmsa/mosix", {}, "choose one of"),
        ("mmsa/mosi", {}, "give --source"),
        ("mmsa/demo", {"source": "x"}, "leave out --source"),
        ("mmsa/demo", {"participants": 3}, "at least 10"),
        ("mmpsy/demo", {"unpickle": True}, "belongs to mmsa"),
    ],
)
def test_bad_arguments(tmp_path, name, options, said):
    with pytest.raises(InputError, match=said):
        cli.build(name, tmp_path, **options)
