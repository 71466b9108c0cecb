"""Splits by id: stable, of the right size, disjoint; split files and their mistakes."""

import pytest

from data_builders.common import splits
from mmpsy_jax.io import InputError

PEOPLE = [f"user_{number}" for number in range(1, 1276)]


def test_adding_participants_moves_nobody():
    few, many = splits.assign(PEOPLE[:200]), splits.assign(PEOPLE)
    assert all(many[participant] == split for participant, split in few.items())
    assert splits.assign(reversed(PEOPLE)) == many


def test_shares_are_about_the_fractions():
    for fractions in ((0.7, 0.1, 0.2), (0.45, 0.15, 0.4)):
        assigned = list(splits.assign(PEOPLE, fractions).values())
        for split, share in zip(splits.SPLITS, fractions, strict=True):
            # Four standard deviations of a binomial share.
            deviation = 4 * (share * (1 - share) / len(PEOPLE)) ** 0.5
            assert abs(assigned.count(split) / len(PEOPLE) - share) < deviation


def test_assignment_never_changes():
    # Published results name these splits: another hash would move people from test to train.
    assigned = splits.assign(PEOPLE)
    assert [assigned[f"user_{n}"] for n in (1, 2, 3, 10, 100)] == ["test", "train", "train", "train", "test"]
    assert splits.position("user_1") == pytest.approx(0.9586095337387769, abs=0)
    assert splits.assign(PEOPLE, salt="other") != splits.assign(PEOPLE)


def test_bad_fractions_and_empty_splits():
    for fractions in ((0.5, 0.5), (0.7, 0.3, 0.0), (0.7, 0.2, 0.2)):
        with pytest.raises(InputError, match="three positive shares"):
            splits.assign(PEOPLE, fractions)
    with pytest.raises(InputError, match="every split needs at least one"):
        splits.assign(PEOPLE[:1])


def test_a_cluster_stays_in_one_split_and_nobody_else_moves(tmp_path):
    sessions = [f"{person}_{k}" for person in PEOPLE for k in (1, 2)]
    clusters = {session: session[:-2] for session in sessions}
    assigned, persons = splits.assign(sessions, clusters=clusters), splits.assign(PEOPLE)
    assert all(split == persons[clusters[session]] for session, split in assigned.items())
    assert splits.assign(PEOPLE, clusters={person: person for person in PEOPLE}) == persons
    few = {session: clusters[session] for session in sessions[:12]}  # six persons
    assigned = splits.assign(few, clusters=few, may_rank=True)
    assert set(assigned.values()) == set(splits.SPLITS)
    assert len({(few[session], split) for session, split in assigned.items()}) == 6
    with pytest.raises(InputError, match="the splits of the source: 1 clusters are in more than one split"):
        splits.assign("abc", listed=dict(zip("abc", splits.SPLITS, strict=True)), clusters={"a": "x", "b": "x"})
    path = write(tmp_path, "participant,split\na,train\nb,validation\nc,test\n")
    with pytest.raises(InputError, match=r"split.csv: 1 clusters are in more than one split: give all"):
        splits.assign("abc", split_file=path, clusters={"a": "x", "b": "x"})


def write(tmp_path, text):
    path = tmp_path / "split.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_split_file(tmp_path):
    path = write(tmp_path, "participant,split\na,train\nb,validation\n\nc,test\nunused,test\n")
    assert splits.assign(["c", "a", "b"], split_file=path) == {"c": "test", "a": "train", "b": "validation"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column participant, split: "),
        ("user,split\na,train\n", "no column participant: needed are participant, split; the header has split"),
        ("participant,split\na,train\na,test\n", "line 3 lists a participant again"),
        ("participant,split\na,dev\n", "line 2: split must be one of: train, validation, test"),
        ("participant,split\na,train,1\n", "line 2 has 3 cells"),
        ("participant,split\na,train\nb,validation\n", "1 of 3 participants are not listed, the first is 'c'"),
        ("participant,split\na,train\nb,train\nc,train\n", "no participant of 3 is in validation, test"),
    ],
)
def test_bad_split_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        splits.assign(["a", "b", "c"], split_file=write(tmp_path, text))


def test_unreadable_split_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        splits.assign(["a"], split_file=tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes("participant,split\n学生,train\n".encode("gb18030"))
    with pytest.raises(InputError, match="UTF-8"):
        splits.assign(["a"], split_file=tmp_path / "x.csv")


def test_shared_content_is_counted():
    split_of = {"a": "train", "b": "train", "c": "test"}
    holders = [("x", "a"), ("x", "a"), ("y", "a"), ("y", "b"), ("z", "b"), ("z", "c"), ("w", "c")]
    assert splits.across_splits(holders, split_of) == {"shared": 2, "across_splits": 1}


def test_written_ids_must_be_disjoint():
    splits.assert_disjoint({"train": ["a", "b"], "test": ["c"]})
    with pytest.raises(InputError, match="'a' is in train and again in test"):
        splits.assert_disjoint({"train": ["a", "b"], "test": ["a"]})
    with pytest.raises(InputError, match="'b' is in train and again in train"):
        splits.assert_disjoint({"train": ["b", "b"]})


def test_a_small_corpus_is_cut_by_rank_where_the_hash_leaves_a_split_empty():
    few = [f"p{number}" for number in range(1, 31)]
    with pytest.raises(InputError, match="is in validation"):
        splits.assign(few)
    ranked = splits.assign(few, may_rank=True)
    assert [list(ranked.values()).count(split) for split in splits.SPLITS] == [21, 3, 6]
    order = sorted(few, key=splits.position)
    assert [ranked[name] for name in order] == ["train"] * 21 + ["validation"] * 3 + ["test"] * 6
    many = [f"p{number}" for number in range(300)]
    assert splits.assign(many, may_rank=True) == splits.assign(many)
    with pytest.raises(InputError, match="every split needs at least one"):
        splits.assign(few[:2], may_rank=True)


def test_splits_that_the_source_lists():
    listed = {"a": "train", "b": "validation", "c": "test", "d": "train"}
    assert splits.assign(["c", "a", "b"], listed=listed) == {"c": "test", "a": "train", "b": "validation"}
    with pytest.raises(InputError, match="is in test"):
        splits.assign(["a", "b"], listed=listed)
