"""The benchmark of sources: each writer stores the same images, and the same numbers find them."""

from pathlib import Path

import pytest
from builders.paths import ROOT
from PIL import Image

from benchmarks.sources import WRITERS, number_of, read_samples
from fsq.validation import parse
from pipeline.core.records import ImageRecord
from pipeline.job.config import TokenizeConfig
from pipeline.sources.units import cut_units


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_stores_every_image_with_its_number_and_label(kind: str, tmp_path: Path):
    for number in range(11):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    samples = read_samples(tmp_path / "images", 11)
    folder = tmp_path / "in"
    folder.mkdir()
    output = {"directory": str(tmp_path / "out"), "name": "tokens"}
    fields = {
        "source": WRITERS[kind](samples, folder),
        "tokenizer": str(ROOT / "tokenizers/cifar10"),
        "output": output,
    }
    source = parse(TokenizeConfig, fields, "job.yaml").source.open()
    found = {}
    with source.list().on_disk() as listing:
        for unit in cut_units(listing, 4):
            for record in source.read(unit, listing.features):
                assert isinstance(record, ImageRecord)
                found[number_of(record.key)] = record.carried
    assert found == {number: (one.label,) for number, one in enumerate(samples)}
