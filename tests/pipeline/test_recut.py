"""Recut: the pixels of another modality that lie where the tokens of a record come from."""

from pathlib import Path

import numpy as np
import pytest
from builders.jobs import job_fields

from fsq.dataset import TokenSource
from fsq.errors import RequestError
from fsq.images.decode import decode_image
from fsq.tokenizer import Tokenizer
from fsq.validation import parse
from pipeline.job.config import TokenizeConfig
from pipeline.recut import Recut, recut
from pipeline.run import tokenize
from tools.crop_goldens import draw

VIEWS = [
    "flip",
    {"kind": "ten_crop", "range": 1.3},
    {"kind": "random", "count": 3, "flip": True},
]
SPLITS = {"train": 0.5, "val": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a").mkdir()
    for number in range(4):
        draw(61 + 9 * number, 50).save(folder / "a" / f"{number}.png")
    return folder


def make(folder: Path, tokenizer: Path, directory: Path, **fields: object) -> str:
    output = {"formats": ["tfrecord", "array_record"], "split": SPLITS}
    content = job_fields(folder, tokenizer, directory, views=VIEWS, output=output, **fields)
    return tokenize(parse(TokenizeConfig, content, "job.yaml")).directory


@pytest.mark.parametrize("crop", ["center", "adm", "pad"])
def test_what_is_cut_again_has_the_same_tokens(
    folder: Path, tokenizer_directory: Path, tmp_path: Path, crop: str
):
    directory = make(folder, tokenizer_directory, tmp_path / "out", crop=crop)
    tokenizer = Tokenizer.load(directory, batch_size=8)
    cutter = Recut(directory)
    keys: dict[str, set[str]] = {}
    for split in SPLITS:
        for record in TokenSource(directory, split):
            key = record["key"].decode()
            pixels = decode_image((folder / key).read_bytes(), 3)
            assert list(record["source_size"]) == list(pixels.shape[:2])
            cut = cutter(pixels, record, resize="image")
            np.testing.assert_array_equal(recut(directory, pixels, record, resize="image"), cut)
            tokens = tokenizer.encode(cut[None])[0].ravel()
            np.testing.assert_array_equal(tokens, record["tokens"])
            keys.setdefault(key, set()).add(split)
    # All views of an image are in one split.
    assert len(keys) == 4 and {len(splits) for splits in keys.values()} == {1}


def test_masks_take_the_nearest_pixel_of_the_same_place(
    folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    directory = make(folder, tokenizer_directory, tmp_path / "out", crop="adm")
    cutter = Recut(directory)
    for record in TokenSource(directory, "train"):
        height, width = record["source_size"]
        rows, columns = np.mgrid[:height, :width]
        places = np.stack([rows, columns], axis=2)
        cut = cutter(places, record)
        assert cut.shape == (16, 16, 2) and cut.dtype == places.dtype
        left, top, right, bottom = record["crop"]
        across = cut[0, ::-1, 1] if record["flip"] else cut[0, :, 1]
        step = (right - left) / 16
        assert abs(across - (left + (np.arange(16) + 0.5) * step)).max() < step
        assert abs(cut[:, 0, 0] - (top + (np.arange(16) + 0.5) * (bottom - top) / 16)).max() < step
        np.testing.assert_array_equal(cutter(rows, record), cut[..., 0])
        smooth = cutter(columns.astype(np.float32), record, resize="image")
        assert smooth.dtype == np.float32
        assert abs(smooth - cut[..., 1]).max() < 2 * step


def test_what_does_not_fit_is_refused_in_one_line(
    folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    directory = make(folder, tokenizer_directory, tmp_path / "out")
    cutter, record = Recut(directory), next(iter(TokenSource(directory, "train")))
    height, width = record["source_size"]
    with pytest.raises(RequestError, match=rf"expected pixels \[{height}, {width}\] or .*\[9, 9\]"):
        cutter(np.zeros((9, 9), np.uint8), record)
    with pytest.raises(RequestError, match=r"expected a view of the dataset \(center, .*'nine'"):
        cutter(np.zeros((height, width), np.uint8), {**record, "view": b"nine"})
    with pytest.raises(RequestError, match="expected uint8 or float32 pixels to resample, got"):
        cutter(np.zeros((height, width), np.int64), record, resize="image")
