"""`check` and the last lines of `build`, as a script sees them: what is printed, and the exit status."""

import csv
import json

import numpy as np
import pytest
import soundfile

from data_builders.hotline import demo as hotline_demo
from launch import main
from mmpsy_jax.data import splits
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.subgroups import read_subgroups


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def sessions(tmp_path):
    """Twelve SYNTHETIC persons with two sessions each."""
    rows = [["participant", "text", "label:phq9", "cluster", "subgroup:sex"]]
    rows += [[f"s{i}", f"session {i}\nsays little", i % 28, f"anna{i // 2}", "fm"[i % 2]] for i in range(24)]
    return write(tmp_path / "m.csv", rows)


def test_sessions_of_a_person_stay_together_from_the_manifest_to_the_folds(sessions, tmp_path, capsys):
    assert main(["check", f"--source={sessions}"]) == 0 and "problems      0" in capsys.readouterr().out
    for options in ([], ["--hash_ids"]):
        arguments = ["build", "--dataset=interviews/lab", f"--source={sessions}", "--overwrite", "--workers=0"]
        assert main([*arguments, f"--data_dir={tmp_path / 'data'}", *options]) == 0
        corpus = open_corpus(tmp_path / "data")
        assert corpus.card["cluster"] == "cluster" and len(set(corpus.cluster)) == 12
        plain = {f"{kind}{i}" for kind in ("s", "anna") for i in range(24)}
        assert not options or not plain & {*corpus.cluster, *corpus.participants}
        of_group = {}
        for group, split in zip(corpus.cluster, corpus.split, strict=True):
            of_group.setdefault(group, set()).add(split)
        assert set(map(len, of_group.values())) == {1}
        for fold in splits.folds(corpus, 3, seed=0):
            held = [{corpus.cluster[i] for i in fold[name]} for name in ("train", "validation", "test")]
            assert sum(map(len, held)) == len(set.union(*held)) == 12
    assert read_subgroups(corpus.path / "subgroups.csv").columns.keys() == {"sex"}


