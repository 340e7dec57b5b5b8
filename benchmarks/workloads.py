"""The workloads of the throughput benchmark: four sets of images, each with a tokenizer.

S and M have small images and a small encoder: they measure everything around the encoder.
L has an encoder of 6 GFLOP per image, which dominates. D has photographs, each six times,
and almost no encoder: it measures decoding.
"""

import dataclasses
import os
from pathlib import Path

from fsq.images.spec import ImageSpec
from fsq.spec.contract import CONTRACT_FILE, TokenContract, TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.spec.serialization import parse_contract

ROOT = Path(__file__).parent.parent
CACHE = ROOT / "data" / "benchmarks"
ARCHIVES = Path(os.environ.get("BENCHMARK_ARCHIVES", ROOT.parent / "shared" / "data"))

PHOTO = ImageSpec(size_pixels=256, channels=3)
PHOTO_LEVELS = (7, 5, 5, 5, 5)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One set of images with its tokenizer.

    Attributes:
      name: Its letter.
      title: Its description in the tables.
      images: Number of images.
      few: Images of the small run, whose time is subtracted for the steady speed.
      batch_size: Images per batch of the encoder, the same for all contenders.
      archive: The tar file of the images, in `ARCHIVES`; None for Fashion-MNIST.
      member: The folder in the archive.
      trained: The name of a tokenizer in this checkout.
      network: Or a network with random weights from a fixed seed.
    """

    name: str
    title: str
    images: int
    few: int
    batch_size: int
    archive: str | None = None
    member: str = ""
    trained: str | None = None
    network: ConvNetwork | None = None

    @property
    def tokenizer(self) -> Path:
        """The directory of its tokenizer."""
        if self.trained is not None:
            return ROOT / "tokenizers" / self.trained
        return CACHE / "tokenizers" / self.name

    @property
    def contract(self) -> TokenContract:
        """The contract of its tokenizer; `prepare` makes the tokenizer."""
        path = self.tokenizer / CONTRACT_FILE
        return parse_contract(path.read_bytes(), str(path))

    @property
    def spec(self) -> TokenizerSpec:
        """The spec of a tokenizer with random weights."""
        assert self.network is not None, self.name
        return TokenizerSpec(levels=PHOTO_LEVELS, image=PHOTO, network=self.network)


def _photo_network(widths: tuple[int, int, int], blocks: int) -> ConvNetwork:
    # The decoder is not used.
    return ConvNetwork(
        encoder_widths=widths, encoder_blocks=blocks, decoder_widths=(8, 8, 8), decoder_blocks=0
    )


# `few` is large enough that a job selects its runtime as the whole run does: see `SMALL_JOB` in
# pipeline/planning/runtime_request.py.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="S",
            title="Fashion-MNIST, PNG 28 x 28, small encoder",
            images=60_000,
            few=22_000,
            batch_size=256,
            trained="fashion_mnist",
        ),
        Workload(
            name="M",
            title="CIFAR-10, JPEG 32 x 32, small encoder",
            images=50_000,
            few=6_000,
            batch_size=256,
            archive="cifar10_jpeg_train.tar",
            member="train/",
            trained="cifar10",
        ),
        Workload(
            name="L",
            title="clothing photos, JPEG 400 x 533 to 256 x 256, 6 GFLOP encoder",
            images=766,
            few=96,
            batch_size=8,
            archive="clothing_photos.tar",
            member="clothing_photos/",
            network=_photo_network((64, 128, 256), blocks=3),
        ),
        Workload(
            name="D",
            title="clothing photos, JPEG 400 x 533 to 256 x 256, almost no encoder",
            images=4_596,
            few=1_000,
            batch_size=8,
            archive="clothing_photos.tar",
            member="clothing_photos/",
            network=_photo_network((4, 4, 4), blocks=0),
        ),
    )
}
