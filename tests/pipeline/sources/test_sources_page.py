"""What docs/sources.md says to type is a config, and every kind of source is on the page."""

import re

import pytest
import yaml
from builders.paths import ROOT

from fsq.validation import parse
from pipeline.job.config import TokenizeConfig
from pipeline.sources import KINDS

PAGE = (ROOT / "docs" / "sources.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("kind: ")[1].split()[0])
def test_a_block_of_the_page_is_a_config(block: str):
    job = {"tokenizer": "tokenizers/x", "output": {"directory": "out/x", "name": "x"}}
    parse(TokenizeConfig, {**yaml.safe_load(block), **job}, "docs/sources.md")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_on_the_page(kind: str):
    assert f"kind: {kind}" in PAGE or f"# or {kind}" in PAGE
