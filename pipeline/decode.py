"""Decoding: an image record to the pixels of its views."""

from typing import Literal, NamedTuple

import numpy as np

from fsq.errors import BadImageError
from fsq.images import DecodeRules, ImageSpec, decode_image, fit_image
from pipeline.records import BadRecord, Carried, ImageRecord
from pipeline.views import View, views_of


class DecodedImage(NamedTuple):
    """One image, decoded. Its encoded bytes are let go, so that a unit stays small.

    Attributes:
      carried: What is carried along.
      views: Its views.
      pixels: uint8 [S, S, C] of each view.
    """

    carried: Carried
    views: tuple[View, ...]
    pixels: list[np.ndarray]


class Refusal(NamedTuple):
    """Why a record becomes a reject, and at which stage."""

    stage: Literal["read", "decode"]
    reason: str


def decode_record(
    record: ImageRecord | BadRecord,
    spec: ImageSpec,
    view_names: tuple[str, ...],
    rules: DecodeRules,
) -> DecodedImage | Refusal:
    """Decodes a record and fits its views; what cannot be decoded is refused."""
    if isinstance(record, BadRecord):
        return Refusal("read", record.reason)
    try:
        image = decode_image(record.data, spec.channels, rules)
    except BadImageError as error:
        return Refusal("decode", str(error))
    views = views_of(view_names, image.shape[1], image.shape[0])
    pixels = [fit_image(image, spec, view.crop, flip=view.flip) for view in views]
    return DecodedImage(record.carried, views, pixels)
