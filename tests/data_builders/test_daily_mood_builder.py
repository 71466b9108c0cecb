"""The builder of daily moods: what it reads, how it divides, what it refuses, and how good anybody could be."""

import csv
import importlib

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from data_builders.common import cli
from data_builders.daily_mood import demo, source
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.data.splits import folds
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import Range
from mmpsy_jax.training import run

HEADER = ["person", "zcm_1", "day", "zcm_2", "pim_1", "Neuron_1", "Neuron_2", "Neuron_3", *source.RATINGS]
ROW = ["p1", "0", "3", "7", "2.5", "0.5", "-1", "", *"123456789"]


def write(path, *rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def changed(column, value, row=ROW):
    return [value if name == column else cell for name, cell in zip(HEADER, row, strict=True)]


@pytest.fixture(scope="module", params=list(source.RULES))
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
    assert np.isnan(second.ratings["dams2"]) and second.ratings["dams3"] == 3
    assert table.labels == source.LABELS and table.label_dtype == "int32" and not table.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed("person", "../p"), "line 2: person must be"),
        (changed("day", "-1"), "line 2: day is no whole number"),
        (changed("day", "2024-02-30"), "line 2: day is no whole number"),
        (changed("DAMS4", "1_2"), "line 2: DAMS4 is no finite number"),
        (changed("zcm_1", "-3"), "line 2: zcm_1 is no number of 0 or more"),
        (changed("Neuron_2", "inf"), "line 2: Neuron_2 is no finite number:"),
        (changed("pim_1", "many"), "line 2: pim_1 is no number"),
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
    with pytest.raises(InputError, match="no column DAMS9: ratings are label:NAME"):
        source.read(write(tmp_path / "t.csv", header=HEADER[:-1]))
    with pytest.raises(InputError, match=r"no column pim\*"):
        source.read(write(tmp_path / "t.csv", header=[*HEADER[:4], "pam_1", *HEADER[5:]]))
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
        assert record["cluster"].decode() == day.person
        assert record["person"].tolist() == [[[int(day.person.removeprefix("person_")), 0]]]
        for label, rating in day.ratings.items():
            assert record[label] == rating
        for modality, values in day.values.items():
            assert record[f"has_{modality}"] == (values is not None)
            np.testing.assert_array_equal(record[modality].ravel(), 0 if values is None else values)
            absent += values is None
    assert 0 < absent < 30
    assert corpus.card["modalities"]["person"] == {"kind": "ids", "shape": [1, 2], "time_axis": 0, "vocabulary": 9}
    assert corpus.card["cluster"] == "cluster" and corpus.within_clusters == (rule == "by_time")
    assert corpus.card["split_rule"] == source.RULES[rule]


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
        person = np.array(corpus.cluster)
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


def test_a_demo_has_no_other_source_and_a_rule(tmp_path):
    with pytest.raises(InputError, match="writes its own source"):
        cli.build("daily_mood/demo_by_time", tmp_path, source="t.csv")
    with pytest.raises(InputError, match="demo_by_person, daily_mood/demo_by_time"):
        cli.build("daily_mood/demo", tmp_path)


def test_a_table_of_ones_own(tmp_path):
    rows = [changed("day", str(day), changed("person", person)) for person in ("a", "b") for day in range(5)]
    table = write(tmp_path / "t.csv", *rows)
    corpus = open_corpus(cli.build("daily_mood/table_by_time", tmp_path / "data", source=table))
    assert corpus.modalities["speech"].shape == (1, 3) and not corpus.card["synthetic"] and len(corpus) == 10
    with pytest.raises(InputError, match="is divided by time within each person"):
        cli.build("daily_mood/table_by_time", tmp_path / "other", source=table, split_file="s.csv")
    few = write(tmp_path / "few.csv", ROW, changed("day", "4"))
    with pytest.raises(InputError, match="a person has 2 days"):
        cli.build("daily_mood/table_by_time", tmp_path / "few", source=few)
    listed = tmp_path / "split.csv"
    listed.write_text("participant,split\np1,train\np2,validation\np3,test\n")
    people = write(tmp_path / "people.csv", *(changed("person", f"p{n}") for n in (1, 2, 3)))
    corpus = open_corpus(cli.build("daily_mood/table_by_person", tmp_path / "data", source=people, split_file=listed))
    assert corpus.participants == ("p1/3", "p2/3", "p3/3") and corpus.split == ("train", "validation", "test")


