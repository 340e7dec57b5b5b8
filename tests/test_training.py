"""Training: the error falls, an interrupted run ends like an undisturbed one."""

from pathlib import Path

import numpy as np
import pytest

from fsq.architecture import ConvNetwork
from fsq.contract import TokenizerSpec
from fsq.errors import RequestError
from fsq.images import ImageSpec
from fsq.recipe import TrainingSpec
from fsq.tokenizer import Tokenizer
from fsq.training import evaluate, train

SPEC = TokenizerSpec(
    levels=(5, 5, 5),
    image=ImageSpec(size_pixels=16, channels=1),
    network=ConvNetwork(encoder_widths=(16, 16), decoder_widths=(16, 16), decoder_blocks=1),
)
TRAINING = TrainingSpec(
    epochs=6, batch_size=32, learning_rate=3e-3, warmup_steps=5, checkpoint_steps=10
)


def blobs(count: int, seed: int = 0) -> np.ndarray:
    """Bright squares on dark ground: something an autoencoder can learn in seconds."""
    random = np.random.default_rng(seed)
    images = np.full((count, 16, 16, 1), 20, np.uint8)
    for image in images:
        top, left = random.integers(0, 10, 2)
        image[top : top + 6, left : left + 6] = 220
    return images


class InterruptedRun(Exception):
    pass


def stop_after(steps: int):
    def progress(step: int, total: int, loss: float) -> None:
        if step >= steps:
            raise InterruptedRun

    return progress


def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path: Path):
    undisturbed = train(SPEC, TRAINING, blobs(256), tmp_path / "one").weights()
    with pytest.raises(InterruptedRun):
        train(SPEC, TRAINING, blobs(256), tmp_path / "two", stop_after(30))
    seen = []
    resumed = train(
        SPEC, TRAINING, blobs(256), tmp_path / "two", lambda step, *_: seen.append(step)
    ).weights()
    assert seen == [30, 40, 48]  # from the checkpoint at step 20
    for name, value in undisturbed.items():
        # Sums over threads are not always in the same order; the curve is.
        np.testing.assert_allclose(resumed[name], value, atol=1e-4, err_msg=name)


def test_training_brings_the_error_down_and_uses_the_codebook(tmp_path: Path):
    losses = []
    training = TRAINING.model_copy(update={"epochs": 20})
    autoencoder = train(
        SPEC, training, blobs(512), tmp_path, lambda _, __, loss: losses.append(loss)
    )
    evaluation = evaluate(Tokenizer.of(autoencoder, batch_size=32), blobs(100, seed=1))
    assert losses[-1] < losses[0] / 3
    assert evaluation.images == 100
    assert evaluation.mse_over_variance < 0.3
    assert evaluation.usage.tokens == 100 * 16
    assert evaluation.usage.used > 5


def test_checkpoints_of_another_run_are_refused(tmp_path: Path):
    short = TRAINING.model_copy(update={"epochs": 1})
    train(SPEC, short, blobs(64), tmp_path)
    with pytest.raises(RequestError, match=r"found those of another \(training differs\)"):
        train(SPEC, TRAINING, blobs(64), tmp_path)
    with pytest.raises(RequestError, match=r"found those of another \(images differs\)"):
        train(SPEC, short, blobs(64, seed=1), tmp_path)


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="expected at least one batch of 32 images, got 5"):
        train(SPEC, TRAINING, blobs(5), tmp_path)
