"""The first minute: a demo from the package's own files, configs for one's own images."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fsq.errors import RequestError
from fsq.yaml_config import load_config
from pipeline.job.config import TokenizeConfig
from pipeline.starters.demo import write_demo
from pipeline.starters.init import write_config
from pipeline.tokenizers.config import TrainConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put_image(path: Path, side: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((side, side + 3, 3), np.uint8)).save(path, "PNG")


def test_the_demo_holds_the_sample_images_in_the_folders_of_their_classes(folder: Path):
    demo = write_demo("here")
    assert demo.classes.total() == len(list(Path("here/images").glob("*/*.png"))) == 2000
    assert sorted(demo.classes) == sorted(path.name for path in Path("here/images").iterdir())
    config = load_config("here/demo.yaml", TokenizeConfig)
    assert (config.tokenizer, config.output.directory) == ("here/tokenizer", "here/tokens")


@pytest.mark.slow
def test_the_demo_ends_in_a_dataset_that_is_well_and_a_picture(folder: Path, run):
    done = run("demo", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        "fsq_demo/tokens: 2,000 records in 2 shards; "
        "2,000 images listed = 2,000 written + 0 rejected",
        "fsq_demo/tokens: all is well",
        "fsq_demo/demo.png: images, and below them what their tokens decode to",
        "For your own images: fsq init images DIR",
    ]
    with Image.open("fsq_demo/demo.png") as picture:
        assert np.asarray(picture).std() > 30


def test_the_demo_does_not_mix_with_what_is_there(folder: Path):
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("all of it")
    (folder / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(RequestError, match="expected a new or empty directory for the demo"):
            write_demo(name)
    assert [path.name for path in (folder / "mine").iterdir()] == ["thesis.txt"]
    (folder / "empty").mkdir()
    assert write_demo("empty").config.exists()


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("photos", "photos"),
        ("My Photos: 2026 #1", "my_photos_2026_1"),
        ("it's {mine}", "it_s_mine"),
        ("2026", "images_2026"),
        ("写真", "images"),
        ("-", "images"),
    ],
)
def test_a_written_config_names_the_folder_exactly(folder: Path, name: str, dataset: str):
    put_image(folder / name / "a.png")
    path = write_config("images", name, "some where/tokenizer", None)
    assert path == f"{dataset}.yaml"
    config = load_config(path, TokenizeConfig)
    assert config.source.model_dump()["directory"] == name
    assert (config.tokenizer, config.output.name) == ("some where/tokenizer", dataset)


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["a.png", "b.png"], False),
        (["a/1.png", "b/1.png"], True),
        (["a/1.png", "2.png"], False),
        (["a/1", "notes.txt"], True),
    ],
)
def test_folders_are_classes_where_every_image_lies_in_one(
    folder: Path, files: list[str], labels: bool
):
    for name in files:
        if name.endswith(".txt"):
            (folder / "photos" / name).write_text("no image")
        else:
            put_image(folder / "photos" / name)
    path = write_config("images", "photos", "t", "mine.yaml")
    assert yaml.safe_load(Path(path).read_text())["source"]["labels"] is labels


@pytest.mark.parametrize(
    ("images", "side", "size", "epochs", "grid"),
    [(1, 4, 32, 5000, 8), (40, 70, 64, 2500, 16), (64, 500, 128, 1250, 16)],
)
def test_a_config_for_training_suits_the_size_and_number_of_the_images(
    folder: Path, images: int, side: int, size: int, epochs: int, grid: int
):
    for number in range(images):
        put_image(folder / "photos" / f"{number}.png", side)
    path = write_config("training", "photos", "tokenizers/mine", None)
    config = load_config(path, TrainConfig)
    assert (path, config.output) == ("photos_tokenizer.yaml", "tokenizers/mine")
    assert (config.tokenizer.image.size_pixels, config.training.epochs) == (size, epochs)
    assert config.tokenizer.grid == (grid, grid)


def test_a_file_that_is_there_and_a_folder_without_images_are_refused(folder: Path):
    (folder / "photos.yaml").write_text("mine")
    put_image(folder / "photos" / "a.png")
    with pytest.raises(RequestError, match=r"photos\.yaml: expected no file of this name"):
        write_config("images", "photos", "t", None)
    assert (folder / "photos.yaml").read_text() == "mine"
    (folder / "texts").mkdir()
    (folder / "texts" / "a.png").write_text("no image")
    for name, found in (("texts", "none in its first"), ("nowhere", "no such folder")):
        with pytest.raises(
            RequestError, match=f"{name}: expected a folder of images, found {found}"
        ):
            write_config("images", name, "t", None)
