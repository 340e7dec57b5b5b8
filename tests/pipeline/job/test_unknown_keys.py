"""An unknown key is refused at every level of every config and document, with its path."""

import copy
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from builders.paths import ROOT

from examples.prior.config import PriorConfig
from examples.prior.saved import RunDescription
from fsq.dataset.manifest import Manifest
from fsq.errors import RequestError
from fsq.spec.contract import TokenContract
from fsq.spec.serialization import parse_contract
from fsq.validation import parse
from pipeline.job.config import TokenizeConfig
from pipeline.tokenizers.config import ImportConfig, TrainConfig
from pipeline.work.job_file import JobFile
from pipeline.work.unit_files import UnitStatus

# The contents of a file, as plain data, with every model in it that can be there: what the models
# allow and no entry has is found by the last test.
CONTRACT = parse_contract((ROOT / "tokenizers/cifar10/tokenizer.json").read_bytes(), "cifar10")
IMAGE = {"size_pixels": 32, "channels": 3, "pixel_range": [0, 1], "resize": "bicubic"}
CONV = {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]}
RESIDUAL = {"kind": "residual", "widths": [8, 8]}
FOLDER = {"kind": "image_folder", "directory": "images"}
TFDS = {"kind": "tfds", "name": "mnist", "split": "train"}
TFRECORD = {
    "kind": "tfrecord",
    "files": "x-*",
    "image": "image",
    "carry": {"label": {"field": "label", "default": -1}},
}
PARQUET = {"kind": "parquet", "files": "x-*"}
VIEWS = [
    {"kind": "flip"},
    {"kind": "five_crop", "range": 1.2},
    {"kind": "ten_crop", "range": 1.1},
    {"kind": "random", "count": 3},
]
WEBDATASET = {"kind": "webdataset", "files": "x-{0..9}.tar", "image": ["jpg"]}
NPY = {"kind": "npy", "files": "x.npy"}
IDX = {"kind": "idx", "files": "x-idx3-ubyte"}
ARRAY_RECORD = {"kind": "array_record", "files": "x-*", "image": "image"}
BY_MANIFEST = {"kind": "manifest", "file": "x.csv"}
TOKENIZE = {
    "source": FOLDER,
    "tokenizer": "tokenizers/x",
    "output": {"directory": "out/x", "name": "x", "split": {"a": 0.9, "b": 0.1}},
    "views": [{"kind": "center"}, {"kind": "center_flipped"}],
    "decode": {"truncated": "fill"},
}
TRAIN = {
    "source": FOLDER,
    "held_out": TFDS,
    "tokenizer": {"levels": [8, 5, 5, 5], "image": IMAGE, "network": CONV},
    "training": {"epochs": 1, "perceptual": {"model": "x.keras"}, "adversarial": {"weight": 1}},
    "output": "tokenizers/x",
}
IMPORT = {
    "encoder": "x.onnx",
    "reference": "x.npz",
    "output": "tokenizers/x",
    "levels": [8, 5, 5, 5],
    "preset": "torch",
    "image": IMAGE,
}
PRIOR = {
    "dataset": "out/x",
    "held_out": 0.1,
    "network": {"width": 64},
    "training": {"steps": 10},
    "samples": {"per_class": 2},
    "output": "runs/x",
}
FINGERPRINT = {
    "tokenizer": CONTRACT.model_dump(mode="json"),
    "source": FOLDER,
    "input": {"files": {"cats": {"records": 3, "bytes": 900}}, "sha256": "0" * 64},
    "name": "x",
    "splits": {"train": {"number": 0, "num_shards": 1}},
    "formats": ["tfrecord", "array_record"],
    "batch_size": 8,
    "runtime": {"name": "tensorflow", "precision": "float32"},
    "decode": {"truncated": "fill"},
    "versions": {"numpy": "2"},
}
SHARD = {"file": "x", "bytes": 90, "sha256": "0" * 64}
MANIFEST = {
    "format_version": 4,
    "name": "x",
    "splits": {"train": {"images": 3, "records": 3}},
    "images_listed": 3,
    "images_written": 3,
    "images_rejected": 0,
    "rejects_by_reason": {},
    "by_file": {"cats": {"listed": 3, "written": 3, "rejected": {}, "content": "0"}},
    "views": ["center"],
    "records": 3,
    "machines": ["a kind"],
    "shards": [{**SHARD, "split": "train", "records": 3, "other_formats": {"array_record": SHARD}}],
    "files": {},
    "fingerprint": {"fields": FINGERPRINT},
}
REJECT = {"key": "a", "stage": "decode", "reason": "expected", "file": "cats", "record": 1}
SPAN = {"offset": 0, "first": 0, "num_records": 3}
JOB_FILE = {
    "fingerprint": FINGERPRINT,
    "units": [{"name": "unit-000000", "path": "cats", "spans": [SPAN], "etag": "x"}],
}
STATUS = {
    "source": "cats",
    "listed": {"cats": 4},
    "written": {"cats": 3},
    "rejects": [REJECT],
    "token_counts": {"1": 3},
    "content": {},
    "rejected_content": "0",
    "etag": "x",
    "machine": "a kind",
    "seconds": {},
}
IMPORTED = {
    "kind": "onnx",
    "grid": CONTRACT.grid,
    "images": "channels_last",
    "latents": "flat",
    "decoder": True,
}
CONTRACTS = [
    {**CONTRACT.model_dump(mode="json"), "network": IMPORTED},
    {
        **CONTRACT.model_dump(mode="json"),
        "network": {**RESIDUAL, "widths": [8] * (len(CONTRACT.network.encoder_widths) + 1)},
    },
]
RUN = {
    "config": PRIOR,
    "vocabulary": {"levels": [8, 5, 5, 5], "classes": 10, "grid": [8, 8]},
    "class_names": [],
    "datasets": {},
    "tokenizer": "0" * 64,
}
DOCUMENTS: list[tuple[type[pydantic.BaseModel], dict[str, Any]]] = [
    (TokenizeConfig, TOKENIZE),
    (TokenizeConfig, {**TOKENIZE, "source": TFDS}),
    (TokenizeConfig, {**TOKENIZE, "source": TFRECORD}),
    (TokenizeConfig, {**TOKENIZE, "source": PARQUET}),
    (TokenizeConfig, {**TOKENIZE, "views": VIEWS, "filter": {"min_side": 8}}),
    (TokenizeConfig, {**TOKENIZE, "source": WEBDATASET}),
    (TokenizeConfig, {**TOKENIZE, "source": NPY}),
    (TokenizeConfig, {**TOKENIZE, "source": ARRAY_RECORD}),
    (TokenizeConfig, {**TOKENIZE, "source": IDX}),
    (TokenizeConfig, {**TOKENIZE, "source": BY_MANIFEST}),
    (TrainConfig, TRAIN),
    (TrainConfig, {**TRAIN, "tokenizer": {**TRAIN["tokenizer"], "network": RESIDUAL}}),
    (ImportConfig, IMPORT),
    (PriorConfig, PRIOR),
    (TokenContract, FINGERPRINT["tokenizer"]),
    *((TokenContract, content) for content in CONTRACTS),
    (Manifest, MANIFEST),
    (JobFile, JOB_FILE),
    (UnitStatus, STATUS),
    (RunDescription, RUN),
]