OWN = ["Person", "date", "label:Stress", "label:valence", "sensor:sleep.hours", "sensor:sleep.quality", "sensor:steps"]


def own_rows(people=4, days=6):
    """A table of one's own: stress 0 to 3, valence -2.5 to 2.5, dates, steps missing on the first day. SYNTHETIC."""
    for number in range(people):
        for day in range(days):
            stress, valence = (number + day) % 4, (number - day) / 2
            yield [f"p{number}", f"2024-02-{27 + day:02d}" if day < 3 else f"2024-03-0{day - 2}", stress, valence,
                   6 + day / 2, number, 4000 * day or ""]  # fmt: skip


def test_ratings_and_sensors_of_ones_own_keep_their_names_scales_and_dates(tmp_path):
    table = write(tmp_path / "t.csv", *([*row, "blue"] for row in own_rows()), header=[*OWN, "colour"])
    folder = cli.build("daily_mood/table_by_time", tmp_path / "data", source=table, ranges="stress:0:3")
    corpus = open_corpus(folder)
    assert list(corpus.labels) == ["stress", "valence"] and corpus.card["label_dtype"] == "float32"
    assert {name: m.shape for name, m in corpus.modalities.items()} == {
        "sleep": (1, 2),
        "steps": (1, 1),
        "person": (1, 2),
    }
    assert corpus.participants[:3] == ("p0/2024-02-27", "p0/2024-02-28", "p0/2024-02-29")
    first, third = corpus.read(0), corpus.read(corpus.participants.index("p1/2024-02-29"))
    assert first["window_start_s"].tolist() == [86400] and third["window_start_s"].tolist() == [3 * 86400]
    assert not first["has_steps"] and third["steps"].ravel().tolist() == [8000]
    assert corpus.labels["valence"][corpus.participants.index("p0/2024-03-03")] == -2.5  # the last day of p0 tests
    # 24 days: the first four of each person train.
    assert corpus.ranges == {"stress": Range(0, 3, "given"), "valence": Range(-1.5, 1.5, "seen")}
    notes = [entry["note"] for entry in corpus.card["notes"]]
    assert any("1 columns are not read: colour" in note for note in notes)
    assert any("dates are counted as days" in note for note in notes)
    assert not any(str(tmp_path) in note for note in notes)
    scales = [note for note in notes if "the scale of" in note]
    assert len(scales) == 1 and "valence is taken from the training labels, -1.5 to 1.5" in scales[0]
    with pytest.raises(InputError, match="differs in ranges"):
        cli.build("daily_mood/table_by_time", tmp_path / "data", source=table, ranges="stress:0:4")
    with pytest.raises(InputError, match="lie outside of 0 to 2"):
        cli.build("daily_mood/table_by_time", tmp_path / "other", source=table, ranges="stress:0:2")


def test_columns_are_named_by_a_setting(tmp_path):
    header = ["person", "day", "Stress", "steps_am", "steps_pm", "sleep", "Mood"]
    rows = [[f"p{n}", day, "" if day == 1 else n, 10 * day, n, 7.5, 5] for n in range(3) for day in (1, 2, 3)]
    table = write(tmp_path / "t.csv", *rows, header=header)
    layout = source.Layout(("Stress", "Mood"), source.read_sensors("phone:steps*,night:sleep"))
    opened = source.read(table, layout)
    assert opened.labels == ("Stress", "Mood") and opened.sizes == {"phone": 2, "night": 1}
    assert np.isnan(opened.days[0].ratings["Stress"]) and opened.days[2].values["phone"].tolist() == [30, 0]
    options = {"labels": "Stress,Mood", "sensors": "phone:steps*,night:sleep", "ranges": "*:0:5"}
    folder = cli.build("daily_mood/table_by_time", tmp_path / "data", source=table, **options)
    assert cli.build("daily_mood/table_by_time", tmp_path / "data", source=table, **options) == folder
    corpus = open_corpus(folder)
    assert corpus.card["label_dtype"] == "int32" and np.isnan(corpus.labels["Stress"][0])
    assert corpus.ranges == dict.fromkeys(("Stress", "Mood"), Range(0, 5, "given"))


