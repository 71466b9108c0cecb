"""The table of predictions: what it accepts, what it refuses and how precisely it says so."""

import csv

import numpy as np
import pytest

from mmpsy_jax.evaluation.predictions import COLUMNS, Predictions, read_csv, write_csv
from mmpsy_jax.io import InputError


def table(n=4, **columns):
    given = {"participant_id": [f"p{i}" for i in range(n)], "task": "screen", "y_true": 0.0, "y_prob": 0.25}
    return Predictions.build(**{**given, **columns})


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_written_tables_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    ids = ["=1+1", "+2", "-3", "@x", "'q", "'=q", "plain", "a,b", '"c"', "访谈"]
    made = Predictions.concatenate(
        [
            table(10, participant_id=ids, y_true=rng.integers(0, 2, 10), y_prob=rng.random(10), fold=1, seed=2),
            table(10, participant_id=ids, task="score", y_true=np.nan, y_prob=np.nan, y_pred=rng.normal(size=10)),
        ]
    )
    write_csv(tmp_path / "p.csv", made)
    again = read_csv(tmp_path / "p.csv")
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))


def test_written_cells_are_not_formulas(tmp_path):
    write_csv(tmp_path / "p.csv", table(6, participant_id=["=a", "+a", "-a", "@a", "'a", "a"]))
    with (tmp_path / "p.csv").open(newline="") as file:
        cells = [row["participant_id"] for row in csv.DictReader(file)]
    assert cells == ["'=a", "'+a", "'-a", "'@a", "''a", "a"]


def test_a_minimal_file_of_another_tool_is_enough(tmp_path):
    made = read_csv(write(tmp_path / "p.csv", "y_prob,participant_id,y_true,task,extra", "0.5,a,1,t,x", "0.25,b,,t,y"))
    assert made.participant_id.tolist() == ["a", "b"]
    assert made.split.tolist() == ["test", "test"]
    assert made.fold.tolist() == made.seed.tolist() == [0, 0]
    assert np.isnan(made.y_pred).all()
    assert np.isnan(made.y_true[1]) and made.y_true[0] == 1


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no column participant_id, task, y_true, y_prob or y_pred"),
        (["participant_id,task,y_true", "a,t,1"], "no column y_prob or y_pred"),
        (["participant_id,task,y_prob", "a,t,1"], "the header has participant_id, task, y_prob"),
        ([HEADER], "only a header"),
        ([HEADER + ",fold", "a,test,0,0,t,1,0.5,,0"], "the header repeats fold"),
        ([HEADER, "a,test,0,0,t,1,0.5"], "line 2 has 7 cells, the header 8"),
        ([HEADER, "a,test,0,0,t,1,0.5,", "b,test,0,0,t,1,high,"], "line 3: y_prob is no finite number"),
        ([HEADER, "a,test,0,0,t,1,nan,"], "line 2: y_prob is no finite number"),
        ([HEADER, "a,test,0,0,t,inf,,2"], "line 2: y_true is no finite number"),
        ([HEADER, "a,test,0,0,t,1_2,,2"], "line 2: y_true is no finite number"),
        ([HEADER, "a,test,1_0,0,t,1,,2"], "line 2: fold is no finite number"),
        ([HEADER + ",repeat", "a,test,0,0,t,1,,2,first"], "line 2: repeat is no finite number"),
        ([HEADER, *(f"a,test,0,0,words of somebody {i},1,,2" for i in range(201))], "the column task holds 201 names"),
        ([HEADER, "a,test,0.5,0,t,1,0.5,"], "line 2: fold is no whole number"),
        ([HEADER, "a,test,0,,t,1,0.5,"], "line 2: seed is no finite number"),
        ([HEADER, "a,test,0,0,t,1,1.5,"], "line 2: y_prob is outside [0, 1]"),
        ([HEADER, "a,dev,0,0,t,1,0.5,"], "line 2: split is none of train, validation, test"),
        ([HEADER, ",test,0,0,t,1,0.5,"], "line 2: participant_id is empty"),
        ([HEADER, "a,test,0,0,,1,0.5,"], "line 2: task is empty"),
        ([HEADER, "a,test,0,0,t,1,0.5,0.5"], "line 2: both y_prob and y_pred"),
        ([HEADER, "a,test,0,0,t,1,,"], "line 2: y_prob and y_pred are both empty"),
        ([HEADER, "a,test,0,0,t,12,0.5,"], "line 2: y_true of a row with y_prob must be 0 or 1"),
        ([HEADER, "a,test,0,0,t,1,0.5,", "b,test,0,0,t,1,,0.5"], "lines 2 and 3: the same task has y_prob in one row"),
        (
            [HEADER, "a,test,0,0,t,1,.5,", "b,test,0,0,t,1,.5,", "a,test,0,0,t,1,.6,"],
            "lines 2 and 4: the same participant",
        ),
        ([HEADER, "a,test,0,0,t,1,.5,", "a,test,1,0,t,0,.5,"], "lines 2 and 3: the same participant and task with two"),
        ([HEADER, '"a,test,0,0,t,1,.5,'], "not CSV"),
    ],
)
def test_malformed_files_are_named_with_line_rule_and_remedy(tmp_path, lines, says):
    path = write(tmp_path / "p.csv", *lines)
    with pytest.raises(InputError) as caught:
        read_csv(path)
    message = str(caught.value)
    assert says in message and str(path) in message
    assert message.count(":") >= 2, "what is wrong, and the remedy"


