"""Volunteers in 20 languages say letters and syllables: from their files to a report, with speakers apart and mixed.

And transcripts in Praat's own format, beside the recordings that they were made of.
"""

import csv
import json

import pytest
import soundfile

from mmpsy_jax.features import manifest
from mmpsy_jax.io import InputError

pytestmark = pytest.mark.real
SAID = {"alpha": "letter", "syllab": "syllable"}  # by folder


@pytest.fixture(scope="module")
def recordings(assets):
    """Files below the folder of their language, which holds about one speaker."""
    share = assets / "debian" / "usr" / "share" / "klettres"
    return sorted(file for folder in SAID for file in share.glob(f"*/{folder}/*") if file.is_file())


def uar(recordings, launch, folder, columns):
    """Unweighted average recall of five folds, with its interval; a language is a cluster where that is a column."""
    manifest, settings = folder / "manifest.csv", folder / "settings.json"
    with open(manifest, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, one in enumerate(recordings):
            language, said = one.parts[-3:-1]
            writer.writerow([f"{language}-{number}", one, SAID[said], language][: len(columns)])
    settings.write_text(json.dumps({"audio": {"window_seconds": 4, "overlap_seconds": 0}}))
    built = ["--dataset=interviews/klettres", f"--data_dir={folder}", "--skip_bad", f"--settings={settings}"]
    launch("build", f"--source={manifest}", *built, status=3)  # six are clipped beyond use
    records, run = folder / "interviews" / "klettres" / "1.0.0", folder / "run"
    options = ["--config.total=20 epochs", "--config.model.name=lf_dnn", f"--workdir={run}"]
    launch("--config=configs/interviews.py:said=*", f"--config.data.folder={records}", *options)
    task = json.loads((run / "report.json").read_text())["tasks"]["said_class"]["splits"]["test"]
    print(f"{columns[-1]}: n {task['n_participants']}, UAR {task['model']['balanced_accuracy']}")
    return task["model"]["balanced_accuracy"]


def test_letters_and_syllables_are_told_apart_by_knowing_the_speaker_alone(recordings, launch, tmp_path):
    columns = ["participant", "recording", "label:said", "cluster"]
    (tmp_path / "apart").mkdir()
    (tmp_path / "mixed").mkdir()
    apart = uar(recordings, launch, tmp_path / "apart", columns)
    mixed = uar(recordings, launch, tmp_path / "mixed", columns[:-1])
    assert len(recordings) == 1836 and apart["low"] < 0.5 < apart["high"]
    assert 0.65 < mixed["low"] < mixed["value"] < 0.75 and mixed["low"] > apart["high"]


def test_praats_own_grids_give_words_in_the_time_of_their_recording(assets):
    folder = assets / "pypi" / "praatio-6.2.2" / "examples" / "files"
    for grid, recording in (("bobby_words", "bobby"), ("mary", "mary"), ("damon_set_test", "damon_set_test")):
        entry = manifest.Entry(recording, folder / f"{recording}.wav", folder / f"{grid}.TextGrid")
        words, seconds = entry.words(), soundfile.info(entry.recording).duration
        where = f"{words.times[0]:.2f} to {words.times[-1]:.2f} s of {seconds:.2f} s"
        print(f"{grid}: {len(words.text.split())} words from {where}")
        assert 3 <= len(words.text.split()) <= 8 and not words.notes
        assert words.times[0] > 0 and list(words.times) == sorted(words.times) and words.times[-1] < seconds
    several = manifest.Entry("bobby", transcript=folder / "bobby_words_with_newlines_longfile.TextGrid")
    phrase = manifest.Entry("bobby", transcript=several.transcript, speaker="phrase")
    with pytest.raises(InputError, match="none of its 2 speakers is called 'participant'"):
        several.words()
    assert len(phrase.words().answers) == 1
