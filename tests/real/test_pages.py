"""Written pages in headless Chromium: axe-core, two widths, light, dark and print, the keyboard. SYNTHETIC pages.

MMPSY_NODE is a folder in which `npm install @sparticuz/chromium puppeteer-core axe-core` ran; CHROMIUM another browser.
"""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import mmpsy_jax as mp
from mmpsy_jax.evaluation import report as reports
from mmpsy_jax.evaluation.predictions import Predictions
from mmpsy_jax.exploration import statistics
from mmpsy_jax.tasks import questionnaire
from tests.browser import Quiet
from tests.runs import ROOT

FOLDER = os.environ.get("MMPSY_NODE", "")
SCRIPT = Path(__file__).with_name("pages.mjs")


def reason():
    if shutil.which("node") is None:
        return "no node"
    if not (Path(FOLDER or ".") / "node_modules" / "axe-core").is_dir():
        return "MMPSY_NODE names no folder with axe-core, puppeteer-core and @sparticuz/chromium in node_modules"
    return ""


pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(reason()), reason=reason())]


def write_report(folder):
    rng = np.random.default_rng(0)
    tasks, tables = questionnaire("phq9", "phq"), []
    score = rng.integers(0, 28, 120).astype(float)
    for task in tasks:
        truth = np.asarray(task.targets(score), float)
        guess = truth + rng.normal(0, 0.4 * truth.std(), 120)
        guess = {"y_prob": 1 / (1 + np.exp(0.5 - guess))} if task.event else {"y_pred": np.clip(guess, 0, 27)}
        names, split = [f"p{i}" for i in range(120)], ["validation"] * 40 + ["test"] * 80
        tables.append(Predictions.build(names, task.name, truth, split=split, **guess))
    predictions = Predictions.concatenate(tables)
    report = reports.evaluate(predictions, tasks, n_bootstrap=50, synthetic=True)
    reports.write_report(folder, report, predictions, tasks)
    return folder / "report.html"


def test_pages_of_ours(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 40)
    mp.explore(dataset, output=tmp_path)
    pages = [write_report(tmp_path), tmp_path / "explore.html"]
    done = subprocess.run(["node", SCRIPT, FOLDER, *pages], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results["pages"]) == len(pages)
    for name, views in results["pages"].items():
        assert len(views) == 5
        for view, seen in views.items():
            assert seen["violations"] == [] and seen["overflow"] == 0 and seen["passes"] > 20, (name, view)
            assert {one["id"] for one in seen["incomplete"]} <= {"color-contrast"}, (name, view)  # of text in pictures
            assert seen.get("texts", []) == [], (name, view)
        dark, light = (views[f"desktop, {scheme}"]["ground"] for scheme in ("dark", "light"))
        assert dark != light
        keys = views["desktop, light"]["keyboard"]
        assert keys["reached"] == keys["expected"] > 5 and keys["unseen"] == []


def test_pages_of_the_documentation(tmp_path):
    """What axe-core cannot decide there is contrast of menus under others and of single letters."""
    site = tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={site}"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    files = sorted(site.rglob("index.html"))
    assert len(files) > 40
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        pages = [f"{base}/{file.parent.relative_to(site)}/" if file.parent != site else f"{base}/" for file in files]
        done = subprocess.run(["node", SCRIPT, FOLDER, *pages], capture_output=True, text=True, timeout=1800)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["pages"]
    assert len(results) == len(files)
    for name, views in results.items():
        for view, seen in views.items():
            assert seen["violations"] == [] and seen["overflow"] == 0 and seen["passes"] > 10, (name, view)
            assert {one["id"] for one in seen["incomplete"]} <= {"color-contrast"}, (name, view)


def test_this_can_fail(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<html><body><img src=x><p style='color:#aaa'>faint</p><div style='width:2000px'>wide</div>")
    done = subprocess.run(["node", SCRIPT, FOLDER, page], capture_output=True, text=True, timeout=300)
    views = next(iter(json.loads(done.stdout)["pages"].values()))
    rules = {one["id"] for one in views["phone, light"]["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= rules and views["phone, light"]["overflow"] > 1000
