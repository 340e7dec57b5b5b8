"""A sheet of images decoded from tokens, with their originals above them if wanted."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from fsq.contract import TokenContract
from fsq.errors import DataError, RequestError
from fsq.images import CropBox, decode_image, fit_image
from fsq.schema import parse
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.config import TokenizeConfig
from pipeline.example_message import Example
from pipeline.manifest import CONFIG_FILE, read_listed, read_manifest
from pipeline.read import read_contract, tokens_of
from pipeline.records import ImageRecord
from pipeline.sources import open_source
from pipeline.sources.listing import materialize, one_unit_per_file
from pipeline.tfrecord import read_records

TILE_PIXELS = 84  # small images are enlarged to at least this
GAP_PIXELS = 4
MARGIN_PIXELS = 96
MAX_COLUMNS = 16


@dataclasses.dataclass(frozen=True)
class DrawnRecord:
    """A token record, as far as a picture needs it."""

    key: str
    crop: CropBox
    flip: bool
    tokens: np.ndarray


def draw_sheet(directory: str, count: int, *, originals: bool) -> Image.Image:
    """Decodes the first records of a dataset; shards are shuffled, so they are a fair sample.

    Args:
      directory: A finished dataset; nothing else is needed for decoding.
      count: How many images, at most as many as there are.
      originals: Also draw the source images. The source must be where the
        dataset's config says.

    Raises:
      RequestError: The directory is not a finished dataset, its tokenizer has
        no decoder, or the source is gone.
      DataError: An original is not in the source any more.
    """
    contract = read_contract_of_dataset(directory)
    if not contract.has_decoder:
        raise RequestError(
            f"{directory}: expected a tokenizer with a decoder, got one that was imported "
            "without. Import it again with its decoder, and tokenize with that."
        )
    records = list(first_records(directory, contract, count))
    if not records:
        raise RequestError(f"{directory}: expected at least one record, got an empty dataset.")
    tokens = np.stack([record.tokens for record in records]).reshape(-1, *contract.grid)
    tokenizer = Tokenizer.load(directory)
    rows = [("decoded", list(tokenizer.decode(tokens)))]
    if originals:
        rows.insert(0, ("original", find_originals(directory, contract, records)))
    return arrange(rows)


def read_contract_of_dataset(directory: str) -> TokenContract:
    """Reads the contract, and refuses a directory that is not finished."""
    read_manifest(directory)
    return read_contract(directory)


def first_records(directory: str, contract: TokenContract, count: int) -> Iterator[DrawnRecord]:
    """Yields the first records in the order of the shards.

    Raises:
      DataError: A shard is damaged or gone.
    """
    for shard in read_manifest(directory)["shards"]:
        path = storage.join(directory, shard["file"])
        try:
            with storage.open_read(path) as file:
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
            crop=CropBox(*feature["crop"].int64_list.value),
            flip=bool(feature["flip"].int64_list.value[0]),
            tokens=tokens_of(feature, contract),
        )
    except (DecodeError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected a token record, got another. The dataset is damaged; "
            "tokenize it again."
        ) from error


def find_originals(
    directory: str, contract: TokenContract, records: list[DrawnRecord]
) -> list[np.ndarray]:
    """Reads the source images of some records, cropped and flipped as they were encoded."""
    path = storage.join(directory, CONFIG_FILE)
    data = read_listed(directory, read_manifest(directory), CONFIG_FILE)
    config = parse(TokenizeConfig, yaml.safe_load(data), path)
    wanted = {record.key for record in records}
    found: dict[str, bytes] = {}
    source = open_source(config.source)
    with materialize(source.list()) as listing:
        for unit in one_unit_per_file(listing):
            for image in source.read(unit, ()):
                if isinstance(image, ImageRecord) and image.key in wanted:
                    found[image.key] = image.data
                    if len(found) == len(wanted):
                        break
    if missing := sorted(wanted - found.keys()):
        raise DataError(
            f"{directory}: expected the original {missing[0]!r} in the source, found none. "
            "The source changed; decode without originals."
        )
    return [
        fit_image(
            decode_image(found[record.key], contract.image.channels, config.decode),
            contract.image,
            record.crop,
            flip=record.flip,
        )
        for record in records
    ]


def arrange(rows: list[tuple[str, list[np.ndarray]]]) -> Image.Image:
    """Lays rows of equally many images out, line by line, their names at the left."""
    count = len(rows[0][1])
    columns = min(count, MAX_COLUMNS)
    side = rows[0][1][0].shape[0]
    tile = side * max(1, math.ceil(TILE_PIXELS / side)) if side < TILE_PIXELS else side
    step = tile + GAP_PIXELS
    block = len(rows) * step + 2 * GAP_PIXELS
    size = (MARGIN_PIXELS + columns * step, math.ceil(count / columns) * block + GAP_PIXELS)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for number, (name, images) in enumerate(rows):
        for index, pixels in enumerate(images):
            top = GAP_PIXELS + index // columns * block + number * step
            left = MARGIN_PIXELS + index % columns * step
            sheet.paste(_tile(pixels, tile), (left, top))
            if index % columns == 0:
                draw.text((MARGIN_PIXELS - 12, top + tile // 2), name, "black", font, anchor="rm")
    return sheet


def _tile(pixels: Any, size: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return image.convert("RGB").resize((size, size), Image.Resampling.NEAREST)
