"""Decoding: turns an image record into the pixels of its views."""

from typing import Literal, NamedTuple

import numpy as np

from fsq.dataset.records import Carried
from fsq.errors import BadImageError
from fsq.images.crop import View, fit_image
from fsq.images.decode import decode_image
from fsq.images.spec import DecodeRules, ImageSpec
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.views import ViewPolicy


class DecodedImage(NamedTuple):
    """One decoded image, without its encoded bytes, to save memory.

    Attributes:
      carried: Values of the carried features.
      views: Its views.
      pixels: uint8 [S, S, C] of each view.
    """

    carried: Carried
    views: tuple[View, ...]
    pixels: list[np.ndarray]


class Refusal(NamedTuple):
    """The stage at which a record is rejected, and the reason."""

    stage: Literal["read", "decode"]
    reason: str


def decode_record(
    record: ImageRecord | BadRecord,
    spec: ImageSpec,
    policies: tuple[ViewPolicy, ...],
    rules: DecodeRules,
) -> DecodedImage | Refusal:
    """Decodes a record and crops its views; returns a refusal if it cannot be decoded."""
    if isinstance(record, BadRecord):
        return Refusal("read", record.reason)
    try:
        image = decode_image(record.data, spec.channels, rules)
    except BadImageError as error:
        return Refusal("decode", str(error))
    height, width, _ = image.shape
    views = tuple(view for policy in policies for view in policy.views(record.key, width, height))
    return DecodedImage(record.carried, views, _fit_views(image, spec, views))


def _fit_views(image: np.ndarray, spec: ImageSpec, views: tuple[View, ...]) -> list[np.ndarray]:
    """Crops and resizes an image for each view; views with the same crop share the resizing."""
    fitted: list[np.ndarray] = []
    crop = None
    for view in views:
        if view.crop != crop:
            crop = view.crop
            upright = fit_image(image, spec, crop)
        fitted.append(upright[:, ::-1] if view.flip else upright)
    return fitted
