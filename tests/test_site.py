"""The documentation as a site is built strictly: no page without a place, no link or reference that leads nowhere."""

import re
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
    formulas = (tmp_path / "site" / "mental_perceiver" / "index.html").read_text()
    assert formulas.count("<math xmlns=") > 20 and "mathbb" not in formulas
    for path in (tmp_path / "site").rglob("*.html"):
        text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        bare = re.findall(r"^(?:<p>)?(?:\||- |\d+\. |#+ |```).*", text, re.MULTILINE)
        assert not re.search(r"\$[^$<]*\\[a-z]", text), f"{path.parent.name}: a formula that was not drawn"
        assert not bare, f"{path.parent.name}: a table or list without an empty line before it: {bare[0][:80]}"
