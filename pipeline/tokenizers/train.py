"""The job of `fsq train`: trains a tokenizer on a source and writes it with its card."""

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsq.errors import RequestError
from fsq.terminal.progress_bar import progress_bar
from fsq.training.data import count_steps
from fsq.training.run_guard import check_run, describe_run, find_checkpoints
from pipeline.core.left_out import describe_left_out
from pipeline.tokenizers.card import render_training_card
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.output_checks import CARD_FILE, check_free_output, check_writable
from pipeline.tokenizers.training_images import evaluation_batch, open_images, read_batches

DEAD_BELOW_BITS = 0.1


def describe_training(config: TrainConfig) -> list[tuple[str, str]]:
    """Describes a run as (name, value) pairs, without starting it.

    Raises:
      RequestError: A source is missing, or the output is not free.
    """
    check_output(config)
    listing = config.source.open().list()
    images, left_out = listing.num_records, describe_left_out(listing.left_out)
    held_out = count_held_out(config)
    spec, training = config.tokenizer, config.training
    steps = count_steps(images, training)
    done = steps_done(config)
    return [
        ("images", f"{images:,} to train on, {held_out:,} held out"),
        *([("left out", left_out)] if left_out else []),
        ("tokens", f"{spec.grid[0]} x {spec.grid[1]}, each in [0, {spec.vocab_size})"),
        ("steps", f"{steps:,}: {training.epochs} epochs, batches of {training.batch_size}"),
        ("output", config.output),
        ("state", f"resumes at step {done:,}" if done else "new"),
    ]


def count_held_out(config: TrainConfig) -> int:
    """Returns the number of held-out images.

    Raises:
      RequestError: There are none.
    """
    try:
        return config.held_out.open().list().num_records
    except RequestError as error:
        # A source does not know which key of the config it came from.
        message = re.sub(r"(?<![\w./])source\.(?=[a-z])", "held_out.", str(error))
        raise RequestError(f"held_out: {message}") from error


def check_output(config: TrainConfig) -> None:
    """Raises a RequestError unless the output is free or holds checkpoints of this run."""
    if steps_done(config):
        check_writable(config.output)
        check_run(checkpoints_of(config), describe_run(config.tokenizer, config.training))
    else:
        check_free_output(config.output)


def checkpoints_of(config: TrainConfig) -> Path:
    """Returns the directory of the checkpoints of a run."""
    return Path(config.output) / ".checkpoints"


def steps_done(config: TrainConfig) -> int:
    """Returns the number of steps of the newest checkpoint; 0 without one."""
    return max(find_checkpoints(checkpoints_of(config)), default=0)


def train_tokenizer(config: TrainConfig, config_path: str) -> Any:
    """Trains a tokenizer, evaluates it on the held-out source, saves it with its card.

    Continues from the last checkpoint of an interrupted run.

    Args:
      config: The run.
      config_path: The config's file, for the card.

    Returns:
      The `fsq.evaluation.Evaluation`.

    Raises:
      RequestError: A source is missing, or the output holds another run.
      DataError: An image cannot be read.
    """
    check_output(config)
    output, checkpoints = Path(config.output), checkpoints_of(config)
    spec, training = config.tokenizer, config.training

    from fsq.evaluation import evaluate
    from fsq.models.autoencoder import build_autoencoder
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training
    from fsq.training.loop import train
    from fsq.training.tensorboard import open_tensorboard

    # Read to the end now: an image that cannot be read is better found before training.
    first_held_out = _first(read_batches(config.held_out, spec.image))
    with contextlib.ExitStack() as stack:
        images = stack.enter_context(open_images(config.source, spec.image, training))
        stack.enter_context(devices_of_training())
        autoencoder = build_autoencoder(spec, seed=training.seed, precision=training.precision)
        steps, done = (
            count_steps(len(images), training),
            max(find_checkpoints(checkpoints), default=0),
        )
        update = stack.enter_context(progress_bar("train", steps, done))
        write_events = open_tensorboard(config.tensorboard, autoencoder, first_held_out)

        def progress(step: int, steps: int, losses: dict[str, float]) -> None:
            shown = {name: value for name, value in losses.items() if name != "gradient"}
            update(step, "  ".join(f"{name} {value:.4f}" for name, value in shown.items()))
            write_events(step, losses)

        train(autoencoder, training, images, checkpoints, progress)
    # A new autoencoder, on one device and in float32, whatever it was trained with.
    trained = build_autoencoder(spec)
    trained.set_weights(autoencoder.weights())
    tokenizer = Tokenizer.of(trained, batch_size=max(8, evaluation_batch(spec.image)))
    evaluation = evaluate(tokenizer, read_batches(config.held_out, spec.image))
    tokenizer.save(output)
    (output / CARD_FILE).write_text(
        render_training_card(
            config, config_path, len(images), tokenizer.contract.weights_sha256, evaluation
        ),
        encoding="utf-8",
    )
    shutil.rmtree(checkpoints)
    return evaluation


def _first(batches: Iterator[np.ndarray]) -> np.ndarray:
    """Reads all batches, and returns the first."""
    first = next(batches)
    for _ in batches:
        pass
    return first


def dead_channels(evaluation: Any) -> list[int]:
    """Returns the channels with an entropy below `DEAD_BELOW_BITS`."""
    return [
        channel for channel, bits in enumerate(evaluation.channel_bits) if bits < DEAD_BELOW_BITS
    ]


def describe_evaluation(evaluation: Any) -> str:
    """Renders an evaluation in one line."""
    flat = dataclasses.asdict(evaluation)
    return (
        f"held-out images {flat['images']:,}, MSE / variance {flat['mse_over_variance']:.4f}, "
        f"PSNR {flat['psnr_db']:.2f} dB, SSIM {flat['ssim']:.4f}, "
        f"codes used {flat['usage']['usage']:.1%}, perplexity {flat['usage']['perplexity']:.1f}"
    )
