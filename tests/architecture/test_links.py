"""Links between the pages, and from them to files of the repository, lead somewhere."""

import re
from pathlib import Path

import pytest
from builders.paths import ROOT

FOLDERS = (".", "benchmarks", "docs", "samples", "tokenizers/*", "tests/data/*")
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_to_a_file(path: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    files = {link.partition("#")[0] for link in links if "://" not in link} - {""}
    assert [file for file in sorted(files) if not (path.parent / file).exists()] == []
