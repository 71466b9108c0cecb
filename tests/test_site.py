"""The documentation as a site is built strictly: no page without a place, no link or reference that leads nowhere."""

import subprocess
import sys

import pytest

from tests.runs import ROOT


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path):
    program = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path / 'site'}"]
    built = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text()
    assert "mmpsy_jax.api.train" in page and "mmpsy_jax.api.Run.predict" in page
