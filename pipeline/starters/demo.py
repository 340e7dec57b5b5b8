"""Demo: sample images, a tokenizer and a config, from files that the package carries."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import read_frames
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE

# In the wheel; in a checkout they lie where the repository has them.
_PACKAGED = Path(__file__).parent / "data"
_CHECKOUT = Path(__file__).parents[2]

CONFIG = """\
# fsq tokenize {path}
# 2,000 test images of Fashion-MNIST in 10 folders, a folder for each class.
source:
  kind: image_folder
  directory: {images}
  labels: true
tokenizer: {tokenizer}
runtime: tensorflow   # by default the fastest on this machine that gives the same tokens
output:
  directory: {tokens}
  name: fashion
  split: test
  num_shards: 2
"""


class Demo(NamedTuple):
    """Paths of a demo that was written.

    Attributes:
      images: Folder of the images, with a folder for each class.
      tokenizer: Directory of the tokenizer.
      config: The config of a job that tokenizes the images.
      tokens: The output directory of that job.
      picture: Where to draw the images beside what their tokens decode to.
      classes: Number of images by class.
    """

    images: Path
    tokenizer: Path
    config: Path
    tokens: Path
    picture: Path
    classes: Counter[str]


def write_demo(directory: str) -> Demo:
    """Writes images, tokenizer and config of the demo to a new directory.

    Raises:
      RequestError: There is something in the directory, or it cannot be written.
    """
    folder = Path(directory)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"{directory}: expected a new or empty directory for the demo, found files there. "
            "Remove it, or name another: fsq demo DIR."
        )
    paths = [folder / name for name in ("images", "tokenizer", "demo.yaml", "tokens", "demo.png")]
    images, tokenizer, config, tokens, picture = paths
    try:
        classes = _write_images(images)
        tokenizer.mkdir()
        for name in (CONTRACT_FILE, WEIGHTS_FILE, "README.md"):
            shutil.copyfile(_carried("tokenizers/fashion_mnist") / name, tokenizer / name)
        text = CONFIG.format(path=config, images=images, tokenizer=tokenizer, tokens=tokens)
        config.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(
            f"{directory}: expected a directory that can be written, "
            f"got: {error.strerror or error}. Name another: fsq demo DIR."
        ) from error
    return Demo(images, tokenizer, config, tokens, picture, classes)


def _write_images(folder: Path) -> Counter[str]:
    """Writes each sample image to the folder of its class; returns their number by class."""
    samples = _carried("samples/fashion_mnist")
    names = (samples / "label.labels.txt").read_text(encoding="utf-8").splitlines()
    classes = [re.sub(r"\W+", "_", name).lower() for name in names]
    written: Counter[str] = Counter()
    (path,) = samples.glob("*.tfrecord-*")
    for name in classes:
        (folder / name).mkdir(parents=True)
    with open(path, "rb") as file:
        for data in read_frames(file, str(path)):
            assert data is not None
            feature = Example.FromString(data).features.feature
            name = classes[feature["label"].int64_list.value[0]]
            image = folder / name / f"{written[name]:03}.png"
            image.write_bytes(feature["image"].bytes_list.value[0])
            written[name] += 1
    return written


def _carried(name: str) -> Path:
    """Returns a folder of the package's own files."""
    packaged = _PACKAGED / name
    return packaged if packaged.exists() else _CHECKOUT / name
