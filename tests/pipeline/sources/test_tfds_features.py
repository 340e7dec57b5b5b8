"""A feature of a prepared dataset is read as its owner reads it, or refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow_datasets as tfds
from builders.fixtures import encode_image
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from fsq.dataset.formats import FORMATS
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.images.decode import decode_image
from pipeline.core.records import ImageRecord
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfds_features import carried_feature, check_image
from pipeline.sources.units import cut_units

F = tfds.features


class Own(F.Image):
    """A feature that somebody made from Image: only its owner knows what its bytes mean."""


IMAGES = {
    "image": F.Image(),
    "grey": F.Image(shape=(28, 28, 1), encoding_format="png"),
    "jpeg": F.Image(shape=(None, None, 3), encoding_format="jpeg"),
    "alpha": F.Image(shape=(None, None, 4)),
}
# Neither an image nor a scalar that is stored as such; with how a message names it.
OTHERS: dict[str, tuple[Any, str]] = {
    "depth": (F.Image(shape=(None, None, 1), dtype=np.float32), "an Image of float32 [?, ?, 1]"),
    "deep": (F.Image(shape=(None, None, 1), dtype=np.uint16), "an Image of uint16 [?, ?, 1]"),
    "segments": (F.LabeledImage(labels=3), "a LabeledImage of uint8 [?, ?, 1]"),
    "own": (Own(), "an Own of uint8 [?, ?, 3]"),
    "video": (F.Video(shape=(None, 8, 8, 3)), "a Video of uint8 [?, 8, 8, 3]"),
    "images": (F.Sequence(F.Image()), "a Sequence of uint8 [?, ?, ?, 3]"),
    "episode": (F.Dataset({"image": F.Image()}), "a Dataset"),
    "nested": (F.FeaturesDict({"image": F.Image()}), "a FeaturesDict"),
    "box": (F.BBoxFeature(), "a BBoxFeature of float32 [4]"),
    "sound": (F.Audio(), "an Audio of int64 [?]"),
    "lazy": (F.Audio(file_format="wav", lazy_decode=True), "an Audio of int64 [?]"),
    "pixels": (F.Tensor(shape=(28, 28, 1), dtype=np.uint8), "a Tensor of uint8 [28, 28, 1]"),
    "packed": (
        F.Tensor(shape=(), dtype=np.int64, encoding="zlib"),
        "a Tensor of int64 with the encoding zlib",
    ),
    "raw": (
        F.Tensor(shape=(), dtype=np.float32, encoding="bytes"),
        "a Tensor of float32 with the encoding bytes",
    ),
    "any": (F.Tensor(shape=(None, None), dtype=np.uint8, encoding="zlib"), "a Tensor of uint8 ["),
    "huge": (F.Scalar(np.uint64), "a Scalar of uint64, stored with the bits of an int64"),
    "brain": (F.Scalar(ml_dtypes.bfloat16), "a Scalar of bfloat16"),
    "words": (F.Translation(["en", "de"]), "a Translation"),
    "tongues": (F.TranslationVariableLanguages(), "a TranslationVariableLanguages"),
    "many": (F.Sequence(np.int64), "a Sequence of int64 [?]"),
}
# Scalars, with a value that the narrower type would change.
SCALARS: dict[str, tuple[Any, Any, str]] = {
    "bool": (F.Scalar(np.bool_), True, "int64"),
    "int8": (F.Scalar(np.int8), -128, "int64"),
    "int16": (F.Tensor(shape=(), dtype=np.int16), -(2**15), "int64"),
    "int32": (F.Scalar(np.int32), -(2**31), "int64"),
    "int64": (F.Scalar(np.int64), -(2**63), "int64"),
    "uint8": (F.Scalar(np.uint8), 255, "int64"),
    "uint16": (F.Scalar(np.uint16), 2**16 - 1, "int64"),
    "uint32": (F.Scalar(np.uint32), 2**32 - 1, "int64"),
    "float16": (F.Scalar(np.float16), 65504.0, "float32"),
    "float32": (F.Scalar(np.float32), np.float32(0.1), "float32"),
    "float64": (F.Scalar(np.float64), 0.1, "float32"),
    "label": (F.ClassLabel(names=["cat", "dog"]), 1, "int64"),
    "caption": (F.Text(), "a caption\u00e9", "bytes"),
    "string": (F.Scalar(np.str_), b"\xff\x00", "bytes"),
    "optional": (F.Scalar(np.int32, optional=True), 7, "int64"),
}
KNOWN = F.FeaturesDict(
    IMAGES
    | {name: feature for name, (feature, _) in OTHERS.items()}
    | {name: feature for name, (feature, *_) in SCALARS.items()}
)


def test_every_class_of_tensorflow_datasets_is_decided_on():
    classes = {
        value
        for value in vars(F).values()
        if isinstance(value, type) and issubclass(value, F.FeatureConnector)
    }
    tried = {type(feature) for feature in KNOWN.values()}
    assert classes - {F.FeatureConnector} == tried - {Own}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_bytes_is_read(name: str):
    check_image(name, KNOWN)


@pytest.mark.parametrize("name", [*OTHERS, *SCALARS])
def test_what_is_no_image_of_bytes_is_refused_by_name(name: str):
    with pytest.raises(RequestError) as error:
        check_image(name, KNOWN)
    named = type(KNOWN[name]).__name__ if name in SCALARS else OTHERS[name][1].partition(" with")[0]
    assert str(error.value).startswith(
        "source.image: expected an image feature (image, grey, jpeg, alpha, nested/image), got "
    )
    assert f"got {name!r}, a" in str(error.value)
    assert named.partition(", stored")[0] in str(error.value)


def test_what_the_bytes_of_an_image_mean_is_said():
    why = {
        "depth": ", whose PNG files hold the bits of floats.",
        "segments": ", whose pixels are numbers of classes and not colours.",
        "deep": "read the files as source.kind tfrecord: there 16 bits are scaled to 8.",
    }
    for name, reason in why.items():
        with pytest.raises(RequestError) as error:
            check_image(name, KNOWN)
        assert str(error.value).endswith(reason)


@pytest.mark.parametrize("name", [*OTHERS, *IMAGES])
def test_what_is_not_stored_as_a_scalar_is_not_carried(name: str):
    with pytest.raises(RequestError) as error:
        carried_feature(name, KNOWN)
    named = OTHERS[name][1] if name in OTHERS else "an Image of uint8 ["
    assert f"source.carry: expected scalar features, got {name!r}, {named}" in str(error.value)


def test_features_without_names_hold_no_image():
    for features in (F.Translation(["en", "de"]), F.Sequence(F.Image())):
        with pytest.raises(RequestError, match=r"image feature \(none here\), got 'en'\.$"):
            check_image("en", features)


def write_dataset(folder: Path, features: Any, example: dict[str, Any]) -> TfdsConfig:
    """Writes a dataset of one record as tensorflow-datasets serializes it."""
    folder.mkdir()
    serializer = ExampleSerializer(features.get_serialized_info())
    data = serializer.serialize_example(features.encode_example(example))
    (folder / "pets-train.tfrecord-00000-of-00001").write_bytes(frame(data))
    template = tfds.core.ShardedFileTemplate(
        dataset_name="pets", data_dir=folder, split="train", filetype_suffix="tfrecord"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[tfds.core.SplitInfo("train", [1], 0, template)],
        version="1.0.0",
        check_data=False,
    )
    return TfdsConfig(kind="tfds", directory=str(folder), split="train")


def test_what_is_carried_is_what_tensorflow_datasets_reads(tmp_path: Path):
    image = encode_image(np.zeros((4, 4, 3), np.uint8))
    features = F.FeaturesDict(
        {"image": F.Image()} | {name: feature for name, (feature, *_) in SCALARS.items()}
    )
    values = {name: value for name, (_, value, _) in SCALARS.items()}
    config = write_dataset(tmp_path / "pets", features, {"image": image} | values)
    source = config.model_copy(update={"carry": tuple(SCALARS)}).open()
    listing = source.list()
    names = {"label": ("cat", "dog")}
    assert listing.features == tuple(
        CarriedFeature(name, name, kind, names.get(name))  # type: ignore[arg-type]
        for name, (_, _, kind) in SCALARS.items()
    )
    (unit,) = cut_units(listing, 8)
    (record,) = source.read(unit, listing.features)
    assert isinstance(record, ImageRecord) and record.data == image
    (theirs,) = tfds.as_numpy(
        tfds.builder_from_directory(tmp_path / "pets").as_dataset(split="train")
    )
    for name, ours in zip(SCALARS, record.carried, strict=True):
        assert ours == theirs[name], name
    assert theirs["image"].tobytes() == b"\0" * 48


@pytest.mark.parametrize("name", ["depth", "segments"])
def test_a_dataset_of_another_feature_is_refused_before_its_records(tmp_path: Path, name: str):
    pixels = np.zeros((4, 4, 1), np.float32 if name == "depth" else np.uint8)
    features = F.FeaturesDict({"image": OTHERS[name][0]})
    config = write_dataset(tmp_path / "pets", features, {"image": pixels})
    with pytest.raises(RequestError) as error:
        config.open().list()
    assert f"(none here), got 'image', {OTHERS[name][1]}, whose " in str(error.value)


def test_what_is_wrong_with_a_directory_is_said(tmp_path: Path):
    image = encode_image(np.zeros((4, 4, 3), np.uint8))
    dataset = tmp_path / "pets" / "1.0.0"
    (tmp_path / "pets").mkdir()
    features = F.FeaturesDict({"image": F.Image()})
    config = write_dataset(dataset, features, {"image": image})
    begin = "source.directory: expected a dataset prepared by tensorflow-datasets, found "

    def refusal(directory: Path) -> str:
        with pytest.raises(RequestError) as error:
            config.model_copy(update={"directory": str(directory)}).open().list()
        assert "\n" not in str(error.value)
        return str(error.value).removeprefix(begin)

    assert refusal(tmp_path / "x") == f"no directory '{tmp_path}/x'. Correct the path."
    assert refusal(tmp_path / "pets") == (
        f"no dataset_info.json in '{tmp_path}/pets' itself, but below it. "
        f"Give the directory of one version: {dataset}."
    )
    (tmp_path / "y").mkdir()
    assert refusal(tmp_path / "y") == (
        f"none in '{tmp_path}/y'. Give the directory that holds dataset_info.json."
    )
    json_of_features = json.loads((dataset / "features.json").read_text())
    inner = json_of_features["featuresDict"]["features"]["image"]
    inner["pythonClassName"] = "nowhere.Feature"
    (dataset / "features.json").write_text(json.dumps(json_of_features))
    assert refusal(dataset).startswith(f"one in '{dataset}' that it cannot read: ")
    assert "nowhere" in refusal(dataset)
    (dataset / "features.json").unlink()
    assert refusal(dataset) == (
        f"dataset_info.json but no features.json in '{dataset}', as versions of "
        "tensorflow-datasets before 4.0 left it. Prepare it again, or read its TFRecord files as "
        "source.kind tfrecord."
    )
    (dataset / "dataset_info.json").write_text("{")
    shutil.copy(dataset / "dataset_info.json", dataset / "features.json")
    assert refusal(dataset).startswith(f"one in '{dataset}' that it cannot read: Failed to load")


def test_a_dataset_without_the_lengths_of_its_shards_says_so(tmp_path: Path):
    image = encode_image(np.zeros((4, 4, 3), np.uint8))
    config = write_dataset(
        tmp_path / "pets", F.FeaturesDict({"image": F.Image()}), {"image": image}
    )
    info = json.loads((tmp_path / "pets" / "dataset_info.json").read_text())
    (split,) = info["splits"]
    del split["shardLengths"]
    split["numShards"] = "1"
    (tmp_path / "pets" / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(RequestError) as error:
        config.open().list()
    assert str(error.value) == (
        f"{tmp_path}/pets/dataset_info.json: expected name and length of every shard, got: no "
        "lengths of the shards of 'train', which old versions left out. Prepare the dataset "
        "again, or read its TFRecord files as source.kind tfrecord."
    )


def test_a_named_dataset_that_cannot_be_read_is_not_said_to_be_absent(tmp_path: Path):
    image = encode_image(np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "pets").mkdir()
    features = F.FeaturesDict({"image": F.Image()})
    write_dataset(tmp_path / "pets" / "1.0.0", features, {"image": image})
    named = TfdsConfig(kind="tfds", name="pets", data_dir=str(tmp_path), split="train")
    assert named.open().list().num_records == 1
    (tmp_path / "pets" / "1.0.0" / "features.json").write_text("{")
    with pytest.raises(RequestError) as error:
        named.open().list()
    assert str(error.value).startswith(
        f"source.name: expected a prepared dataset 'pets' in {tmp_path}, found one that "
        "tensorflow-datasets cannot read: "
    )


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_features_inside_others_are_read_by_their_paths(tmp_path: Path, file_format: str):
    images = [np.full((4, 4, 3), value, np.uint8) for value in range(5)]
    features = {
        "obs": {"image": F.Image(), "step": F.Scalar(np.int64)},
        "meta": {"label": F.ClassLabel(names=["cat", "dog"])},
    }

    tree = F.FeaturesDict(features)
    serializer = ExampleSerializer(tree.get_serialized_info())
    with FORMATS[file_format].open_writer(
        str(tmp_path / f"pets-train.{file_format}-00000-of-00001")
    ) as writer:
        for number, image in enumerate(images):
            obs = {"image": image, "step": number}
            example = tree.encode_example({"obs": obs, "meta": {"label": number % 2}})
            writer.write([frame(serializer.serialize_example(example))])
    template = tfds.core.ShardedFileTemplate(
        dataset_name="pets", data_dir=tmp_path, split="train", filetype_suffix=file_format
    )
    tfds.folder_dataset.write_metadata(
        data_dir=tmp_path,
        features=tree,
        split_infos=[tfds.core.SplitInfo("train", [5], 0, template)],
        version="1.0.0",
        check_data=False,
    )
    config = TfdsConfig.model_validate(
        {
            "kind": "tfds",
            "directory": str(tmp_path),
            "split": "train[:3]+train[-1:]",
            "image": "obs/image",
            "carry": {"label": "meta/label", "step": {"field": "obs/step", "default": 0}},
        }
    )
    source = config.open()
    listing = source.list()
    assert listing.features == (
        CarriedFeature("label", "meta/label", "int64", ("cat", "dog")),
        CarriedFeature("step", "obs/step", "int64", default=0),
    )
    records = [r for unit in cut_units(listing, 2) for r in source.read(unit, listing.features)]
    assert len(records) == 4
    for number, record in zip((0, 1, 2, 4), records, strict=True):
        assert isinstance(record, ImageRecord)
        np.testing.assert_array_equal(decode_image(record.data, 3), images[number])
        assert record.carried == (number % 2, number)
