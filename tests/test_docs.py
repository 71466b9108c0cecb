"""What the documents promise is there: links, commands, the table of sizes."""

import re
from pathlib import Path

import pytest

from tests.test_configs import PARAMETERS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_files_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_config_is_in_the_table_of_results():
    text = (ROOT / "docs/results.md").read_text()
    for name, argument in PARAMETERS:
        assert f"`{name}" in text, f"configs/{name}.py ({argument}) is not in docs/results.md"


def test_parameter_counts_in_the_documents_are_those_of_the_configs():
    counts = {
        f"{name}:{argument}" if argument else name: f"{count:,}" for (name, argument), count in PARAMETERS.items()
    }
    for path in DOCUMENTS:
        for title, count in re.findall(r"^\| `([^`]+)` \| ([\d,]+) \|", path.read_text(), re.MULTILINE):
            assert counts.get(title, count) == count, (path.name, title)


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120 and [line for line in lines if len(line) > 120] == []
