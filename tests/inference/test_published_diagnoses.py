"""CMDC, ANDROIDS, PDCH and EmoDB from (SYNTHETIC) folders to records, folds with people apart, and one new folder."""

import collections
import csv
import json
import shutil

import pytest
import soundfile

from configs import interviews as interviews_config
from data_builders.common import cli
from data_builders.interviews import layouts
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.training import run
from mmpsy_jax.training.config import choose_model
from tests.runs import LEAN, in_process

AUDIO = {"sample_rate": 8000, "n_fft": 256, "hop": 80, "bands": 8, "window_seconds": 5, "overlap_seconds": 0}
TASKS = {
    "cmdc": "diagnosis=*",
    "androids": "depressed>=1",
    "pdch": "hamd17<=52",
    "emodb": "emotion=*",
}
PUBLISHED = {"cmdc": 3, "androids": 3}  # folds of these trees
NEW = {  # a folder of one person, and who is in it
    "cmdc": ("HC/HC01", {"HC01"}),
    "androids": ("Androids-Corpus/Androids-Corpus/Interview-Task/audio_clip", {"01_C_interview", "03_P_interview"}),
    "pdch": ("wav_data/003A", {"003A"}),
    "emodb": ("wav", {"03a01Wa", "06b02Na"}),
}


@pytest.fixture(scope="module", params=TASKS)
def trained(request, tmp_path_factory):
    """Name, tree, records and run of a layout."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    tree = layouts.synthesize(name, folder / "tree", participants=4 if name == "emodb" else 6)
    (folder / "settings.json").write_text(json.dumps({"audio": AUDIO}))
    built = cli.build(f"interviews/{name}", folder / "data", source=tree, settings=folder / "settings.json", workers=0)
    config = interviews_config.get_config(TASKS[name])
    with config.unlocked():
        config.data.folder, config.data.modalities, config.data.parts = str(built), ("audio",), 1
        config.total, config.replicas.layout = "1 epochs", "sequence"
        config.cv.folds, config.cv.folds_file = PUBLISHED.get(name, 2), "published" if name in PUBLISHED else ""
        config.evaluation.baselines = config.log.tensorboard = False
        config.evaluation.bootstrap = 20
        choose_model(config, "lf_dnn", **dict.fromkeys(LEAN, 4))
    report = run.run(config, built, folder / "run")
    run.prepare(
        config, folder / "run"
    )  # the same command again goes on, though it left classes and scales to the corpus
    return name, tree, folder / "run", report


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_everybody_is_tested_once_with_people_apart_and_a_new_folder_is_predicted(trained, tmp_path):
    name, tree, workdir, report = trained
    found = {entry.participant: entry for entry in layouts.read(name, tree).entries}
    tested = [row for row in rows(workdir / "predictions.csv") if row["split"] == "test"]
    tasks = collections.Counter(row["task"] for row in tested)
    assert set(tasks.values()) == {len(found)} and len(tasks) == TASKS[name].count(",") + 1
    fold_of = {(row.get("cluster") or row["participant_id"], row["fold"]) for row in tested}
    assert len(fold_of) == len({entry.cluster for entry in found.values()})  # nobody is in two test parts
    if name in PUBLISHED:
        assert len({(found[row["participant_id"]].fold, row["fold"]) for row in tested}) == PUBLISHED[name]
    corpus = open_corpus(json.loads((workdir / "config.json").read_text())["data"]["folder"])
    if name == "pdch":  # the patient's four turns of two recordings, and nothing of the doctor's
        at = corpus.participants.index("002A")
        turns = [line for part in found["002A"].parts for line in part.transcript.read_text("utf-8").splitlines()]
        said = [line.partition("：")[2] for line in turns if line.startswith("患者")]
        assert corpus.columns["n_answers"][at] == len(said) == 8
        assert corpus.columns["n_characters"][at] == sum(map(len, said))
        whole = sum(soundfile.info(part.recording).duration for part in found["002A"].parts)
        assert 0.3 * whole < corpus.columns["duration_s"][at] < 0.7 * whole
    if name == "androids":  # of one interview there is the whole alone
        assert corpus.card["omitted"]["seconds"] > 1
    if name == "emodb":
        task = json.loads((workdir / "config.json").read_text())["tasks"][0]
        assert len(task["classes"]) == 7 and "codes" not in task
        page = (workdir / "report.html").read_text()
        assert "balanced accuracy (UAR)" in page and "over clusters" in page and "anger" in page
    assert report and json.loads((workdir / "model.json").read_text())["synthetic"]

    folder, people = NEW[name]
    new = shutil.copytree(tree / folder, tmp_path / "new" / folder.rpartition("/")[2])
    options = [f"--workdir={workdir}", "--modalities=audio", f"--output={tmp_path / 'p.csv'}"]
    assert in_process("predict", *options, f"--input={new}") == 0
    assert {row["participant_id"] for row in rows(tmp_path / "p.csv")} >= people
