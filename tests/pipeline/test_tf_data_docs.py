"""The examples of docs/tf_data.md run."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builders.jobs import job_fields
from builders.paths import ROOT

from fsq.dataset import TokenBatches
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize

DOCS = ROOT / "docs" / "tf_data.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    """The folder in which the examples run: images, tokenizer, config, and the finished job."""
    folder = tmp_path_factory.mktemp("tf_data")
    shutil.copytree(image_folder, folder / "my_images")
    shutil.copytree(tokenizer_directory, folder / "tokenizer")
    output = {"num_shards": 2}
    fields = job_fields(
        folder / "my_images", folder / "tokenizer", folder / "out/my_images", output=output
    )
    (folder / "my_images.yaml").write_text(yaml.safe_dump(fields))
    tokenize(TokenizeConfig.model_validate(fields))
    return folder


def run(code: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), found)
    return found


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_docs_runs(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    found = run(EXAMPLES[number])
    offline = {
        key: tokens.tolist()
        for batch in TokenBatches(folder / "out" / "my_images", batch_size=8)
        for key, tokens in zip(batch["key"], batch["tokens"], strict=True)
    }
    dataset = found.get("tokens")
    if number == 3:
        rows = np.concatenate(list(dataset.as_numpy_iterator()))
        assert sorted(row.ravel().tolist() for row in rows) == sorted(offline.values())
    if number == 4:
        assert found["bad"] == 0
        assert len(list(found["images"])) == 100
    if number == 6:
        batch = found["batch"]
        for key, tokens in zip(batch["key"].numpy(), batch["tokens"].numpy(), strict=True):
            assert tokens.tolist() == offline[key]


def test_there_are_examples_of_both_ways():
    assert len(EXAMPLES) == 7
