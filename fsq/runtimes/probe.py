"""Probe: images that every runtime encodes, to compare its tokens with the reference's.

An imported tokenizer has its own reference batch. For others the images are
synthetic, the same for every tokenizer of a size: noise at all scales with the
spectrum of photographs, so that latents spread over all levels.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from fsq.images.spec import ImageSpec
from fsq.quantizer.rounding_distance import rounding_distance
from fsq.runtimes.base import Runtime

PROBE_TOKENS = 16_384
# In steps of a level; float32 latents of one network differ by about 1e-6 between runtimes.
ROUNDING_ERROR = 1e-4
# Largest share of changed tokens: more, even if all are near a boundary, is not the same encoder.
MAX_SHARE = 1e-3


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """Agreement of a runtime's tokens with the reference's, on the probe.

    Attributes:
      total: Number of tokens compared.
      changed: Number of tokens that differ.
      farthest: Largest distance of a changed token's latent from the rounding
        boundary that was crossed, in steps of a level; 0 if none changed.
    """

    total: int
    changed: int
    farthest: float

    @property
    def agrees(self) -> bool:
        """Whether the tokens differ at most by rounding errors near a boundary."""
        return self.farthest <= ROUNDING_ERROR and self.changed <= MAX_SHARE * self.total

    def __str__(self) -> str:
        if not self.changed:
            return f"all {self.total:,} tokens of the probe are the reference's"
        return (
            f"{self.changed:,} of {self.total:,} tokens of the probe are others "
            f"({self.changed / self.total:.2%}), up to {self.farthest:.1e} of a step "
            "from a boundary"
        )


def probe_images(spec: ImageSpec, tokens_per_image: int, batch_size: int) -> np.ndarray:
    """Makes whole batches of images with at least `PROBE_TOKENS` tokens between them.

    Args:
      spec: Size and channels of the images.
      tokens_per_image: Number of tokens per image.
      batch_size: Images per batch.

    Returns:
      uint8 [N, H, W, C], N a multiple of batch_size.
    """
    count = math.ceil(PROBE_TOKENS / tokens_per_image / batch_size) * batch_size
    height, width, channels = spec.shape
    random = np.random.Generator(np.random.PCG64(28))
    images = np.zeros((count, height, width, channels), np.float32)
    scale = max(height, width)
    while scale >= 1:
        coarse = (math.ceil(height / scale), math.ceil(width / scale))
        noise = random.standard_normal((count, *coarse, channels), np.float32)
        rows, columns = (
            np.minimum(np.arange(side) // scale, number - 1)
            for side, number in zip((height, width), coarse, strict=True)
        )
        # Power falls with the square of the frequency: equal amplitude in every octave.
        images += noise[:, rows][:, :, columns]
        scale //= 2
    brightness = random.uniform(64, 192, (count, 1, 1, channels)).astype(np.float32)
    pixels: np.ndarray = np.clip(images * 30 + brightness, 0, 255).astype(np.uint8)
    return pixels


def fill_batches(images: np.ndarray, batch_size: int) -> np.ndarray:
    """Repeats images, uint8 [N, H, W, C], until they fill whole batches."""
    count = math.ceil(len(images) / batch_size) * batch_size
    return np.resize(images, (count, *images.shape[1:]))


def compare_runtimes(
    autoencoder: Any, reference: Runtime, candidate: Runtime, images: np.ndarray
) -> ProbeResult:
    """Encodes the probe with both runtimes and counts the tokens that differ.

    Args:
      autoencoder: Encoder and quantizer, which both runtimes run.
      reference: The runtime whose tokens are the correct ones.
      candidate: The runtime to compare with it.
      images: The probe, uint8 [N, H, W, C], whole batches.
    """
    total = changed = 0
    farthest = 0.0
    for batch in np.split(images, len(images) // reference.batch_size):
        expected, found = reference(batch), candidate(batch)
        differ = expected != found
        total += differ.size
        changed += int(differ.sum())
        if differ.any():
            farthest = max(farthest, _farthest_from_boundary(autoencoder, batch, differ, found))
    return ProbeResult(total, changed, farthest)


def _farthest_from_boundary(
    autoencoder: Any, images: np.ndarray, differ: np.ndarray, found: np.ndarray
) -> float:
    """Returns the largest distance of a latent from the token found, in steps of a level."""
    from fsq.models.autoencoder import pixels_to_floats

    spec = autoencoder.spec
    latents = np.asarray(
        autoencoder.encoder(np.asarray(pixels_to_floats(images, spec.image)), training=False)
    )[differ]
    if not np.isfinite(latents).all() or (found[differ] < 0).any():
        return math.inf
    distance = rounding_distance(latents, found[differ], spec.levels, spec.preset, spec.eps)
    return float(distance.max())
