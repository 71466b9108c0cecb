"""A written page in headless Chromium, as the tests of pages open it."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium, or CHROMIUM=PATH")

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