def test_check_finds_what_a_build_refuses(sessions, tmp_path, capsys):
    rows = list(csv.reader(sessions.read_text().splitlines()))
    for row, split in zip(rows, ["split", *["train", "test"] * 10, *["validation"] * 4], strict=True):
        row.append(split)
    divided = write(tmp_path / "divided.csv", rows)
    message = "the splits of the source: 10 clusters are in more than one split"
    assert main(["check", f"--source={divided}"]) == 3 and message in capsys.readouterr().out
    assert main(["build", "--dataset=interviews/a", f"--source={divided}", f"--data_dir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    unlabelled = write(tmp_path / "unlabelled.csv", [row[:2] for row in rows])
    assert main(["check", f"--source={unlabelled}"]) == 3 and "no column label:NAME" in capsys.readouterr().out


def test_check_says_what_only_a_training_would_refuse(sessions, capsys):
    rows = list(csv.reader(sessions.read_text().splitlines()))
    write(sessions, [[*row, "subgroup:site" if i == 0 else f"town {i}"] for i, row in enumerate(rows)])
    assert main(["check", f"--source={sessions}"]) == 0  # it can be built, and trained with config.evaluation.subgroups
    printed = capsys.readouterr().out
    assert "note          a training will refuse this: subgroup site has 24 different values: group" in printed
    assert "subgroup sex has" not in printed


ONE_MISTAKE = {
    "participant,text,label:phq9,mood,age\np,secret,1,secret,9\n": "unknown columns 'mood', 'age'",
    "who,words\nsecret,secret\n": "no column participant, recording or transcript or text",
    "participant,text,label:phq9\nsecret id,secret,1\n": "line 2: participant cannot be an id",
    "participant,text,label:phq9\np,secret,1\np,secret,2\n": "line 2 and line 3 have the same id",
    "participant;text\np;secret;x\n": "line 2 has 3 cells, the header 2: quote cells that contain semicolons",
}


@pytest.mark.parametrize("content", ONE_MISTAKE)
def test_one_message_for_one_mistake(tmp_path, capsys, content):
    path = tmp_path / "m.csv"
    path.write_text(content)
    seen = []
    for arguments in (["check"], ["build", "--dataset=interviews/lab", f"--data_dir={tmp_path / 'data'}"]):
        assert main([*arguments, f"--source={path}"]) == 2
        printed = capsys.readouterr()
        assert not printed.out and printed.err.count("\n") == 1 and "secret" not in printed.err
        seen.append(printed.err)
    assert seen[0] == seen[1] and f"error: {path}: " in seen[0] and ONE_MISTAKE[content] in seen[0]
    assert not list((tmp_path / "data").glob("*/*/*/*"))


def test_a_manifest_as_people_have_it_is_checked_and_built(tmp_path, capsys):
    rows = [f"p{i};says {i}; {i}.0;61;x" for i in range(6)]
    path = tmp_path / "m.csv"
    path.write_text("sep=;\nParticipant;Text;Label:PHQ9;Age;other:town\n" + "\n".join(rows) + "\n;;;;\n")
    assert main(["check", f"--source={path}", "--ignore=age"]) == 0
    printed = capsys.readouterr().out
    assert "note          cells are read as separated by semicolons" in printed
    assert "Participant as participant" in printed
    assert "columns that are not read: Age, other:town" in printed
    arguments = [f"--source={path}", f"--data_dir={tmp_path / 'data'}", "--dataset=interviews/lab", "--workers=0"]
    assert main(["build", *arguments, "--ignore=age"]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("built 6, left out 0, notes 3 (all of them in ")
    assert sorted(open_corpus(tmp_path / "data").labels["phq9"]) == [0, 1, 2, 3, 4, 5]


def test_build_names_and_counts_what_it_left_out(tmp_path, capsys):
    rows = [["participant", "transcript", "label:phq9"], *([f"p{i}", f"p{i}.csv", i] for i in range(8))]
    for i in range(8):
        write(tmp_path / f"p{i}.csv", [["word", "start", "end"], ["so", 0, 1], ["thirty", "", ""], ["days", 2, 3]])
    (tmp_path / "p3.csv").unlink()
    path = write(tmp_path / "m.csv", rows)
    arguments = [f"--source={path}", f"--data_dir={tmp_path / 'data'}", "--dataset=interviews/lab", "--workers=0"]
    assert main(["check", f"--source={path}"]) == 3
    printed = capsys.readouterr().out
    assert "problems      1" in printed and "p3.csv: cannot be read" in printed
    for _ in range(2):  # the second finds it in place, and says the same
        assert main(["build", *arguments, "--skip_bad"]) == 3
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("built 7, left out 1, notes 1 (all of them in ")
        assert any(line.startswith("left out: p3: p3.csv: cannot be read") for line in lines)
        note = "note: transcript: rows without times, placed between their neighbours: 1 (7 participants)"
        assert note in lines


def test_check_reads_any_corpus_as_its_builder_does(tmp_path, capsys):
    folder = tmp_path / "calls"
    folder.mkdir()
    hotline_demo.write_source(folder, 12, 0, (1.0, 2.0))
    arguments = ["check", "--dataset=hotline/calls", f"--source={folder}", "--window_seconds=2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "participants  " in printed and "train" in printed and "problems      0" in printed
    wav = sorted(folder.rglob("*.wav"))[0]
    soundfile.write(wav, np.zeros(0), 16000)
    assert main([*arguments, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert len(report["problems"]) == 1 and "has zero length" in report["problems"][0]
    assert str(tmp_path) not in json.dumps(report)
    table = next(folder.glob("*.csv"))
    table.write_text(table.read_text().replace("index", "number", 1))
    assert main(arguments) == 2 and "index" in capsys.readouterr().err
    assert main(["check", "--dataset=nothing/known", f"--source={folder}"]) == 2
