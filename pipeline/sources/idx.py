"""IDX source: the files of MNIST and its family, plain or compressed by gzip."""

from typing import ClassVar, Literal

from pipeline.sources.array_source import ArrayConfig


class IdxConfig(ArrayConfig):
    """IDX files of pixels, unsigned bytes [N, H, W].

    Attributes:
      files: Name or pattern of the files of images, or a list of these.
        Required unless `output.split` has names or patterns.
      carry: Files beside to carry along, by their names in the token records; `{stem}` stands for
        the name of the image file without its ending.
      classes: Names of the classes of `label`, in the order of the labels: a list, a text file
        with a name per line, or the directory of a dataset.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    noun: ClassVar[str] = "IDX files"

    kind: Literal["idx"]
