"""FSQ against VQ at equal codebook sizes, on CIFAR-10: python -m benchmarks.tradeoff

A small version of the paper's figure 3: the same autoencoder, steps and images for
both quantizers and all sizes; only the quantizer and the projections next to it differ.
Plots reconstruction error and codebook usage over codebook size, and writes the numbers
as JSON. An interrupted run resumes with the first missing result.

Source: Mentzer et al. 2023, arXiv:2309.15505, section 5 and figure 3.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.tradeoff_plot import draw_tradeoff
from fsq.evaluation import evaluate
from fsq.images.spec import ImageSpec
from fsq.models.autoencoder import build_autoencoder
from fsq.quantizer.vq_layer import VQ
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.terminal.progress_bar import progress_bar
from fsq.tokenizer import Tokenizer
from fsq.training.config import TrainingSpec
from fsq.training.data import ImagesInMemory, TrainingImages
from fsq.training.devices import devices_of_training
from fsq.training.loop import count_steps, train
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.tokenizers.training_images import read_in_order

# The paper's levels for each number of bits; VQ has the same number of codes.
LEVELS = {
    4: (5, 3),
    6: (8, 8),
    8: (8, 6, 5),
    10: (8, 5, 5, 5),
    12: (7, 5, 5, 5, 5),
    14: (8, 8, 8, 6, 5),
}
QUANTIZERS = ("FSQ", "VQ")
# Codes of a VQ usually have more channels than the two to five of FSQ here.
VQ_DIMENSIONS = 16
NETWORK = ConvNetwork(encoder_widths=(32, 64), decoder_widths=(64, 32), decoder_blocks=0)
IMAGE = ImageSpec(size_pixels=32, channels=3)


@dataclasses.dataclass(frozen=True)
class Images:
    """Training images, and held-out images in batches; the same for all runs."""

    train: TrainingImages
    held_out: list[np.ndarray]

    @classmethod
    def load(cls, directory: str) -> "Images":
        """Reads train/ and test/ below a directory."""

        def source(split: str) -> ImageFolderConfig:
            return ImageFolderConfig(kind="image_folder", directory=f"{directory}/{split}")

        train_images = np.concatenate(list(read_in_order(source("train"), IMAGE)))
        return cls(ImagesInMemory(train_images), list(read_in_order(source("test"), IMAGE)))


def measure(quantizer: str, bits: int, training: TrainingSpec, images: Images) -> dict[str, Any]:
    """Trains one autoencoder and measures it on the held-out images."""
    spec = TokenizerSpec(levels=LEVELS[bits], image=IMAGE, network=NETWORK)
    vq = None
    if quantizer == "VQ":
        vq = VQ(spec.vocab_size, VQ_DIMENSIONS, name="vq")
        vq.build((None, *spec.grid, VQ_DIMENSIONS))
        # The latents of a VQ have no bound.
        training = training.model_copy(update={"saturation_weight": 0.0})
    autoencoder = build_autoencoder(spec, seed=training.seed, quantizer=vq)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as checkpoints,
        progress_bar(f"{quantizer} 2^{bits}", count_steps(len(images.train), training)) as update,
    ):
        train(
            autoencoder,
            training,
            images.train,
            checkpoints,
            lambda step, steps, losses: update(step, f"MSE / variance {losses['mse']:.4f}"),
        )
    evaluation = dataclasses.asdict(evaluate(Tokenizer.of(autoencoder), images.held_out))
    if quantizer == "VQ":
        del evaluation["channel_bits"]  # tokens of a VQ have no digits
    return {
        "quantizer": quantizer,
        "bits": bits,
        "codebook_size": spec.vocab_size,
        "channels": autoencoder.quantizer.num_dimensions,
        **evaluation,
        "training_seconds": round(time.monotonic() - began),
    }


def main() -> None:
    """Runs what is missing, prints the table and draws the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data", default="data/cifar10_jpeg", help="holds train/ and test/")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/tradeoff.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/tradeoff.png"))
    parser.add_argument("--draw-only", action="store_true", help="draw what the JSON holds")
    arguments = parser.parse_args()

    training = TrainingSpec(epochs=arguments.epochs, learning_rate=2e-3, checkpoint_steps=10**9)
    setting = {
        "data": "CIFAR-10 as JPEG, 50,000 images to train on, 10,000 held out",
        "training": training.model_dump(mode="json", exclude_none=True),
        "network": NETWORK.model_dump(mode="json"),
        "vq_dimensions": VQ_DIMENSIONS,
    }
    report = {"setting": setting, "results": []}
    if arguments.output.exists():
        report = json.loads(arguments.output.read_text())
        if report["setting"] != setting:
            parser.error(
                f"{arguments.output}: expected results of this setting, found others. Choose "
                "another --output."
            )
    if not arguments.draw_only:
        done = {(result["quantizer"], result["bits"]) for result in report["results"]}
        images = Images.load(arguments.data)
        with devices_of_training():
            for bits in LEVELS:
                for quantizer in QUANTIZERS:
                    if (quantizer, bits) not in done:
                        report["results"].append(measure(quantizer, bits, training, images))
                        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print_table(report["results"])
    draw_tradeoff(report["results"], arguments.picture)
    print(f"{arguments.output}, {arguments.picture}")


def print_table(results: list[dict[str, Any]]) -> None:
    """Prints a line for each result."""
    print(f"{'':>4} {'codes':>6}  {'MSE / variance':>14}  {'PSNR':>8}  {'used':>6}  perplexity")
    for result in sorted(results, key=lambda one: (one["quantizer"], one["bits"])):
        usage = result["usage"]
        print(
            f"{result['quantizer']:>4} {result['codebook_size']:>6,}  "
            f"{result['mse_over_variance']:>14.4f}  {result['psnr_db']:>5.2f} dB  "
            f"{usage['usage']:>6.1%}  {usage['perplexity']:>10,.1f}"
        )


if __name__ == "__main__":
    main()
