"""Recut: cuts the views of a token dataset from another modality of the same images.

A depth map, a mask or the original itself gives the pixels that lie where the tokens of a record
come from:

    recut = Recut("out/photos")
    for record in TokenSource("out/photos"):
        depth = recut(depth_of(record["key"]), record)
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pydantic

from fsq.dataset.manifest import read_manifest
from fsq.dataset.records import decode_key
from fsq.errors import RequestError
from fsq.images.placement import Placement
from fsq.images.resampling import cut_window, resample
from fsq.images.spec import ImageSpec
from fsq.images.view import View
from pipeline.views import ViewPolicy, ViewPolicyConfig

__all__ = ["Recut", "recut"]

_POLICIES = pydantic.TypeAdapter(tuple[ViewPolicyConfig, ...])


def recut(
    directory: str,
    pixels: np.ndarray,
    record: Mapping[str, Any],
    *,
    resize: Literal["nearest", "image"] = "nearest",
) -> np.ndarray:
    """Cuts the view of a record from a modality of its image; see `Recut`.

    Args:
      directory: The dataset of the record; read once per process.
      pixels: See `Recut.__call__`.
      record: See `Recut.__call__`.
      resize: See `Recut.__call__`.

    Raises:
      RequestError, DataError: See `Recut`.
    """
    return _recut_of(directory)(pixels, record, resize=resize)


class Recut:
    """Cuts the views of one dataset.

    Args:
      directory: A finished dataset.

    Raises:
      RequestError: It is not one.
      DataError: Its manifest is damaged.
    """

    def __init__(self, directory: str):
        fingerprint = read_manifest(directory).fingerprint.fields
        self._contract = fingerprint.tokenizer
        names = fingerprint.tokenizer.views or ()
        self._policies: tuple[ViewPolicy, ...] = _POLICIES.validate_python(
            tuple(fingerprint.views or names)
        )

    def __call__(
        self,
        pixels: np.ndarray,
        record: Mapping[str, Any],
        *,
        resize: Literal["nearest", "image"] = "nearest",
    ) -> np.ndarray:
        """Cuts the view of a record from a modality of its image.

        Args:
          pixels: Of any type, [H, W] or [H, W, C], upright and of the size of the image.
          record: A token record, with `key`, `view` and `source_size`.
          resize: Take the nearest pixel, as masks need it; or resample as the images were, for
            uint8 and float32.

        Returns:
          The view, [height, width] or [height, width, C] of the encoder's images, mirrored if
          the record's is. Outside of the image it is 0.

        Raises:
          RequestError: The pixels have another size or type, or the dataset has no such view.
        """
        height, width = (int(side) for side in record["source_size"])
        if pixels.ndim not in (2, 3) or pixels.shape[:2] != (height, width):
            raise RequestError(
                f"recut: expected pixels [{height}, {width}] or [{height}, {width}, C], as the "
                f"image of the record has, got {list(pixels.shape)}. Resize them to it."
            )
        spec = self._contract.fitted_to(height, width)
        view = self._view(_text(record["key"]), _text(record["view"]), (width, height), spec)
        placement = view.place(spec)
        channels = pixels[..., None] if pixels.ndim == 2 else pixels
        if resize == "nearest":
            cut = _nearest(channels, placement, spec)
        else:
            cut = _resampled(channels, placement, spec)
        cut = cut[:, ::-1] if view.flip else cut
        return cut[..., 0] if pixels.ndim == 2 else cut

    def _view(self, key: str, name: str, size: tuple[int, int], spec: ImageSpec) -> View:
        for policy in self._policies:
            if name in policy.names:
                views = policy.views(key, *size, spec)
                return views[policy.names.index(name)]
        known = ", ".join(name for policy in self._policies for name in policy.names)
        raise RequestError(f"recut: expected a view of the dataset ({known}), got {name!r}.")


@functools.lru_cache(maxsize=8)
def _recut_of(directory: str) -> Recut:
    return Recut(directory)


def _text(value: str | bytes) -> str:
    return decode_key(value) if isinstance(value, bytes) else value


def _nearest(pixels: np.ndarray, placement: Placement, spec: ImageSpec) -> np.ndarray:
    height, width = pixels.shape[:2]
    _, box, canvas_height, canvas_width, top, left = placement
    halved_width, halved_height = placement.halved(width, height)
    x, x_inside = _sources(
        (left, spec.width, canvas_width),
        (box.left, box.right) if box else (0, halved_width),
        (halved_width, width),
    )
    y, y_inside = _sources(
        (top, spec.height, canvas_height),
        (box.top, box.bottom) if box else (0, halved_height),
        (halved_height, height),
    )
    cut: np.ndarray = pixels[y[:, None], x[None, :]]
    cut[~(y_inside[:, None] & x_inside[None, :])] = 0
    return cut


def _sources(
    window: tuple[int, int, int], box: tuple[int, int], sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the source pixel of each pixel of a window, and whether it lies in the canvas.

    Args:
      window: Its first pixel on the canvas, its size, and the size of the canvas.
      box: The interval that the canvas shows, in pixels of the halved image.
      sizes: Size of the halved image, and of the image.
    """
    first, count, canvas = window
    places = np.arange(first, first + count)
    halved = box[0] + (places + 0.5) * (box[1] - box[0]) / canvas
    source = np.floor(halved * sizes[1] / sizes[0]).astype(np.int64)
    return np.clip(source, 0, sizes[1] - 1), (places >= 0) & (places < canvas)


def _resampled(pixels: np.ndarray, placement: Placement, spec: ImageSpec) -> np.ndarray:
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        return cut_window(resample(pixels, placement, spec.filter), placement, spec)
    if pixels.dtype not in (np.uint8, np.float32):
        raise RequestError(
            f"recut: expected uint8 or float32 pixels to resample, got {pixels.dtype}. Convert "
            "them, or take the nearest pixels."
        )
    layers = [
        cut_window(resample(layer, placement, spec.filter), placement, spec)
        for layer in np.split(pixels, pixels.shape[2], axis=2)
    ]
    return np.concatenate(layers, axis=2)
