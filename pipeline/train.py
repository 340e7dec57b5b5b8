"""Training as a job: sources in, a tokenizer with its card out."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fsq.errors import DataError, RequestError
from fsq.images import ImageSpec
from fsq.version import __version__
from pipeline.config import SourceConfig, TrainConfig, dump_config
from pipeline.decode import decode_record
from pipeline.progress import progress_bar
from pipeline.records import Reject
from pipeline.sources import open_source
from pipeline.sources.listing import materialize, one_unit_per_file

CHECKPOINTS = ".checkpoints"
CARD_FILE = "README.md"


def describe_training(config: TrainConfig) -> list[tuple[str, str]]:
    """Describes a run as (name, value) pairs, without beginning it.

    Raises:
      RequestError: A source is missing, or the output is taken.
    """
    check_output(config)
    images = open_source(config.source).list().num_records
    held_out = open_source(config.held_out).list().num_records
    spec, training = config.tokenizer, config.training
    steps = images // training.batch_size * training.epochs
    resumes = (Path(config.output) / CHECKPOINTS).exists()
    return [
        ("images", f"{images:,} to train on, {held_out:,} held out"),
        ("tokens", f"{spec.grid[0]} x {spec.grid[1]}, each in [0, {spec.vocab_size})"),
        ("steps", f"{steps:,}: {training.epochs} epochs, batches of {training.batch_size}"),
        ("output", config.output),
        ("state", "to go on" if resumes else "new"),
    ]


def check_output(config: TrainConfig) -> None:
    """Raises a RequestError if the output holds a finished tokenizer."""
    output = Path(config.output)
    if (output / CARD_FILE).exists() and not (output / CHECKPOINTS).exists():
        raise RequestError(
            f"{config.output}: expected no finished tokenizer there, found one. "
            "Remove it, or choose another output."
        )


def train_tokenizer(config: TrainConfig, recipe: str) -> Any:
    """Trains, evaluates on the held-out source, saves the tokenizer and its card.

    Run again after an interruption, it continues from the last checkpoint.

    Args:
      config: What to train, on what.
      recipe: The config's path, for the card.

    Returns:
      The `fsq.training.Evaluation`.

    Raises:
      RequestError: A source is missing, or the output holds another run.
      DataError: An image cannot be read; training tolerates none.
    """
    check_output(config)
    output = Path(config.output)
    checkpoints = output / CHECKPOINTS
    images = load_images(config.source, config.tokenizer.image)
    held_out = load_images(config.held_out, config.tokenizer.image)

    from fsq.tokenizer import Tokenizer
    from fsq.training import evaluate, train

    steps = len(images) // config.training.batch_size * config.training.epochs
    with progress_bar("train", steps) as update:
        autoencoder = train(
            config.tokenizer,
            config.training,
            images,
            checkpoints,
            lambda done, _, loss: update(done, f"MSE / variance {loss:.4f}"),
        )
    tokenizer = Tokenizer.of(autoencoder)
    tokenizer.save(output)
    evaluation = evaluate(tokenizer, held_out)
    (output / CARD_FILE).write_text(
        render_card(config, recipe, len(images), tokenizer.contract.weights_sha256, evaluation)
    )
    shutil.rmtree(checkpoints)
    return evaluation


def load_images(source_config: SourceConfig, spec: ImageSpec) -> np.ndarray:
    """Decodes a whole source by the image contract: centre crops, as tokenizing sees them.

    Returns:
      uint8 [N, S, S, C].

    Raises:
      DataError: An image cannot be decoded.
    """
    source = open_source(source_config)
    listing = source.list()
    images = np.empty((listing.num_records, *spec.shape), np.uint8)
    position = 0
    with materialize(listing) as listing:
        for unit in one_unit_per_file(listing):
            for record in source.read(unit, ()):
                decoded = decode_record(record, spec, ("center",))
                if isinstance(decoded, Reject):
                    raise DataError(f"{decoded.key}: {decoded.reason}. Remove it from the source.")
                images[position] = decoded.pixels[0]
                position += 1
    return images


def render_card(
    config: TrainConfig, recipe: str, num_images: int, weights_sha256: str, evaluation: Any
) -> str:
    """Renders the tokenizer's card, Markdown."""
    import keras
    import tensorflow as tf

    spec = config.tokenizer
    usage = evaluation.usage
    rows = [
        ("Images", f"{spec.image.size_pixels} x {spec.image.size_pixels} x {spec.image.channels}"),
        ("Levels", f"{list(spec.levels)}, preset `{spec.preset}`, eps {spec.eps}"),
        ("Tokens", f"{spec.grid[0]} x {spec.grid[1]} out of {spec.vocab_size:,}"),
        ("Trained on", f"{num_images:,} images, {config.training.epochs} epochs"),
        ("Held-out images", f"{evaluation.images:,}"),
        ("MSE / data variance", f"{evaluation.mse_over_variance:.4f}"),
        ("PSNR", f"{evaluation.psnr_db:.2f} dB"),
        ("Codes used", f"{usage.used:,} of {spec.vocab_size:,} ({usage.usage:.1%})"),
        ("Perplexity", f"{usage.perplexity:.1f}"),
        ("Weights", f"sha256 `{weights_sha256[:16]}`"),
        (
            "Made with",
            f"fsq-tokenizer {__version__}, TensorFlow {tf.__version__}, Keras {keras.__version__}",
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {os.path.basename(config.output)}\n\n"
        f"An FSQ tokenizer, made by `fsq train {recipe}`. The figures are those of the held-out\n"
        "images, pixels compared as uint8.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"The recipe, as it was run:\n\n```yaml\n{dump_config(config)}```\n"
    )


def describe_evaluation(evaluation: Any) -> str:
    """Renders an evaluation on one line."""
    flat = dataclasses.asdict(evaluation)
    return (
        f"held-out images {flat['images']:,}, MSE / variance {flat['mse_over_variance']:.4f}, "
        f"PSNR {flat['psnr_db']:.2f} dB, codes used {flat['usage']['usage']:.1%}"
    )
