"""The written page in headless Chromium: silent console, no request, light and dark, no overflow on a phone."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest
from evaluation_samples import AUDIT, CURVES, TASKS, one_run, with_later_keys

from mmpsy_jax.evaluation import report as reports

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")

PHONE, DESKTOP, PAPER = 390, 1280, 703
# A window is at least 500 px wide, a frame may be narrower. The frame is opened from outside: the page has no script.
HARNESS = """<!doctype html><link rel="icon" href="data:,"><body><script>
const width = Number(location.hash.slice(1)), frame = document.createElement("iframe");
frame.style.width = width + "px";
frame.style.border = "0";
frame.src = "report.html";
frame.onload = () => {
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(part => { part.open = true; });
  const sticksOut = part => !part.closest(".scroll *, pre, svg *") && part.getBoundingClientRect().right > width + 0.5;
  const text = document.createElement("p");
  text.textContent = JSON.stringify({
    scrolls: page.documentElement.scrollWidth,
    out: [...page.body.querySelectorAll("*")].filter(sticksOut).map(part => part.outerHTML.slice(0, 80)),
    pictures: page.querySelectorAll("figure svg").length,
    ground: getComputedStyle(page.body).backgroundColor,
    ink: getComputedStyle(page.body).color,
  });
  document.body.append(text);
};
document.body.append(frame);
</script></body>"""


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    beside = {"length": one_run(noise=30.0, rng_seed=1), "a_baseline_with_a_long_name": one_run(noise=9.0, rng_seed=2)}
    made = with_later_keys(reports.evaluate(one_run(), TASKS, baselines=beside, n_bootstrap=50, synthetic=True))
    context = {"config": {"name": "phq", "path": "x" * 200}, "audit": AUDIT}
    reports.write_report(folder, made, one_run(), TASKS, curves=CURVES, context=context, baselines=beside)
    return (folder / "report.html").read_text(encoding="utf-8")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def visit(folder, html, width, *options):
    """What the harness measured, the lines of the console, and the addresses that the page asked for."""
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "harness.html").write_text(HARNESS, encoding="utf-8")
    handler = functools.partial(Quiet, directory=folder)
    log = folder / "net.json"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr"]
        # The browser's own traffic leads nowhere; what the page asks for would still stand in the log.
        command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", *options, "--dump-dom"]
        address = f"{base}/harness.html#{width}"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    measured = json.loads(re.search(r"<p>(.*?)</p>", done.stdout, re.DOTALL).group(1).replace("&gt;", ">"))
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    by_pages = [one for one in events if "url" in one and one.get("initiator") not in (None, "not an origin")]
    asked = {one["url"].split("#")[0] for one in by_pages} - {f"{base}/report.html", f"{base}/harness.html"}
    return measured, console, asked


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
