"""The command `fsq train`: what stops it, in one line."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsq.errors import RequestError
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.train import describe_training

Run = Callable[..., subprocess.CompletedProcess[str]]


def config_of(source: Path | str, held_out: Path | str, **training: Any) -> dict[str, Any]:
    return {
        "source": {"kind": "image_folder", "directory": str(source)},
        "held_out": {"kind": "image_folder", "directory": str(held_out)},
        "tokenizer": {
            "levels": [5, 5, 5],
            "image": {"size_pixels": 16, "channels": 3},
            "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
        },
        "training": {"epochs": 2, "batch_size": 16, **training},
        "output": "tokenizer",
    }


@pytest.mark.parametrize("training", [{}, {"random_crop": 0.8}], ids=["in memory", "from source"])
def test_a_damaged_training_image_is_named_in_one_line(
    run: Run, image_folder: Path, tmp_path: Path, training: dict
):
    shutil.copytree(image_folder, tmp_path / "train")
    (tmp_path / "train" / "cats" / "041.png").write_bytes(b"not a picture")
    config = config_of("train", image_folder, **training)
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    done = run("train", "train.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fsq: cats/041.png: expected one of PNG, JPEG, ")
    assert done.stderr.endswith("Remove it from the source.\n")
    assert done.stderr.count("\n") == 1


def test_the_plan_of_a_training_says_what_is_left_out_and_which_folder_is_refused(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(image_folder, tmp_path / "train"))
    (folder / "cats" / "notes.txt").write_text("no picture")
    plan = dict(describe_training(TrainConfig.model_validate(config_of(folder, image_folder))))
    assert plan["left out"] == "1 .txt: no images by their first bytes"
    (folder / "birds").mkdir()
    (folder / "birds" / "notes.txt").write_text("no picture")
    with pytest.raises(RequestError) as error:
        describe_training(TrainConfig.model_validate(config_of(image_folder, folder)))
    assert str(error.value) == (
        f"held_out: {folder}/birds: expected images in the folder of a class, found other files "
        "only. Move it away, name all classes in held_out.classes, or set held_out.labels to false."
    )
