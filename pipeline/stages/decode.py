"""Decoding: turns an image record into the pixels of its views."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from fsq.dataset.records import Carried
from fsq.errors import BadImageError
from fsq.images.buckets import Size, spec_of_image
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_views
from fsq.images.spec import DecodeRules, ImageSpec
from fsq.images.view import View
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.core.size_filter import SizeFilter
from pipeline.views import ViewPolicy


class DecodedImage(NamedTuple):
    """One decoded image, without its encoded bytes, to save memory.

    Attributes:
      carried: Values of the carried features.
      views: Its views.
      pixels: uint8 [H, W, C] of each view.
    """

    carried: Carried
    views: tuple[View, ...]
    pixels: list[np.ndarray]


class Refusal(NamedTuple):
    """The stage at which a record is rejected, and the reason."""

    stage: Literal["read", "decode", "filter"]
    reason: str


def decode_record(
    record: ImageRecord | BadRecord,
    spec: ImageSpec,
    policies: tuple[ViewPolicy, ...],
    rules: DecodeRules,
    *,
    size_filter: SizeFilter | None = None,
    buckets: tuple[Size, ...] = (),
    choose: Callable[[str, tuple[View, ...]], tuple[View, ...]] = lambda key, views: views,
) -> DecodedImage | Refusal:
    """Decodes a record and crops its views; returns a refusal if that cannot, or shall not, be.

    Args:
      record: The record.
      spec: How images are fitted.
      policies: What makes the views.
      rules: Which image files are decoded.
      size_filter: Which sizes of images are refused.
      buckets: Height and width of each size to fit images to, in place of the spec's; the views
        of an image are in one bucket.
      choose: Chooses those of an image's views that are made, by its key; all of them by default.
    """
    if isinstance(record, BadRecord):
        return Refusal("read", record.reason)
    try:
        image = decode_image(record.data, spec.channels, rules)
    except BadImageError as error:
        return Refusal("decode", str(error))
    height, width, _ = image.shape
    if size_filter is not None and (reason := size_filter.refuse(width, height)) is not None:
        return Refusal("filter", reason)
    spec = spec_of_image(spec, buckets, height, width)
    views = tuple(
        view._replace(source_size=(height, width))
        for policy in policies
        for view in policy.views(record.key, width, height, spec)
    )
    views = choose(record.key, views)
    return DecodedImage(record.carried, views, fit_views(image, spec, views))
