"""Files of finished runs that were damaged, exchanged or edited: noticed by `predict`, mended by the same command.

All data is SYNTHETIC.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.evaluation.predictions import read_csv, write_csv
from mmpsy_jax.inference.predict import predict
from mmpsy_jax.io import InputError
from mmpsy_jax.tasks import from_config
from mmpsy_jax.training import finished_run, plan_runs, run, run_files
from tests.inference.conftest import config_of
from tests.runs import bind_again


def cut(path, size=1000):
    path.write_bytes(path.read_bytes()[:size])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3 // 4 * 4 + 3] ^= 0x80  # the sign of a number
    path.write_bytes(bytes(content))


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


FOLD = f"fold_1/seed_0/{run_files.WEIGHTS}"
FIRST = f"fold_0/seed_0/{run_files.EMBEDDING}"
AGAIN = ": run the training command again, which writes it anew$"
DAMAGES = {
    "no run": (lambda run: shutil.rmtree(run), "no config.json, so no finished run"),
    "no config": (lambda run: (run / "config.json").unlink(), "config.json: is gone: bring the file back from a copy"),
    "no card": (lambda run: (run / "model.json").unlink(), "no model.json, so no finished run with a best checkpoint"),
    "no weights": (lambda run: (run / FOLD).unlink(), f"{FOLD}: cannot be read"),
    "empty weights": (lambda run: cut(run / FOLD, 0), rf"{FOLD}: is not the file .* \(it is cut or damaged\){AGAIN}"),
    "cut weights": (lambda run: cut(run / FOLD), rf"{FOLD}: is not the file .* \(it is cut or damaged\){AGAIN}"),
    "flipped bit": (lambda run: flip(run / FOLD), rf"{FOLD}: is not the file .* \(its sha256 differs\){AGAIN}"),
    "weights of another fold": (
        lambda run: shutil.copy(run / "fold_0/seed_0" / run_files.WEIGHTS, run / FOLD),
        rf"{FOLD}: is not the file .* \(its sha256 differs\){AGAIN}",
    ),
    "weights are the embedding": (
        lambda run: shutil.copy(run / FIRST, run / FOLD),
        rf"{FOLD}: is not the file .* \(it holds arrays of other names or shapes\){AGAIN}",
    ),
    "embedding is empty": (lambda run: cut(run / FIRST, 0), rf"{FIRST}: is not the file .*{AGAIN}"),
    "embedding has a flipped bit": (lambda run: flip(run / FIRST), rf"{FIRST}: is not the file .*{AGAIN}"),
    "config has another digit": (
        lambda run: edit(run / "config.json", '"batch_size": ', '"batch_size": 1'),
        "config.json: is not the file that the run left .*: bring the file back",
    ),
    "config is cut": (lambda run: cut(run / "config.json", 300), "config.json: is not the file .*: bring the file"),
    "card is cut": (
        lambda run: cut(run / "model.json", 200),
        f"model.json: not JSON .* cut short\\? {AGAIN[2:]}",
    ),
    "card is empty": (lambda run: cut(run / "model.json", 0), "model.json: not JSON"),
    "card is no text": (
        lambda run: (run / "model.json").write_bytes(b"\xff\xfe\x00"),
        f"model.json: is UTF-16, or no text{AGAIN}",
    ),
    "card is a list": (
        lambda run: (run / "model.json").write_text("[]"),
        "model.json: holds no JSON",
    ),
    "card is nothing": (lambda run: (run / "model.json").write_text("{}"), "model.json: format None, this version"),
    "card has another digit": (
        lambda run: edit(run / "model.json", '"seed": 0', '"seed": 7'),
        rf"model.json: is not as the run left it \(its digest differs\){AGAIN}",
    ),
}


def copied(workdir, folder):
    """A copy of a run as `predict` needs it."""
    return shutil.copytree(workdir, folder, ignore=shutil.ignore_patterns("checkpoints", "replicas", "tables"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_gets_one_clear_error(texts, mixed, tmp_path, damage):
    workdir = copied(texts[2], tmp_path / "run")
    change, message = DAMAGES[damage]
    change(workdir)
    with pytest.raises(InputError, match=message) as caught:
        predict(workdir, mixed, tmp_path / "out.csv")
    assert "\n" not in str(caught.value) and not (tmp_path / "out.csv").exists()


# A card of an earlier version has no digests: only what cannot be is noticed.
WEAKER = {
    "empty weights": f"{FOLD}: cannot be read",
    "weights are the embedding": f"{FOLD}: holds no parameters of a network",
    "embedding is empty": f"{FIRST}: cannot be read",
    "config is cut": "config.json: not JSON .*: is it cut short\\? bring the file back",
}
TYPES = {
    "trainings": ({}, r"trainings is damaged"),
    "usual": ({"text": []}, "usual is damaged"),
    "modalities": ({"text": {"kind": "ids", "shape": 5, "time_axis": 0, "dtype": "int32"}}, "modalities or fields"),
    "window_seconds": ("60", "window_seconds is damaged"),
}


def without_digests(workdir, **changes):
    path = workdir / "model.json"
    card = {name: value for name, value in json.loads(path.read_text()).items() if name not in ("sha256", "files")}
    path.write_text(json.dumps({**card, **changes}))


def test_a_run_of_before_loads_with_the_weaker_check(texts, mixed, tmp_path):
    workdir = copied(texts[2], tmp_path / "run")
    without_digests(workdir)
    predict(workdir, mixed, tmp_path / "old.csv")
    predict(texts[2], mixed, tmp_path / "new.csv")
    assert (tmp_path / "old.csv").read_bytes() == (tmp_path / "new.csv").read_bytes()
    for damage, message in WEAKER.items():
        workdir = copied(texts[2], tmp_path / damage)
        without_digests(workdir)
        DAMAGES[damage][0](workdir)
        with pytest.raises(InputError, match=message):
            predict(workdir, mixed, tmp_path / "out.csv")
    for name, (value, message) in TYPES.items():
        workdir = copied(texts[2], tmp_path / name)
        without_digests(workdir, **{name: value})
        with pytest.raises(InputError, match=f"model.json: .*{message}.*{AGAIN}"):
            predict(workdir, mixed, tmp_path / "out.csv")


def test_a_card_cannot_name_a_folder_outside_the_run(texts, mixed, tmp_path):
    workdir = copied(texts[2], tmp_path / "run")
    card = json.loads((workdir / "model.json").read_text())
    card["trainings"][0]["folder"] = "../../etc"
    bind_again(workdir, trainings=card["trainings"])
    with pytest.raises(InputError, match=r"model.json: names a folder outside the run"):
        predict(workdir, mixed, tmp_path / "out.csv")


def test_the_same_command_writes_anew_what_is_damaged(texts, tmp_path, caplog):
    _, built, workdir = texts
    copy = shutil.copytree(workdir, tmp_path / "run")
    for damage in ("empty weights", "embedding has a flipped bit"):
        DAMAGES[damage][0](copy)
    flip(copy / "fold_0/seed_0" / run_files.WEIGHTS)
    edit(copy / "fold_0/seed_0/predictions.csv", "user_", "someone_")
    cut(copy / "predictions.csv", 500)
    run.run(config_of(built), built, copy)
    names = [f"fold_{k}/seed_0/{name}" for k in range(2) for name in (run_files.WEIGHTS, "predictions.csv")]
    for name in (*names, FIRST, "predictions.csv"):
        assert (copy / name).read_bytes() == (workdir / name).read_bytes(), name
    finished_run.load(copy)
    assert "not what this training left" in caplog.text


def test_a_card_that_is_cut_is_written_anew(texts, tmp_path):
    _, built, workdir = texts
    copy = shutil.copytree(workdir, tmp_path / "run")
    cut(copy / "model.json", 200)
    run.run(config_of(built), built, copy)
    assert (copy / "model.json").read_bytes() == (workdir / "model.json").read_bytes()


def drop_rows(path):
    path.write_text("".join(path.read_text().splitlines(True)[:-5]))


def other_people(path):
    path.write_text(path.read_text().replace("user_", "someone_"))


def other_labels(path):
    table = read_csv(path)
    flipped = np.where(table.task == "phq_screen", 1 - table.y_true, table.y_true)
    write_csv(path, dataclasses.replace(table, y_true=flipped))


def other_order(path):
    first, *rows = path.read_text().splitlines(True)
    path.write_text("".join([first, *reversed(rows)]))


def one_digit(path):
    edit(path, "0.4", "0.3")


def no_table(path):
    path.write_text("nothing\n")


# Whether the table is still taken: with its digest known, and without.
CHANGES = {
    drop_rows: (False, False),
    other_people: (False, False),
    other_labels: (False, False),
    no_table: (False, False),
    other_order: (False, True),
    one_digit: (False, True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_are_the_planned_participants_and_tasks_with_the_labels_of_the_corpus(texts, tmp_path, caplog, change):
    _, built, workdir = texts
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("replicas", "tables"))
    config, corpus = config_of(built), open_corpus(built)
    planned, _ = plan_runs.plan(run.with_packs(config, copy), from_config(config.tasks), corpus, copy)
    card = run_files.read_card(copy)
    assert all(plan_runs.is_finished(one, copy, known) for one in planned for known in (card, None))
    change(copy / "fold_1/seed_0/predictions.csv")
    for known, taken in zip((card, None), CHANGES[change], strict=True):
        assert [plan_runs.is_finished(one, copy, known) for one in planned] == [True, taken]
    assert "fold_1/seed_0/predictions.csv: not what this training left" in caplog.text and "fold_0" not in caplog.text


def test_a_run_of_an_older_version_gets_its_model_by_the_same_command(texts, tmp_path):
    _, built, workdir = texts
    workdir = shutil.copytree(workdir, tmp_path / "run")
    weights = sorted([*workdir.rglob(run_files.WEIGHTS), *workdir.rglob(run_files.EMBEDDING)])
    assert len(weights) == 4
    before = [file.read_bytes() for file in weights]
    predictions = (workdir / "predictions.csv").read_bytes()
    for file in weights:
        file.unlink()
    run.run(config_of(built), built, workdir)
    assert [file.read_bytes() for file in weights] == before
    assert (workdir / "predictions.csv").read_bytes() == predictions
