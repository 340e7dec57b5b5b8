"""Makes the goldens of the crop policies with the originals' own arithmetic.

    python -m tools.crop_goldens [PHOTOS]    in an environment with torch, torchvision and Pillow

Writes `tests/fsq/images/goldens/crops.json`: digests of the pixels that each policy's original
gives, of images drawn from a seed and, with a folder of photos, of the first 200 of these, in
groups of 25.
Nothing here uses the code that the goldens test.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

GOLDENS = Path(__file__).parents[1] / "tests" / "fsq" / "images" / "goldens" / "crops.json"
# Widths and heights: wide, tall, small, large, odd, and the wanted ones themselves.
SIZES = (
    *((400, 533), (533, 400), (500, 375), (64, 64), (32, 32), (31, 97), (97, 31), (7, 9)),
    *((128, 129), (255, 128), (1000, 217), (63, 64), (1, 5), (513, 512), (96, 65), (33, 32)),
)
WANTED = (32, 64)
# LlamaGen's, and one whose canvas leaves an odd number of pixels.
FACTORS = (1.1, 1.05, 1.3)
MOST_PHOTOS, GROUP = 200, 25


def draw(width: int, height: int) -> Image.Image:
    """Draws an image with edges and noise, the same on every machine."""
    random = np.random.default_rng(width * 10_000 + height)
    blocks = random.integers(0, 256, (-(-height // 5), -(-width // 7), 3), np.uint8)
    pixels = np.kron(blocks, np.ones((5, 7, 1), np.uint8))[:height, :width]
    return Image.fromarray(pixels ^ random.integers(0, 32, pixels.shape, np.uint8))


def adm(image: Image.Image, size: int, last: Image.Resampling) -> np.ndarray:
    """Does what `center_crop_arr` of guided-diffusion does."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = size / min(image.size)
    scaled = (round(image.width * factor), round(image.height * factor))
    pixels = np.array(image.resize(scaled, last))
    y, x = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[y : y + size, x : x + size]


def torchvision(image: Image.Image, size: int) -> np.ndarray:
    """Runs torchvision's own transforms."""
    from torchvision import transforms  # type: ignore[import-not-found, unused-ignore]

    mode = transforms.InterpolationMode.BICUBIC
    steps = transforms.Compose(
        [transforms.Resize(size, mode, antialias=True), transforms.CenterCrop(size)]
    )
    return np.array(steps(image))


def ten_crop(image: Image.Image, size: int, factor: float) -> np.ndarray:
    """Does what LlamaGen's extraction of codes does, with torchvision's own transform."""
    from torchvision import transforms

    canvas = adm(image, int(size * factor), Image.Resampling.BICUBIC)
    return np.stack([np.array(view) for view in transforms.TenCrop(size)(Image.fromarray(canvas))])


def squash(image: Image.Image, size: int) -> np.ndarray:
    """Resizes without regard to the shape."""
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC))


def pad(image: Image.Image, size: int) -> np.ndarray:
    """Resizes to fit, on black."""
    factor = size / max(image.size)
    scaled = tuple(max(1, round(side * factor)) for side in image.size)
    canvas = Image.new("RGB", (size, size))
    place = ((size - scaled[0]) // 2, (size - scaled[1]) // 2)
    canvas.paste(image.resize(scaled, Image.Resampling.BICUBIC), place)
    return np.array(canvas)


def center(image: Image.Image, size: int) -> np.ndarray:
    """Resizes the largest centred square."""
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    box = (x, y, x + side, y + side)
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


ORIGINALS: dict[str, Callable[[Image.Image, int], np.ndarray]] = {
    "center": center,
    "adm": lambda image, size: adm(image, size, Image.Resampling.BICUBIC),
    "adm_lanczos": lambda image, size: adm(image, size, Image.Resampling.LANCZOS),
    "torchvision": torchvision,
    "squash": squash,
    "pad": pad,
}


def digest(images: Iterable[np.ndarray]) -> str:
    """Returns 16 hex digits of the sha256 of pixels."""
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()[:16]


def first_photos(folder: Path) -> list[list[Path]]:
    """Returns the first photos of a folder, sorted by path, in groups."""
    paths = sorted(folder.rglob("*.jpg"))[:MOST_PHOTOS]
    return [paths[start : start + GROUP] for start in range(0, len(paths), GROUP)]


def main() -> None:
    """Writes the goldens."""
    groups = first_photos(Path(sys.argv[1])) if len(sys.argv) > 1 else []
    found: dict[str, dict[str, object]] = {}
    for policy, original in ORIGINALS.items():
        drawn = {
            f"{width}x{height}": digest(original(draw(width, height), size) for size in WANTED)
            for width, height in SIZES
        }
        photos = [
            digest(original(Image.open(path).convert("RGB"), WANTED[-1]) for path in group)
            for group in groups
        ]
        found[policy] = {"drawn": drawn, "photos": photos}
    for factor in FACTORS:
        found[f"ten_crop_{factor}"] = {
            f"{width}x{height}": digest(
                ten_crop(draw(width, height), size, factor) for size in WANTED
            )
            for width, height in SIZES
        }
    GOLDENS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
