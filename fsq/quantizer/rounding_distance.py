"""Rounding distance: how far latents lie outside the steps of given tokens."""

import numpy as np

from fsq.quantizer import presets
from fsq.quantizer.lattice import Levels, tokens_to_digits


def rounding_distance(
    latents: np.ndarray, tokens: np.ndarray, levels: Levels, preset: presets.Preset, eps: float
) -> np.ndarray:
    """Measures, for each channel, the distance of a latent from the step of a token's digit.

    Args:
      latents: Floats [..., D], finite.
      tokens: Integers in [0, vocab_size), shape [...].
      levels: Values per channel, length D.
      preset: The bound preset.
      eps: Its eps.

    Returns:
      float [..., D] in steps of a level: 0 where the latent gives the digit, up to 1 where
      it gives a neighbouring one, more where it gives one farther away.
    """
    constants = presets.bound_constants(levels, preset, eps)
    bounded = presets.bound(latents, levels, preset, eps)
    # Digits are counted from the lowest step; a step extends half a unit to either side, except
    # for the preset that rounds by floor.
    middles = tokens_to_digits(tokens, levels) + constants.lowest
    if preset == "symmetric":
        middles = middles + 0.5
    distance: np.ndarray = np.maximum(np.abs(bounded - middles) - 0.5, 0)
    return distance