def test_a_message_repeats_no_cell(tmp_path):
    """Columns that are shifted by one hold an id beside a score, or a transcript, wherever a rule is broken."""
    for column in range(8):
        cells = ["a", "test", "0", "0", "t", "1", "0.5", ""]
        cells[column] = "canary"
        path = write(tmp_path / "p.csv", HEADER, ",".join(cells), f"b,test,0,0,{cells[4]},1,,0.5")
        with pytest.raises(InputError) as caught:
            read_csv(path)
        assert "canary" not in str(caught.value), column


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1.0000000000000002", 1.0), ("-1e-17", 0.0), ("1.0000009", 1.0), ("-9e-7", 0.0), ("0.9999999", 0.9999999)],
)
def test_rounding_beyond_the_ends_counts_as_the_end(tmp_path, given, expected):
    assert read_csv(write(tmp_path / "p.csv", HEADER, f"a,test,0,0,t,1,{given},")).y_prob[0] == expected
    assert table(1, y_prob=float(given)).y_prob[0] == expected
    for beyond in ("1.0000011", "-1.1e-6"):
        with pytest.raises(InputError, match="outside"):
            read_csv(write(tmp_path / "p.csv", HEADER, f"a,test,0,0,t,1,{beyond},"))


@pytest.mark.parametrize(
    ("cells", "folds", "says"),
    [
        ([(1, 1), (1, 2), (2, 1), (2, 2)], [0, 1, 2, 3], "2 repeats of 2 folds are read as 4 folds"),
        ([(0, 0), (0, 1), (1, 0), (1, 1)], [0, 1, 2, 3], "2 repeats of 2 folds are read as 4 folds"),
        ([(0, 0), (0, 1), (1, 2), (1, 3)], [0, 1, 2, 3], "no fold occurs in two of them"),
        ([(0, 0), (0, 2), (2, 0), (2, 1)], [0, 2, 6, 7], "2 repeats of 3 folds are read as 4 folds"),
        ([(3, 1), (3, 2), (3, 1), (3, 2)], [1, 2, 1, 2], ""),
    ],
)
def test_repeats_of_a_cross_validation_are_folds_of_their_own(tmp_path, cells, folds, says):
    people = "abab" if says and "no fold" not in says and cells[1] != (0, 2) else "abcd"
    lines = [f"{who},{fold},{repeat},t,1,0.5" for who, (repeat, fold) in zip(people, cells, strict=True)]
    path, notes = write(tmp_path / "p.csv", "participant_id,fold,repeat,task,y_true,y_prob", *lines), []
    assert read_csv(path, notes).fold.tolist() == folds
    assert [says in note for note in notes] == ([True] if says else [])


def test_repeats_without_folds(tmp_path):
    lines = ["participant_id,repeat,task,y_true,y_prob", *(f"{who},{k},t,1,0.5" for who in "ab" for k in (1, 2, 3))]
    assert sorted(read_csv(write(tmp_path / "p.csv", *lines)).fold.tolist()) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputError, match="number repeated cross-validations in a column repeat"):
        read_csv(write(tmp_path / "p.csv", *(line.replace("repeat", "attempt") for line in lines)))


def test_columns_that_are_not_read_are_listed_at_once(tmp_path):
    notes = []
    header = "y_prob,participant_id,y_true,task,speaker,age,other:site"
    read_csv(write(tmp_path / "p.csv", header, "0.5,a,1,t,s1,30,x"), notes)
    assert notes == [f"{tmp_path / 'p.csv'}: columns that are not read: speaker, age"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["", "sep={}\n"])
