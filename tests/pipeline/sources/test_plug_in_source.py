"""A new source is a file and a line in the registry: one for ZIP archives goes through it all."""

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pydantic
import pytest
from builders.jobs import job_fields
from builders.sources import Images
from builders.zip_source import ZipConfig, build_zip

from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.job.config import TokenizeConfig
from pipeline.planning.prepare import describe_job, prepare
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize
from pipeline.sources import SourceConfig


class ConfigWithZip(TokenizeConfig):
    """Its source is declared the way pipeline/sources/__init__.py does it."""

    source: Annotated[SourceConfig | ZipConfig, pydantic.Field(discriminator="kind")]


MakeConfig = Callable[..., ConfigWithZip]


@pytest.fixture
def make_config(tokenizer_directory: Path, tmp_path: Path) -> MakeConfig:
    def make(source: SourceConfig | ZipConfig, directory: str = "out") -> ConfigWithZip:
        fields = (source.model_dump(), tokenizer_directory, tmp_path / directory)
        return parse(ConfigWithZip, job_fields(*fields, max_reject_fraction=0.1), "job.yaml")

    return make


@pytest.fixture
def images(image_folder: Path) -> Images:
    paths = sorted(image_folder.rglob("*.png"))
    return {path.relative_to(image_folder).as_posix(): path.read_bytes() for path in paths}


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.tfrecord-*"))}


def test_it_is_planned_under_its_own_name(make_config: MakeConfig, tmp_path: Path, images: Images):
    config = make_config(build_zip(tmp_path / "in", images))
    prepared = prepare(config)
    assert prepared.plan.job.num_records == len(images)
    described = dict(describe_job(prepared))
    assert described["source"] == f"{tmp_path}/in/*.zip, 100 images"
    assert described["carried"] == "label"


def test_its_dataset_is_that_of_the_same_images_in_a_folder(
    make_config: MakeConfig, tmp_path: Path, images: Images, image_folder: Path
):
    folder = {"kind": "image_folder", "directory": str(image_folder)}
    tokenize(make_config(pydantic.TypeAdapter(SourceConfig).validate_python(folder), "folder"))
    summary = tokenize(make_config(build_zip(tmp_path / "in", images)))
    assert list(verify_dataset(summary.directory)) == []
    assert shards(tmp_path / "out") == shards(tmp_path / "folder") != {}
    again = tokenize(make_config(ZipConfig(kind="zip", files=f"{tmp_path}/in/*.zip", labels=True)))
    assert again == dataclasses.replace(summary, units_resumed=summary.num_units)


def test_its_rejects_can_be_repaired(make_config: MakeConfig, tmp_path: Path, images: Images):
    name = "cats/041.png"
    source = build_zip(tmp_path / "in", {**images, name: b"<html>"})
    config = make_config(source)
    assert tokenize(config).rejects_by_file == {"images.zip": (1, 100)}
    build_zip(tmp_path / "in", images)
    summary = retry_rejects(config.output.directory, config)
    assert (summary.images_retried, summary.images_rejected) == (1, 0)
    repaired = shards(tmp_path / "out")
    tokenize(make_config(source, "whole"))
    assert repaired == shards(tmp_path / "whole")


def test_another_content_of_it_is_another_job(
    make_config: MakeConfig, tmp_path: Path, images: Images
):
    tokenize(make_config(build_zip(tmp_path / "in", images)))
    more = build_zip(tmp_path / "in", {**images, "cats/more.png": images["cats/041.png"]})
    with pytest.raises(RequestError, match=r"input files images\.zip records was 100, is 101\."):
        tokenize(make_config(more))


def test_what_it_raises_ends_the_job_in_one_line(
    make_config: MakeConfig, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
):
    def failing(archive: zipfile.ZipFile, name: str) -> bytes:
        raise DataError(f"{archive.filename}: {name}: expected another byte. Copy it again.")

    source = build_zip(tmp_path / "in", images)
    monkeypatch.setattr(zipfile.ZipFile, "read", failing)
    with pytest.raises(DataError, match=r"images\.zip: \w+/\d+\.png: expected another byte\."):
        tokenize(make_config(source))
    with pytest.raises(RequestError, match=r"source\.files: expected ZIP archives, found no"):
        tokenize(make_config(ZipConfig(kind="zip", files=f"{tmp_path}/nowhere/*.zip")))


def test_a_mistake_in_its_config_is_one_line(make_config: MakeConfig):
    config = make_config(ZipConfig(kind="zip", labels=True, files="x")).model_dump()
    for source, message in (
        (
            {"kind": "zipp"},
            "source.kind: expected one of 'tfds', 'tfrecord', ",
        ),
        ({"kind": "zip", "file": "x"}, "source.file: unknown key (did you mean 'files'?)"),
    ):
        with pytest.raises(RequestError) as error:
            parse(ConfigWithZip, {**config, "source": source}, "job.yaml")
        assert str(error.value).startswith(f"job.yaml.{message}")
