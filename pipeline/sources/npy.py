"""NumPy source: images as uint8 arrays in .npy and .npz files."""

from typing import ClassVar, Literal

from pipeline.sources.array_source import ArrayConfig


class NpyConfig(ArrayConfig):
    """NumPy files of pixels, uint8 [N, H, W, C] or [N, H, W].

    Attributes:
      files: Name or pattern of the .npy or .npz files, or a list of these.
        Required unless `output.split` has names or patterns.
      image: Name of the array of images in a .npz with several.
      carry: Arrays to carry along, by their names in the token records: of a .npz by their names
        in it, else the name of a file beside, in which `{stem}` stands for the name of the image
        file without its ending.
      classes: Names of the classes of `label`, in the order of the labels: a list, a text file
        with a name per line, or the directory of a dataset.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    noun: ClassVar[str] = "NumPy files"

    kind: Literal["npy"]
    image: str | None = None

    @property
    def member(self) -> str | None:
        """Name of the array of images in a .npz; None for its only one."""
        return self.image