def test_tables_as_spreadsheets_save_them(tmp_path, delimiter, first):
    """Header in another case, blank rows, a byte order mark, whole floats."""
    rows = ["Participant_ID,Task,Y_true,Y_PROB,Fold", "a,t,1.0,0.5,2.0", ",,,,", "", "b,t,0,0.25,2"]
    text = first.format(delimiter) + "\n".join(rows).replace(",", delimiter) + "\n"
    (tmp_path / "p.csv").write_text(text, encoding="utf-8-sig")
    made = read_csv(tmp_path / "p.csv", notes := [])
    assert made.participant_id.tolist() == ["a", "b"] and made.fold.tolist() == [2, 2]
    assert made.y_prob.tolist() == [0.5, 0.25] and made.y_true.tolist() == [1, 0]
    assert any("Participant_ID as participant_id" in note for note in notes)
    assert any("separated by" in note for note in notes) == (delimiter != ",")


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder, and only regular files"):
        read_csv(tmp_path)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\n\xe9,test,0,0,t,1,0.5,\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_csv(tmp_path / "latin.csv")
    (tmp_path / "noise.csv").write_bytes(b"\x00\x01\x02\x00" * 20)
    with pytest.raises(InputError):
        read_csv(tmp_path / "noise.csv")


def test_errors_never_repeat_long_text_or_an_id(tmp_path):
    path = write(tmp_path / "p.csv", HEADER, "secret_person,test,0,0,t,1,I have been feeling very low lately,")
    with pytest.raises(InputError) as caught:
        read_csv(path)
    assert "feeling" not in str(caught.value) and "secret_person" not in str(caught.value)
    path = write(tmp_path / "headless.csv", "secret_person,test,0,0,t,1,0.75,", "b,test,0,0,t,1,0.5,")
    with pytest.raises(InputError, match="the header has none that we know") as caught:
        read_csv(path)
    assert "secret_person" not in str(caught.value) and "0.75" not in str(caught.value)


def test_selection_and_concatenation():
    made = Predictions.concatenate([table(3, fold=0), table(3, fold=1), table(3, task="other", split="validation")])
    assert len(made) == 9
    assert len(made.select(task="screen", fold=1)) == 3
    assert len(made.select(split="validation")) == 3
    assert len(made.select(seed=7)) == 0
    with pytest.raises(InputError, match="nothing to concatenate"):
        Predictions.concatenate([])


def test_mean_over_seeds_is_the_plain_mean():
    rng = np.random.default_rng(1)
    probs = rng.random((3, 5))
    made = Predictions.concatenate([table(5, seed=seed, y_prob=probs[seed]) for seed in range(3)])
    shuffled = made.take(rng.permutation(len(made)))
    for given in (made, shuffled):
        mean = given.over_seeds("binary")
        order = np.argsort(mean.participant_id)
        np.testing.assert_allclose(mean.y_prob[order], probs.mean(0))
        assert set(mean.seed.tolist()) == {-1}
        assert np.isnan(mean.y_pred).all()


def test_seeds_vote_on_classes_and_the_first_of_equals_counts():
    said = np.array([[0, 3, 2, 1], [1, 3, 0, 0], [1, 0, 2, 2]], float)  # by seed
    made = Predictions.concatenate(
        [Predictions.build(list("abcd"), "emotion", np.ones(4), seed=seed, y_pred=one) for seed, one in enumerate(said)]
    )
    voted = made.over_seeds("nominal")
    assert voted.participant_id.tolist() == list("abcd")
    np.testing.assert_array_equal(voted.y_pred, [1, 3, 2, 1])
    np.testing.assert_array_equal(made.take(np.arange(12)[::-1]).over_seeds("nominal").y_pred, [2, 2, 3, 1])


def test_columns_are_checked_when_built_in_memory_too():
    with pytest.raises(InputError, match="row 2: y_prob is outside"):
        table(4, y_prob=[0.1, 0.2, 1.25, 0.4])
    with pytest.raises(InputError, match="shapes"):
        Predictions(["a"], ["test", "test"], [0], [0], ["t"], [0.0], [0.5], [np.nan])


def test_reading_is_fast_enough_for_large_tables(tmp_path):
    n = 20_000
    made = table(n, participant_id=[f"p{i}" for i in range(n)], y_prob=np.linspace(0, 1, n))
    write_csv(tmp_path / "p.csv", made)
    assert len(read_csv(tmp_path / "p.csv")) == n
