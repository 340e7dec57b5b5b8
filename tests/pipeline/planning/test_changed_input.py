"""An interrupted job goes on only with the input that its finished units were made from."""

import os
from pathlib import Path
from typing import Any

import pytest
from builders.jobs import MakeConfig, files_of

import pipeline.stages.encode_units
from fsq.dataset.example.proto import Example
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError, RequestError
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize

pytestmark = pytest.mark.slow

RECORDS = 16  # of each of two inputs: two units of eight


def write_folder(folder: Path, images: list[bytes]) -> dict[str, Any]:
    for number, image in enumerate(images):
        path = folder / ("cats" if number < RECORDS else "dogs") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != image:
            path.write_bytes(image)
    return {"kind": "image_folder", "directory": str(folder)}


def write_records(folder: Path, images: list[bytes]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for name, part in (("a", images[:RECORDS]), ("b", images[RECORDS:])):
        frames = []
        for number, image in enumerate(part):
            example = Example()
            for field in ("image", "other"):
                example.features.feature[field].bytes_list.value.append(image)
            for field in ("name", "title"):
                value = b"%b %d" % (name.encode(), number)
                example.features.feature[field].bytes_list.value.append(value)
            frames.append(frame(example.SerializeToString()))
        (folder / name).write_bytes(b"".join(frames))
    return {"kind": "tfrecord", "files": f"{folder}/*", "image": "image", "key": "name"}


WRITERS = {"image_folder": write_folder, "tfrecord": write_records}
REWRITTEN = {"image_folder": "cats/03.png", "tfrecord": "a"}


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def images(small_images: list[bytes]) -> list[bytes]:
    return (small_images * 2)[: 2 * RECORDS]


def interrupt(config: TokenizeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves a job behind in which every unit but the last is done."""
    encode_unit = pipeline.stages.encode_units.encode_unit

    def failing(unit, *rest, **named):
        if unit.name == "unit-000003":
            raise OSError(5, "Input/output error", unit.path)
        return encode_unit(unit, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
        with pytest.raises(DataError):
            tokenize(config)


def rewritten(images: list[bytes]) -> list[bytes]:
    """Changes the fourth image, and not its size."""
    changed = bytearray(images[3])
    changed[-20] ^= 1
    return [*images[:3], bytes(changed), *images[4:]]


def age(folder: Path) -> None:
    """Makes every file look as if it was written long ago."""
    for path in folder.rglob("*"):
        os.utime(path, ns=(1, 1))


def test_an_interrupted_job_refuses_what_was_rewritten_with_the_same_size(
    make_config: MakeConfig,
    tmp_path: Path,
    images: list[bytes],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
):
    source = WRITERS[kind](tmp_path / "in", images)
    age(tmp_path / "in")
    config = make_config(source=source)
    interrupt(config, monkeypatch)
    done = files_of(config.output.directory)
    sizes = {path: path.stat().st_size for path in (tmp_path / "in").rglob("*")}
    WRITERS[kind](tmp_path / "in", rewritten(images))
    assert {path: path.stat().st_size for path in sizes} == sizes
    with pytest.raises(RequestError) as error:
        tokenize(config)
    assert "expected parts of this job, found parts of another job: input " in str(error.value)
    assert f"{REWRITTEN[kind]} was rewritten (content was " in str(error.value)
    assert files_of(config.output.directory) == done


def test_an_interrupted_job_goes_on_with_the_same_content_of_another_time(
    make_config: MakeConfig,
    tmp_path: Path,
    images: list[bytes],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
):
    source = WRITERS[kind](tmp_path / "in", images)
    config = make_config(source=source)
    interrupt(config, monkeypatch)
    age(tmp_path / "in")
    assert tokenize(config).units_resumed == 3
    undisturbed = make_config("undisturbed", source=source)
    tokenize(undisturbed)
    assert files_of(config.output.directory) == files_of(undisturbed.output.directory)


OTHER_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"image": "other"}, "source image was image, is other."),
    ({"key": "title"}, "source key was name, is title."),
    ({"key": None}, "source key was name, is absent."),
    ({"carry": {"title": "title"}}, "source carry title was absent, is title."),
    ({"damaged": "reject"}, "source damaged was refuse, is reject."),
    ({"empty_files": "allow"}, "source empty_files was refuse, is allow."),
]


def test_other_fields_of_the_same_records_are_another_job(
    make_config: MakeConfig,
    tmp_path: Path,
    images: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    source = write_records(tmp_path / "in", images)
    interrupt(make_config(source=source), monkeypatch)
    for changes, difference in OTHER_FIELDS:
        with pytest.raises(RequestError) as error:
            tokenize(make_config(source=source | changes))
        assert f"found parts of another job: {difference}" in str(error.value)
