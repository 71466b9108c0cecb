"""Labels of a table: scores, classes, and what is neither."""

import pytest

from mmpsy_jax.features import manifest
from mmpsy_jax.features.label_columns import read_column
from mmpsy_jax.io import InputError


def column(*cells, label="mood", **ranges):
    return read_column("m.csv", label, cells, range(2, 2 + len(cells)), ranges)


def test_words_are_classes_in_alphabetical_order():
    read = column("joy", "anger", "", "joy", "high-arousal (acted)")
    assert read.classes == ("anger", "high-arousal (acted)", "joy") and read.values == (2, 0, None, 2, 1)
    assert column("true", "false").classes == ("false", "true")
    assert column("愤怒", "中性").values == (1, 0)
    assert column("", "").values == (None, None) and not column("", "").classes


def test_numbers_are_scores_and_have_a_stated_scale_where_they_are_not_whole_from_zero():
    assert column("3", "1.0", "").values == (3, 1, None)
    assert column("-0.5", ".25", mood=(-1, 1)).values == (-0.5, 0.25)
    assert column("52.5", label="sds", **{"*": (25, 100)}).values == (52.5,)
    for cell in ("0.5", "-1", "-3", "1e300"):
        with pytest.raises(InputError, match=r"line 3: label:mood is no whole .* --ranges=mood:LOW:HIGH") as raised:
            column("2", cell)
        assert cell not in str(raised.value).split("mood is")[1]
    with pytest.raises(InputError, match="line 2: label:mood is no number from -1 to 1, the stated range"):
        column("1.5", mood=(-1, 1))


def test_minus_one_is_missing_where_the_scale_begins_at_zero():
    read = column("-1", "3", "-1.0", mood=(0, 3))
    assert read.values == (None, 3, None) and read.notes[0].startswith("label:mood is -1 of 2 participants")
    assert column("-1", "3", mood=(-3, 3)).values == (-1, 3) and not column("-1", mood=(-1, 1)).notes


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (("", "3", "joy"), {}, "holds a number in line 3 and a word in line 4: write scores"),
        (("joy", "Joy"), {}, "spells a class differently in lines 2 and 3"),
        (("joy", "1_2"), {}, "no whole number"),
        (("joy", "NA"), {}, "no whole number of 0 or more: mend the cell, leave it empty"),
        (("joy/fear",), {}, "no whole number"),
        (("high", "low"), {"label": "phq9"}, "label:phq9 is no whole number"),  # bands of a questionnaire
        (("joy", "fear"), {"mood": (0, 3)}, "holds words, which have no scale"),
        (tuple(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(101)), {}, "101 different words"),
    ],
)
def test_what_is_neither_is_one_line(cells, options, message):
    with pytest.raises(InputError, match=message):
        column(*cells, **options)


def test_a_manifest_has_both_kinds(tmp_path):
    (tmp_path / "m.csv").write_text(
        "participant,text,label:emotion,label:valence\np1,x,fear,0.5\np2,y,anger,-1\np3,z,,\n", encoding="utf-8"
    )
    read = manifest.read(tmp_path / "m.csv", ranges={"valence": (-1.0, 1.0)})
    assert read.classes == {"emotion": ("anger", "fear")}
    assert [entry.labels for entry in read.entries] == [
        {"emotion": 1, "valence": 0.5},
        {"emotion": 0, "valence": -1},
        {"emotion": None, "valence": None},
    ]
    with pytest.raises(InputError, match="label:valence is no whole number"):
        manifest.read(tmp_path / "m.csv")
    assert not manifest.read(tmp_path / "m.csv", scored=False).classes
