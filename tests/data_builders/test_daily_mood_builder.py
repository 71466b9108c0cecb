"""The builder of daily moods: what it reads, how it divides, what it refuses, and how good anybody could be."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from data_builders.daily_mood import cli, demo, divide, source
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.data.splits import folds
from mmpsy_jax.errors import InputError

HEADER = ["person", "zcm_1", "day", "zcm_2", "pim_1", "Neuron_1", "Neuron_2", "Neuron_3", *source.RATINGS]
ROW = ["p1", "0", "3", "7", "2.5", "0.5", "-1", "", *"123456789"]


def write(path, *rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def changed(column, value, row=ROW):
    return [value if name == column else cell for name, cell in zip(HEADER, row, strict=True)]


@pytest.fixture(scope="module", params=list(divide.RULES))
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return cli.build(f"daily_mood/demo_{request.param}", folder, participants=8, days=10), request.param


def test_columns_are_found_by_name_and_empty_cells_are_nothing(tmp_path):
    lacking = changed("day", "12", changed("DAMS2", "", ROW))
    for name in ("Neuron_1", "Neuron_2"):
        lacking = changed(name, "", lacking)
    table = source.read(write(tmp_path / "t.csv", lacking, ROW, changed("person", "p10"), changed("person", "p9")))
    assert table.sizes == {"zcm": 2, "pim": 1, "speech": 3} and table.people == ("p1", "p9", "p10")
    first, second = table.days[:2]
    assert (first.name, second.name) == ("p1/3", "p1/12")
    np.testing.assert_allclose(first.values["zcm"], np.log([1, 8]), rtol=1e-6)
    np.testing.assert_allclose(first.values["pim"], np.log([3.5]), rtol=1e-6)
    np.testing.assert_array_equal(first.values["speech"], np.float32([0.5, -1, 0]))
    assert second.values["speech"] is None and list(first.ratings.values()) == list(range(1, 10))
    assert (second.ratings["dams2"], second.ratings["dams3"]) == (-1, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed("person", "../p"), "line 2: person must be"),
        (changed("day", "-1"), "line 2: day is no whole number"),
        (changed("DAMS4", "2.5"), "line 2: DAMS4 is no whole number"),
        (changed("zcm_1", "-3"), r"line 2: a cell of zcm\* is no finite number of 0 or more"),
        (changed("Neuron_2", "inf"), r"line 2: a cell of Neuron\* is no finite number:"),
        (changed("pim_1", "many"), r"line 2: a cell of pim\*"),
        (["p1", "", "3", *[""] * 5, *"123456789"], "line 2: no cell"),
        (ROW[:-1], "line 2 has 16 cells, the header 17"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        source.read(write(tmp_path / "t.csv", row))


def test_a_bad_table_is_named(tmp_path):
    with pytest.raises(InputError, match="line 3: this day of this person is there already"):
        source.read(write(tmp_path / "t.csv", ROW, ROW))
    with pytest.raises(InputError, match=r"no column DAMS9, pim\*"):
        source.read(write(tmp_path / "t.csv", header=[*HEADER[:4], "pam_1", *HEADER[5:-1]]))
    with pytest.raises(InputError, match="the header repeats"):
        source.read(write(tmp_path / "t.csv", header=["zcm_2", *HEADER]))
    with pytest.raises(InputError, match="holds no day"):
        source.read(write(tmp_path / "t.csv"))
    with pytest.raises(InputError, match="No such file"):
        source.read(tmp_path / "nothing.csv")


def test_records_hold_the_days(built, tmp_path):
    folder, rule = built
    corpus = open_corpus(folder)
    demo.write_table(tmp_path / "demo.csv", 8, 10, 0)
    days = {day.name: day for day in source.read(tmp_path / "demo.csv").days}
    assert sorted(corpus.participants) == sorted(days) and corpus.card["synthetic"]
    absent = 0
    for i, name in enumerate(corpus.participants):
        record, day = corpus.read(i), days[name]
        assert record["group"].decode() == day.person
        assert record["person"].tolist() == [[[int(day.person.removeprefix("person_")), 0]]]
        for label, rating in day.ratings.items():
            assert record[label] == rating
        for modality, values in day.values.items():
            assert record[f"has_{modality}"] == (values is not None)
            np.testing.assert_array_equal(record[modality].ravel(), 0 if values is None else values)
            absent += values is None
    assert 0 < absent < 30
    assert corpus.card["modalities"]["person"] == {"kind": "ids", "shape": [1, 2], "time_axis": 0, "vocabulary": 9}
    assert corpus.card["group"] == "group" and corpus.within_groups == (rule == "by_time")
    assert corpus.card["split_rule"] == divide.RULES[rule]


def test_splits_follow_the_rule(built):
    folder, rule = built
    corpus = open_corpus(folder)
    of_person = {}
    for name, split in zip(corpus.participants, corpus.split, strict=True):
        person, day = name.split("/")
        of_person.setdefault(person, []).append((int(day), split))
    for days in of_person.values():
        splits = [split for _, split in sorted(days)]
        if rule == "by_time":
            assert splits == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
        else:
            assert len(set(splits)) == 1
    assert {"train", "validation", "test"} == set(corpus.split)
    if rule == "by_time":
        with pytest.raises(InputError, match=r"config\.cv\.folds = 0"):
            folds(corpus, 2, 0)
    else:
        person = np.array(corpus.group)
        assert all(not set(person[one["train"]]) & set(person[one["test"]]) for one in folds(corpus, 2, 0))


def test_the_best_ccc_is_that_of_the_shares_and_a_regression_stays_below_it(tmp_path):
    truth = demo.write_table(tmp_path / "demo.csv", 60, 40)
    table = source.read(tmp_path / "demo.csv")
    best = demo.optimum(truth, list(truth), 0)["test"]["mean"]
    shares, lost = demo.SHARES, 0.1 / 3  # of what the cues say, for a tenth of the days without a third of them
    explained = (shares["common"] + shares["slope"]) * (1 - lost) + shares["level"]
    assert best["known person"]["ccc"] == pytest.approx(np.sqrt(explained), abs=0.03)
    assert best["new person"]["ccc"] == pytest.approx(np.sqrt(shares["common"] * (1 - lost)), abs=0.04)
    inputs = np.array(
        [
            np.concatenate([np.zeros(demo.SIZES[m]) if v is None else v for m, v in day.values.items()])
            for day in table.days
        ]
    )
    ratings = np.array([list(day.ratings.values()) for day in table.days])
    people = np.array([day.person for day in table.days])
    known = np.eye(60)[np.searchsorted(np.unique(people), people)]
    late = np.array([day.day > 30 for day in table.days])
    reached = {}
    for who, columns in (("new person", inputs), ("known person", np.hstack([inputs, 10 * known]))):
        expected = RidgeCV(np.logspace(0, 4, 9)).fit(columns[~late], ratings[~late]).predict(columns[late])
        reached[who] = np.mean([np.corrcoef(e, r)[0, 1] for e, r in zip(expected.T, ratings[late].T, strict=True)])
        assert reached[who] < best[who]["ccc"] + 0.03
    assert reached["new person"] > 0.5 and reached["known person"] > reached["new person"] + 0.1


def test_a_dataset_is_built_once_and_another_is_refused(built, tmp_path):
    folder, rule = built
    again = {"participants": 8, "days": 10}
    stamp = (folder / "corpus.json").stat().st_mtime_ns
    assert cli.build(f"daily_mood/demo_{rule}", folder.parents[2], **again) == folder
    assert (folder / "corpus.json").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="differs in seed"):
        cli.build(f"daily_mood/demo_{rule}", folder.parents[2], **again, seed=1)
    with pytest.raises(InputError, match="belongs to daily_mood/table"):
        cli.build(f"daily_mood/demo_{rule}", tmp_path, source="t.csv")
    with pytest.raises(InputError, match="demo_by_person, daily_mood/demo_by_time"):
        cli.build("daily_mood/demo", tmp_path)


def test_a_table_of_ones_own(tmp_path):
    rows = [changed("day", str(day), changed("person", person)) for person in ("a", "b") for day in range(5)]
    table = write(tmp_path / "t.csv", *rows)
    corpus = open_corpus(cli.build("daily_mood/table_by_time", tmp_path / "data", source=table))
    assert corpus.modalities["speech"].shape == (1, 3) and not corpus.card["synthetic"] and len(corpus) == 10
    with pytest.raises(InputError, match="a split file belongs to"):
        cli.build("daily_mood/table_by_time", tmp_path / "other", source=table, split_file="s.csv")
    few = write(tmp_path / "few.csv", ROW, changed("day", "4"))
    with pytest.raises(InputError, match="a person has 2 days"):
        cli.build("daily_mood/table_by_time", tmp_path / "few", source=few)
    listed = tmp_path / "split.csv"
    listed.write_text("participant,split\np1,train\np2,validation\np3,test\n")
    people = write(tmp_path / "people.csv", *(changed("person", f"p{n}") for n in (1, 2, 3)))
    corpus = open_corpus(cli.build("daily_mood/table_by_person", tmp_path / "data", source=people, split_file=listed))
    assert corpus.participants == ("p1/3", "p2/3", "p3/3") and corpus.split == ("train", "validation", "test")
