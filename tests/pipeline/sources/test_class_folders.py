"""Labels of an image folder: the same name has the same number, or somebody is told."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig
from builders.sources import build_image_folder

from fsq.dataset.class_names import (
    describe_classes,
    names_file_of,
    parse_names,
    render_names,
    storable,
)
from fsq.errors import DataError, RequestError
from fsq.validation import parse
from pipeline.core.records import ImageRecord
from pipeline.planning.prepare import prepare
from pipeline.run import tokenize
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.units import one_unit_per_file


def config_of(folder: Path, names: Sequence[str], classes: object = None) -> ImageFolderConfig:
    """Writes an empty image for each name, or a folder where it ends with a slash."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir(exist_ok=True)
        else:
            (folder / name).write_bytes(b"")
    fields = {"kind": "image_folder", "directory": str(folder), "classes": classes}
    return parse(ImageFolderConfig, fields, "source")


def classes_of(config: ImageFolderConfig) -> tuple[str, ...]:
    (feature,) = config.open().list().features
    assert feature.name == "label" and feature.class_names is not None
    return feature.class_names


def labels_of(config: ImageFolderConfig) -> dict[str, int]:
    source = config.open()
    with source.list().on_disk() as listing:
        (unit,) = one_unit_per_file(listing)
        records = list(source.read(unit, listing.features))
    found = {}
    for record in records:
        assert isinstance(record, ImageRecord) and isinstance(record.carried[0], int)
        found[record.key] = record.carried[0]
    return found


def refusal_of(config: ImageFolderConfig) -> str:
    with pytest.raises(RequestError) as error:
        config.open().list()
    return str(error.value)


def test_classes_are_numbered_by_sorted_names_where_one_begins_like_another(tmp_path: Path):
    config = config_of(tmp_path, ["a0/1.png", "a/b/1.png", "a-b/1.png", "a/1.png", "\xe4/1.png"])
    assert classes_of(config) == ("a", "a-b", "a/b", "a0", "\xe4")
    assert labels_of(config) == {
        "a/1.png": 0,
        "a-b/1.png": 1,
        "a/b/1.png": 2,
        "a0/1.png": 3,
        "\xe4/1.png": 4,
    }


def test_an_empty_class_folder_keeps_its_number(tmp_path: Path):
    config = config_of(tmp_path, ["a/1.png", "b/.keep", "c/1.png", "d/e/", "c/below/"])
    assert classes_of(config) == ("a", "b", "c", "d/e")
    assert labels_of(config) == {"a/1.png": 0, "c/1.png": 2}


def test_a_folder_of_other_files_is_no_class_unless_the_classes_are_named(tmp_path: Path):
    names = ["a/1.png", "b/notes.txt", "c/1.png"]
    assert refusal_of(config_of(tmp_path, names)) == (
        f"{tmp_path}/b: expected images in the folder of a class, found other files only. Move it "
        "away, name all classes in source.classes, or set source.labels to false."
    )
    assert labels_of(config_of(tmp_path, [], ["c", "a"])) == {"a/1.png": 1, "c/1.png": 0}


