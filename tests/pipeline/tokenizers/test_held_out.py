"""Held-out images: who is in both sets, a share of the source, and whose the figures are."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsq.dataset.split_by_key import split_of
from fsq.errors import RequestError
from fsq.evaluation import evaluate
from fsq.tokenizer import Tokenizer
from fsq.validation import parse
from pipeline.tokenizers import training_images
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.held_out import Division, Overlap, is_held_out
from pipeline.tokenizers.train import describe_training, train_tokenizer
from pipeline.tokenizers.training_images import open_images, read_in_order


def write_images(folder: Path, numbers: range, suffix: str = "png") -> Path:
    """Writes an image for each number; equal numbers have equal pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.full((16, 16, 3), 20, np.uint8)
        top, left = np.random.default_rng(number).integers(0, 10, 2)
        pixels[top : top + 6, left : left + 6] = [number % 256, 220, number // 256]
        Image.fromarray(pixels).save(folder / f"{number:03d}.{suffix}", lossless=True)
    return folder


def folder_source(folder: Path | str) -> dict:
    return {"kind": "image_folder", "directory": str(folder), "labels": False}


def config_of(tmp_path: Path, source: object, held_out: object, **training: object) -> TrainConfig:
    content = {
        "source": source,
        "held_out": held_out,
        "tokenizer": {
            "levels": [5, 5, 5],
            "image": {"size_pixels": 16, "channels": 3},
            "network": {"kind": "conv", "encoder_widths": [4, 4], "decoder_widths": [4, 4]},
        },
        "training": {"epochs": 1, "batch_size": 8, **training},
        "output": str(tmp_path / "tokenizer"),
    }
    return parse(TrainConfig, content, "train.yaml")


def overlap_of(config: TrainConfig) -> tuple[int, list[str]]:
    """Returns how many held-out images are trained on, and the warnings."""
    division, overlap, warnings = Division.of(config), Overlap(), []
    overlap.add_held_out(division.held_out_batches(config))
    spec = config.tokenizer.image
    open_images(config.source, spec, config.training, division.keep, overlap.see)
    return overlap.check(warnings.append), warnings


@pytest.mark.parametrize("same", ["images", "./images", "link", "images/part"])
def test_images_of_the_source_are_refused_as_held_out_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: str
):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", range(8))
    write_images(tmp_path / "images" / "part", range(8, 16))
    (tmp_path / "images" / "000.png").write_bytes(b"never read")
    (tmp_path / "link").symlink_to("images")
    config = config_of(tmp_path, folder_source("images"), folder_source(same))
    with pytest.raises(RequestError) as error:
        describe_training(config)
    assert str(error.value) == (
        "held_out: expected images that are not trained on, found what 'source' reads: "
        f"{same}. Give held_out other images, or a share of the source such as 0.1."
    )


@pytest.mark.parametrize(
    ("source", "held_out", "refused"),
    [
        ("train", "train", True),
        ("train", "train[:20]", True),
        ("train[:50%]", "train[50%:]", False),
        ("train[:60]", "train[50:]", False),  # in part: counted when they are read
    ],
)
def test_records_of_the_source_are_refused_as_held_out(
    root: Path, tmp_path: Path, source: str, held_out: str, refused: bool
):
    tfds = {"kind": "tfds", "directory": str(root / "samples" / "fashion_mnist")}
    sides = ({**tfds, "split": split.replace("train", "test")} for split in (source, held_out))
    config = config_of(tmp_path, *sides)
    if refused:
        with pytest.raises(RequestError, match=r"found what 'source' reads: .*fashion_mnist"):
            describe_training(config)
    else:
        assert describe_training(config)[0][0] == "images"


@pytest.mark.parametrize("training", [{}, {"random_crop": 0.8}], ids=["in memory", "from source"])
def test_images_in_both_are_counted_by_their_pixels_whatever_their_name_and_format(
    tmp_path: Path, training: dict
):
    write_images(tmp_path / "train", range(20))
    write_images(tmp_path / "test", range(17, 27), suffix="webp")
    config = config_of(
        tmp_path, folder_source(tmp_path / "train"), folder_source(tmp_path / "test"), **training
    )
    assert overlap_of(config) == (
        3,
        ["held_out: 3 of 10 images have the pixels of a training image; the figures count them."],
    )


