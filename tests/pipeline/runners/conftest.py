"""A job of 100 images in 13 units and 3 shards, for every test here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.job.config import TokenizeConfig


@pytest.fixture
def make_config(
    image_folder: Path, tokenizer_directory: Path, tmp_path: Path
) -> Callable[..., TokenizeConfig]:
    """Makes its config, with an output of some name."""

    def make(name: str = "out", **changes: object) -> TokenizeConfig:
        config = {
            "source": {"kind": "image_folder", "directory": str(image_folder)},
            "tokenizer": str(tokenizer_directory),
            "output": {"directory": str(tmp_path / name), "name": "pets", "num_shards": 3},
            "batch_size": 8,
        }
        return TokenizeConfig.model_validate(config | changes)

    return make
