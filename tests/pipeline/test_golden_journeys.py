"""Journeys to the bytes of the golden file, so that a mistake common to two runs is seen.

The pictures are computed, and 28 pixels wide, so nothing is resized. They are chosen so that no
latent is near a rounding boundary: other last decimals, of another kind of CPU or version of
TensorFlow, change no token.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from builders.jobs import job_config
from builders.paths import ROOT
from PIL import Image

import pipeline.stages.encode_units
from fsq.dataset.formats import FORMATS
from fsq.errors import DataError
from fsq.models.autoencoder import pixels_to_floats
from fsq.quantizer import presets
from fsq.tokenizer import Tokenizer
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize

pytestmark = pytest.mark.slow

TOKENIZER = ROOT / "tokenizers" / "fashion_mnist"
GOLDEN = Path(__file__).parent / "goldens" / "journeys.json"
# All of these have no latent within 0.002 of a step of a boundary, mirrored or not; the last
# decimals of a latent are about 1e-6.
NUMBERS = (13, 17, 68, 65, 19, 57, 66, 16, 157, 138, 61, 107, 130, 34, 97, 55, 152, 92, 106, 44)
FARTHER = 0.002
JOURNEYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without labels": {"source": {"labels": False}},
    "two views": {"views": ["center", "center_flipped"]},
    "tokens as integers": {"output": {"tokens": "int64_list"}},
    "fields carried from tfrecords": {},
    "two formats": {"output": {"formats": ["tfrecord", "array_record"]}},
}


def picture(number: int) -> np.ndarray:
    """A picture, uint8 [28, 28]."""
    row, column = np.mgrid[:28, :28]
    waves = row * row * (number + 1) + column * column * (number % 7 + 2)
    waves += row * column * (number % 5)
    return ((waves // (12 + number % 9) + 17 * number) % 256).astype(np.uint8)


def write_images(folder: Path) -> None:
    for number in NUMBERS:
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)


def write_tfrecords(folder: Path, images: Path) -> dict[str, Any]:
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for path in sorted(images.rglob("*.png")):
            example = tf.train.Example()
            feature = example.features.feature
            feature["image"].bytes_list.value.append(path.read_bytes())
            feature["name"].bytes_list.value.append(path.name.encode())
            feature["number"].int64_list.value.append(int(path.stem))
            feature["caption"].bytes_list.value.append(f"picture {path.stem}".encode())
            writer.write(example.SerializeToString())
    carry = {"label": "number", "text": "caption"}
    files = str(folder / "x.tfrecord")
    return {"kind": "tfrecord", "files": files, "image": "image", "key": "name", "carry": carry}


def config_of(name: str, folder: Path):
    """The config of a journey; its images are made if they are not there."""
    images = folder / "images"
    if not images.exists():
        write_images(images)
    changes = dict(JOURNEYS[name])
    source = {"kind": "image_folder", "directory": str(images), **changes.pop("source", {})}
    if "tfrecords" in name:
        source = write_tfrecords(folder, images)
    return job_config(source, TOKENIZER, folder / "out", runtime="tensorflow", **changes)


def digests(directory: str) -> dict[str, str]:
    """Returns sha256 of each shard; of ArrayRecord, packed by its library, that of the records."""
    found = {}
    for path in sorted(Path(directory).glob("pets-train.*")):
        data = path.read_bytes()
        if "array_record" in path.name:
            data = b"".join(FORMATS["array_record"].read(str(path)))
        found[path.name.removeprefix("pets-train.")] = hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.parametrize("name", JOURNEYS)
def test_a_job_gives_the_golden_bytes(tmp_path: Path, name: str):
    config = config_of(name, tmp_path)
    tokenize(config)
    assert digests(config.output.directory) == json.loads(GOLDEN.read_text())["shards"][name]
    assert list(verify_dataset(config.output.directory)) == []


def test_a_resumed_job_gives_the_golden_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encode_unit = pipeline.stages.encode_units.encode_unit

    def failing(unit, *rest, **named):
        if unit.name == "unit-000001":
            raise OSError(5, "Input/output error", unit.path)
        return encode_unit(unit, *rest, **named)

    config = config_of("plain", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
        with pytest.raises(DataError, match="Input/output error"):
            tokenize(config)
    assert tokenize(config).units_resumed > 0
    assert digests(config.output.directory) == json.loads(GOLDEN.read_text())["shards"]["plain"]


def test_a_record_holds_the_golden_tokens(tmp_path: Path):
    """Those of one picture, parsed by TensorFlow alone; a person can compare them."""
    config = config_of("plain", tmp_path)
    tokenize(config)
    files = sorted(map(str, Path(config.output.directory).glob("*.tfrecord-*")))
    found = {}
    for data in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = tf.train.Example.FromString(data).features.feature
        tokens = np.frombuffer(feature["tokens"].bytes_list.value[0], "<u2").reshape(7, 7)
        found[feature["key"].bytes_list.value[0].decode()] = tokens.tolist()
    golden = json.loads(GOLDEN.read_text())["tokens"]
    assert {key: found[key] for key in golden} == golden


def test_no_latent_of_the_pictures_is_near_a_boundary():
    tokenizer = Tokenizer.load(TOKENIZER, batch_size=8)
    contract = tokenizer.contract
    pictures = np.stack([picture(number) for number in NUMBERS])[..., None]
    pictures = np.concatenate([pictures, pictures[:, :, ::-1]])
    floats = np.asarray(pixels_to_floats(pictures, contract.image))
    latents = np.asarray(tokenizer._autoencoder.encoder(floats, training=False))
    bounded = presets.bound(latents, contract.levels, contract.preset, contract.eps)
    assert np.abs(bounded - np.floor(bounded) - 0.5).min() > FARTHER


def make_goldens() -> dict[str, Any]:
    shards = {}
    for name in JOURNEYS:
        with tempfile.TemporaryDirectory() as folder:
            config = config_of(name, Path(folder))
            tokenize(config)
            shards[name] = digests(config.output.directory)
    pictures = np.stack([picture(number) for number in NUMBERS[:2]])[..., None]
    tokens = Tokenizer.load(TOKENIZER, batch_size=8).encode(pictures).tolist()
    keys = [f"{'even' if number % 2 == 0 else 'odd'}/{number:03d}.png" for number in NUMBERS[:2]]
    return {
        "about": "sha256 of the shards of tests/pipeline/test_golden_journeys.py, and the tokens "
        "of two of its pictures; of ArrayRecord, sha256 of the records. The same on every machine: "
        "no latent is near a boundary. If they change, every dataset changes: that is a line under "
        "Breaking in CHANGELOG.md. Made by: PYTHONPATH=.:tests python "
        "tests/pipeline/test_golden_journeys.py",
        "tokens": dict(zip(keys, tokens, strict=True)),
        "shards": shards,
    }


if __name__ == "__main__":
    text = json.dumps(make_goldens(), indent=1)
    text = re.sub(r"\[[\d,\s]+\]", lambda row: " ".join(row[0].split()), text)  # a row in a line
    GOLDEN.write_text(text + "\n")
    sys.stdout.write(f"{GOLDEN}\n")
