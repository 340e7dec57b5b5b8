"""Training sees the pixels that tokenizing sees; crops and flips follow from the seed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fsq.errors import DataError
from fsq.images.crop import random_crop
from fsq.images.spec import ImageSpec
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.training.config import TrainingSpec
from fsq.training.data import batch_of_step
from fsq.training.loader import load_batches
from pipeline.job.config import OutputConfig, TokenizeConfig
from pipeline.run import tokenize
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.tokenizers import training_images
from pipeline.tokenizers.training_images import open_images, read_batches

# sha256 of the batches of steps 0, 1, 11 (the last of the first epoch), 12 and 13.
DIGESTS = {
    "plain": (
        {},
        [
            "c1676360340b817c",
            "9c82b9487daa273c",
            "8eef8e9ced6f7210",
            "f080eaaa62ebbb71",
            "8045a1837db5e2cd",
        ],
    ),
    "flips": (
        {"flip": True},
        [
            "5e40617a7507abd6",
            "1cbc96d83791fb41",
            "46f2867ac5c98cf5",
            "0c0311d4bca864df",
            "27b5c16606b1bd4c",
        ],
    ),
    "crops": (
        {"random_crop": 0.5},
        [
            "1fb0330c99f84609",
            "3c4459bee28827df",
            "6091b0f4581792e5",
            "0fc4d910d0c7e65f",
            "f552b4b41e35eb33",
        ],
    ),
    "flips and crops": (
        {"flip": True, "random_crop": 0.5},
        [
            "d089411ee5af4cd3",
            "77e2cfeba0ce10a8",
            "57f390a7500a8e26",
            "393410335a75eafb",
            "26417a73c57c70ab",
        ],
    ),
}

SPEC = ImageSpec(size_pixels=16, channels=3)


def training(**changes: object) -> TrainingSpec:
    return TrainingSpec(epochs=1, batch_size=8, **changes)


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
    with open_images(source, SPEC, training()) as images:
        in_memory = images.batch(np.arange(len(images)), np.random.default_rng(0))
    with open_images(source, SPEC, training(random_crop=1.0)) as images:
        images._training = training()  # read anew each time, but not cropped
        from_source = images.batch(np.arange(len(images)), np.random.default_rng(0))
    held_out = np.concatenate(list(read_batches(source, SPEC)))

    assert len(encoded) == 100
    assert sorted(encoded) == sorted(image.tobytes() for image in in_memory)
    np.testing.assert_array_equal(from_source, in_memory)
    np.testing.assert_array_equal(held_out, in_memory)


@pytest.mark.parametrize(("changes", "digests"), DIGESTS.values(), ids=DIGESTS.keys())
def test_batches_from_a_source_are_those_of_every_version_before(
    source: ImageFolderConfig,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict,
    digests: list[str],
):
    monkeypatch.setattr(training_images, "MAX_BYTES_IN_MEMORY", 0)
    with open_images(source, SPEC, training(**changes)) as images:

        def batch(step: int) -> np.ndarray:
            return batch_of_step(images, step, batch_size=8, seed=3)

        batches = [*load_batches(batch, 0, 2), *load_batches(batch, 11, 14)]
    assert [hashlib.sha256(batch).hexdigest()[:16] for batch in batches] == digests


@pytest.mark.parametrize("changes", [{"flip": True}, {"flip": True, "random_crop": 0.5}])
def test_crops_and_flips_follow_from_the_seed_and_the_step(
    source: ImageFolderConfig, changes: dict
):
    def batches(seed: int) -> list[bytes]:
        with open_images(source, SPEC, training(**changes)) as images:
            return [
                batch_of_step(images, step, batch_size=8, seed=seed).tobytes()
                for step in (0, 1, 12, 13)
            ]

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


def test_half_of_the_images_are_mirrored(source: ImageFolderConfig):
    with open_images(source, SPEC, training()) as images:
        plain = images.batch(np.arange(100), np.random.default_rng(0))
    with open_images(source, SPEC, training(flip=True)) as images:
        flipped = images.batch(np.arange(100), np.random.default_rng(0))
    mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == plain).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 30 < mirrored.sum() < 70


def test_an_epoch_shows_each_image_once(source: ImageFolderConfig):
    with open_images(source, SPEC, training()) as images:
        seen = np.concatenate(
            [batch_of_step(images, step, batch_size=10, seed=3) for step in range(10)]
        )
        every = images.batch(np.arange(100), np.random.default_rng(0))
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in every)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    source = ImageFolderConfig(kind="image_folder", directory=str(tmp_path), labels=False)
    with pytest.raises(DataError, match=r"broken\.png: expected one of PNG.* Remove it from"):
        list(read_batches(source, SPEC))
