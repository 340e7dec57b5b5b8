"""Trains an autoencoder on images in memory, with checkpoints, and measures the result."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fsq.autoencoder import Autoencoder, build_autoencoder, pixels_to_floats
from fsq.contract import TokenizerSpec
from fsq.errors import RequestError
from fsq.recipe import TrainingSpec
from fsq.tokenizer import Tokenizer
from fsq.usage import Usage, usage_of_counts

Progress = Callable[[int, int, float], None]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Reconstruction and codebook usage over held-out images.

    Attributes:
      images: How many images.
      mse_over_variance: Mean squared error of the decoded uint8 pixels over
        the variance of the originals.
      psnr_db: 10 log10(255^2 / MSE) of all pixels together.
      usage: How the codebook is used.
    """

    images: int
    mse_over_variance: float
    psnr_db: float
    usage: Usage


def train(
    spec: TokenizerSpec,
    training: TrainingSpec,
    images: np.ndarray,
    checkpoints: str | os.PathLike[str],
    progress: Progress = lambda step, steps, loss: None,
) -> Autoencoder:
    """Trains an autoencoder, continuing from the last checkpoint if there is one.

    The order of the images follows from (seed, epoch) alone, so a resumed run
    sees the images that an undisturbed one would have seen.

    Args:
      spec: What to build.
      training: How to train it.
      images: uint8, shape [N, S, S, C].
      checkpoints: A directory for checkpoints of this one run.
      progress: Called with (step, steps, loss) after every tenth step.

    Raises:
      RequestError: Fewer images than a batch, or the directory holds
        checkpoints of another run.
    """
    if len(images) < training.batch_size:
        raise RequestError(
            f"training: expected at least one batch of {training.batch_size} images, "
            f"got {len(images)}. Lower training.batch_size, or give more images."
        )
    _claim(Path(checkpoints), spec, training, images)
    keras.utils.set_random_seed(training.seed)
    autoencoder = build_autoencoder(spec)
    steps_per_epoch = len(images) // training.batch_size
    steps = steps_per_epoch * training.epochs
    optimizer = keras.optimizers.Adam(_schedule(training, steps), clipnorm=1.0)
    train_step = _make_step(autoencoder, optimizer, float(_variance(images, spec)))

    done = tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(
        encoder=autoencoder.encoder, decoder=autoencoder.decoder, optimizer=optimizer, done=done
    )
    manager = tf.train.CheckpointManager(state, str(checkpoints), max_to_keep=2)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint)

    order = np.empty(0, np.int64)
    for step in range(int(done), steps):
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0 or not len(order):
            order = np.random.default_rng((training.seed, epoch)).permutation(len(images))
        chosen = order[position * training.batch_size : (position + 1) * training.batch_size]
        loss = train_step(tf.constant(images[chosen]))
        done.assign(step + 1)
        if (step + 1) % 10 == 0 or step + 1 == steps:
            progress(step + 1, steps, float(loss))
        if (step + 1) % training.checkpoint_steps == 0 or step + 1 == steps:
            manager.save(checkpoint_number=step + 1)
    return autoencoder


def evaluate(tokenizer: Tokenizer, images: np.ndarray) -> Evaluation:
    """Encodes and decodes held-out images.

    Args:
      tokenizer: The tokenizer to measure.
      images: uint8, shape [N, S, S, C].
    """
    counts = np.zeros(tokenizer.contract.vocab_size, np.int64)
    squared_error = 0.0
    for start in range(0, len(images), tokenizer.batch_size):
        batch = images[start : start + tokenizer.batch_size]
        tokens = tokenizer.encode(batch)
        counts += np.bincount(tokens.ravel(), minlength=counts.size)
        difference = tokenizer.decode(tokens).astype(np.float64) - batch
        squared_error += float((difference**2).sum())
    mse = squared_error / images.size
    return Evaluation(
        images=len(images),
        mse_over_variance=mse / float(images.var(dtype=np.float64)),
        psnr_db=float(10 * np.log10(255**2 / max(mse, 1e-12))),
        usage=usage_of_counts(counts),
    )


def _make_step(
    autoencoder: Autoencoder, optimizer: keras.optimizers.Optimizer, variance: float
) -> Callable[[tf.Tensor], tf.Tensor]:
    variables = autoencoder.encoder.trainable_variables + autoencoder.decoder.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(pixels: tf.Tensor) -> tf.Tensor:
        images = pixels_to_floats(pixels, autoencoder.spec.image)
        with tf.GradientTape() as tape:
            latents = autoencoder.encoder(images, training=True)
            decoded = autoencoder.decoder(autoencoder.quantizer(latents), training=True)
            loss = tf.reduce_mean(tf.square(decoded - images)) / variance
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return loss

    return step


def _variance(images: np.ndarray, spec: TokenizerSpec) -> np.floating:
    low, high = spec.image.pixel_range
    return images.var(dtype=np.float64) * ((high - low) / 255) ** 2


def _schedule(
    training: TrainingSpec, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup_steps = min(training.warmup_steps, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else training.learning_rate,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=training.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def _claim(
    directory: Path, spec: TokenizerSpec, training: TrainingSpec, images: np.ndarray
) -> None:
    """Marks the directory as this run's, or refuses it as another's."""
    run = {
        "tokenizer": spec.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
    }
    marker = directory / "run.json"
    if marker.exists():
        other = json.loads(marker.read_text())
        for name, value in run.items():
            if other.get(name) != value:
                raise RequestError(
                    f"{directory}: expected checkpoints of this run, found those of another "
                    f"({name} differs). Remove the directory, or choose another output."
                )
        return
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps(run, indent=2) + "\n")
