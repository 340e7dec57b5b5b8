"""Evaluation of a tokenizer on held-out images: reconstruction error and codebook usage."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from fsq.quantizer.codebook_usage import Usage, channel_entropy_bits, usage_of_tokens
from fsq.tokenizer import Tokenizer

SSIM_WINDOW = 11


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Reconstruction error and codebook usage on held-out images, pixels compared as uint8.

    Attributes:
      images: Number of images.
      mse_over_variance: Mean squared error over the variance of the originals;
        1 for the mean image; NaN if all pixels are the same.
      psnr_db: 10 log10(255^2 / MSE) of all pixels together.
      ssim: Mean structural similarity, in [-1, 1] (Wang et al. 2004; a
        Gaussian window of 11, or of the image where it is smaller).
      usage: Codes used, and their perplexity.
      channel_bits: Entropy of each channel's digit, at most log2 of its levels;
        near 0 for a channel that carries no information.
    """

    images: int
    mse_over_variance: float
    psnr_db: float
    ssim: float
    usage: Usage
    channel_bits: tuple[float, ...]


def evaluate(tokenizer: Tokenizer, batches: Iterable[np.ndarray]) -> Evaluation:
    """Evaluates a tokenizer on held-out images.

    Args:
      tokenizer: The tokenizer to evaluate.
      batches: uint8 [B, H, W, C] each, at least one image in total.
    """
    contract = tokenizer.contract
    all_tokens: list[np.ndarray] = []
    images = pixels = 0
    squared_error = total = total_of_squares = ssim = 0.0
    for batch in batches:
        tokens = tokenizer.encode(batch)
        all_tokens.append(tokens.ravel())
        decoded = tokenizer.decode(tokens)
        original = batch.astype(np.float64)
        squared_error += float(((decoded - original) ** 2).sum())
        total += float(original.sum())
        total_of_squares += float((original**2).sum())
        ssim += float(tf.reduce_sum(_ssim(batch, decoded)))
        images += len(batch)
        pixels += batch.size
    counted = np.concatenate(all_tokens)
    mse = squared_error / pixels
    variance = total_of_squares / pixels - (total / pixels) ** 2
    return Evaluation(
        images=images,
        mse_over_variance=mse / variance if variance > 0 else float("nan"),
        psnr_db=float(10 * np.log10(255**2 / max(mse, 1e-12))),
        ssim=ssim / images,
        usage=usage_of_tokens(counted, contract.vocab_size),
        channel_bits=channel_entropy_bits(counted, contract.levels),
    )


def _ssim(original: np.ndarray, decoded: np.ndarray) -> tf.Tensor:
    window = min(SSIM_WINDOW, *original.shape[1:3])
    return tf.image.ssim(original, decoded, max_val=255, filter_size=window)
