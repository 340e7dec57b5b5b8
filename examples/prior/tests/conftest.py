"""Token datasets to train a prior on."""

from pathlib import Path

import pytest

from examples.prior.tests.prior_runs import carry_config, copy_records
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize


@pytest.fixture(scope="session")
def prior_dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 of the sample images, tokenized with their labels, to train a prior on."""
    directory = tmp_path_factory.mktemp("prior") / "demo"
    tokenize(TokenizeConfig.model_validate(carry_config(root, directory)), limit=200)
    return directory


@pytest.fixture(scope="session")
def prior_held_out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another 60 of them, whose source lies beside the dataset as `source`."""

    folder = tmp_path_factory.mktemp("prior_held_out")
    copy_records(root / "samples" / "fashion_mnist", folder / "source", range(200, 260))
    config = carry_config(root, folder / "demo")
    config["source"]["directory"] = str(folder / "source")
    tokenize(TokenizeConfig.model_validate(config))
    return folder / "demo"
