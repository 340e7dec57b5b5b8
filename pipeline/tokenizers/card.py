"""Tokenizer cards: the README.md beside a tokenizer, in Markdown."""

import hashlib
import importlib.metadata
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsq.spec.contract import TokenContract, TokenizerSpec
from fsq.version import __version__
from fsq.yaml_config import dump_config
from pipeline.tokenizers.config import ImportConfig, TrainConfig

Rows = list[tuple[str, str]]


def render_training_card(
    config: TrainConfig,
    config_path: str,
    num_images: int,
    shared: int,
    weights_sha256: str,
    evaluation: Any,
) -> str:
    """Renders the card of a tokenizer that was trained here.

    Args:
      config: Of the run.
      config_path: The config's file.
      num_images: Training images.
      shared: Held-out images whose pixels are those of a training image.
      weights_sha256: Of the weights file.
      evaluation: The `fsq.evaluation.Evaluation` on the held-out images.
    """
    spec, usage = config.tokenizer, evaluation.usage
    image = spec.image
    about = (
        f"An FSQ tokenizer, made by `fsq train {config_path}`. The figures are those of the "
        "held-out\nimages, pixels compared as uint8."
    )
    rows = [
        ("Images", f"{image.height} x {image.width} x {image.channels}, crop {image.crop}"),
        *_lattice_rows(spec),
        ("Trained on", f"{num_images:,} images, {config.training.epochs} epochs"),
        ("Held-out images", f"{evaluation.images:,}"),
        *([("of which trained on", f"{shared:,}")] if shared else []),
        ("MSE / data variance", f"{evaluation.mse_over_variance:.4f}"),
        ("PSNR", f"{evaluation.psnr_db:.2f} dB"),
        ("SSIM", f"{evaluation.ssim:.4f}"),
        ("Codes used", f"{usage.used:,} of {spec.vocab_size:,} ({usage.usage:.1%})"),
        ("Perplexity", f"{usage.perplexity:.1f}"),
        ("Bits per channel", describe_channels(spec.levels, evaluation.channel_bits)),
        ("Weights", f"sha256 `{weights_sha256[:16]}`"),
        ("Made with", _versions()),
    ]
    return _render(config, about, rows)


def render_import_card(
    config: ImportConfig,
    config_path: str,
    contract: TokenContract,
    agreement: str,
    psnr_db: float | None,
) -> str:
    """Renders the card of an imported tokenizer.

    Args:
      config: Of the import.
      config_path: The config's file.
      contract: The token contract.
      agreement: How the tokens agree with the reference batch, in words.
      psnr_db: Of the reference images, decoded; None without a decoder.
    """
    image, kind = contract.image, contract.network.kind
    low, high = image.pixel_range
    about = (
        f"An FSQ tokenizer, trained elsewhere and imported by `fsq import {config_path}`. The "
        "tokens of the\nreference batch are the original code's; `fsq inspect` compares them again."
    )
    networks = {"Encoder": config.encoder, "Decoder": config.decoder}
    rows = [
        *((name, _describe_file(path)) for name, path in networks.items() if path is not None),
        (
            "Images",
            f"{image.height} x {image.width} x {image.channels}, pixels in "
            f"[{low:g}, {high:g}], crop {image.crop}, {image.resize}",
        ),
        *_lattice_rows(contract),
        ("Reference batch", agreement),
        *([] if psnr_db is None else [("PSNR on that batch", f"{psnr_db:.2f} dB")]),
        ("Weights", f"sha256 `{contract.weights_sha256[:16]}`"),
        ("Saved as", kind),
        ("Made with", _versions(onnx=kind == "onnx")),
    ]
    return _render(config, about, rows)


def describe_channels(levels: Sequence[int], channel_bits: Sequence[float]) -> str:
    """Renders the entropy of each channel beside its maximum.

    >>> describe_channels((8, 5), (2.5, 0.0))
    '2.50 of 3.00, 0.00 of 2.32'
    """
    pairs = zip(channel_bits, levels, strict=True)
    return ", ".join(f"{bits:.2f} of {math.log2(level):.2f}" for bits, level in pairs)


def _render(config: TrainConfig | ImportConfig, about: str, rows: Rows) -> str:
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {os.path.basename(config.output.rstrip('/'))}\n\n"
        f"{about}\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"The config, as it was run:\n\n```yaml\n{dump_config(config)}```\n"
    )


def _lattice_rows(spec: TokenizerSpec | TokenContract) -> Rows:
    return [
        ("Levels", f"{list(spec.levels)}, preset `{spec.preset}`, eps {spec.eps}"),
        ("Tokens", f"{spec.grid[0]} x {spec.grid[1]} out of {spec.vocab_size:,}"),
    ]


def _describe_file(path: str) -> str:
    return f"`{os.path.basename(path)}`, sha256 `{_sha256_of(Path(path))[:16]}`"


def _sha256_of(path: Path) -> str:
    """Returns the sha256 of a file, or of the names and sha256s of a directory's files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _versions(*, onnx: bool = False) -> str:
    packages = {"TensorFlow": "tensorflow", "Keras": "keras"}
    if onnx:
        packages["ONNX Runtime"] = "onnxruntime"
    versions = [f"{name} {importlib.metadata.version(one)}" for name, one in packages.items()]
    return ", ".join([f"fsq-tokenizer {__version__}", *versions])
