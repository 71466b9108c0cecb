"""The written page in headless Chromium: silent console, no request, light and dark, no overflow on a phone."""

import re
import subprocess

import pytest
from evaluation_samples import AUDIT, CURVES, TASKS, one_run, with_later_keys

from mmpsy_jax.evaluation import report as reports
from tests.browser import CHROMIUM, DESKTOP, PAPER, PHONE, needs_browser, visit

pytestmark = needs_browser


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    beside = {"length": one_run(noise=30.0, rng_seed=1), "a_baseline_with_a_long_name": one_run(noise=9.0, rng_seed=2)}
    made = with_later_keys(reports.evaluate(one_run(), TASKS, baselines=beside, n_bootstrap=50, synthetic=True))
    context = {"config": {"name": "phq", "path": "x" * 200}, "audit": AUDIT}
    reports.write_report(folder, made, one_run(), TASKS, trainings={"": CURVES}, context=context, baselines=beside)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_asked_for_and_nothing_sticks_out(html, tmp_path, width):
    measured, console, asked = visit(tmp_path, html, width)
    assert console == [] and asked == set()
    assert measured["scrolls"] == width and measured["out"] == []
    assert measured["pictures"] == html.count("<figure>") > 15


def test_dark_and_light(html, tmp_path):
    grounds = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        folder = tmp_path / scheme
        folder.mkdir()
        measured, console, _ = visit(folder, html, PHONE, f"--blink-settings=preferredColorScheme={number}")
        assert console == []
        grounds[scheme] = (measured["ground"], measured["ink"])
    assert grounds == {
        "dark": ("rgb(22, 24, 29)", "rgb(232, 234, 237)"),
        "light": ("rgb(255, 255, 255)", "rgb(22, 24, 29)"),
    }


def test_these_checks_can_fail(html, tmp_path):
    picture = '<main><img src="http://127.0.0.1:81/x.png"><div style="width: 800px">wide</div>'
    _, console, asked = visit(tmp_path, html.replace("<main>", picture), PHONE)
    assert len(console) == 1 and "Content Security Policy" in console[0] and asked == set()
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", html.replace("<main>", picture))
    measured, _, asked = visit(tmp_path, open_page, PHONE)
    assert asked == {"http://127.0.0.1:81/x.png"}
    assert measured["scrolls"] > PHONE and any("wide" in part for part in measured["out"])


def test_no_table_is_cut_on_paper(html, tmp_path):
    """What `@media print` says, on a frame as wide as A4 less its margins, where nothing scrolls."""
    paper = html.replace("@media print", "@media all").replace('class="scroll"', 'class="unrolled"')
    measured, _, _ = visit(tmp_path, paper, PAPER)
    assert measured["scrolls"] == PAPER and measured["out"] == []


def test_folded_parts_are_printed(html, tmp_path):
    def pages(name, text):
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
        command += [f"--print-to-pdf={tmp_path / name}.pdf", (tmp_path / f"{name}.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return len(re.findall(rb"/Type /Page\b(?!s)", (tmp_path / f"{name}.pdf").read_bytes()))

    unfolded = pages("open", html.replace("<details>", "<details open>"))
    assert pages("made", html) == unfolded > pages("folded", html.replace("details::details-content", "nothing")) > 0
