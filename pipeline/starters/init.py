"""Commented configs for a folder of one's own images, to start from."""

import itertools
import re
from pathlib import Path
from typing import Literal

import yaml

from fsq.errors import RequestError
from fsq.images.signatures import HEAD_BYTES, format_of
from fsq.storage import filesystem
from pipeline.sources.base import no_heartbeat
from pipeline.sources.directory_walk import walk

Kind = Literal["images", "training"]

IMAGES = """\
# fsq tokenize {path} --dry-run     prints the plan
# fsq tokenize {path}               runs it
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
source:
  kind: image_folder
  directory: {directory}
  labels: false
held_out: 0.05              # the share of the images that the tokenizer is judged by
tokenizer:
  levels: [7, 5, 5, 5, 5]   # 4,375 tokens; [8, 5, 5, 5] gives 1,000, [8, 8, 8, 6, 5] 15,360
  image: {{size_pixels: 128, channels: 3}}
  network:                  # three stages: 128 / 8 = 16, so 16 x 16 tokens for an image
    kind: conv              # 'residual' for a GPU
    encoder_widths: [32, 64, 128]
    encoder_blocks: 2
    decoder_widths: [128, 64, 32]
    decoder_blocks: 2
training:
  epochs: 80                # fewer for many images: some 5,000 steps are a start
  batch_size: 16
  ema: 0.999
  flip: true
  random_crop: 0.8
output: {tokenizer}
"""

TEMPLATES: dict[Kind, str] = {"images": IMAGES, "training": TRAINING}
FILES_LOOKED_AT = 1000


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
    labels = _has_class_folders(directory)
    name = re.sub(r"[^a-z0-9]+", "_", Path(directory).resolve().name.lower()).strip("_")
    name = name if name[:1].isalpha() else f"images_{name}".rstrip("_")
    path = output or (f"{name}.yaml" if kind == "images" else f"{name}_tokenizer.yaml")
    if filesystem.exists(path):
        raise RequestError(
            f"{path}: expected no file of this name, found one. Move it away, or name another "
            "with --output."
        )
    text = TEMPLATES[kind].format(
        path=path,
        directory=_scalar(directory),
        labels=str(labels).lower(),
        tokenizer=_scalar(tokenizer),
        name=name[:100],
    )
    filesystem.write(path, text.encode())
    return path


def _has_class_folders(directory: str) -> bool:
    """Returns whether the images lie in folders of their own, by the first files.

    Raises:
      RequestError: There is no image among them.
    """
    found: list[str] = []
    files = walk(directory, follow_links=False, heartbeat=no_heartbeat)
    for entry in itertools.islice(files, FILES_LOOKED_AT):
        if entry.refused is None and not entry.name.endswith("/"):
            with filesystem.open_read(filesystem.join(directory, entry.name)) as file:
                if format_of(file.read(HEAD_BYTES)) is not None:
                    found.append(entry.name)
    if not found:
        raise RequestError(
            f"{directory}: expected a folder of images, found none in its first "
            f"{FILES_LOOKED_AT:,} files. Check the path."
        )
    return all("/" in name for name in found)


def _scalar(text: str) -> str:
    """Writes a text as a YAML scalar, quoted where it has to be."""
    scalar: str = yaml.safe_dump(text, width=10_000)
    return scalar.removesuffix("\n...\n").strip()
