"""Splits a folder of images into train and test: python -m tools.hold_out SOURCE TARGET.

The class folders are kept. About one image in ten goes to test, chosen by a hash of
its path in the folder, so that the same images give the same split.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

HELD_OUT_ONE_IN = 10
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}


def part_of(name: str) -> str:
    """Returns 'test' for one name in ten, else 'train'."""
    digest = hashlib.sha256(name.encode()).digest()
    return "train" if int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN else "test"


def hold_out(source: Path, target: Path) -> dict[str, int]:
    """Copies the images of a folder into target/train and target/test.

    Returns:
      How many images went into each.
    """
    counts = {"train": 0, "test": 0}
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in EXTENSIONS:
            name = path.relative_to(source).as_posix()
            part = part_of(name)
            copy = target / part / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            counts[part] += 1
    return counts


def main() -> None:
    """Copies the images and prints the number in each split."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    if not arguments.source.is_dir():
        parser.error(f"{arguments.source}: expected a folder of images, found none.")
    counts = hold_out(arguments.source, arguments.target)
    print(f"{arguments.target}: {counts['train']} images in train, {counts['test']} in test")


if __name__ == "__main__":
    main()
