"""The card of a tokenizer, Markdown."""

import math
import os
from collections.abc import Sequence
from typing import Any

from fsq.version import __version__
from fsq.yaml_config import dump_config
from pipeline.tokenizers.config import TrainConfig


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
        ("SSIM", f"{evaluation.ssim:.4f}"),
        ("Codes used", f"{usage.used:,} of {spec.vocab_size:,} ({usage.usage:.1%})"),
        ("Perplexity", f"{usage.perplexity:.1f}"),
        ("Bits per channel", describe_channels(spec.levels, evaluation.channel_bits)),
        ("Weights", f"sha256 `{weights_sha256[:16]}`"),
        (
            "Made with",
            f"fsq-tokenizer {__version__}, TensorFlow {tf.__version__}, Keras {keras.__version__}",
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {os.path.basename(config.output.rstrip('/'))}\n\n"
        f"An FSQ tokenizer, made by `fsq train {recipe}`. The figures are those of the held-out\n"
        "images, pixels compared as uint8.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"The recipe, as it was run:\n\n```yaml\n{dump_config(config)}```\n"
    )


def describe_channels(levels: Sequence[int], channel_bits: Sequence[float]) -> str:
    """Renders how much each channel carries of what it could.

    >>> describe_channels((8, 5), (2.5, 0.0))
    '2.50 of 3.00, 0.00 of 2.32'
    """
    pairs = zip(channel_bits, levels, strict=True)
    return ", ".join(f"{bits:.2f} of {math.log2(level):.2f}" for bits, level in pairs)