@pytest.mark.parametrize(
    ("labels", "sensors", "message"),
    [
        ("person", "a:sleep", "cannot be the name of a rating"),
        ("Stress,stress2", "a:sleep", "no column stress2: ratings are"),
        ("Stress", "a:nap", "no column nap: inputs are"),
        ("Stress", "n_windows:sleep", "cannot be the name"),
        ("Stress", "sleep", "write MODALITY:COLUMN"),
        ("Stress", "a:sleep,a:steps", "each once"),
        ("Stress", "Stress:sleep", "cannot be the name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, labels, sensors, message):
    table = write(tmp_path / "t.csv", ["p1", 1, 2, 8, 4], header=["person", "day", "Stress", "sleep", "steps"])
    with pytest.raises(InputError, match=message):
        source.read(table, source.Layout(tuple(labels.split(",")), source.read_sensors(sensors)))


def test_a_table_in_another_form_is_read_and_said(tmp_path):
    (tmp_path / "t.csv").write_text(
        "sep=;\nSubject;Day;label:stress;sensor:steps\n;;;\np1;2024-01-01 00:00:00;1.0;5\np1;2024-01-02;0;6\n"
    )
    table = source.read(tmp_path / "t.csv")
    assert [day.name for day in table.days] == ["p1/2024-01-01", "p1/2024-01-02"] and table.label_dtype == "int32"
    assert any("Subject as person" in note for note in table.notes)
    (tmp_path / "t.csv").write_text("person,day,label:stress,sensor:steps\np1,2024-01-01,1,5\np1,2,0,6\n")
    with pytest.raises(InputError, match="line 3: day is no whole number of 0 or more, or not the date"):
        source.read(tmp_path / "t.csv")


def test_the_published_ratings_have_one_scale_though_none_is_given(tmp_path):
    rows = [
        [*changed("day", str(day), changed("person", person))[: -len(source.RATINGS)], *ratings]
        for person in ("a", "b")
        for day, ratings in enumerate((["0"] * 9, [*"012301230"], ["3"] * 9))
    ]
    table = write(tmp_path / "t.csv", *rows)
    corpus = open_corpus(cli.build("daily_mood/table_by_time", tmp_path / "data", source=table))
    # Days 0 train, days 1 validate, days 2 test: no mood of a training day is above 0.
    assert set(corpus.ranges.values()) == {Range(0, 1, "seen")}
    rows[0][-1], rows[3][-2] = "2", "3"
    table = write(tmp_path / "t.csv", *rows)
    corpus = open_corpus(cli.build("daily_mood/table_by_time", tmp_path / "other", source=table))
    assert set(corpus.ranges.values()) == {Range(0, 3, "seen")}
    config = run.with_ranges(importlib.import_module("configs.daily_mood").get_config(), corpus)
    assert {(task["minimum"], task["maximum"]) for task in config.tasks} == {(0.0, 3.0)}
    config = importlib.import_module("configs.daily_mood").get_config("by_time,stress,energy")
    assert [(task["name"], task["label"]) for task in config.tasks] == [("stress", "stress"), ("energy", "energy")]
    assert config.data.dataset == "daily_mood/table_by_time" and config.model.standardize
    with pytest.raises(InputError, match="unknown label of task 'stress'"):
        run.with_ranges(config, corpus)
