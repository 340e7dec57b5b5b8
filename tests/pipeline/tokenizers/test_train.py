"""The command `fsq train`: what stops it, in one line."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("training", [{}, {"random_crop": 0.8}], ids=["in memory", "from source"])
def test_a_damaged_training_image_is_named_in_one_line(
    run: Run, image_folder: Path, tmp_path: Path, training: dict
):
    shutil.copytree(image_folder, tmp_path / "train")
    (tmp_path / "train" / "cats" / "041.png").write_bytes(b"not a picture")
    config = {
        "source": {"kind": "image_folder", "directory": "train"},
        "held_out": {"kind": "image_folder", "directory": str(image_folder)},
        "tokenizer": {
            "levels": [5, 5, 5],
            "image": {"size_pixels": 16, "channels": 3},
            "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
        },
        "training": {"epochs": 2, "batch_size": 16, **training},
        "output": "tokenizer",
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    done = run("train", "train.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fsq: cats/041.png: expected one of PNG, JPEG, ")
    assert done.stderr.endswith("Remove it from the source.\n")
    assert done.stderr.count("\n") == 1
