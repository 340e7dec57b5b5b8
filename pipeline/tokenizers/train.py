"""The job of `fsq train`: trains a tokenizer on a source and writes it with its card."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fsq.terminal.progress_bar import progress_bar
from fsq.training.data import TrainingImages, count_steps
from fsq.training.run_guard import check_run, describe_run, find_checkpoints
from pipeline.tokenizers.card import render_training_card
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.held_out import Division, Overlap
from pipeline.tokenizers.output_checks import CARD_FILE, check_free_output, check_writable
from pipeline.tokenizers.training_images import evaluation_batch, open_images

DEAD_BELOW_BITS = 0.1


def describe_training(config: TrainConfig) -> list[tuple[str, str]]:
    """Describes a run as (name, value) pairs, without starting it.

    Raises:
      RequestError: A source is missing, or the output is not free.
    """
    check_output(config)
    sizes = Division.of(config).sizes()
    spec, training = config.tokenizer, config.training
    steps = count_steps(sizes.trained_on, training)
    done = steps_done(config)
    about = "about " if isinstance(config.held_out, float) else ""
    return [
        ("images", f"{about}{sizes.trained_on:,} to train on, {about}{sizes.held_out:,} held out"),
        *([("left out", sizes.left_out)] if sizes.left_out else []),
        ("tokens", f"{spec.grid[0]} x {spec.grid[1]}, each in [0, {spec.vocab_size})"),
        ("steps", f"{steps:,}: {training.epochs} epochs, batches of {training.batch_size}"),
        ("output", config.output),
        ("state", f"resumes at step {done:,}" if done else "new"),
    ]


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


def train_tokenizer(
    config: TrainConfig, config_path: str, warn: Callable[[str], None] = lambda message: None
) -> Any:
    """Trains a tokenizer, evaluates it on the held-out images, saves it with its card.

    Continues from the last checkpoint of an interrupted run.

    Args:
      config: The run.
      config_path: The config's file, for the card.
      warn: Called with a line of text if some held-out images are trained on too.

    Returns:
      The `fsq.evaluation.Evaluation`.

    Raises:
      RequestError: A source is missing, the output holds another run, or all held-out
        images are trained on.
      DataError: An image cannot be read.
    """
    check_output(config)
    division, overlap = Division.of(config), Overlap()
    division.sizes()

    from fsq.evaluation import evaluate
    from fsq.models.autoencoder import build_autoencoder
    from fsq.tokenizer import Tokenizer

    spec, training = config.tokenizer, config.training
    # Read to the end now: an image that cannot be read is better found before training.
    first_held_out = overlap.add_held_out(division.held_out_batches(config))
    images = open_images(config.source, spec.image, training, division.keep, overlap.see)
    shared = overlap.check(warn)
    weights, num_images = _train(config, images, first_held_out), len(images)
    del images
    # A new autoencoder, on one device and in float32, whatever it was trained with.
    trained = build_autoencoder(spec)
    trained.set_weights(weights)
    tokenizer = Tokenizer.of(trained, batch_size=max(8, evaluation_batch(spec.image)))
    evaluation = evaluate(tokenizer, division.held_out_batches(config))
    tokenizer.save(config.output)
    card = render_training_card(
        config, config_path, num_images, shared, tokenizer.contract.weights_sha256, evaluation
    )
    (Path(config.output) / CARD_FILE).write_text(card, encoding="utf-8")
    shutil.rmtree(checkpoints_of(config))
    return evaluation


def _train(config: TrainConfig, images: TrainingImages, first_held_out: np.ndarray) -> Any:
    """Trains a new autoencoder; returns its weights by name."""
    from fsq.models.autoencoder import build_autoencoder
    from fsq.training.devices import devices_of_training
    from fsq.training.loop import train
    from fsq.training.tensorboard import open_tensorboard

    spec, training = config.tokenizer, config.training
    steps = count_steps(len(images), training)
    with devices_of_training(), progress_bar("train", steps, steps_done(config)) as update:
        autoencoder = build_autoencoder(spec, seed=training.seed, precision=training.precision)
        write_events = open_tensorboard(config.tensorboard, autoencoder, first_held_out)

        def progress(step: int, steps: int, losses: dict[str, float]) -> None:
            shown = {name: value for name, value in losses.items() if name != "gradient"}
            update(step, "  ".join(f"{name} {value:.4f}" for name, value in shown.items()))
            write_events(step, losses)

        train(autoencoder, training, images, checkpoints_of(config), progress)
    return autoencoder.weights()


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