@pytest.mark.parametrize("kind", ["list", "text", "text of Windows", "dataset"])
def test_given_classes_number_every_split_alike(tmp_path: Path, kind: str):
    classes: object = ["9", "10", "11"]
    match kind:
        case "text":
            classes = str(tmp_path / "classes.txt")
            Path(str(classes)).write_bytes(b"9\n10\n11\n")
        case "text of Windows":
            classes = str(tmp_path / "classes.txt")
            Path(str(classes)).write_bytes(b"\xef\xbb\xbf9\r\n10\r\n11")
        case "dataset":
            classes = str(tmp_path / "prepared")
            (tmp_path / "prepared").mkdir()
            label = tfds.features.ClassLabel(names=["9", "10", "11"])
            label.save_metadata(tmp_path / "prepared", "label")
    train = config_of(tmp_path / "train", ["9/1.png", "10/1.png", "11/1.png"], classes)
    val = config_of(tmp_path / "val", ["9/1.png", "11/1.png"], classes)
    assert classes_of(train) == classes_of(val) == ("9", "10", "11")
    assert labels_of(val) == {"9/1.png": 0, "11/1.png": 2}
    other = config_of(tmp_path / "other", ["9/1.png", "12/1.png"], classes)
    assert refusal_of(other) == (
        f"{tmp_path}/other/12: expected a folder of source.classes, 3 names, got another. "
        "Add it to source.classes, or move the folder away."
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", "a"], "source.classes: expected each class once, got 'a' twice. Remove one."),
        ([], "source.classes: expected names of classes, got none. Add them."),
        (["a", "b "], "source.classes: expected the name of a class, on one line and without"),
        ("nowhere", "source.classes: expected a list, a text file with a class per line, or the"),
        ([0, 1], "source.classes: expected the names of classes, got 0. Put it in quotes."),
        (True, "source.classes: expected a list of names or a path, got True"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(tmp_path: Path, classes: object, message: str):
    with pytest.raises(RequestError) as error:
        config_of(tmp_path, ["a/1.png"], classes).open().list()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train/cat/1.png", "test/cat/1.png"], "test/ and train/"),
        (["train/1.png", "val/1.png"], "train/ and val/"),
        (["Validation/cat/1.png", "extra/cat/1.png"], "Validation/"),
    ],
)
def test_a_folder_of_splits_is_not_a_folder_of_classes(tmp_path: Path, names, found: str):
    first = found.partition("/")[0]
    parts = ", ".join(f"{name[:-1].lower()}: {name[:-1]}" for name in found.split(" and "))
    assert refusal_of(config_of(tmp_path, names)) == (
        f"{tmp_path}: expected the folders of classes, found {found}, which are names of splits. "
        f"Set output.split to {{{parts}}}, or source.directory to {tmp_path}/{first}, or "
        "source.labels to false; if they are classes, name them in source.classes."
    )


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train/1.png", "val/1.png", "extra/1.png"], "train: train, val: val"),
        (["train/1.png", "cat/1.png", "test/"], "test: test, train: train"),
        (["train2017/1.png", "VAL2017/1.png", "a/1.png"], "val2017: VAL2017, train2017: train2017"),
        (["test_set/a/1.png", "train_set/a/1.png"], "test_set: test_set, train_set: train_set"),
        (
            ["train-images/1.png", "Test Data/1.png"],
            "test_data: Test Data, train_images: train-images",
        ),
        (["trainA/1.png", "trainB/1.png"], "traina: trainA, trainb: trainB"),
        (
            ["d/train/cat/1.png", "d/val/cat/1.png", "d/val/dog/1.png"],
            "train: d/train, val: d/val",
        ),
    ],
)
def test_folders_beside_each_other_with_names_of_splits_are_no_classes(
    tmp_path: Path, names: list[str], parts: str
):
    folders = [part.partition(": ")[2] for part in parts.split(", ")]
    assert refusal_of(config_of(tmp_path, names)) == (
        f"{tmp_path}: expected the folders of classes, found {folders[0]}/ and {folders[1]}/, "
        f"which are names of splits. Set output.split to {{{parts}}}, or source.directory to "
        f"{tmp_path}/{folders[0]}, or source.labels to false; if they are classes, name them in "
        "source.classes."
    )
    images = sorted({name.rpartition("/")[0] for name in names})
    assert classes_of(config_of(tmp_path, [], images)) == tuple(images)


def test_splits_in_several_folders_are_not_advised_as_one_split_each(tmp_path: Path):
    names = ["cat/train/1.png", "cat/val/1.png", "dog/train/1.png", "dog/val/1.png"]
    assert refusal_of(config_of(tmp_path, names)) == (
        f"{tmp_path}: expected the folders of classes, found cat/train/ and cat/val/, which are "
        f"names of splits. Set source.directory to {tmp_path}/cat/train, or source.labels to "
        "false; if they are classes, name them in source.classes."
    )


@pytest.mark.parametrize("names", [("test", "tests"), ("dev", "developer"), ("trains", "train")])
def test_one_name_of_a_split_among_others_is_a_class(tmp_path: Path, names: tuple[str, str]):
    assert classes_of(config_of(tmp_path, [f"{name}/1.png" for name in names])) == tuple(
        sorted(names)
    )


