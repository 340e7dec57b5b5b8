"""Contact sheet: images decoded from tokens, optionally below their originals."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import yaml
from PIL import Image

from fsq.dataset import read_contract, tokens_of
from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import read_records
from fsq.dataset.manifest import CONFIG_FILE, read_listed, read_manifest
from fsq.dataset.open_dataset import choose_split, grid_of
from fsq.errors import DataError, RequestError
from fsq.images.contact_sheet import arrange
from fsq.images.crop import CropBox
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from fsq.validation import parse
from pipeline.core.records import ImageRecord
from pipeline.job.config import TokenizeConfig
from pipeline.sources.base import Source


@dataclasses.dataclass(frozen=True)
class DrawnRecord:
    """The fields of a token record that a contact sheet needs."""

    key: str
    view: str
    crop: CropBox
    flip: bool
    tokens: np.ndarray

    @property
    def grid(self) -> tuple[int, ...]:
        """Rows and columns of its tokens."""
        return self.tokens.shape


def draw_sheet(
    directory: str, count: int, *, originals: bool, split: str | None = None
) -> Image.Image:
    """Decodes the first records of a dataset; shards are shuffled, so they are a fair sample.

    Args:
      directory: A finished dataset; nothing else is needed for decoding.
      count: Number of images; fewer if the dataset has fewer records.
      originals: Also draw the source images. The source must be where the
        dataset's config says.
      split: The split to draw; None for the first.

    Raises:
      RequestError: The directory is not a finished dataset or lacks the split, its tokenizer
        has no decoder, or the source is gone.
      DataError: An original is not in the source any more.
    """
    contract = read_contract_of_dataset(directory)
    if not contract.has_decoder:
        raise RequestError(
            f"{directory}: expected a tokenizer with a decoder, got one that was imported "
            "without. Import it again with its decoder, then tokenize again."
        )
    manifest = read_manifest(directory)
    split = choose_split(directory, manifest, split or next(iter(manifest.splits)))
    records = list(first_records(directory, contract, count, split))
    if not records:
        raise RequestError(
            f"{directory}: expected at least one record, found none in split {split!r}."
        )
    rows = [("decoded", decode_records(Tokenizer.load(directory), records))]
    if originals:
        rows.insert(0, ("original", find_originals(directory, contract, records)))
    return arrange(rows)


def decode_records(tokenizer: Tokenizer, records: list[DrawnRecord]) -> list[np.ndarray]:
    """Decodes records to images, uint8 [H, W, C] each, those of one grid together."""
    found: dict[int, np.ndarray] = {}
    contract = tokenizer.contract
    for bucket, grid in zip(
        contract.buckets or [contract.image.shape[:2]], contract.grids, strict=True
    ):
        numbers = [number for number, record in enumerate(records) if record.grid == grid]
        if numbers:
            tokens = np.stack([records[number].tokens for number in numbers])
            found |= zip(numbers, tokenizer.at_size(*bucket).decode(tokens), strict=True)
    return [found[number] for number in range(len(records))]


def read_contract_of_dataset(directory: str) -> TokenContract:
    """Reads the token contract of a finished dataset; refuses any other directory."""
    read_manifest(directory)
    return read_contract(directory)


def first_records(
    directory: str, contract: TokenContract, count: int, split: str | None = None
) -> Iterator[DrawnRecord]:
    """Yields the first records of a split, or of all, in the order of the shards.

    Raises:
      DataError: A shard is damaged or gone.
    """
    manifest = read_manifest(directory)
    for shard in manifest.shards if split is None else manifest.shards_of(split):
        path = filesystem.join(directory, shard.file)
        try:
            with filesystem.open_read(path) as file:
                for number, data in enumerate(read_records(file, path)):
                    if count == 0:
                        return
                    count -= 1
                    yield _read_record(data, contract, f"{path}: record {number}")
        except OSError as error:
            raise DataError(f"{path}: expected a shard, got: {error.strerror or error}.") from error


def _read_record(data: bytes, contract: TokenContract, where: str) -> DrawnRecord:
    from google.protobuf.message import DecodeError

    try:
        feature = Example.FromString(data).features.feature
        return DrawnRecord(
            key=feature["key"].bytes_list.value[0].decode("utf-8", "surrogateescape"),
            view=feature["view"].bytes_list.value[0].decode(),
            crop=CropBox(*feature["crop"].int64_list.value),
            flip=bool(feature["flip"].int64_list.value[0]),
            tokens=tokens_of(feature, contract).reshape(grid_of(feature, contract)),
        )
    except (DecodeError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected a token record, got something else. The dataset is damaged; "
            "tokenize it again."
        ) from error


def find_originals(
    directory: str, contract: TokenContract, records: list[DrawnRecord]
) -> list[np.ndarray]:
    """Reads the source images of some records, cropped and flipped as they were encoded."""
    path = filesystem.join(directory, CONFIG_FILE)
    data = read_listed(directory, read_manifest(directory), CONFIG_FILE)
    config = parse(TokenizeConfig, yaml.safe_load(data), path)
    wanted = {record.key for record in records}
    found = read_originals(config.open_source(), wanted)
    if missing := sorted(wanted - found.keys()):
        raise DataError(
            f"{directory}: expected the original {missing[0]!r} in the source, found none. "
            "The source changed; run again without --originals."
        )
    return [_fit_original(found[record.key], record, contract, config) for record in records]


def _fit_original(
    data: bytes | np.ndarray, record: DrawnRecord, contract: TokenContract, config: TokenizeConfig
) -> np.ndarray:
    pixels = decode_image(data, contract.image.channels, config.decode)
    height, width, _ = pixels.shape
    spec = contract.fitted_to(height, width)
    views = (v for policy in config.views for v in policy.views(record.key, width, height, spec))
    view = next((view for view in views if view.name == record.view), None)
    if view is None or (view.crop, view.flip) != (record.crop, record.flip):
        raise DataError(
            f"{record.key}: expected an original whose view {record.view!r} is "
            f"{tuple(record.crop)}, got one of {width} x {height} pixels with another. "
            "The source changed; run again without --originals."
        )
    return fit_image(pixels, spec, view.place(spec), flip=view.flip)


def read_originals(source: Source, keys: set[str]) -> dict[str, bytes | np.ndarray]:
    """Returns the image files of some keys, as far as the source has them; reads no further."""
    found: dict[str, bytes | np.ndarray] = {}
    with source.list().on_disk() as listing:
        units = source.units_with(listing, keys)
        images = itertools.chain.from_iterable(source.read(unit, ()) for unit in units)
        while len(found) < len(keys) and (image := next(images, None)) is not None:
            if isinstance(image, ImageRecord) and image.key in keys:
                found[image.key] = image.data
    return found
