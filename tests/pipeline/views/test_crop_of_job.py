"""A job may fit its images by another crop than the tokenizer's own, and says so."""

from pathlib import Path

import numpy as np
import pytest
from builders.jobs import job_fields
from PIL import Image

from fsq.dataset import TokenSource
from fsq.errors import RequestError
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.tokenizer import Tokenizer
from fsq.validation import parse
from pipeline.job.config import TokenizeConfig
from pipeline.planning.prepare import describe_job, prepare
from pipeline.reports.contact_sheet import find_originals, first_records, read_contract_of_dataset
from pipeline.run import tokenize
from tools.crop_goldens import draw

NOTE = (
    "adm, but the tokenizer was trained with center: many tokens differ from those of its own crop"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(4):
        draw(61 + 7 * number, 50).save(tmp_path / "in" / "a" / f"{number}.png")
    return tmp_path / "in"


def config_of(folder: Path, tokenizer: Path, to: Path, **fields: object) -> TokenizeConfig:
    return parse(TokenizeConfig, job_fields(folder, tokenizer, to, **fields), "job.yaml")


def test_the_tokens_are_those_of_the_other_crop(
    folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    config = config_of(
        folder,
        tokenizer_directory,
        tmp_path / "out",
        crop="adm",
        views=["center_flipped"],
        output={"formats": ["tfrecord", "array_record"]},
    )
    assert dict(describe_job(prepare(config)))["crop"] == NOTE
    summary = tokenize(config)
    assert summary.crop == NOTE
    tokenizer = Tokenizer.load(summary.directory, batch_size=8)
    contract = read_contract_of_dataset(summary.directory)
    assert (contract.crop, contract.image.crop, contract.fitted.crop) == ("adm", "center", "adm")
    for record in TokenSource(summary.directory):
        pixels = decode_image((folder / record["key"].decode()).read_bytes(), 3)
        fitted = fit_image(pixels, contract.fitted, flip=True)
        tokens = record["tokens"].reshape(contract.grid)
        np.testing.assert_array_equal(tokens, tokenizer.encode(fitted[None])[0])
    drawn = list(first_records(summary.directory, contract, 4))
    for record, original in zip(
        drawn, find_originals(summary.directory, contract, drawn), strict=True
    ):
        pixels = np.asarray(Image.open(folder / record.key))
        np.testing.assert_array_equal(original, fit_image(pixels, contract.fitted, flip=True))


def test_the_own_crop_by_name_is_no_other_job(
    folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    config = config_of(folder, tokenizer_directory, tmp_path / "out")
    named = config_of(folder, tokenizer_directory, tmp_path / "out", crop="center")
    plan, other = prepare(config).plan, prepare(named).plan
    assert plan.fingerprint == other.fingerprint
    assert "crop" not in dict(describe_job(prepare(named)))


def test_another_crop_is_another_job(folder: Path, tokenizer_directory: Path, tmp_path: Path):
    tokenize(config_of(folder, tokenizer_directory, tmp_path / "out"))
    with pytest.raises(RequestError, match=r"tokenizer crop was absent, is squash"):
        tokenize(config_of(folder, tokenizer_directory, tmp_path / "out", crop="squash"))
