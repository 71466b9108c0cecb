"""No word of a transcript reaches an output or log of any verb without an opt-in, and no path a file that is passed on.

All data is SYNTHETIC: every transcript of the fixture `texts` holds the canary.
"""

import gzip
import json
import stat
import zipfile
from pathlib import Path

import pytest

import launch as command_line
from mmpsy_jax.evaluation.predictions import read_csv
from mmpsy_jax.io import with_places
from tests.hugging_face import write_bert

CANARY = "一二三四五六七八九十"
SPOKEN = "的第2句"
FORMS = [
    form
    for word in (CANARY, SPOKEN)
    for form in (word.encode(), word.encode("utf-16-le"), json.dumps(word)[1:-1].encode())
]


def contents(path):
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:2] == b"PK":
        with zipfile.ZipFile(path) as file:
            yield from map(file.read, file.namelist())


def found(folder, needles):
    """Files below a folder that hold one of the needles, as text of any encoding that is usual here, or compressed."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return sorted(path.name for path in paths if any(n in data for data in contents(path) for n in needles))


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def test_the_search_finds_what_is_there(texts, tmp_path):
    assert found(texts[0].parent, FORMS) == ["wav_select.json"]
    (tmp_path / "a.json").write_text(json.dumps({"x": f"a{CANARY}"}))
    (tmp_path / "b.gz").write_bytes(gzip.compress(f"a{SPOKEN}".encode()))
    assert found(tmp_path, FORMS) == ["a.json", "b.gz"]


def test_records_and_runs_hold_no_words(texts):
    table, built, workdir = texts
    assert found(built.parent, FORMS) == [] and found(workdir, FORMS) == []
    here = [str(table.parent.parent).encode()]
    # Orbax writes the place of a checkpoint into it, which stays where the run is, as its config does.
    assert found(built, here) == [] and set(found(workdir, here)) == {"commit_success.txt", "config.json"}
    # The table is found again by who built the corpus here, and by nobody who copies it.
    card = json.loads((built / "corpus.json").read_text())
    assert card["source"] == "wav_select.json" and with_places(built, card)["source"] == str(table)


def test_no_verb_says_a_word(texts, exported, tmp_path, tmp_path_factory, capfd):
    table, built, workdir = texts
    encoder = write_bert(tmp_path_factory.mktemp("bert"))
    for number, arguments in enumerate(
        [
            ["check", f"--source={table}", "--deep"],
            ["predict", f"--workdir={workdir}", f"--input={table}", f"--output={tmp_path}/p.csv"],
            ["predict", f"--workdir={workdir}", f"--input={built}", f"--output={tmp_path}/r.csv", "--no-abstain"],
            ["explain", f"--workdir={workdir}", f"--input={table}", f"--output={tmp_path}/e", "--participant=user_3"],
            ["embed", f"--input={table}", f"--encoder={encoder}", f"--output={tmp_path}/embedded"],
            ["evaluate", f"--predictions={workdir}/predictions.csv", f"--output={tmp_path}/s"],
        ]
    ):
        assert command_line.main(arguments) in (0, 3), number
    said = "".join(capfd.readouterr()) + exported["printed"]
    assert CANARY not in said and SPOKEN not in said
    folder = Path(exported["texts"])
    assert found(tmp_path, FORMS) == found(folder, FORMS) == []
    # What is usual in transcripts stays with the run; an export names no folder of this machine.
    shown = json.loads((folder / "config.json").read_text())
    hub = json.loads((folder / "huggingface" / "model.json").read_text())
    assert "members" not in hub and "known" not in json.dumps(hub["usual"])
    assert "usual" not in shown and "known" not in json.dumps(shown) and "members" not in shown
    assert found(folder, [str(table.parent.parent).encode()]) == []
    assert set(modes(tmp_path / "e").values()) == {0o600}
    # And with the opt-in the words of one person are in one page.
    shown = ["--show_text", f"--output={tmp_path}/shown", "--participant=user_3"]
    assert command_line.main(["explain", f"--workdir={workdir}", f"--input={table}", *shown]) == 0
    assert "九" in (tmp_path / "shown/explanation.html").read_text()  # character by character
    assert "九" not in (tmp_path / "e/explanation.html").read_text() and CANARY not in "".join(capfd.readouterr())


def test_the_model_card_says_what_the_files_reveal(texts):
    body = " ".join((texts[2] / "README.md").read_text().split())
    assert "which characters and pairs of neighbouring characters at least two training participants used" in body
    assert "32 bits of a digest of the id" in body and "`export` leaves these characters and the digests out" in body


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: text.index(CANARY) + 4],
        lambda text: text.replace('"score": 1', f'"score": "{CANARY}"', 1),
        lambda text: text.replace(CANARY, CANARY[:3] + "\x01", 1),
        lambda text: text.replace(CANARY, f'": "{CANARY}', 1),
    ],
)
def test_no_error_says_a_word(texts, tmp_path, capfd, change):
    table, _, workdir = texts
    (tmp_path / "data").mkdir()
    broken = tmp_path / "data/wav_select.json"
    broken.write_text(change(table.read_text()))
    for arguments in (
        ["build", "--dataset=mmpsy/transcripts", f"--source={tmp_path}", f"--data_dir={tmp_path}/x", "--workers=0"],
        ["predict", f"--workdir={workdir}", f"--input={broken}", f"--output={tmp_path}/p.csv"],
    ):
        command_line.main(arguments)
        said = "".join(capfd.readouterr())
        assert said and CANARY not in said and SPOKEN not in said


def test_nobody_else_reads_the_page_about_persons(texts, tmp_path, capfd):
    for name in ("predictions.csv", "report.json"):
        (tmp_path / name).write_bytes((texts[2] / name).read_bytes())
    assert command_line.main(["report", "--workdirs", str(tmp_path), "--person-level"]) == 0
    assert modes(tmp_path)["persons.html"] == 0o600


def test_predict_says_whom_it_was_trained_on_and_that_these_are_synthetic(texts, tmp_path, capfd):
    table, _, workdir = texts
    entries = json.loads(table.read_text())[:4]
    for number, entry in enumerate(entries[2:]):
        entry["user_id"] = f"nobody_{number}"
    (tmp_path / "some.json").write_text(json.dumps(entries))
    arguments = [
        "predict",
        f"--workdir={workdir}",
        f"--input={tmp_path / 'some.json'}",
        f"--output={tmp_path / 'o.csv'}",
    ]
    assert command_line.main([*arguments, "--no-abstain"]) == 0
    said = capfd.readouterr().err.splitlines()
    assert f"2 of 4 participants are in its training data: use {workdir / 'predictions.csv'}, out of fold" in said
    made = read_csv(tmp_path / "o.csv")
    assert set(made.participant_id[made.split == "train"]) == {"user_1", "user_2"}
    assert set(made.participant_id[made.split == "test"]) == {"nobody_0", "nobody_1"}


def test_a_synthetic_run_marks_its_table_and_whoever_scores_it(heard, tmp_path, capfd):
    built, workdir = heard
    arguments = [
        "predict",
        f"--workdir={workdir}",
        f"--input={built}",
        f"--output={tmp_path / 'o.csv'}",
        "--no-abstain",
    ]
    assert command_line.main(arguments) == 0
    said = capfd.readouterr().err
    assert "SYNTHETIC: the run was trained on people whom a generator made" in said
    assert "of 40 participants are in its training data: their numbers say nothing about new people" in said
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0].endswith(",synthetic") and all(line.endswith("people whom a generator made") for line in lines[1:])
    assert command_line.main(["evaluate", f"--predictions={tmp_path / 'o.csv'}"]) == 0  # nobody's truth is known
    assert "SYNTHETIC DATA" in capfd.readouterr().out


def test_withheld_numbers_are_counted_with_their_reasons(texts, mixed, tmp_path, capfd):
    for option, words in (([], "withheld"), (["--no-abstain"], "not to be relied on")):
        arguments = ["predict", f"--workdir={texts[2]}", f"--input={mixed}", f"--output={tmp_path / 'o.csv'}"]
        assert command_line.main([*arguments, *option]) == 3
        (line,) = [one for one in capfd.readouterr().err.splitlines() if words in one]
        assert " numbers are " in line and "other characters than in training, as of another language: 1" in line
