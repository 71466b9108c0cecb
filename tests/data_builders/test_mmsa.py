"""MMSA's feature files: a pickle of their layout through to opened records, what is refused, and the synthetic demo."""

import json
import pickle

import numpy as np
import pytest

from data_builders.common import cli
from data_builders.mmsa import demo, source
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Range

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
    noted, scale = corpus.card["notes"]  # made-up ratings from -3 to 3 under the name of SIMS, whose own end at 1
    assert "the scale of sentiment is taken from the training labels" in scale["note"]
    assert [noted] == [{"participant": "train$_$1", "note": "audio: 1 values are not finite, taken for 0"}]


def test_aligned_features_are_as_long_as_the_text(tmp_path):
    given = content(aligned=True)
    file = write(tmp_path / "aligned.pkl", given)
    opened = source.MmsaSource(source.safe_source(file, tmp_path / "kept", unpickle=True))
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
        source.MmsaSource(folder)


def test_a_file_without_ids_has_no_tokens(tmp_path):
    given = content()
    for part in given.values():
        del part["text_bert"]
    folder = source.safe_source(write(tmp_path / "a.pkl", given), tmp_path / "kept", unpickle=True)
    assert list(source.MmsaSource(folder).modalities) == ["text", "audio", "vision"]


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


def lab():
    """A file of one's own: dev for valid, ids as bytes and as [n, 1] arrays, plain labels on a scale of their own."""
    given = content()
    given["dev"] = given.pop("valid")
    for part in given.values():
        part["labels"] = (part.pop("regression_labels") / 2 + 0.1)[:, None, None]
        for name in [name for name in part if name.startswith("regression_")]:
            del part[name]
        del part["raw_text"]
    given["dev"]["id"] = [name.encode() for name in given["dev"]["id"]]
    given["test"]["id"] = np.array(given["test"]["id"], dtype=object)[:, None]
    given["test"]["audio"] = np.array([*map(np.asarray, given["test"]["audio"])], dtype=object)
    given["train"]["audio_lengths"] = np.array(given["train"]["audio_lengths"])[:, None]
    given["train"]["audio_lengths"][0] = 99
    return given


def test_a_file_of_ones_own_is_read_under_any_name(tmp_path):
    file = write(tmp_path / "lab.pkl", lab())
    folder = cli.build("mmsa/lab", tmp_path / "data", source=file, unpickle=True, workers=0)
    corpus = open_corpus(folder)
    assert corpus.card["participants"] == {"train": 5, "validation": 3, "test": 4}
    names = [f"{split}$_${i}" for split, n in SIZES.items() for i in range(n)]
    assert sorted(corpus.participants) == sorted(names) and list(corpus.labels) == ["sentiment"]
    for part in (content()["train"], content()["test"]):
        for row, name in enumerate(part["id"]):
            at = corpus.participants.index(name)
            assert corpus.labels["sentiment"][at] == np.float32(part["regression_labels"][row] / 2 + np.float32(0.1))
            length = corpus.read(at)["audio_length"][0]
            assert length == (9 if name == "train$_$0" else part["audio_lengths"][row])
    trained = corpus.labels["sentiment"][np.array(corpus.split) == "train"]
    scale = corpus.ranges["sentiment"]
    assert (scale.low, scale.high, scale.source) == (trained.min(), trained.max(), "seen")
    notes = {entry["participant"]: entry["note"] for entry in corpus.card["notes"]}
    assert "the scale of sentiment is taken from the training labels" in notes[""]
    assert notes["train$_$0"] == "audio: said to be 99 steps long, has 9: taken for 9"
    options = {"source": file, "unpickle": True, "workers": 0, "ranges": "sentiment:-3:3"}
    given = open_corpus(cli.build("mmsa/lab", tmp_path / "other", **options)).ranges["sentiment"]
    assert (given.low, given.high, given.source) == (-3, 3, "given")
    published = open_corpus(cli.build("mmsa/mosi", tmp_path / "data", source=file, unpickle=True, workers=0))
    assert published.ranges["sentiment"] == Range(-3, 3, "known")