def test_a_copy_of_the_training_images_is_refused(tmp_path: Path):
    write_images(tmp_path / "train", range(20))
    write_images(tmp_path / "test", range(5, 15), suffix="webp")
    config = config_of(
        tmp_path, folder_source(tmp_path / "train"), folder_source(tmp_path / "test")
    )
    with pytest.raises(RequestError) as error:
        train_tokenizer(config, "train.yaml")
    assert str(error.value) == (
        "held_out: expected images that are not trained on, found the pixels of all 10 among "
        "those of 'source'. Give held_out other images, or a share of the source such as 0.1."
    )
    assert not (tmp_path / "tokenizer").exists()


def test_a_share_is_what_the_split_of_a_dataset_has():
    keys = [f"{number:05d}.png" for number in range(5000)]
    for share, rest in ((0.1, 0.9), (0.3, 0.7), (0.05, 0.95), (0.125, 0.875)):
        split = [split_of(key, {"train": rest, "val": share}) == "val" for key in keys]
        assert [is_held_out(key, share) for key in keys] == split


@pytest.mark.parametrize("training", [{}, {"random_crop": 1.0}], ids=["in memory", "from source"])
def test_a_share_divides_the_source_and_stays_when_images_are_added(tmp_path: Path, training: dict):
    config = config_of(
        tmp_path, folder_source(write_images(tmp_path / "images", range(40))), 0.25, **training
    )

    def sides() -> tuple[set[bytes], set[bytes]]:
        division = Division.of(config)
        held_out = np.concatenate(list(division.held_out_batches(config)))
        spec = config.tokenizer.image
        images = open_images(config.source, spec, config.training, division.keep)
        trained_on = np.concatenate(list(images.batches(0, len(images), batch_size=1, seed=0)))
        return {one.tobytes() for one in trained_on}, {one.tobytes() for one in held_out}

    trained_on, held_out = sides()
    every = np.concatenate(list(read_in_order(config.source, config.tokenizer.image)))
    assert trained_on | held_out == {image.tobytes() for image in every}
    assert not trained_on & held_out
    assert 4 <= len(held_out) <= 16
    assert overlap_of(config) == (0, [])

    write_images(tmp_path / "images", range(40, 120))
    more_trained_on, more_held_out = sides()
    assert trained_on < more_trained_on and held_out < more_held_out


def test_a_share_without_an_image_is_refused(tmp_path: Path):
    source = folder_source(write_images(tmp_path / "images", range(8)))
    with pytest.raises(RequestError, match="held_out: expected at least one image, got none"):
        overlap_of(config_of(tmp_path, source, 0.001))


@pytest.mark.parametrize("held_out", [0, 1, 0.6, -0.1, True, float("nan"), "images", None, []])
def test_what_is_neither_a_source_nor_a_share_is_refused(tmp_path: Path, held_out: object):
    with pytest.raises(RequestError) as error:
        config_of(tmp_path, folder_source(tmp_path), held_out)
    assert str(error.value) == (
        "train.yaml.held_out: expected a source, or a share above 0 and at most 0.5, "
        f"got {str(held_out)!r}"
    )


def test_other_images_to_train_on_are_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where they are not in memory, so that their digest is not that of their pixels."""
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", 0)
    source = folder_source(write_images(tmp_path / "images", range(40)))
    digests = set()
    for share in (0.1, 0.2, 0.3):
        config = config_of(tmp_path, source, share)
        keep = Division.of(config).is_trained_on
        images = open_images(config.source, config.tokenizer.image, config.training, keep)
        digests.add(images.digest)
    assert len(digests) == 3


@pytest.mark.slow
def test_the_figures_are_those_of_the_held_out_images(tmp_path: Path):
    write_images(tmp_path / "train", range(24))
    write_images(tmp_path / "test", range(22, 29))
    config = config_of(
        tmp_path, folder_source(tmp_path / "train"), folder_source(tmp_path / "test")
    )
    warnings: list[str] = []
    found = train_tokenizer(config, "train.yaml", warnings.append)
    tokenizer = Tokenizer.load(config.output, batch_size=8)
    for name, same in (("test", True), ("train", False)):
        (images,) = read_in_order(
            config.source.model_copy(update={"directory": str(tmp_path / name)}),
            config.tokenizer.image,
        )
        figures = dataclasses.asdict(evaluate(tokenizer, [images]))
        assert (figures == dataclasses.asdict(found)) == same
    card = (tmp_path / "tokenizer" / "README.md").read_text()
    assert "| Held-out images | 7 |\n| of which trained on | 2 |\n" in card
    assert len(warnings) == 1