def test_a_train_is_a_vehicle_too(tmp_path: Path):
    assert classes_of(config_of(tmp_path, ["car/1.png", "train/1.png"])) == ("car", "train")


@pytest.mark.parametrize(
    "name", [" a", "a ", "a\nb", "a\rb", "a\x0bb", "a\x85b", "a\u2028b", "\u3000a"]
)
def test_names_that_the_file_of_names_does_not_give_back_are_refused(tmp_path: Path, name: str):
    assert refusal_of(config_of(tmp_path, ["z/1.png", f"{name}/1.png"])) == (
        f"{f'{tmp_path}/{name}'!a}: expected the name of a class, in UTF-8, on one line and "
        "without white space around it. Rename the folder, or set source.labels to false."
    )


def test_tensorflow_datasets_gives_back_every_name_that_is_taken(tmp_path: Path):
    codes = [*range(0x250), *range(0x2000, 0x2030), 0x3000, 0xFEFF, 0x1F408]
    forms = [form.format(chr(code)) for code in codes for form in ("{}", "b{}", "{}b", "b{}b")]
    names = sorted({name for name in forms if storable(name)})
    (tmp_path / names_file_of("image/label")).write_bytes(render_names(names))
    label = tfds.features.ClassLabel(num_classes=len(names))
    label.load_metadata(tmp_path, "image.label")
    assert label.names == names == parse_names(render_names(names).decode())


def test_the_description_of_classes_names_what_is_unexpected():
    assert describe_classes(["a", "b"]) == "2, 'a' to 'b'"
    assert describe_classes(["a", "b", "c"], ["b", "c"]) == (
        "3, 'a' to 'c'; no images of 'b' and 1 more"
    )
    assert describe_classes(["0", "1", "10", "2"]) == (
        "4, '0' to '2' (sorted as text: '10' is label 2; source.classes sets another order)"
    )
    assert describe_classes(["0", "1", "2", "10"]) == "4, '0' to '10'"
    assert describe_classes(["00", "01", "02"]) == "3, '00' to '02'"
    assert describe_classes(["x/a", "x/b", "y/a", "y/b"]) == (
        "4, 'x/a' to 'y/b'; the same below 'x' and 'y', which may be splits"
    )
    assert describe_classes(["x/a", "x/b", "y/a"]) == "3, 'x/a' to 'y/a'"


@pytest.mark.slow
def test_a_dataset_says_its_classes_and_shares_their_numbers(
    make_config: MakeConfig, tmp_path: Path, small_images: list[bytes]
):
    named = {f"{n}/{n}.png": small_images[n] for n in (0, 1, 2, 10)}
    source = build_image_folder(tmp_path / "train", named)
    config = make_config("train_tokens", source=source.model_dump())
    line = "4, '0' to '2' (sorted as text: '10' is label 2; source.classes sets another order)"
    assert tokenize(config).classes == (line,)
    shared = {"kind": "image_folder", "directory": str(tmp_path / "val")}
    shared["classes"] = config.output.directory
    build_image_folder(tmp_path / "val", {"2/1.png": small_images[3]})
    plan = prepare(make_config("val_tokens", source=shared)).plan
    assert plan.fingerprint.input.describe_classes() == (f"{line}; no images of '0' and 2 more",)
    assert labels_of(ImageFolderConfig.model_validate(shared)) == {"2/1.png": 3}
    names = Path(config.output.directory, "label.labels.txt")
    names.write_text(names.read_text().replace("10\n2", "2\n10"))
    with pytest.raises(DataError, match=r"label\.labels\.txt: expected sha256 .* is damaged"):
        ImageFolderConfig.model_validate(shared).open().list()


@pytest.mark.slow
def test_other_numbers_of_classes_are_another_job(
    make_config: MakeConfig, tmp_path: Path, small_images: list[bytes]
):
    build_image_folder(tmp_path / "in", {"a/1.png": small_images[0]})
    classes = tmp_path / "classes.txt"
    source = {"kind": "image_folder", "directory": str(tmp_path / "in"), "classes": str(classes)}
    classes.write_text("a\nb\n")
    tokenize(make_config(source=source))
    classes.write_text("a\nc\n")
    with pytest.raises(RequestError, match="another job: input classes label c was absent, is 1"):
        tokenize(make_config(source=source))