def odd():
    for name, change, message in [
        ("lengths", lambda part: part.update(audio=[a[: 4 + i] for i, a in enumerate(part["audio"])]),
         "train/audio: clips have unequal lengths, 4 to 8 steps: pad them"),
        ("ragged objects", lambda part: part.update(vision=_objects(v[: 3 + i] for i, v in enumerate(part["vision"]))),
         "train/vision: clips have unequal lengths, 3 to 7 steps"),
        ("widths", lambda part: part.update(audio=[a[:, : 1 + i % 2] for i, a in enumerate(part["audio"])]),
         "train/audio: clips have unequal numbers of features, 1 to 2"),
        ("ranks", lambda part: part.update(text=part["text"][:, 0]), r"train/text has shape \[5, 8\], must be \[clips"),
        ("rows", lambda part: part.update(audio_lengths=[1, 2]), "train/audio_lengths has 2 rows, but id names 5"),
        ("labels", lambda part: part.update(regression_labels=np.zeros((5, 2))), r"train/regression_labels has shape"),
        ("text", lambda part: part.update(audio=[["a"]] * 5), "train/audio holds .*not numbers"),
        ("no ids", lambda part: part.pop("id"), "train/id is missing"),
    ]:  # fmt: skip
        yield pytest.param(change, message, id=name)


def _objects(rows):
    rows = list(rows)
    made = np.empty(len(rows), dtype=object)
    made[:] = rows
    return made


@pytest.mark.parametrize(("change", "message"), list(odd()))
def test_features_that_do_not_fit_are_named_with_their_modality(tmp_path, change, message):
    given = content()
    change(given["train"])
    file = write(tmp_path / "odd.pkl", given)
    with pytest.raises(InputError, match=message):
        source.safe_source(file, tmp_path / "kept", unpickle=True)
    assert not list((tmp_path / "kept").glob("*"))


def test_splits_that_are_not_alike_are_named(tmp_path):
    given = content()
    given["test"]["vision"] = given["test"]["vision"][:, :5]
    file = write(tmp_path / "odd.pkl", given)
    with pytest.raises(InputError, match=r"test/vision is \[5, 4\] \(steps, features\), in train \[7, 4\]"):
        source.MmsaSource(source.safe_source(file, tmp_path / "kept", unpickle=True))
    given["dev"] = given["valid"]
    with pytest.raises(InputError, match="has both valid and dev"):
        source.safe_source(write(tmp_path / "odd.pkl", given), tmp_path / "kept", unpickle=True)
    del given["dev"], given["valid"]
    with pytest.raises(InputError, match="lacks valid"):
        source.safe_source(write(tmp_path / "odd.pkl", given), tmp_path / "kept", unpickle=True)


def test_a_clip_in_two_splits_is_refused(tmp_path):
    given = content()
    given["test"]["id"][0] = given["train"]["id"][0]
    with pytest.raises(InputError, match="more than once"):
        source.MmsaSource(source.safe_source(write(tmp_path / "a.pkl", given), tmp_path / "kept", unpickle=True))


def test_the_demo_holds_what_its_card_promises(tmp_path):
    folder = cli.build("mmsa/demo", tmp_path, participants=300, seed=3, workers=0)
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
        ("mmsa/Mosi!", {}, "choose one of"),
        ("mmsa/lab", {}, "give --source"),
        ("mmsa/mosi", {}, "give --source"),
        ("mmsa/demo", {"source": "x"}, "leave out --source"),
        ("mmsa/demo", {"participants": 3}, "at least 10"),
        ("mmpsy/demo", {"unpickle": True}, "does not take unpickle"),
    ],
)
def test_bad_arguments(tmp_path, name, options, said):
    with pytest.raises(InputError, match=said):
        cli.build(name, tmp_path, **options)
