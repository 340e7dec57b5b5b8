"""The source images of a dataset, with their labels, read again by its config.yaml."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import yaml

from fsq.dataset import TokenBatches
from fsq.dataset.manifest import CONFIG_FILE, read_listed, read_manifest
from fsq.dataset.records import CarriedFeature, encode_key
from fsq.errors import BadImageError, DataError, RequestError
from fsq.images import DecodeRules, decode_image, fit_image
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from fsq.validation import parse
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.job.config import TokenizeConfig
from pipeline.sources.units import one_unit_per_file

READ_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Fitted images, uint8 [N, H, W, C], and the label of each, int64 [N]."""

    pixels: np.ndarray
    labels: np.ndarray


def read_images(
    directory: str, contract: TokenContract, split: str | None = None
) -> LabelledImages:
    """Reads the images of a dataset from its source, decoded as for tokenization, in source order.

    Args:
      directory: A finished dataset; its source must be where its config says.
      contract: The token contract, which says how images are decoded.
      split: The split to read; needed if the dataset has several.

    Raises:
      RequestError: The source is missing, or has no labels.
      DataError: An image is missing, cannot be decoded, or has another label than its record.
    """
    config = read_config(directory)
    labels_by_key = _labels_by_key(directory, split)
    pixels, labels = [], []
    for record in read_records(directory, config, carry="label"):
        expected = labels_by_key.pop(encode_key(record.key), None)
        if expected is None:
            continue  # it was rejected, or added to the source later
        if (label := int(record.carried[0])) != expected:
            raise DataError(
                f"{directory}: expected label {expected} of {record.key!r}, as it was tokenized, "
                f"found {label} in the source. Restore the source, or tokenize it again."
            )
        pixels.append(fit_record(record, contract, config.decode))
        labels.append(label)
    if labels_by_key:
        raise DataError(
            f"{directory}: expected {len(labels_by_key):,} more images in the source, "
            f"{next(iter(labels_by_key))!a} among them. Restore the source, or tokenize it again."
        )
    return LabelledImages(np.stack(pixels), np.array(labels, np.int64))


def _labels_by_key(directory: str, split: str | None) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for batch in TokenBatches(directory, split, batch_size=READ_AT_ONCE):
        found |= zip(batch["key"].tolist(), batch["label"].tolist(), strict=True)
    return found


def read_config(directory: str) -> TokenizeConfig:
    """Reads the config that a finished dataset was made with."""
    path = filesystem.join(directory, CONFIG_FILE)
    data = read_listed(directory, read_manifest(directory), CONFIG_FILE)
    return parse(TokenizeConfig, yaml.safe_load(data), path)


def read_records(
    directory: str, config: TokenizeConfig, *, carry: str | None = None
) -> Iterator[ImageRecord]:
    """Yields the encoded images of a source, with one carried feature if requested."""
    source = config.open_source()
    with source.list().on_disk() as listing:
        features: tuple[CarriedFeature, ...] = tuple(
            feature for feature in listing.features if feature.name == carry
        )
        if carry and not features:
            raise RequestError(
                f"{directory}: expected a source with the feature {carry!r}, found none in its "
                f"{CONFIG_FILE}. Tokenize it with that feature in 'carry'."
            )
        for unit in one_unit_per_file(listing):
            for record in source.read(unit, features):
                if not isinstance(record, BadRecord):  # rejects of the dataset too
                    yield record


def fit_record(record: ImageRecord, contract: TokenContract, decode: DecodeRules) -> np.ndarray:
    """Decodes an image to uint8 [H, W, C] by the image contract."""
    try:
        pixels = decode_image(record.data, contract.image.channels, decode)
    except BadImageError as error:
        raise DataError(f"{record.key}: {error}. Remove it from the source.") from error
    return fit_image(pixels, contract.fitted)