def with_digests(content: dict[str, Any]) -> dict[str, Any]:
    """Adds the digest of a manifest's fingerprint, which only the model can compute."""
    content = copy.deepcopy(content)
    if "fields" in content.get("fingerprint", {}):
        fields = JobFile.model_validate({"fingerprint": content["fingerprint"]["fields"]})
        content["fingerprint"]["sha256"] = fields.fingerprint.sha256
    return content


Path = tuple[Any, ...]


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and (
        issubclass(kind, pydantic.BaseModel) or dataclasses.is_dataclass(kind)
    )


def mappings(value: Any, path: Path = ()) -> Iterator[tuple[Path, type]]:
    """Yields the path of every mapping with fixed keys, and its model."""
    match value:
        case dict():
            inside = value.items()
        case list() | tuple():
            inside = enumerate(value)
        case _ if is_model(type(value)):
            yield path, type(value)
            inside = [(name, getattr(value, name)) for name in hints(type(value))]
        case _:
            return
    for name, one in inside:
        yield from mappings(one, (*path, name))


def hints(model: type) -> dict[str, Any]:
    if issubclass(model, pydantic.BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return typing.get_type_hints(model, include_extras=True)


def models_in(annotation: Any) -> Iterator[type]:
    """Yields every model that a type can hold, at any depth."""
    if is_model(annotation):
        yield annotation
        for inside in hints(annotation).values():
            yield from models_in(inside)
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


@pytest.mark.parametrize(
    ("model", "content"), DOCUMENTS, ids=[f"{m.__name__}-{n}" for n, (m, _) in enumerate(DOCUMENTS)]
)
def test_an_unknown_key_is_refused_at_every_level(
    model: type[pydantic.BaseModel], content: dict[str, Any]
):
    content = with_digests(content)
    for path, inside in mappings(parse(model, content, "file")):
        odd = copy.deepcopy(content)
        place = odd
        for name in path:
            place = place[name] if isinstance(place, list) else place[str(name)]
        place["colour"] = "red"
        with pytest.raises(RequestError) as error:
            parse(model, odd, "file")
        where = ".".join(["file", *map(str, path), "colour"])
        if dataclasses.is_dataclass(inside):  # of documents only, which nobody writes by hand
            assert "(Unexpected keyword argument), got 'red'." in str(error.value), where
        else:
            known = ", ".join(sorted(hints(inside)))
            assert str(error.value) == f"{where}: unknown key (known: {known})"


def test_the_documents_hold_every_model_that_can_be_in_them():
    possible = {inside for model, _ in DOCUMENTS for inside in models_in(model)}
    shown = {
        inside
        for model, content in DOCUMENTS
        for _, inside in mappings(parse(model, with_digests(content), "file"))
    }
    assert {model.__qualname__ for model in possible - shown} == set()
    assert {model for model, _ in DOCUMENTS} <= shown and len(shown) > 35
