"""Decoding: an image record to the pixels of its views."""

from typing import NamedTuple

import numpy as np

from fsq.errors import BadImageError
from fsq.images import DEFAULT_RULES, DecodeRules, ImageSpec, decode_image, fit_image
from pipeline.records import BadRecord, Carried, ImageRecord, Reject
from pipeline.views import View, views_of


class DecodedImage(NamedTuple):
    """One image, decoded. Its encoded bytes are let go, so that a unit stays small.

    Attributes:
      key: The record's key.
      carried: What is carried along.
      views: Its views.
      pixels: uint8 [S, S, C] of each view.
    """

    key: str
    carried: Carried
    views: tuple[View, ...]
    pixels: list[np.ndarray]


def decode_record(
    record: ImageRecord | BadRecord,
    spec: ImageSpec,
    view_names: tuple[str, ...],
    rules: DecodeRules = DEFAULT_RULES,
) -> DecodedImage | Reject:
    """Decodes a record and fits its views; what cannot be decoded becomes a reject."""
    if isinstance(record, BadRecord):
        return Reject(record.key, "read", record.reason)
    try:
        image = decode_image(record.data, spec.channels, rules)
    except BadImageError as error:
        return Reject(record.key, "decode", str(error))
    views = views_of(view_names, image.shape[1], image.shape[0])
    pixels = [fit_image(image, spec, view.crop, flip=view.flip) for view in views]
    return DecodedImage(record.key, record.carried, views, pixels)
