"""A PyTorch DataLoader over image files: Pillow, centre crop, bicubic; one worker per core.

    python benchmarks/peers/torch_images.py FOLDER SIZE BATCH_SIZE WORKERS

prints the images per second of the second epoch, and the microseconds of processors for each
image of both. Needs torch, Pillow and NumPy alone, so that it
runs in an environment of its own.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class ImageFiles(Dataset):
    """The pixels of every file, uint8 [3, S, S]."""

    def __init__(self, folder: str, size: int):
        self.paths, self.size = sorted(map(str, Path(folder).rglob("*.jpg"))), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as file:
            image = file.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        if image.size != (self.size, self.size):
            box = (left, top, left + side, top + side)
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1))


def main() -> None:
    """Reads two epochs, and prints the speed of the second."""
    folder, *numbers = sys.argv[1:]
    size, batch_size, workers = map(int, numbers)
    images, used = ImageFiles(folder, size), sum(os.times()[:4])
    loader = DataLoader(
        images, batch_size, shuffle=True, num_workers=workers, persistent_workers=True
    )
    for _ in range(2):
        began = time.perf_counter()
        count = sum(len(batch) for batch in loader)
        seconds = time.perf_counter() - began
    if count != len(images):
        raise ValueError(f"expected {len(images):,} images, got {count:,}")
    del loader  # ends the workers, whose time counts then
    print(count / seconds, (sum(os.times()[:4]) - used) / count / 2 * 1e6)


if __name__ == "__main__":
    main()
