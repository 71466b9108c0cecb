"""`check --deep` of real recordings: volunteers in 25 languages, telephone voices, scipy's odd files."""

import collections
import csv
import json
from pathlib import Path

import pytest
import scipy

pytestmark = pytest.mark.real
SUFFIXES = (".wav", ".ogg", ".opus")


@pytest.fixture(scope="module")
def checked(assets, launch, tmp_path_factory):
    """{corpus: (files, problems, notes)}; each file is a participant, so that one bad file hides no other."""
    share = assets / "debian" / "usr" / "share"
    folders = {
        "klettres": share / "klettres",
        "ktuberling": share / "ktuberling" / "sounds",
        "asterisk": share / "asterisk" / "sounds",
        "pocketsphinx": share / "pocketsphinx",
        "praatio": assets / "pypi" / "praatio-6.2.2",
        "scipy": Path(scipy.__file__).parent,
    }
    manifest = tmp_path_factory.mktemp("recordings") / "manifest.csv"
    counts = {}
    with open(manifest, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["participant", "recording", "label:none"])
        for corpus, folder in folders.items():
            found = sorted(one for one in folder.rglob("*") if one.suffix in SUFFIXES and one.is_file())
            writer.writerows([f"{corpus}_{number:05}", one, 0] for number, one in enumerate(found))
            counts[corpus] = len(found)
    done = launch("check", f"--source={manifest}", "--deep", "--json", status=STATUS, minutes=120)
    report = json.loads(done.stdout)
    listed = {key: collections.defaultdict(list) for key in ("problems", "notes")}
    for key, lines in listed.items():
        for line in report[key]:
            corpus = next(name for name, folder in folders.items() if str(folder) in line)
            lines[corpus].append(line.split(": ", 1)[1])
    for corpus, count in counts.items():
        problems, notes = listed["problems"][corpus], listed["notes"][corpus]
        print(f"{corpus}: {count} files, {len(problems)} refused, {len(notes)} noted", *sorted(problems), sep="\n  ")
    return {name: (counts[name], listed["problems"][name], listed["notes"][name]) for name in folders}


STATUS = 0


def test_print(checked):
    pass
