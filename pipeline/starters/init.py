"""Commented configs for a folder of one's own images, to start from."""

import contextlib
import os
import re
import statistics
from pathlib import Path
from typing import Literal, NamedTuple

import PIL.Image
import yaml

from fsq.errors import RequestError
from fsq.images.signatures import HEAD_BYTES, format_of
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in
from pipeline.sources.base import no_heartbeat
from pipeline.sources.directory_walk import walk

Kind = Literal["images", "training"]

IMAGES = """\
# fsq tokenize {path} --dry-run     prints the plan
# fsq tokenize {path}               runs it
# Relative paths are relative to the folder in which the command is run.
source:
  kind: image_folder
  directory: {directory}
  labels: {labels}  # true: the folder of an image is its class
# A directory that 'fsq train' or 'fsq import' wrote. It decides the size of the images.
tokenizer: {tokenizer}
output:
  directory: out/{name}
  name: {name}  # the first part of the shards' names
  split: train  # or shares of the images: {{train: 0.9, val: 0.1}}
# num_shards: 16  # by default one for every 10,000 records
# views: [center, center_flipped]  # two records for every image; by default [center]
# max_reject_fraction: 0.001  # go on if a few images are damaged; by default 0
"""

TRAINING = """\
# fsq train {path} --dry-run        prints the plan
# fsq train {path}                  runs it; after an interruption the same command goes on
# Relative paths are relative to the folder in which the command is run.
source:
  kind: image_folder
  directory: {directory}
  labels: false
held_out: 0.05  # the share of the images that the tokenizer is judged by
tokenizer:
  levels: [7, 5, 5, 5, 5]  # 4,375 tokens; [8, 5, 5, 5] gives 1,000, [8, 8, 8, 6, 5] 15,360
  image: {{size_pixels: {size}, channels: 3, crop: adm}}
  network:  # {size} pixels / {downsampling}: {grid} x {grid} tokens for an image
    kind: conv  # 'residual' for a GPU
    encoder_widths: {encoder_widths}
    encoder_blocks: 2
    decoder_widths: {decoder_widths}
    decoder_blocks: 2
training:
  epochs: {epochs}  # some {steps:,} steps with these images
  batch_size: {batch_size}
  ema: 0.999
  flip: true
  random_crop: 0.8
output: {tokenizer}
"""

FILES_LOOKED_AT = 1000
SIZES_LOOKED_AT = 50
WIDTHS = {32: [32, 64], 64: [32, 64], 128: [32, 64, 128]}
BATCH_SIZE = 16
WANTED_STEPS = 5000


class Folder(NamedTuple):
    """What is known of a folder of images after a short look.

    Attributes:
      has_classes: Whether every image lies in a folder of its own below it.
      files: Number of files, at most as many as one epoch of `WANTED_STEPS` has.
      side: Median of the shorter sides of its first images, in pixels.
    """

    has_classes: bool
    files: int
    side: float


def write_config(kind: Kind, directory: str, tokenizer: str, output: str | None) -> str:
    """Writes a commented config for a folder of images.

    Args:
      kind: 'images' for `fsq tokenize`, 'training' for `fsq train`.
      directory: The folder.
      tokenizer: Directory of the tokenizer to use, or to train.
      output: The file to write; by default '<name of the folder>.yaml', for training
        '<name>_tokenizer.yaml', in the current folder.

    Returns:
      The file that was written.

    Raises:
      RequestError: The folder has no images, or the file is there already.
    """
    folder = look_at(directory)
    name = re.sub(r"[^a-z0-9]+", "_", Path(directory).resolve().name.lower()).strip("_")
    name = name if name[:1].isalpha() else f"images_{name}".rstrip("_")
    path = output or (f"{name}.yaml" if kind == "images" else f"{name}_tokenizer.yaml")
    if filesystem.exists(path):
        raise RequestError(
            f"{path}: expected no file of this name, found one. Move it away, or name another "
            "with --output."
        )
    fields = {"path": path, "directory": _scalar(directory), "tokenizer": _scalar(tokenizer)}
    if kind == "images":
        labels = str(folder.has_classes).lower()
        text = IMAGES.format(labels=labels, name=name[:100], **fields)
    else:
        text = TRAINING.format(**_network_of(folder), **fields)
    filesystem.write(path, text.encode())
    return path


def look_at(directory: str) -> Folder:
    """Looks at the first files of a folder.

    Raises:
      RequestError: There is no such folder, or no image among them.
    """
    if filesystem.is_local(directory) and not os.path.isdir(directory):
        raise RequestError(
            f"{directory}: expected a folder of images, found no such folder"
            f"{looked_in(directory)}. Check the path."
        )
    images: list[str] = []
    sides: list[int] = []
    number = 0
    for entry in walk(directory, follow_links=False, heartbeat=no_heartbeat):
        if entry.refused is not None or entry.name.endswith("/"):
            continue
        if number < FILES_LOOKED_AT:
            path = filesystem.join(directory, entry.name)
            if _is_image(path):
                images.append(entry.name)
                sides += _sides(path) if len(sides) < SIZES_LOOKED_AT else []
        number += 1
        if number == WANTED_STEPS * BATCH_SIZE:
            break
    if not images:
        raise RequestError(
            f"{directory}: expected a folder of images, found none in its first "
            f"{FILES_LOOKED_AT:,} files. Check the path."
        )
    side = statistics.median(sides) if sides else 0
    return Folder(all("/" in name for name in images), number, side)


def _network_of(folder: Folder) -> dict[str, object]:
    """Returns size, network and length of a training that suits the images."""
    size = max((one for one in WIDTHS if one <= folder.side), default=min(WIDTHS))
    widths = WIDTHS[size]
    batches = max(1, folder.files // BATCH_SIZE)
    epochs = max(1, round(WANTED_STEPS / batches))
    return {
        "size": size,
        "downsampling": 2 ** len(widths),
        "grid": size // 2 ** len(widths),
        "encoder_widths": widths,
        "decoder_widths": widths[::-1],
        "epochs": epochs,
        "steps": epochs * batches,
        "batch_size": BATCH_SIZE,
    }


def _is_image(path: str) -> bool:
    with filesystem.open_read(path) as file:
        return format_of(file.read(HEAD_BYTES)) is not None


def _sides(path: str) -> list[int]:
    """Returns the shorter side of an image; nothing if its header cannot be read."""
    with (
        contextlib.suppress(Exception),  # Pillow raises almost anything on a damaged file
        filesystem.open_read(path) as file,
        PIL.Image.open(file) as image,
    ):
        return [min(image.size)]
    return []


def _scalar(text: str) -> str:
    """Writes a text as a YAML scalar, quoted where it has to be."""
    scalar: str = yaml.safe_dump(text, width=10_000)
    return scalar.removesuffix("\n...\n").strip()
