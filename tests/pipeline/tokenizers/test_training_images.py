"""Training sees the pixels that tokenizing sees; crops and flips follow from the seed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from builders.sources import SOURCES

from fsq.errors import DataError
from fsq.images.crop import random_crop
from fsq.images.spec import ImageSpec
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.training.config import TrainingSpec
from fsq.training.data import TrainingImages
from pipeline.job.config import OutputConfig, TokenizeConfig
from pipeline.loading import blocks
from pipeline.run import tokenize
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.tokenizers import training_images
from pipeline.tokenizers.training_images import open_images, read_in_order

# sha256 of the batches of steps 0, 1, 11 (the last of the first epoch), 12 and 13.
DIGESTS = {
    "plain": (
        {},
        [
            "96ac15659af20dfe",
            "437cb385547c6bba",
            "02c7249106174d70",
            "928cb32d72dcc2d9",
            "3b87bccdb85bd966",
        ],
    ),
    "flips": (
        {"flip": True},
        [
            "0f9f3e0f91ff2d99",
            "9d10e52f1b138268",
            "87c23d988bfd628e",
            "ba09828c21c4313b",
            "d24a88fce2accbd8",
        ],
    ),
    "crops": (
        {"random_crop": 0.5},
        [
            "d111fa68d00cabfe",
            "1f42ddb06617cc27",
            "eacc1a137f4b2ca6",
            "de702102304dd521",
            "c6705c4f66dde006",
        ],
    ),
    "flips and crops": (
        {"flip": True, "random_crop": 0.5},
        [
            "22117a1b75c60cae",
            "bbd44d64ccca402f",
            "9726af9f8725f7b9",
            "5d86c84272244ca8",
            "76fd5acf4035ed5f",
        ],
    ),
}

SPEC = ImageSpec(size_pixels=16, channels=3)


def training(**changes: object) -> TrainingSpec:
    return TrainingSpec(epochs=1, batch_size=8, **changes)


def all_of(images: TrainingImages) -> np.ndarray:
    """Returns the images of an epoch, uint8 [N, H, W, C]; the same order for the same source."""
    return np.concatenate(list(images.batches(0, len(images), batch_size=1, seed=0)))


@pytest.fixture
def source(image_folder: Path) -> ImageFolderConfig:
    return ImageFolderConfig(kind="image_folder", directory=str(image_folder))


def test_training_reads_the_pixels_that_tokenizing_encodes(
    source: ImageFolderConfig,
    tokenizer_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    encoded: list[bytes] = []
    encode_batch = BatchEncoder.encode_batch

    def watched(self: BatchEncoder, images: np.ndarray) -> np.ndarray:
        encoded.extend(image.tobytes() for image in images)
        return encode_batch(self, images)

    monkeypatch.setattr(BatchEncoder, "encode_batch", watched)
    tokenize(
        TokenizeConfig(
            source=source,
            tokenizer=str(tokenizer_directory),
            output=OutputConfig(directory=str(tmp_path / "out"), name="images"),
        )
    )
    in_memory = all_of(open_images(source, SPEC, training()))
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", 0)
    streamed = all_of(open_images(source, SPEC, training()))
    held_out = np.concatenate(list(read_in_order(source, SPEC)))

    assert len(encoded) == 100
    for images in (in_memory, streamed, held_out):
        assert sorted(encoded) == sorted(image.tobytes() for image in images)


@pytest.mark.parametrize("name", ["tfrecord", "image_folder"])
def test_a_stream_shows_each_kept_image_once_in_every_epoch_and_starts_at_any_step(
    name: str, small_images: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(blocks, "RECORDS_PER_BLOCK", 4)
    named = {f"a/{n:02d}.png": data for n, data in enumerate(small_images)}
    source = SOURCES[name].build(tmp_path, named)
    kept = set(sorted(named)[::3])
    images = open_images(source, SPEC, training(flip=False), keep=lambda key: key in kept)
    assert len(images) == 10
    order = {"batch_size": 3, "seed": 3}
    every = list(images.batches(0, 9, **order))  # three epochs of three steps; one image is left
    for epoch in range(3):
        shown = [image.tobytes() for batch in every[epoch * 3 : epoch * 3 + 3] for image in batch]
        assert len(set(shown)) == 9
        assert set(shown) < {image.tobytes() for image in all_of(images)}
    for first in (1, 3, 5, 8):
        np.testing.assert_array_equal(list(images.batches(first, 9, **order)), every[first:])
    assert list(images.batches(9, 9, **order)) == []


@pytest.mark.parametrize(("changes", "digests"), DIGESTS.values(), ids=DIGESTS.keys())
def test_streamed_batches_stay_as_they_are(
    source: ImageFolderConfig,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict,
    digests: list[str],
):
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", 0)
    images = open_images(source, SPEC, training(**changes))
    batches = [
        *images.batches(0, 2, batch_size=8, seed=3),
        *images.batches(11, 14, batch_size=8, seed=3),
    ]
    assert [hashlib.sha256(batch).hexdigest()[:16] for batch in batches] == digests


@pytest.mark.parametrize("changes", [{"flip": True}, {"flip": True, "random_crop": 0.5}])
def test_crops_and_flips_follow_from_the_seed_and_the_step(
    source: ImageFolderConfig, changes: dict
):
    def batches(seed: int) -> list[bytes]:
        images = open_images(source, SPEC, training(**changes))
        steps = images.batches(0, 14, batch_size=8, seed=seed)
        return [batch.tobytes() for step, batch in enumerate(steps) if step in (0, 1, 12, 13)]

    assert batches(0) == batches(0)
    assert len({*batches(0), *batches(1)}) == 8


def test_a_random_crop_lies_inside_the_image_and_keeps_to_its_smallest_side():
    random = np.random.default_rng(0)
    for width, height in ((400, 533), (16, 16), (1, 7)):
        for draws in random.random((200, 3)):
            box = random_crop((width, height), 0.6, tuple(draws))
            side = box.right - box.left
            assert box.bottom - box.top == side
            assert round(0.6 * min(width, height)) <= side <= min(width, height)
            assert 0 <= box.left < box.right <= width
            assert 0 <= box.top < box.bottom <= height


@pytest.mark.parametrize("most_bytes", [2**30, 0], ids=["in memory", "streamed"])
def test_half_of_the_images_are_mirrored(
    source: ImageFolderConfig, most_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", most_bytes)
    plain = all_of(open_images(source, SPEC, training()))
    flipped = all_of(open_images(source, SPEC, training(flip=True)))
    mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == plain).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 30 < mirrored.sum() < 70


def test_an_epoch_shows_each_image_once(source: ImageFolderConfig):
    images = open_images(source, SPEC, training())
    seen = np.concatenate(list(images.batches(0, 10, batch_size=10, seed=3)))
    every = all_of(images)
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in every)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    source = ImageFolderConfig(kind="image_folder", directory=str(tmp_path), labels=False)
    with pytest.raises(DataError, match=r"broken\.png: expected one of PNG.* Remove it from"):
        list(read_in_order(source, SPEC))
