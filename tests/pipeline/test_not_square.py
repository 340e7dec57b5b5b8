"""A tokenizer of images that are not square, from its training to the datasets that it makes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig

from fsq.dataset import TokenBatches
from fsq.runtimes.registry import RuntimeName
from fsq.tokenizer import Tokenizer
from pipeline.reports.contact_sheet import draw_sheet
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.train import train_tokenizer

HEIGHT, WIDTH = 8, 24


@pytest.fixture(scope="module")
def tokenizer(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of images 8 x 24, grid 2 x 6, trained for a few steps."""
    output = tmp_path_factory.mktemp("trained") / "tokenizer"
    config = {
        "source": {"kind": "image_folder", "directory": str(image_folder)},
        "held_out": 0.2,
        "tokenizer": {
            "levels": [3, 5, 4],
            "image": {"size": [HEIGHT, WIDTH], "channels": 3, "crop": "adm"},
            "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
        },
        "training": {"epochs": 1, "batch_size": 16, "random_crop": 0.8},
        "output": str(output),
    }
    evaluation = train_tokenizer(TrainConfig.model_validate(config), "train.yaml")
    assert np.isfinite(evaluation.psnr_db)
    assert "size:\n    - 8\n    - 24\n" in (output / "README.md").read_text()
    return output


def test_a_saved_tokenizer_has_rows_and_columns_and_decodes_to_its_shape(tokenizer: Path):
    loaded = Tokenizer.load(tokenizer, batch_size=8)
    assert loaded.contract.grid == (2, 6)
    images = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    tokens = loaded.encode(images)
    assert (tokens.shape, loaded.decode(tokens).shape) == ((3, 2, 6), images.shape)
    # Rows are rows: other pixels at the right change tokens at the right alone.
    images[:, :, 20:] = 255 - images[:, :, 20:]
    changed = (loaded.encode(images) != tokens).any(axis=(0, 1))
    assert changed.any() and not changed[:4].any()


@pytest.mark.parametrize("name", ["openvino", "xla"])
def test_every_runtime_takes_the_shape(tokenizer: Path, name: RuntimeName):
    loaded = Tokenizer.load(tokenizer, batch_size=8)
    loaded.use_runtime(name)
    assert loaded.probe_runtime().agrees


def test_a_dataset_of_it_is_whole_and_every_reader_and_report_knows_the_shape(
    tokenizer: Path, make_config: MakeConfig
):
    config = make_config(tokenizer=tokenizer)
    summary = tokenize(config)
    assert (summary.records, list(verify_dataset(summary.directory))) == (100, [])
    assert dict(inspect_directory(summary.directory))["tokens"].startswith("2 x 6, ")
    (batch,) = TokenBatches(summary.directory, batch_size=100)
    assert batch["tokens"].shape == (100, 12)
    # The boxes have the shape of the images, as far as whole pixels allow.
    left, top, right, bottom = batch["crop"].T
    assert np.abs((right - left) - (bottom - top) * WIDTH / HEIGHT).max() < WIDTH / HEIGHT
    sheet = draw_sheet(summary.directory, 4, originals=True)
    tile = (96, 32)  # 8 x 24, four times as large
    assert sheet.size == (96 + 4 * (tile[0] + 4), 2 * (tile[1] + 4) + 8 + 4)
    examples = tfds.builder_from_directory(summary.directory).as_dataset("train")
    found = {each["key"]: each["tokens"].tolist() for each in examples.as_numpy_iterator()}
    assert found == dict(zip(batch["key"].tolist(), batch["tokens"].tolist(), strict=True))
