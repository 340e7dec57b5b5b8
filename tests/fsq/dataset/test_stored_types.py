"""Tokens of every vocabulary size are read back by programs that know nothing of this project."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from builders.paths import ROOT

from fsq.dataset import TokenBatches, TokenSource
from tools.random_tokens import write_random_tokens

# No levels have the product 2**16 + 1, which is prime, or 2**31 + 1.
STORED = {
    (16, 16): "uint8",
    (256, 256): "uint16",
    (331, 198): "int32",  # 2**16 + 2
    (8,) + (4,) * 14: "int32",  # 2**31
    (3,) + (4,) * 15: "int64",
    (4,) * 16: "int64",
    (4,) * 31: "int64",
}
PARSER = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]


@pytest.fixture(scope="module", params=STORED, ids=lambda levels: f"{math.prod(levels)} codes")
def stored(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, np.ndarray]:
    """Path of a dataset, how its tokens are stored, and the tokens of image n, [60, 4]."""
    directory = tmp_path_factory.mktemp("stored") / "out" / "demo"
    tokens = write_random_tokens(
        directory, images=60, side=2, levels=request.param, array_record=True
    )
    assert tokens.max() == math.prod(request.param) - 1
    return directory, STORED[request.param], tokens[:, 0]


def check(records, tokens: np.ndarray) -> None:
    found = {int(record["key"]): np.asarray(record["tokens"]).tolist() for record in records}
    assert found == dict(enumerate(tokens.tolist()))


def test_tensorflow_datasets_reads_tokens_of_every_vocabulary(stored):
    directory, dtype, tokens = stored
    builder = tfds.builder_from_directory(str(directory))
    assert builder.info.features["tokens"].np_dtype == np.dtype(dtype)
    check(tfds.as_numpy(builder.as_dataset(split="train")), tokens)
    check(builder.as_data_source(split="train"), tokens)


def test_the_parser_of_the_readme_reads_tokens_of_every_vocabulary(
    stored, monkeypatch: pytest.MonkeyPatch
):
    directory, dtype, tokens = stored
    monkeypatch.chdir(directory.parent.parent)
    found: dict = {}
    exec(PARSER, found)
    assert found["dtype"] == dtype
    rows = found["tokens"].numpy().tolist()  # all 60 records are one batch
    assert sorted(rows) == sorted(tokens.tolist())


def test_the_readers_read_tokens_of_every_vocabulary(stored):
    directory, _, tokens = stored
    rows = TokenBatches(directory, batch_size=60)[0]
    check(
        ({"key": k, "tokens": t} for k, t in zip(rows["key"], rows["tokens"], strict=True)), tokens
    )
    check(TokenSource(directory), tokens)
